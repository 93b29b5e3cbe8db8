// CPU binding of attention.h.
#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <numeric>
#include <tuple>
#include <type_traits>
#include <vector>

#include "attention/attention_binding.h"
#include "attention/attention_cpu.h"
#include "common/cpu_capability.h"

namespace lexforge {
namespace {

// What the kernels assume of cu_seqlens and valid_lens.
void check_lengths(const char* op, const AttentionShape& shape) {
  if (const int32_t* cu = shape.cu_seqlens) {
    STD_TORCH_CHECK(cu[0] == 0, op, ": cu_seqlens must start at 0, got ", cu[0]);
    for (int64_t b = 0; b < shape.sequences; ++b) {
      STD_TORCH_CHECK(cu[b] <= cu[b + 1], op, ": cu_seqlens must ascend, got ", cu[b], " before ",
                      cu[b + 1]);
      STD_TORCH_CHECK(cu[b + 1] - cu[b] <= shape.max_length, op, ": max_seqlen must be at least ",
                      cu[b + 1] - cu[b], ", the length of sequence ", b, ", got ",
                      shape.max_length);
    }
    STD_TORCH_CHECK(cu[shape.sequences] == shape.tokens, op,
                    ": cu_seqlens must end at T = ", shape.tokens, ", got ", cu[shape.sequences]);
  }
  if (const int32_t* valid = shape.valid_lens) {
    const int64_t count = shape.valid_per_query ? shape.tokens : shape.sequences;
    for (int64_t i = 0; i < count; ++i) {
      STD_TORCH_CHECK(0 <= valid[i] && valid[i] <= shape.max_length, op,
                      ": valid_lens must be 0 to S = ", shape.max_length, ", got ", valid[i]);
    }
  }
}

// The build of a kernel for this machine and these types.
#define LEXFORGE_ATTENTION_BUILD(kernel)                                                \
  [] {                                                                                  \
    if constexpr (std::is_same_v<scalar_t, Bfloat16>) {                                 \
      if (cpu_has_bf16()) return &avx512::bf16::kernel<scalar_t, stat_t>;               \
    }                                                                                   \
    return choose(&baseline::kernel<scalar_t, stat_t>, &avx2::kernel<scalar_t, stat_t>, \
                  &avx512::kernel<scalar_t, stat_t>);                                   \
  }()

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};

// Runs head(task, next task, workspace) for every head of every sequence, longest sequences first.
// Threads take the next one when they are done; which thread takes which changes nothing.
template <typename Head>
void for_each_head(const AttentionShape& shape, int64_t workspace_bytes, const Head& head) {
  std::vector<int64_t> order(shape.sequences);
  std::iota(order.begin(), order.end(), 0);
  if (shape.cu_seqlens != nullptr) {
    std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
      return attention_span(shape, a).length > attention_span(shape, b).length;
    });
  }
  const int64_t tasks = shape.sequences * shape.heads;
  std::atomic<int64_t> next{0};
  std::atomic<bool> out_of_memory{false};
  const int64_t threads = std::min<int64_t>(tasks, torch::stable::get_num_threads());
  torch::stable::parallel_for(0, threads, 1, [&](int64_t, int64_t) {
    const std::unique_ptr<void, Free> workspace(
        std::aligned_alloc(64, static_cast<size_t>(workspace_bytes)));
    if (workspace == nullptr) {
      out_of_memory = true;
      return;
    }
    const auto take = [&]() -> AttentionTask {
      const int64_t task = next.fetch_add(1, std::memory_order_relaxed);
      if (task >= tasks) return {-1, -1};
      return {order[task / shape.heads], task % shape.heads};
    };
    for (AttentionTask task = take(), following; task.sequence >= 0; task = following) {
      following = take();
      head(task, following, workspace.get());
    }
  });
  STD_TORCH_CHECK(!out_of_memory, "attention: no memory for a workspace of ", workspace_bytes,
                  " bytes");
}

int64_t longest(const AttentionShape& shape) {
  int64_t length = 0;
  for (int64_t b = 0; b < shape.sequences; ++b) {
    length = std::max(length, attention_span(shape, b).length);
  }
  return length;
}

template <typename scalar_t, typename stat_t>
void attention_cpu(const AttentionShape& shape, const Tensor& q, const Tensor& k, const Tensor& v,
                   const Tensor& out, const Tensor& lse) {
  const AttentionParams<scalar_t, stat_t> params{shape,
                                                 attention_rows<const scalar_t>(q),
                                                 attention_rows<const scalar_t>(k),
                                                 attention_rows<const scalar_t>(v),
                                                 attention_rows<scalar_t>(out),
                                                 data<stat_t>(lse)};
  auto* kernel = LEXFORGE_ATTENTION_BUILD(attention_head);
  auto* bytes = LEXFORGE_ATTENTION_BUILD(attention_workspace);
  for_each_head(shape, bytes(longest(shape), shape.dim),
                [&](AttentionTask task, AttentionTask next, void* workspace) {
                  kernel(params, task, next, workspace);
                });
}

std::tuple<Tensor, Tensor> attention(const Tensor& q, const Tensor& k, const Tensor& v,
                                     const OptionalTensor& cu_seqlens,
                                     const OptionalTensor& valid_lens, const OptionalTensor& seed,
                                     int64_t max_seqlen, bool causal, double dropout_p,
                                     double scale) {
  const char* op = "attention";
  const AttentionShape shape = attention_shape(op, q, k, v, cu_seqlens, valid_lens, seed,
                                               max_seqlen, causal, dropout_p, scale);
  check_lengths(op, shape);
  Tensor out = new_like(q), lse = new_lse(q);
  switch (q.scalar_type()) {
    case ScalarType::Float:
      attention_cpu<float, float>(shape, q, k, v, out, lse);
      break;
    case ScalarType::Double:
      attention_cpu<double, double>(shape, q, k, v, out, lse);
      break;
    case ScalarType::BFloat16:
      attention_cpu<Bfloat16, float>(shape, q, k, v, out, lse);
      break;
    default:
      STD_TORCH_CHECK(false, op, ": q must be float32, float64 or bfloat16");
  }
  return {out, lse};
}

struct Gradients {
  Tensor q, k, v;
};

template <typename scalar_t, typename stat_t>
void backward_cpu(const AttentionShape& shape, const Tensor& grad_out, const Tensor& q,
                  const Tensor& k, const Tensor& v, const Tensor& out, const Tensor& lse,
                  const Gradients& grads) {
  const AttentionBackwardParams<scalar_t, stat_t> params{shape,
                                                         attention_rows<const scalar_t>(q),
                                                         attention_rows<const scalar_t>(k),
                                                         attention_rows<const scalar_t>(v),
                                                         attention_rows<const scalar_t>(out),
                                                         attention_rows<const scalar_t>(grad_out),
                                                         data<const stat_t>(lse),
                                                         attention_rows<scalar_t>(grads.q),
                                                         attention_rows<scalar_t>(grads.k),
                                                         attention_rows<scalar_t>(grads.v)};
  auto* kernel = LEXFORGE_ATTENTION_BUILD(attention_backward_head);
  auto* bytes = LEXFORGE_ATTENTION_BUILD(attention_backward_workspace);
  for_each_head(shape, bytes(longest(shape), shape.dim),
                [&](AttentionTask task, AttentionTask next, void* workspace) {
                  kernel(params, task, next, workspace);
                });
}

std::tuple<Tensor, Tensor, Tensor> attention_backward(
    const Tensor& grad_out, const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& out,
    const Tensor& lse, const OptionalTensor& cu_seqlens, const OptionalTensor& valid_lens,
    const OptionalTensor& seed, int64_t max_seqlen, bool causal, double dropout_p, double scale) {
  const char* op = "attention_backward";
  const AttentionShape shape = attention_shape(op, q, k, v, cu_seqlens, valid_lens, seed,
                                               max_seqlen, causal, dropout_p, scale);
  check_saved(op, grad_out, out, lse, q);
  check_lengths(op, shape);
  const Gradients grads{new_like(q), new_like(q), new_like(q)};
  switch (q.scalar_type()) {
    case ScalarType::Float:
      backward_cpu<float, float>(shape, grad_out, q, k, v, out, lse, grads);
      break;
    case ScalarType::Double:
      backward_cpu<double, double>(shape, grad_out, q, k, v, out, lse, grads);
      break;
    case ScalarType::BFloat16:
      backward_cpu<Bfloat16, float>(shape, grad_out, q, k, v, out, lse, grads);
      break;
    default:
      STD_TORCH_CHECK(false, op, ": q must be float32, float64 or bfloat16");
  }
  return {grads.q, grads.k, grads.v};
}

}  // namespace
}  // namespace lexforge

STABLE_TORCH_LIBRARY_IMPL(lexforge, CPU, m) {
  m.impl("attention", TORCH_BOX(&lexforge::attention));
  m.impl("attention_backward", TORCH_BOX(&lexforge::attention_backward));
}
