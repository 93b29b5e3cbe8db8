// CPU kernels of decode_attention.h: one body, compiled per instruction set.
// Start with pyext/lexforge/reference/attention/decode_attention.py.
//
// Eight keys at a time are multiplied by the query, lanes along the dimensions; the values are
// summed with up to eight registers of dimensions at a time. Both are read as they lie: the memory
// is what takes the time.
#include <cmath>
#include <cstdint>
#include <cstring>

#include "attention/decode_attention.h"
#include "common/bfloat16.h"
// The instruction set applies from here on.
#include "common/simd.h"
// What needs it.
#include "common/exp2_simd.h"
#include "common/row_values.h"

namespace lexforge::LEXFORGE_ISA {

// The query, times the scale in units of log 2, and the scores, then weights, of the keys.
template <typename stat_t>
struct DecodeWorkspace {
  stat_t query[kMaxDecodeDim + 16];
  stat_t weights[kDecodePart + 16];
};

namespace {

constexpr int64_t kTileKeys = 8;   // as many as sum8 takes
constexpr int kTileRegisters = 8;  // of a row of values

template <typename stat_t>
constexpr stat_t kInfinity = static_cast<stat_t>(__builtin_inf());

// Into the second-level cache; what is no memory of ours does no harm.
template <typename scalar_t>
LEXFORGE_INLINE void fetch(const scalar_t* numbers, int64_t count) {
  const auto* bytes = reinterpret_cast<const char*>(numbers);
  const int64_t size = count * static_cast<int64_t>(sizeof(scalar_t));
  for (int64_t i = 0; i < size; i += 64) __builtin_prefetch(bytes + i, 0, 2);
}

// weights[0 ... 7] = query . keys.
template <typename scalar_t, typename stat_t>
__attribute__((noinline)) void score_tile(const scalar_t* const (&keys)[kTileKeys],
                                          const stat_t* query, int64_t dim, stat_t* weights) {
  using Row = RowValues<scalar_t>;
  using L = typename Row::lanes;
  typename L::reg sum[kTileKeys];
#pragma GCC unroll 8
  for (int t = 0; t < kTileKeys; ++t) sum[t] = L::zero();
  for_registers<L>(dim, [&](int64_t d, int64_t n) LEXFORGE_INLINED {
    const typename L::reg q = L::load(query + d);
#pragma GCC unroll 8
    for (int t = 0; t < kTileKeys; ++t) sum[t] = L::fma(Row::load(keys[t] + d, n), q, sum[t]);
  });
  L::sum8(sum, weights);
}

// to[d] = sum over keys of weights[j] values[j, d], for up to N registers of d.
template <int N, typename scalar_t, typename stat_t>
__attribute__((noinline)) void value_tile(const scalar_t* values, const stat_t* weights,
                                          int64_t keys, int64_t stride, int64_t columns,
                                          stat_t* to) {
  using Row = RowValues<scalar_t>;
  using L = typename Row::lanes;
  constexpr int64_t W = L::kWidth;
  typename L::reg sum[N];
#pragma GCC unroll 8
  for (int i = 0; i < N; ++i) sum[i] = L::zero();
  for (int64_t j = 0; j < keys; ++j, values += stride) {
    const typename L::reg weight = L::broadcast(weights[j]);
#pragma GCC unroll 8
    for (int i = 0; i < N; ++i) {
      sum[i] = L::fma(weight, Row::load(values + i * W, columns - i * W), sum[i]);
    }
  }
#pragma GCC unroll 8
  for (int i = 0; i < N; ++i) {
    RowValues<stat_t>::store(to + i * W, sum[i], columns - i * W);
  }
}

template <typename scalar_t, typename stat_t>
LEXFORGE_INLINE void sum_values(const scalar_t* values, const stat_t* weights, int64_t keys,
                                int64_t dim, stat_t* to) {
  constexpr int64_t W = RowValues<scalar_t>::lanes::kWidth;
  for (int64_t d = 0; d < dim; d += kTileRegisters * W) {
    const int64_t columns = dim - d;
    const auto sum = columns <= W       ? &value_tile<1, scalar_t, stat_t>
                     : columns <= 2 * W ? &value_tile<2, scalar_t, stat_t>
                     : columns <= 4 * W ? &value_tile<4, scalar_t, stat_t>
                                        : &value_tile<kTileRegisters, scalar_t, stat_t>;
    sum(values + d, weights, keys, dim, columns, to + d);
  }
}

}  // namespace

template <typename scalar_t, typename stat_t>
int64_t decode_attention_workspace() {
  return sizeof(DecodeWorkspace<stat_t>);
}

template <typename scalar_t, typename stat_t>
void decode_attention_part(const DecodeAttentionParams<scalar_t>& params, DecodePart part,
                           DecodeSums<stat_t>* sums, void* memory) {
  using L = typename RowValues<stat_t>::lanes;
  using Row = RowValues<scalar_t>;
  constexpr int64_t W = L::kWidth;
  auto& work = *static_cast<DecodeWorkspace<stat_t>*>(memory);
  const int64_t b = part.sequence, h = part.head, dim = params.dim;
  const int64_t head = (b * params.heads + h) * params.capacity * dim;
  const int64_t place = params.place(b), keys = part.last - part.first;
  if (part.first <= place && place < part.last) {
    const auto bytes = static_cast<size_t>(dim) * sizeof(scalar_t);
    std::memcpy(params.k_cache + head + place * dim, params.k.at(b, h), bytes);
    std::memcpy(params.v_cache + head + place * dim, params.v.at(b, h), bytes);
  }
  const scalar_t* k = params.k_cache + head + part.first * dim;
  const scalar_t* v = params.v_cache + head + part.first * dim;

  const auto scale = L::broadcast(static_cast<stat_t>(params.scale * kLog2E));
  const scalar_t* q = params.q.at(b, h);
  for_registers<L>(dim, [&](int64_t d, int64_t n) LEXFORGE_INLINED {
    L::store(work.query + d, L::mul(scale, Row::load(q + d, n)));
  });
  // A head's rows are too few for the processor to foresee them: the values, and the next head's keys,
  // are fetched while the keys are multiplied.
  const scalar_t* next = sums == nullptr ? k + params.capacity * dim : nullptr;
  for (int64_t j = 0; j < keys; j += kTileKeys) {
    fetch(v + j * dim, kTileKeys * dim);
    if (next != nullptr) fetch(next + j * dim, kTileKeys * dim);
    const scalar_t* rows[kTileKeys];
    for (int64_t t = 0; t < kTileKeys; ++t) {  // a last tile is filled up with its first key
      rows[t] = k + (j + t < keys ? j + t : j) * dim;
    }
    score_tile<scalar_t, stat_t>(rows, work.query, dim, work.weights + j);
  }
  const int64_t whole = (keys + W - 1) / W * W;
  for (int64_t j = keys; j < whole; ++j) work.weights[j] = -kInfinity<stat_t>;
  stat_t largest = -kInfinity<stat_t>;
  for (int64_t j = 0; j < keys; ++j) {
    largest = work.weights[j] > largest ? work.weights[j] : largest;
  }
  // A score of NaN is not above any other: it makes its weight NaN below, and so the sum.
  const auto shift = L::broadcast(largest);
  auto total = L::zero();
  for (int64_t j = 0; j < whole; j += W) {
    const auto weight = exp2<L>(L::sub(L::load(work.weights + j), shift));
    total = L::add(total, weight);
    L::store(work.weights + j, weight);
  }
  const stat_t sum = L::sum(total);
  stat_t* values = sums == nullptr ? work.query : sums->values;  // the query is done with
  sum_values(v, work.weights, keys, dim, values);
  if (sums != nullptr) {
    sums->largest = largest;
    sums->weights = sum;
    return;
  }
  scalar_t* out = params.out + (b * params.heads + h) * dim;
  const auto factor = L::broadcast(keys == 0 ? stat_t(0) : stat_t(1) / sum);
  for_registers<L>(dim, [&](int64_t d, int64_t n) LEXFORGE_INLINED {
    Row::store(out + d, L::mul(factor, RowValues<stat_t>::load(values + d, n)), n);
  });
}

template <typename scalar_t, typename stat_t>
void decode_attention_join(const DecodeAttentionParams<scalar_t>& params, int64_t b, int64_t h,
                           const DecodeSums<stat_t>* parts, int64_t count) {
  using Values = RowValues<stat_t>;
  using L = typename Values::lanes;
  stat_t largest = parts[0].largest;
  for (int64_t p = 1; p < count; ++p) {
    largest = parts[p].largest > largest ? parts[p].largest : largest;
  }
  const auto weight_of = [&](int64_t p) LEXFORGE_INLINED {
    return exp2<L>(L::broadcast(parts[p].largest - largest));
  };
  auto total = L::zero();
  for (int64_t p = 0; p < count; ++p) {
    total = L::fma(weight_of(p), L::broadcast(parts[p].weights), total);
  }
  scalar_t* out = params.out + (b * params.heads + h) * params.dim;
  for_registers<L>(params.dim, [&](int64_t d, int64_t n) LEXFORGE_INLINED {
    auto sum = L::zero();
    for (int64_t p = 0; p < count; ++p) {
      sum = L::fma(weight_of(p), Values::load(parts[p].values + d, n), sum);
    }
    RowValues<scalar_t>::store(out + d, L::div(sum, total), n);
  });
}

#define LEXFORGE_INSTANTIATE(scalar_t, stat_t)                                                  \
  template int64_t decode_attention_workspace<scalar_t, stat_t>();                              \
  template void decode_attention_part(const DecodeAttentionParams<scalar_t>&, DecodePart,       \
                                      DecodeSums<stat_t>*, void*);                              \
  template void decode_attention_join(const DecodeAttentionParams<scalar_t>&, int64_t, int64_t, \
                                      const DecodeSums<stat_t>*, int64_t);
LEXFORGE_INSTANTIATE(float, float)
LEXFORGE_INSTANTIATE(double, double)
LEXFORGE_INSTANTIATE(Bfloat16, float)
#undef LEXFORGE_INSTANTIATE

}  // namespace lexforge::LEXFORGE_ISA
