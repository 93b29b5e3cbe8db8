// CPU kernels of lstm.h: one body, compiled per instruction set.
// Start with pyext/lexforge/reference/recurrent/lstm.py.
//
// A group of texts goes through time together. The longest come first, so at step s those that
// still have a token are the first of them, and each step is one product of that many rows with the
// weights, which stay in the second-level cache. The weights are packed once for each group:
//
//   forward   for each block of units, of as many as a register has lanes: [H][4 gates][lanes], so
//             that all four gates of a unit are at hand when its product is there
//   backward  for each panel of kTileVectors registers of units: [4 H][registers][lanes]
//
// They are padded with zeros to whole registers. For 100 units a block, or a panel's part of one
// gate, is 25 KB, and stays in the first-level cache while the rows pass by.
#include <cmath>
#include <cstdint>

#include "common/bfloat16.h"
#include "common/scratch.h"
#include "recurrent/lstm.h"
// The instruction set applies from here on.
#include "common/register_tile.h"
// What needs it.
#include "common/exp2_simd.h"
#include "common/row_values.h"

namespace lexforge::LEXFORGE_ISA {
namespace {

template <typename scalar_t>
struct LstmNumbers {
  using scalar = scalar_t;
  using lanes = typename RowValues<scalar_t>::lanes;
  using reg = typename lanes::reg;
  static LEXFORGE_INLINE reg multiply_add(reg a, reg b, reg c) { return lanes::fma(a, b, c); }
};

// 1 / x for x in [1, 2^116]. An estimate and a Newton step where there is a good one: the divider
// takes as long as all else of a sigmoid.
template <typename L>
LEXFORGE_INLINE typename L::reg reciprocal(typename L::reg x) {
#if defined(LEXFORGE_ISA_AVX512)
  if constexpr (L::kWidth == 16) {
    const auto estimate = _mm512_rcp14_ps(x);
    return L::mul(estimate, L::fnma(x, estimate, L::broadcast(2.0f)));
  }
#endif
  return L::div(L::broadcast(1), x);
}

// 1 / (1 + e^(factor x)) in float. Beyond 2^116 it is 0 for all that follows.
template <typename L>
LEXFORGE_INLINE typename L::reg inverse_of_one_and_exp(typename L::reg x, float factor) {
  const auto y = L::mul(x, L::broadcast(factor * static_cast<float>(kLog2E)));
  const auto power = exp2<L>(L::min(L::broadcast(115.0f), y));  // in this order NaN stays
  return reciprocal<L>(L::add(L::broadcast(1), power));
}

template <typename L>
LEXFORGE_INLINE typename L::reg sigmoid_of(typename L::reg x) {
  if constexpr (L::kWidth == 1) {
    return Numerics<L>::sigmoid(x);
  } else {
    return inverse_of_one_and_exp<L>(x, -1.0f);
  }
}
template <typename L>
LEXFORGE_INLINE typename L::reg tanh_of(typename L::reg x) {
  if constexpr (L::kWidth == 1) {
    return std::tanh(x);
  } else {
    return L::fnma(L::broadcast(2), inverse_of_one_and_exp<L>(x, 2.0f), L::broadcast(1));
  }
}

// Where the texts of a group are.
class Walks {
 public:
  Walks(const LstmShape& shape, const LstmGroup& group, LstmWalk* walks)
      : walks_(walks), count_(group.count) {
    for (int64_t j = 0; j < count_; ++j) {
      walks[j] = lstm_walk(shape, group.texts[j], group.direction);
    }
  }
  const LstmWalk& operator[](int64_t j) const { return walks_[j]; }
  int64_t steps() const { return count_ == 0 ? 0 : walks_[0].length; }
  // How many texts have a token at step s; for steps that follow one another.
  int64_t present_at(int64_t s) {
    while (present_ > 0 && walks_[present_ - 1].length <= s) --present_;
    while (present_ < count_ && walks_[present_].length > s) ++present_;
    return present_;
  }

 private:
  const LstmWalk* walks_;
  int64_t count_, present_ = 0;
};

// Blocks of units, of `lanes` each.
template <typename L>
struct UnitBlocks {
  int64_t hidden, count, padded;
  explicit UnitBlocks(int64_t hidden)
      : hidden(hidden), count((hidden + L::kWidth - 1) / L::kWidth), padded(count * L::kWidth) {}
  int64_t lanes(int64_t block) const { return lesser(L::kWidth, hidden - block * L::kWidth); }
};

// Has one block of units of so many rows of H fetched for the step that follows: where a text goes on
// is far from where another does, so that nothing else would. Into the second-level cache: a step is
// too much for the first.
template <typename scalar_t>
LEXFORGE_INLINE void fetch(const scalar_t* from, int64_t rows, int64_t hidden) {
  for (int64_t r = 0; r < rows; ++r) __builtin_prefetch(from + r * hidden, 0, 2);
}
template <typename scalar_t>
LEXFORGE_INLINE void fetch_to_write(scalar_t* to, int64_t rows, int64_t hidden) {
  for (int64_t r = 0; r < rows; ++r) __builtin_prefetch(to + r * hidden, 1);
}

// ---- forward -----------------------------------------------------------------------------------

template <typename scalar_t>
struct Forward {
  using Row = RowValues<scalar_t>;
  using L = typename Row::lanes;
  static constexpr int64_t W = L::kWidth;
  static constexpr int64_t kColumns = kGates * W;

  UnitBlocks<L> blocks;
  Carver carver;
  scalar_t* weights;   // [blocks][H][4][W]
  scalar_t* state[2];  // [count][padded] h of the step before, and of this one, in turns
  scalar_t* sums;      // [kTileRows][4][W]
  LstmWalk* walks;     // [count]

  Forward(int64_t hidden, int64_t count, void* memory) : blocks(hidden), carver(memory) {
    weights = carver.template take<scalar_t>(blocks.count * hidden * kColumns);
    for (auto& half : state) half = carver.template take<scalar_t>(count * blocks.padded);
    sums = carver.template take<scalar_t>(kTileRows * kColumns);
    walks = carver.template take<LstmWalk>(count);
  }

  void pack(const scalar_t* w_hh) {
    const int64_t hidden = blocks.hidden;
    scalar_t* to = weights;
    for (int64_t b = 0; b < blocks.count; ++b) {
      for (int64_t k = 0; k < hidden; ++k) {
        for (int64_t gate = 0; gate < kGates; ++gate) {
          for (int64_t lane = 0; lane < W; ++lane) {
            const bool there = lane < blocks.lanes(b);
            *to++ = there ? w_hh[(gate * hidden + b * W + lane) * hidden + k] : scalar_t(0);
          }
        }
      }
    }
  }

  // Products of `rows` rows, from row j on, with a block of the weights.
  void multiply(const scalar_t* before, int64_t b, int64_t j, int64_t rows) {
    const scalar_t* block = weights + b * blocks.hidden * kColumns;
    for (int64_t v = 0; v < kGates; v += kTileVectors) {
      tile_of<LstmNumbers<scalar_t>>({before + j * blocks.padded, blocks.padded, 1, block + v * W,
                                      kColumns, sums + v * W, kColumns, blocks.hidden, false},
                                     rows, kTileVectors);
    }
  }
};

// The gates of one block of units at one token, and what becomes of them.
template <typename scalar_t>
LEXFORGE_INLINE void forward_units(const LstmParams<scalar_t>& params, const LstmGroup& group,
                                   const LstmWalk& walk, int32_t text, int64_t s, int64_t unit,
                                   int64_t n, const scalar_t* sums, scalar_t* state) {
  using Row = RowValues<scalar_t>;
  using L = typename Row::lanes;
  using reg = typename L::reg;
  const int64_t hidden = params.shape.hidden, directions = params.shape.directions;
  const auto place_of = [&](int64_t token) { return token * directions + group.direction; };
  const auto gates_of = [&](int64_t token) {
    const int64_t row = params.index != nullptr ? params.index[token] : token;
    return params.gates + place_of(row) * kGates * hidden + unit;
  };
  const int64_t place = place_of(walk.token(s));
  const scalar_t* gates = gates_of(walk.token(s));
  const auto gate = [&](int64_t g) LEXFORGE_INLINED {
    const reg x = Row::load(gates + g * hidden, n);
    return s > 0 ? L::add(x, L::load(sums + g * L::kWidth)) : x;
  };
  const reg i = sigmoid_of<L>(gate(0)), f = sigmoid_of<L>(gate(1));
  const reg g = tanh_of<L>(gate(2)), o = sigmoid_of<L>(gate(3));
  const int64_t end = (text * directions + group.direction) * hidden + unit;
  reg c = L::mul(i, g);
  if (s > 0) c = L::fma(f, Row::load(params.c_n + end, n), c);
  const reg h = L::mul(o, tanh_of<L>(c));
  Row::store(params.c_n + end, c, n);
  L::store(state, h);
  Row::store(params.out + place * hidden + unit, h, n);
  if (s == walk.length - 1) Row::store(params.h_n + end, h, n);
  if (params.activated != nullptr) {
    scalar_t* activated = params.activated + place * kGates * hidden + unit;
    Row::store(activated, i, n);
    Row::store(activated + hidden, f, n);
    Row::store(activated + 2 * hidden, g, n);
    Row::store(activated + 3 * hidden, o, n);
    Row::store(params.cells + place * hidden + unit, c, n);
  }
  if (s + 1 < walk.length) {
    const int64_t next = place_of(walk.token(s + 1));
    fetch(gates_of(walk.token(s + 1)), kGates, hidden);
    fetch_to_write(params.out + next * hidden + unit, 1, hidden);
    if (params.activated != nullptr) {
      fetch_to_write(params.activated + next * kGates * hidden + unit, kGates, hidden);
      fetch_to_write(params.cells + next * hidden + unit, 1, hidden);
    }
  }
}

// ---- backward ----------------------------------------------------------------------------------

template <typename scalar_t>
struct Backward {
  using Row = RowValues<scalar_t>;
  using L = typename Row::lanes;
  static constexpr int64_t W = L::kWidth;

  UnitBlocks<L> blocks;
  Carver carver;
  scalar_t* weights;  // [panels][4 H][registers][W]
  scalar_t* grad_h;   // [count][padded]
  scalar_t* grad_c;   // [count][padded]
  scalar_t* grads;    // [count][4 H] of the gates
  LstmWalk* walks;    // [count]

  Backward(int64_t hidden, int64_t count, void* memory) : blocks(hidden), carver(memory) {
    weights = carver.template take<scalar_t>(kGates * hidden * blocks.padded);
    grad_h = carver.template take<scalar_t>(count * blocks.padded);
    grad_c = carver.template take<scalar_t>(count * blocks.padded);
    grads = carver.template take<scalar_t>(count * kGates * hidden);
    walks = carver.template take<LstmWalk>(count);
  }

  void pack(const scalar_t* w_hh) {
    const int64_t hidden = blocks.hidden;
    scalar_t* to = weights;
    for (int64_t b = 0; b < blocks.count; b += kTileVectors) {
      const int64_t first = b * W, last = lesser(b + kTileVectors, blocks.count) * W;
      for (int64_t k = 0; k < kGates * hidden; ++k) {
        for (int64_t u = first; u < last; ++u) {
          *to++ = u < hidden ? w_hh[k * hidden + u] : scalar_t(0);
        }
      }
    }
  }

  // The gradient of h of the token before, for the first `present` texts. Gate by gate: a part of
  // the weights serves all rows before the next part comes.
  void multiply(int64_t present) {
    const int64_t hidden = blocks.hidden, width = kGates * hidden;
    const RowTiles tiles(present);
    for (int64_t gate = 0; gate < kGates; ++gate) {
      for (int64_t b = 0; b < blocks.count; b += kTileVectors) {
        const int64_t vectors = lesser(kTileVectors, blocks.count - b);
        const scalar_t* part = weights + b * W * width + gate * hidden * vectors * W;
        for (int64_t t = 0; t < tiles.count; ++t) {
          const int64_t j = tiles.first(t);
          tile_of<LstmNumbers<scalar_t>>(
              {grads + j * width + gate * hidden, width, 1, part, vectors * W,
               grad_h + j * blocks.padded + b * W, blocks.padded, hidden, gate > 0},
              tiles.size(t), vectors);
        }
      }
    }
  }
};

// The gradients of the gates of one block of units at one token; grad_h is that of this token's h
// without grad_out's part, and grad_c becomes that of the token before.
template <typename scalar_t>
LEXFORGE_INLINE void backward_units(const LstmBackwardParams<scalar_t>& params,
                                    const LstmGroup& group, const LstmWalk& walk, int64_t s,
                                    int64_t unit, int64_t n, const scalar_t* grad_h,
                                    scalar_t* grad_c, scalar_t* grads) {
  using Row = RowValues<scalar_t>;
  using L = typename Row::lanes;
  using reg = typename L::reg;
  const int64_t hidden = params.shape.hidden, directions = params.shape.directions;
  const int64_t place = walk.token(s) * directions + group.direction;
  const scalar_t* activated = params.activated + place * kGates * hidden + unit;
  const reg i = Row::load(activated, n), f = Row::load(activated + hidden, n);
  const reg g = Row::load(activated + 2 * hidden, n), o = Row::load(activated + 3 * hidden, n);
  const reg c = tanh_of<L>(Row::load(params.cells + place * hidden + unit, n));
  reg dh = L::load(grad_h);
  if (params.grad_out != nullptr) {
    dh = L::add(dh, Row::load(params.grad_out + place * hidden + unit, n));
  }
  const reg dho = L::mul(dh, o);
  const reg dc = L::add(L::load(grad_c), L::fnma(L::mul(dho, c), c, dho));
  const reg dci = L::mul(dc, i);
  const auto store = [&](int64_t gate, reg x) LEXFORGE_INLINED {
    Row::store(grads + gate * hidden + unit, x, n);
    Row::store(params.grad_gates + place * kGates * hidden + gate * hidden + unit, x, n);
  };
  const reg dcig = L::mul(dci, g);
  store(0, L::fnma(dcig, i, dcig));  // dc g i (1 - i)
  reg df = L::zero();
  if (s > 0) {
    const int64_t before = walk.token(s - 1) * directions + group.direction;
    const reg dcf = L::mul(L::mul(dc, Row::load(params.cells + before * hidden + unit, n)), f);
    df = L::fnma(dcf, f, dcf);
    fetch(params.activated + before * kGates * hidden + unit, kGates, hidden);
    if (params.grad_out != nullptr) fetch(params.grad_out + before * hidden + unit, 1, hidden);
    fetch_to_write(params.grad_gates + before * kGates * hidden + unit, kGates, hidden);
    if (s > 1) {
      const int64_t further = walk.token(s - 2) * directions + group.direction;
      fetch(params.cells + further * hidden + unit, 1, hidden);
    }
  }
  store(1, df);
  store(2, L::fnma(L::mul(dci, g), g, dci));  // dc i (1 - g^2)
  const reg dco = L::mul(dho, c);
  store(3, L::fnma(dco, o, dco));
  L::store(grad_c, L::mul(dc, f));
}

}  // namespace

template <typename scalar_t>
int64_t lstm_workspace(int64_t hidden, int64_t count) {
  return Forward<scalar_t>(hidden, count, nullptr).carver.used();
}

template <typename scalar_t>
void lstm(const LstmParams<scalar_t>& params, LstmGroup group, void* workspace) {
  const int64_t hidden = params.shape.hidden, directions = params.shape.directions;
  Forward<scalar_t> work(hidden, group.count, workspace);
  constexpr int64_t W = Forward<scalar_t>::W;
  work.pack(params.w_hh + group.direction * kGates * hidden * hidden);
  Walks walks(params.shape, group, work.walks);
  for (int64_t j = group.count; j > 0 && walks[j - 1].length == 0; --j) {
    const int64_t end = (group.texts[j - 1] * directions + group.direction) * hidden;
    for (int64_t u = 0; u < hidden; ++u) params.h_n[end + u] = params.c_n[end + u] = 0;
  }
  for (int64_t s = 0; s < walks.steps(); ++s) {
    const RowTiles tiles(walks.present_at(s));
    const scalar_t* before = work.state[s % 2];
    scalar_t* after = work.state[(s + 1) % 2];
    for (int64_t b = 0; b < work.blocks.count; ++b) {
      for (int64_t t = 0; t < tiles.count; ++t) {
        const int64_t first = tiles.first(t), rows = tiles.size(t);
        if (s > 0) work.multiply(before, b, first, rows);
        for (int64_t r = 0; r < rows; ++r) {
          const int64_t j = first + r;
          forward_units(params, group, walks[j], group.texts[j], s, b * W, work.blocks.lanes(b),
                        work.sums + r * Forward<scalar_t>::kColumns,
                        after + j * work.blocks.padded + b * W);
        }
      }
    }
  }
}

template <typename scalar_t>
int64_t lstm_backward_workspace(int64_t hidden, int64_t count) {
  return Backward<scalar_t>(hidden, count, nullptr).carver.used();
}

template <typename scalar_t>
void lstm_backward(const LstmBackwardParams<scalar_t>& params, LstmGroup group, void* workspace) {
  const int64_t hidden = params.shape.hidden, directions = params.shape.directions;
  Backward<scalar_t> work(hidden, group.count, workspace);
  constexpr int64_t W = Backward<scalar_t>::W;
  const int64_t padded = work.blocks.padded;
  work.pack(params.w_hh + group.direction * kGates * hidden * hidden);
  Walks walks(params.shape, group, work.walks);
  int64_t present = 0;
  for (int64_t s = walks.steps() - 1; s >= 0; --s) {
    const int64_t more = walks.present_at(s);
    for (; present < more; ++present) {  // texts whose last token this is
      const int64_t end = (group.texts[present] * directions + group.direction) * hidden;
      for (int64_t u = 0; u < padded; ++u) {
        const bool there = u < hidden;
        work.grad_h[present * padded + u] =
            there && params.grad_h != nullptr ? params.grad_h[end + u] : scalar_t(0);
        work.grad_c[present * padded + u] =
            there && params.grad_c != nullptr ? params.grad_c[end + u] : scalar_t(0);
      }
    }
    for (int64_t j = 0; j < present; ++j) {
      for (int64_t b = 0; b < work.blocks.count; ++b) {
        const int64_t at = j * padded + b * W;
        backward_units(params, group, walks[j], s, b * W, work.blocks.lanes(b), work.grad_h + at,
                       work.grad_c + at, work.grads + j * kGates * hidden);
      }
    }
    if (s > 0) work.multiply(present);
  }
}

#define LEXFORGE_INSTANTIATE(scalar_t)                                  \
  template int64_t lstm_workspace<scalar_t>(int64_t, int64_t);          \
  template void lstm(const LstmParams<scalar_t>&, LstmGroup, void*);    \
  template int64_t lstm_backward_workspace<scalar_t>(int64_t, int64_t); \
  template void lstm_backward(const LstmBackwardParams<scalar_t>&, LstmGroup, void*);
LEXFORGE_INSTANTIATE(float)
LEXFORGE_INSTANTIATE(double)
#undef LEXFORGE_INSTANTIATE

}  // namespace lexforge::LEXFORGE_ISA
