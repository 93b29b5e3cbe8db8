// CPU binding of causal_block.h: the kernels of its ops, one after another on each thread.
#include <cmath>
#include <mutex>
#include <vector>

#include "attention/attention_binding.h"
#include "attention/attention_cpu.h"
#include "common/cpu_binding.h"
#include "transformer/add_layer_norm.h"
#include "transformer/bias_activation.h"
#include "transformer/causal_block.h"
#include "transformer/causal_block_cpu.h"
#include "transformer/split_product.h"

namespace lexforge {
namespace {

// ---- Products ----------------------------------------------------------------------------------

// What products saw of their matrices, by their place in the pass.
class Products {
 public:
  struct Seen {
    ValueRange left, right;
  };
  static constexpr int kMost = 8;

  Seen& operator[](int product) { return seen_[product]; }
  const Seen* begin() const { return seen_; }

  void include(const Products& other) {
    const std::lock_guard lock(mutex_);
    for (int i = 0; i < kMost; ++i) {
      seen_[i].left.include(other.seen_[i].left);
      seen_[i].right.include(other.seen_[i].right);
    }
  }

 private:
  std::mutex mutex_;
  Seen seen_[kMost];
};

// Two ways to multiply rows of T. `packed` is of packed_bytes of a right matrix [depth, columns],
// `workspace` of workspace_bytes of the depth. `exact`: whether a product was right, summed over at
// most `depth`, of what it saw.

// On tiles of bfloat16 (split_product.h).
template <typename T>
struct ByTiles {
  using Type = T;
  static constexpr int kParts = std::is_same_v<T, float> ? kSplitParts : 1;

  static int64_t packed_bytes(int64_t depth, int64_t columns) {
    return split_units(columns, kSplitColumns) * split_panel_bytes(depth, kParts);
  }
  static int64_t workspace_bytes(int64_t depth) { return split_panel_bytes(depth, kParts); }

  template <typename L, typename R, typename Y>
  static ValueRange pack(const SplitProductParams<L, R, Y>& p, void* packed) {
    return amx::split_pack<kParts>(p, {0, p.depth, 0, p.columns}, 0,
                                   split_units(p.columns, kSplitColumns), packed);
  }
  template <typename L, typename R, typename Y>
  static ValueRange multiply(const SplitProductParams<L, R, Y>& p, const void* packed,
                             void* workspace) {
    return amx::split_multiply<kParts>(p, {0, p.depth, 0, p.columns}, packed, 0, p.rows, 0,
                                       split_units(p.columns, kSplitColumns), workspace);
  }

  static bool exact(const Products::Seen& seen, int64_t depth) {
    constexpr uint32_t kInfinity = 0x7F800000;
    if constexpr (kParts == kSplitParts) {
      return amx::split_is_exact(seen.left, seen.right, depth);
    } else {
      return seen.left.largest < kInfinity && seen.right.largest < kInfinity;
    }
  }
};

// By multiply-adds of float32 (causal_block_cpu.h), which are always right.
template <typename T>
struct ByLanes {
  using Type = T;

  static int64_t packed_bytes(int64_t depth, int64_t columns) {
    return LEXFORGE_CHOOSE(lane_packed_bytes)(depth, columns);
  }
  static int64_t workspace_bytes(int64_t depth) {
    return LEXFORGE_CHOOSE(lane_workspace_bytes)(depth);
  }

  template <typename L, typename R, typename Y>
  static ValueRange pack(const SplitProductParams<L, R, Y>& p, void* packed) {
    LEXFORGE_CHOOSE(lane_pack<L, R, Y>)(p, packed);
    return {};
  }
  template <typename L, typename R, typename Y>
  static ValueRange multiply(const SplitProductParams<L, R, Y>& p, const void* packed,
                             void* workspace) {
    LEXFORGE_CHOOSE(lane_multiply<L, R, Y>)(p, packed, workspace);
    return {};
  }

  static bool exact(const Products::Seen&, int64_t) { return true; }
};

// run.operator()<How>() for rows of float or Bfloat16, of which the CPU has the faster way.
template <typename Run>
void for_products(const char* op, ScalarType type, const Run& run) {
  for_types<float, Bfloat16>(op, "normed", type, [&]<typename T>() {
    if (cpu_has_tiles()) {
      run.template operator()<ByTiles<T>>();
    } else {
      run.template operator()<ByLanes<T>>();
    }
  });
}

// Of all blocks; `depth`: a bound of what the first `count` products of each were summed over.
template <typename How>
bool exact(const std::vector<Products>& products, int count, int64_t depth) {
  return std::all_of(products.begin(), products.end(), [&](const Products& block) {
    return std::all_of(block.begin(), block.begin() + count,
                       [&](const Products::Seen& each) { return How::exact(each, depth); });
  });
}

// A weight [outputs, inputs], packed once for rows that are multiplied by it, or by its transpose.
template <typename How>
class Packed {
 public:
  using T = typename How::Type;
  enum Side { kInputs, kOutputs };  // what the rows have, and is summed over

  Packed(const float* weight, int64_t outputs, int64_t inputs, Side side, Carver& carver,
         Products::Seen& seen)
      : seen_(seen), params_{} {
    params_.right = side == kInputs ? SplitOperand<float>{weight, inputs, 1}
                                    : SplitOperand<float>{weight, 1, inputs};
    params_.depth = side == kInputs ? inputs : outputs;
    params_.columns = side == kInputs ? outputs : inputs;
    packed_ = carver.take<char>(How::packed_bytes(params_.depth, params_.columns));
    if (packed_ != nullptr) seen_.right.include(How::pack(params_, packed_));
  }

  // y = x times it, + bias. `workspace` is for the depth.
  void multiply(const T* x, int64_t rows, const float* bias, T* y, void* workspace) const {
    auto p = params_;
    p.left = {x, p.depth, 1};
    p.rows = rows;
    p.y = y;
    p.bias = bias;
    seen_.left.include(How::multiply(p, packed_, workspace));
  }

 private:
  Products::Seen& seen_;
  SplitProductParams<T, float, T> params_;
  char* packed_;
};

// Adds grad^T x [outputs, inputs] of some rows to `to`, and the sums of grad to `sums`, if wanted;
// those of the first rows are written. `packed` is of packed_bytes(rows, inputs), `workspace` of
// workspace_bytes(rows).
template <typename How, typename T>
void add_gradient(const T* grad, int64_t outputs, const T* x, int64_t inputs, int64_t rows,
                  bool first, float* to, float* sums, void* packed, void* workspace,
                  Products::Seen& seen) {
  const SplitProductParams<T, T, float> p{
      {grad, 1, outputs}, {x, 1, inputs}, outputs, inputs, rows, to, nullptr, sums, !first};
  seen.right.include(How::pack(p, packed));
  seen.left.include(How::multiply(p, packed, workspace));
}

// ---- Rows --------------------------------------------------------------------------------------

// Sequences of one thread: [first, last), which are rows [first_row, last_row).
struct Share {
  int64_t first, last, first_row, last_row;
};

// As many rows for each thread as for any other, in whole sequences.
std::vector<Share> shares_of(const int32_t* cu, int64_t sequences, int64_t rows) {
  const int64_t threads =
      std::clamp<int64_t>(torch::stable::get_num_threads(), 1, std::max<int64_t>(1, sequences));
  std::vector<Share> shares;
  int64_t first = 0;
  for (int64_t t = 1; t <= threads; ++t) {
    const auto wanted = static_cast<int32_t>(rows * t / threads);
    int64_t last = std::lower_bound(cu, cu + sequences, wanted) - cu;
    if (t == threads) last = sequences;
    shares.push_back({first, last, cu[first], cu[last]});
    first = last;
  }
  return shares;
}

// visit(first row, rows) for a share in steps of kCausalBlockRows.
template <typename Visit>
void by_rows(const Share& share, const Visit& visit) {
  for (int64_t row = share.first_row; row < share.last_row; row += kCausalBlockRows) {
    visit(row, std::min(kCausalBlockRows, share.last_row - row));
  }
}

// visit(first sequence, last, first row, rows) for whole sequences: one, or as many as have
// kCausalBlockRows rows.
template <typename Visit>
void by_sequences(const Share& share, const int32_t* cu, const Visit& visit) {
  for (int64_t first = share.first, last; first < share.last; first = last) {
    last = first + 1;
    while (last < share.last && cu[last + 1] - cu[first] <= kCausalBlockRows) ++last;
    if (cu[last] > cu[first]) visit(first, last, cu[first], cu[last] - cu[first]);
  }
}

// A thread's memory for some rows, as if it held all of them, so that it goes by a row's number.
template <typename T>
T* as_all_rows(T* rows, int64_t first_row, int64_t width) {
  return rows - first_row * width;
}

// ---- A call ------------------------------------------------------------------------------------

constexpr int64_t kBlockParameters = 12, kBlockSeeds = 3;  // of a block

// The parameters of a block and of the norm that follows it, in their order.
struct Layers {
  const Tensor& qkv;
  const OptionalTensor& qkv_bias;
  const Tensor& projection;
  const OptionalTensor& projection_bias;
  const Tensor& norm;
  const OptionalTensor& norm_bias;
  const Tensor& expansion;
  const OptionalTensor& expansion_bias;
  const Tensor& contraction;
  const OptionalTensor& contraction_bias;
  const Tensor& following;
  const OptionalTensor& following_bias;

  Layers(const Checks& check, const std::vector<OptionalTensor>& all, int64_t block)
      : Layers(check, all.data() + block * kBlockParameters) {}

  void check(const Checks& check, const CausalBlockSizes& s) const {
    constexpr auto kFloat = ScalarType::Float;
    check.tensor("qkv", qkv, kFloat, {3 * s.width, s.width});
    check.tensor("qkv_bias", qkv_bias, kFloat, {3 * s.width});
    check.tensor("projection", projection, kFloat, {s.width, s.width});
    check.tensor("projection_bias", projection_bias, kFloat, {s.width});
    check.tensor("norm", norm, kFloat, {s.width});
    check.tensor("norm_bias", norm_bias, kFloat, {s.width});
    check.tensor("expansion", expansion, kFloat, {s.inner, s.width});
    check.tensor("expansion_bias", expansion_bias, kFloat, {s.inner});
    check.tensor("contraction", contraction, kFloat, {s.width, s.inner});
    check.tensor("contraction_bias", contraction_bias, kFloat, {s.width});
    check.tensor("following", following, kFloat, {s.width});
    check.tensor("following_bias", following_bias, kFloat, {s.width});
  }

 private:
  Layers(const Checks& check, const OptionalTensor* own)
      : qkv(weight(check, "qkv", own[0])),
        qkv_bias(own[1]),
        projection(weight(check, "projection", own[2])),
        projection_bias(own[3]),
        norm(weight(check, "norm", own[4])),
        norm_bias(own[5]),
        expansion(weight(check, "expansion", own[6])),
        expansion_bias(own[7]),
        contraction(weight(check, "contraction", own[8])),
        contraction_bias(own[9]),
        following(weight(check, "following", own[10])),
        following_bias(own[11]) {}

  static const Tensor& weight(const Checks& check, const char* name, const OptionalTensor& own) {
    check.that(own.has_value(), name, " must be there");
    return *own;
  }
};

struct Shape {
  CausalBlockSizes sizes;
  AttentionShape attention;  // without its dropout
  Activation activation;
  int64_t blocks;
  int64_t longest;  // rows of a step through whole sequences, at most
};

template <typename T>
AttentionRows<T> head_rows_of(T* rows, int64_t token_stride, int64_t head_dim) {
  return {rows, 0, token_stride, head_dim};
}

// Checks what both passes are given: tensors of the dtype of `normed` and of the rows of
// cu_seqlens, of as many blocks as `saved` has; parameters and seeds of all of them.
Shape shape_of(const Checks& check, const Tensor& normed, const Tensor& saved,
               const Tensor& statistics, const Tensor& cu_seqlens,
               const std::vector<OptionalTensor>& seeds,
               const std::vector<OptionalTensor>& parameters, int64_t heads, int64_t max_seqlen,
               int64_t activation, double dropout_p) {
  check.tensor("normed", normed, normed.scalar_type(), {Checks::kAny, Checks::kAny});
  const int64_t rows = normed.size(0), width = normed.size(1);
  const auto given = static_cast<int64_t>(parameters.size()), blocks = given / kBlockParameters;
  check.that(blocks >= 1 && given == blocks * kBlockParameters, "parameters must be ",
             kBlockParameters, " for each block, got ", given);
  check.that(static_cast<int64_t>(seeds.size()) == blocks * kBlockSeeds, "seeds must be ",
             kBlockSeeds, " for each block, got ", seeds.size());
  const Tensor& expansion = Layers(check, parameters, 0).expansion;
  check.tensor("expansion", expansion, ScalarType::Float, {Checks::kAny, width});
  check.that(width >= 1 && expansion.size(0) >= 1, "widths must be at least 1");
  check.that(heads >= 1 && width % heads == 0 && width / heads <= kMaxHeadDim,
             "heads must divide the width ", width, ", with at most ", kMaxHeadDim,
             " to a head, got ", heads);
  check.that(0 <= activation && activation <= static_cast<int64_t>(Activation::kGeluTanh),
             "activation must be 0 to 3, got ", activation);
  check.that(0 <= max_seqlen && max_seqlen < int64_t{1} << 27,
             "max_seqlen must be below 2^27, got ", max_seqlen);
  check.tensor("cu_seqlens", cu_seqlens, ScalarType::Int, {Checks::kAny});
  check.that(cu_seqlens.size(0) >= 1, "cu_seqlens must be [B + 1], got [0]");
  for (const OptionalTensor& seed : seeds) check.dropout(dropout_p, seed);
  Shape shape{};
  shape.blocks = blocks;
  shape.sizes = {rows, width, expansion.size(0), heads};
  shape.activation = static_cast<Activation>(activation);
  check.tensor("saved", saved, normed.scalar_type(), {blocks, shape.sizes.saved()});
  check.tensor("statistics", statistics, ScalarType::Float, {blocks, shape.sizes.statistics()});
  for (int64_t b = 0; b < blocks; ++b) Layers(check, parameters, b).check(check, shape.sizes);
  const auto* cu = data<const int32_t>(cu_seqlens);
  AttentionShape& attention = shape.attention;
  attention.sequences = cu_seqlens.size(0) - 1;
  attention.heads = heads;
  attention.dim = width / heads;
  attention.tokens = rows;
  attention.max_length = max_seqlen;
  attention.cu_seqlens = cu;
  attention.causal = true;
  attention.scale = 1 / std::sqrt(static_cast<double>(attention.dim));
  check.that(attention.sequences <= INT32_MAX / heads, "too many sequences and heads");
  CpuCall::check_packed(check, {"cu_seqlens", "max_seqlen", "T"}, cu, attention.sequences, rows,
                        max_seqlen);
  shape.longest = kCausalBlockRows;
  for (int64_t b = 0; b < attention.sequences; ++b) {
    shape.longest = std::max<int64_t>(shape.longest, cu[b + 1] - cu[b]);
  }
  return shape;
}

// Of a block: that of attention, and those of the two sums.
enum Dropped { kOfAttention, kOfProjected, kOfContracted };

Dropout dropout_of_block(const std::vector<OptionalTensor>& seeds, int64_t block, Dropped which,
                         double p) {
  return dropout_of(p > 0 ? data<const int64_t>(*seeds[block * kBlockSeeds + which]) : nullptr, p);
}

// Memory that a thread keeps, on huge pages: it is gone through many times in a call, and small
// pages are more than a processor remembers. Null where there is none.
void* kept_memory(int64_t bytes) {
  thread_local Scratch memory;
  thread_local int64_t size = 0;
  if (bytes > size) {
    constexpr int64_t kHugePage = int64_t{1} << 21;
    size = (bytes + kHugePage - 1) / kHugePage * kHugePage;
    memory.reset();
    memory.reset(std::aligned_alloc(kHugePage, static_cast<size_t>(size)));
    if (!memory) size = 0;
#if defined(__linux__) && defined(MADV_HUGEPAGE)
    if (memory) madvise(memory.get(), static_cast<size_t>(size), MADV_HUGEPAGE);
#endif
  }
  return memory.get();
}

// run(share, number of the share, memory) on all threads; memory of so many bytes each.
template <typename Run>
void on_threads(const char* op, const std::vector<Share>& shares, int64_t bytes, const Run& run) {
  std::atomic<bool> out_of_memory{false};
  parallel_for(0, static_cast<int64_t>(shares.size()), 1, [&](int64_t first, int64_t last) {
    void* memory = kept_memory(bytes);
    if (memory == nullptr) out_of_memory = true;
    for (int64_t i = first; i < last && memory != nullptr; ++i) {
      if (shares[i].first_row < shares[i].last_row) run(shares[i], i, memory);
    }
  });
  if (out_of_memory) fail(op, ": no memory for a workspace of ", bytes, " bytes");
}

// ---- Forward -----------------------------------------------------------------------------------

template <typename How>
struct Forward {
  using T = typename How::Type;
  Shape shape;
  const T *x, *normed;
  const float *qkv, *qkv_bias, *projection, *expansion, *expansion_bias, *contraction;
  AddLayerNormParams<T, float> norm, following;
  T *out, *saved;
  float* statistics;

  enum Place { kQkv, kProjection, kExpansion, kContraction, kCount };

  // Of a thread; over a null block it only counts.
  int64_t run(const Share& share, void* block, Products& products) const {
    const CausalBlockSizes& s = shape.sizes;
    const int64_t width = s.width, inner = s.inner, rows = kCausalBlockRows;
    auto* head = LEXFORGE_CHOOSE_BF16(T, attention_head<T, float>);
    auto* head_bytes = LEXFORGE_CHOOSE_BF16(T, attention_workspace<T, float>);
    auto* add_norm = LEXFORGE_CHOOSE(add_layer_norm<T, float>);
    auto* norm_bytes = LEXFORGE_CHOOSE(add_layer_norm_workspace<float>);
    auto* activate = LEXFORGE_CHOOSE(bias_activation<T, float>);
    using P = Packed<How>;

    Carver carver(block);
    void* of_product = carver.take<char>(How::workspace_bytes(std::max(width, inner)));
    void* of_head = carver.take<char>(head_bytes(shape.longest, shape.attention.dim));
    void* of_norm = carver.take<char>(norm_bytes(width));
    T* active = carver.take<T>(rows * inner);
    float* no_bias = carver.take<float>(inner);
    const P by_qkv(qkv, 3 * width, width, P::kInputs, carver, products[kQkv]);
    const P by_projection(projection, width, width, P::kInputs, carver, products[kProjection]);
    const P by_expansion(expansion, inner, width, P::kInputs, carver, products[kExpansion]);
    const P by_contraction(contraction, width, inner, P::kInputs, carver, products[kContraction]);
    if (block == nullptr) return carver.used();

    T *q = saved + s.qkv(), *attended = saved + s.attended();
    const AttentionParams<T, float> heads{
        shape.attention,
        head_rows_of<const T>(q, 3 * width, shape.attention.dim),
        head_rows_of<const T>(q + width, 3 * width, shape.attention.dim),
        head_rows_of<const T>(q + 2 * width, 3 * width, shape.attention.dim),
        head_rows_of<T>(attended, width, shape.attention.dim),
        statistics};
    by_sequences(share, shape.attention.cu_seqlens,
                 [&](int64_t first, int64_t last, int64_t row, int64_t count) {
                   by_qkv.multiply(normed + row * width, count, qkv_bias, q + row * 3 * width,
                                   of_product);
                   for (int64_t i = first * s.heads; i < last * s.heads; ++i) {
                     const int64_t next = i + 1 < last * s.heads ? i + 1 : -1;
                     head(heads, {i / s.heads, i % s.heads},
                          {next < 0 ? -1 : next / s.heads, next % s.heads}, of_head);
                   }
                   by_projection.multiply(attended + row * width, count, nullptr,
                                          norm.sum + row * width, of_product);
                   add_norm(norm, row, row + count, of_norm);
                 });

    std::fill(no_bias, no_bias + inner, 0.0f);
    by_rows(share, [&](int64_t row, int64_t count) {
      T* expanded = saved + s.expanded() + row * inner;
      by_expansion.multiply(norm.y + row * width, count, nullptr, expanded, of_product);
      activate({.x = expanded,
                .bias = expansion_bias == nullptr ? no_bias : expansion_bias,
                .rows = count,
                .width = inner,
                .activation = shape.activation,
                .out = active},
               0, count);
      by_contraction.multiply(active, count, nullptr, out + row * width, of_product);
      add_norm(following, row, row + count, of_norm);
    });
    return carver.used();
  }
};

bool causal_block(const Tensor& out, const Tensor& normed_out, const Tensor& saved,
                  const Tensor& statistics, const Tensor& x, const Tensor& normed,
                  const Tensor& cu_seqlens, const std::vector<OptionalTensor>& seeds,
                  const std::vector<OptionalTensor>& parameters, int64_t heads, int64_t max_seqlen,
                  int64_t activation, double dropout_p, const std::vector<double>& eps) {
  const Checks check("causal_block_", "normed", normed);
  const Shape shape = shape_of(check, normed, saved, statistics, cu_seqlens, seeds, parameters,
                               heads, max_seqlen, activation, dropout_p);
  const CausalBlockSizes& s = shape.sizes;
  const int64_t width = s.width, inner = s.inner, blocks = shape.blocks;
  check.like("normed", normed, "x", x);
  check.tensor("out", out, normed.scalar_type(), {blocks, s.rows, width});
  check.tensor("normed_out", normed_out, normed.scalar_type(), {blocks, s.rows, width});
  check.that(static_cast<int64_t>(eps.size()) == 2 * blocks, "eps must be 2 for each block, got ",
             eps.size());
  for (const double each : eps) {
    check.that(std::isfinite(each) && each >= 0, "eps must be finite and >= 0, got ", each);
  }
  check.apart(
      {{"out", out}, {"normed_out", normed_out}, {"saved", saved}, {"statistics", statistics}},
      {{"x", x}, {"normed", normed}});
  if (s.rows == 0) return false;
  const Tensor zeros = new_zeros(statistics, {width});
  const auto bias_of = [&](const OptionalTensor& bias) {
    return data<const float>(bias.has_value() ? *bias : zeros);
  };
  const auto shares = shares_of(shape.attention.cu_seqlens, shape.attention.sequences, s.rows);
  std::vector<Products> products(blocks);
  bool right = false;
  for_products(check.op, normed.scalar_type(), [&]<typename How>() {
    using T = typename How::Type;
    std::vector<Forward<How>> passes;
    const auto *residual = data<const T>(x), *entering = data<const T>(normed);
    for (int64_t b = 0; b < blocks; ++b) {
      const Layers own(check, parameters, b);
      T *kept = data<T>(saved) + b * s.saved(), *to = data<T>(out) + b * s.rows * width;
      T* normed_to = data<T>(normed_out) + b * s.rows * width;
      auto* numbers = data<float>(statistics) + b * s.statistics();
      // Sums are made where the product before them lies.
      passes.push_back({shape,
                        residual,
                        entering,
                        data<const float>(own.qkv),
                        data_or_null<const float>(own.qkv_bias),
                        data<const float>(own.projection),
                        data<const float>(own.expansion),
                        data_or_null<const float>(own.expansion_bias),
                        data<const float>(own.contraction),
                        {.x = kept + s.total(),
                         .residual = residual,
                         .x_bias = data_or_null<const float>(own.projection_bias),
                         .weight = data<const float>(own.norm),
                         .bias = bias_of(own.norm_bias),
                         .rows = s.rows,
                         .dim = width,
                         .eps = eps[2 * b],
                         .dropout = dropout_of_block(seeds, b, kOfProjected, dropout_p),
                         .sum = kept + s.total(),
                         .y = kept + s.normed_total(),
                         .mean = numbers + s.mean(0),
                         .rstd = numbers + s.rstd(0)},
                        {.x = to,
                         .residual = kept + s.total(),
                         .x_bias = data_or_null<const float>(own.contraction_bias),
                         .weight = data<const float>(own.following),
                         .bias = bias_of(own.following_bias),
                         .rows = s.rows,
                         .dim = width,
                         .eps = eps[2 * b + 1],
                         .dropout = dropout_of_block(seeds, b, kOfContracted, dropout_p),
                         .sum = to,
                         .y = normed_to,
                         .mean = numbers + s.mean(1),
                         .rstd = numbers + s.rstd(1)},
                        to,
                        kept,
                        numbers});
      passes.back().shape.attention.dropout = dropout_of_block(seeds, b, kOfAttention, dropout_p);
      residual = to, entering = normed_to;
    }
    const int64_t bytes = passes[0].run({}, nullptr, products[0]);
    on_threads(check.op, shares, bytes, [&](const Share& share, int64_t, void* memory) {
      for (int64_t b = 0; b < blocks; ++b) {
        Products own;
        passes[b].run(share, memory, own);
        products[b].include(own);
      }
    });
    right = exact<How>(products, Forward<How>::kCount, std::max(width, inner));
  });
  return right;
}

// ---- Backward ----------------------------------------------------------------------------------

template <typename How>
struct Backward {
  using T = typename How::Type;
  Shape shape;
  const T *normed, *saved;
  const float *qkv, *projection, *expansion, *expansion_bias, *contraction;
  // Of the sum before the norm that follows, and of the one before the block's own; without the
  // gradients that a thread keeps to itself.
  AddLayerNormBackwardParams<T, float> following, norm;
  T *grad_x, *grad_normed;
  T* dropped;  // [T, H], the gradient of the projection; grad_x without dropout
  const float* statistics;

  enum Place {
    kContraction,
    kExpansion,
    kProjection,
    kQkv,
    kOfContraction,
    kOfExpansion,
    kOfProjection,
    kOfQkv,
    kCount
  };

  // Of a thread, whose gradients of parameters go to `grads`; over a null block it only counts.
  int64_t run(const Share& share, void* block, float* grads, Products& products) const {
    const CausalBlockSizes& s = shape.sizes;
    const CausalBlockGradients at(s.width, s.inner);
    const int64_t width = s.width, inner = s.inner, rows = kCausalBlockRows;
    const int64_t groups = bias_groups(rows), longest = shape.longest;
    const bool drops = dropped != grad_x;
    auto* head = LEXFORGE_CHOOSE_BF16(T, attention_backward_head<T, float>);
    auto* head_bytes = LEXFORGE_CHOOSE_BF16(T, attention_backward_workspace<T, float>);
    auto* norm_rows = LEXFORGE_CHOOSE(add_layer_norm_backward_rows<T, float>);
    auto* norm_bytes = LEXFORGE_CHOOSE(add_layer_norm_workspace<float>);
    auto* activate_backward = LEXFORGE_CHOOSE(bias_activation_backward<T, float>);
    using P = Packed<How>;

    Carver carver(block);
    const int64_t deepest = std::max({3 * width, inner, longest});
    void* of_product = carver.take<char>(How::workspace_bytes(deepest));
    void* rows_packed = carver.take<char>(std::max(How::packed_bytes(rows, std::max(width, inner)),
                                                   How::packed_bytes(longest, width)));
    void* of_norm = carver.take<char>(norm_bytes(width));
    // The two halves of the pass share their memory.
    Carver feed = carver, attend = carver;
    T* grad_total = feed.take<T>(rows * width);
    T* grad_contracted = drops ? feed.take<T>(rows * width) : grad_total;
    T* active = feed.take<T>(rows * inner);
    T* grad_active = feed.take<T>(rows * inner);
    T* grad_expanded = grad_active;  // an element for an element
    T* grad_inner = feed.take<T>(rows * width);
    float* bias_sums = feed.take<float>(groups * inner);
    float* no_bias = feed.take<float>(inner);
    void* of_head = attend.take<char>(head_bytes(longest, shape.attention.dim));
    T* grad_attended = attend.take<T>(longest * width);
    T* grad_qkv = attend.take<T>(longest * 3 * width);
    if (block != nullptr) {
      for (const int64_t sums : {at.norm, at.following}) {
        std::fill(grads + sums, grads + sums + 3 * width, 0.0f);
      }
      std::fill(grads + at.expansion_bias, grads + at.expansion_bias + inner, 0.0f);
      std::fill(no_bias, no_bias + inner, 0.0f);
    }
    {
      const P by_contraction(contraction, width, inner, P::kOutputs, feed, products[kContraction]);
      const P by_expansion(expansion, inner, width, P::kOutputs, feed, products[kExpansion]);
      if (block != nullptr) {
        const float* bias = expansion_bias == nullptr ? no_bias : expansion_bias;
        by_rows(share, [&](int64_t row, int64_t count) {
          auto after = following;
          after.grad_residual = as_all_rows(grad_total, row, width);
          after.grad_x = drops ? as_all_rows(grad_contracted, row, width) : nullptr;
          norm_rows(after, {row, row + count}, grads + at.following, of_norm);

          const T* expanded = saved + s.expanded() + row * inner;
          by_contraction.multiply(grad_contracted, count, nullptr, grad_active, of_product);
          const int64_t used = bias_groups(count);
          activate_backward({.grad_out = grad_active,
                             .x = expanded,
                             .bias = bias,
                             .rows = count,
                             .width = inner,
                             .activation = shape.activation,
                             .grad_x = grad_expanded,
                             .partial = bias_sums,
                             .grad_bias = nullptr,
                             .out = active},
                            0, used);
          add_gradient<How>(grad_contracted, width, active, inner, count, row == share.first_row,
                            grads + at.contraction, nullptr, rows_packed, of_product,
                            products[kOfContraction]);
          float* of_bias = grads + at.expansion_bias;
          for (int64_t group = 0; group < used; ++group) {
            for (int64_t i = 0; i < inner; ++i) of_bias[i] += bias_sums[group * inner + i];
          }
          add_gradient<How>(grad_expanded, inner, saved + s.normed_total() + row * width, width,
                            count, row == share.first_row, grads + at.expansion, nullptr,
                            rows_packed, of_product, products[kOfExpansion]);
          by_expansion.multiply(grad_expanded, count, nullptr, grad_inner, of_product);

          auto before = norm;
          before.grad_y = as_all_rows(grad_inner, row, width);
          before.grad_sum = as_all_rows(grad_total, row, width);
          norm_rows(before, {row, row + count}, grads + at.norm, of_norm);
        });
      }
    }
    const P by_projection(projection, width, width, P::kOutputs, attend, products[kProjection]);
    const P by_qkv(qkv, 3 * width, width, P::kOutputs, attend, products[kQkv]);
    if (block == nullptr) return std::max(feed.used(), attend.used());

    const int64_t dim = shape.attention.dim;
    const T *q = saved + s.qkv(), *attended = saved + s.attended();
    by_sequences(share, shape.attention.cu_seqlens,
                 [&](int64_t first, int64_t last, int64_t row, int64_t count) {
                   const T* grad = dropped + row * width;
                   add_gradient<How>(grad, width, attended + row * width, width, count,
                                     row == share.first_row, grads + at.projection, nullptr,
                                     rows_packed, of_product, products[kOfProjection]);
                   by_projection.multiply(grad, count, nullptr, grad_attended, of_product);
                   T* of_rows = as_all_rows(grad_qkv, row, 3 * width);
                   const AttentionBackwardParams<T, float> heads{
                       shape.attention,
                       head_rows_of<const T>(q, 3 * width, dim),
                       head_rows_of<const T>(q + width, 3 * width, dim),
                       head_rows_of<const T>(q + 2 * width, 3 * width, dim),
                       head_rows_of<const T>(attended, width, dim),
                       head_rows_of<const T>(as_all_rows(grad_attended, row, width), width, dim),
                       statistics,
                       head_rows_of<T>(of_rows, 3 * width, dim),
                       head_rows_of<T>(of_rows + width, 3 * width, dim),
                       head_rows_of<T>(of_rows + 2 * width, 3 * width, dim)};
                   for (int64_t i = first * s.heads; i < last * s.heads; ++i) {
                     head(heads, {i / s.heads, i % s.heads}, {-1, -1}, of_head);
                   }
                   add_gradient<How>(grad_qkv, 3 * width, normed + row * width, width, count,
                                     row == share.first_row, grads + at.qkv, grads + at.qkv_bias,
                                     rows_packed, of_product, products[kOfQkv]);
                   by_qkv.multiply(grad_qkv, count, nullptr, grad_normed + row * width, of_product);
                 });
    return attend.used();
  }
};

bool causal_block_backward(const Tensor& grad_x, const Tensor& grad_normed, const Tensor& grads,
                           const OptionalTensor& grad_out, const Tensor& grad_normed_out,
                           const Tensor& out, const Tensor& normed_out, const Tensor& saved,
                           const Tensor& statistics, const Tensor& normed, const Tensor& cu_seqlens,
                           const std::vector<OptionalTensor>& seeds,
                           const std::vector<OptionalTensor>& parameters, int64_t heads,
                           int64_t max_seqlen, int64_t activation, double dropout_p) {
  const Checks check("causal_block_backward_", "normed", normed);
  const Shape shape = shape_of(check, normed, saved, statistics, cu_seqlens, seeds, parameters,
                               heads, max_seqlen, activation, dropout_p);
  const CausalBlockSizes& s = shape.sizes;
  const int64_t width = s.width, inner = s.inner, blocks = shape.blocks;
  const CausalBlockGradients at(width, inner);
  check.like("normed", normed, "grad_x", grad_x);
  check.like("normed", normed, "grad_normed", grad_normed);
  check.like("normed", normed, "grad_out", grad_out);
  check.like("normed", normed, "grad_normed_out", grad_normed_out);
  check.tensor("out", out, normed.scalar_type(), {blocks, s.rows, width});
  check.tensor("normed_out", normed_out, normed.scalar_type(), {blocks, s.rows, width});
  check.tensor("grads", grads, ScalarType::Float, {blocks, at.size});
  check.apart({{"grad_x", grad_x}, {"grad_normed", grad_normed}, {"grads", grads}},
              {{"grad_out", grad_out.value_or(out)},
               {"grad_normed_out", grad_normed_out},
               {"out", out},
               {"normed_out", normed_out},
               {"saved", saved},
               {"statistics", statistics},
               {"normed", normed}});
  if (s.rows == 0) return false;
  const bool drops = dropout_p > 0;
  const Tensor dropped = drops ? new_empty(grad_x, {s.rows, width}) : grad_x;
  const auto shares = shares_of(shape.attention.cu_seqlens, shape.attention.sequences, s.rows);
  const auto others = static_cast<int64_t>(shares.size()) - 1;
  const int64_t size = blocks * at.size;
  const Tensor of_others = new_empty(grads, {others, size});
  auto* total = data<float>(grads);
  std::vector<Products> products(blocks);
  bool right = false;
  for_products(check.op, normed.scalar_type(), [&]<typename How>() {
    using T = typename How::Type;
    std::vector<Backward<How>> passes;
    for (int64_t b = 0; b < blocks; ++b) {
      const Layers own(check, parameters, b);
      const auto* kept = data<const T>(saved) + b * s.saved();
      const auto* numbers = data<const float>(statistics) + b * s.statistics();
      const bool last = b + 1 == blocks;
      AddLayerNormBackwardParams<T, float> after{}, before{};
      // A row's gradients take the place of those that they are made of.
      after.grad_y = last ? data<const T>(grad_normed_out) : data<const T>(grad_normed);
      after.grad_sum = last ? data_or_null<const T>(grad_out) : data<const T>(grad_x);
      after.x = data<const T>(out) + b * s.rows * width;
      after.weight = data<const float>(own.following);
      after.mean = numbers + s.mean(1);
      after.rstd = numbers + s.rstd(1);
      after.dropout = dropout_of_block(seeds, b, kOfContracted, dropout_p);
      before.x = kept + s.total();
      before.weight = data<const float>(own.norm);
      before.mean = numbers + s.mean(0);
      before.rstd = numbers + s.rstd(0);
      before.dropout = dropout_of_block(seeds, b, kOfProjected, dropout_p);
      before.grad_residual = data<T>(grad_x);
      before.grad_x = drops ? data<T>(dropped) : nullptr;
      for (auto* each : {&after, &before}) {
        each->rows = s.rows;
        each->dim = width;
        each->summed = true;
      }
      passes.push_back(
          {shape,
           b == 0 ? data<const T>(normed) : data<const T>(normed_out) + (b - 1) * s.rows * width,
           kept, data<const float>(own.qkv), data<const float>(own.projection),
           data<const float>(own.expansion), data_or_null<const float>(own.expansion_bias),
           data<const float>(own.contraction), after, before, data<T>(grad_x), data<T>(grad_normed),
           data<T>(dropped), numbers});
      passes.back().shape.attention.dropout = dropout_of_block(seeds, b, kOfAttention, dropout_p);
    }
    const int64_t bytes = passes[0].run({}, nullptr, nullptr, products[0]);
    on_threads(check.op, shares, bytes, [&](const Share& share, int64_t number, void* memory) {
      float* to = number == 0 ? total : data<float>(of_others) + (number - 1) * size;
      for (int64_t b = blocks - 1; b >= 0; --b) {
        Products own;
        passes[b].run(share, memory, to + b * at.size, own);
        products[b].include(own);
      }
    });
    right = exact<How>(products, Backward<How>::kCount, std::max({s.rows, 3 * width, inner}));
  });
  // A share without rows has left its sums as they were.
  parallel_for(0, size, 4096, [&](int64_t first, int64_t last) {
    if (shares[0].first_row == shares[0].last_row) std::fill(total + first, total + last, 0.0f);
    for (int64_t number = 1; number <= others; ++number) {
      if (shares[number].first_row == shares[number].last_row) continue;
      const float* sums = data<const float>(of_others) + (number - 1) * size;
      for (int64_t i = first; i < last; ++i) total[i] += sums[i];
    }
  });
  return right;
}

}  // namespace
}  // namespace lexforge

STABLE_TORCH_LIBRARY_IMPL(lexforge, CPU, m) {
  m.impl("causal_block_", TORCH_BOX(&lexforge::causal_block));
  m.impl("causal_block_backward_", TORCH_BOX(&lexforge::causal_block_backward));
}
