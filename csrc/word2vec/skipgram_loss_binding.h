// Checks that the CPU and the CUDA binding of skipgram_loss share.
#pragma once

#include "common/check.h"
#include "word2vec/skipgram_loss.h"

namespace lexforge {

inline void check_batch(const char* op, const Tensor& center, const Tensor& target,
                        const Tensor& embed_v, const Tensor& embed_u) {
  const ScalarType dtype = embed_v.scalar_type();
  STD_TORCH_CHECK(dtype == ScalarType::Float || dtype == ScalarType::Double, op,
                  ": embed_v must be float32 or float64");
  check_contiguous(embed_v, dtype, 2, op, "embed_v");
  check_contiguous(embed_u, dtype, 2, op, "embed_u");
  STD_TORCH_CHECK(embed_u.size(1) == embed_v.size(1), op, ": tables must have one row length");
  check_contiguous(center, ScalarType::Int, 1, op, "center");
  check_contiguous(target, ScalarType::Int, 2, op, "contexts_and_negatives");
  check_devices(op, {{"embed_v", embed_v},
                     {"embed_u", embed_u},
                     {"center", center},
                     {"contexts_and_negatives", target}});
  STD_TORCH_CHECK(target.size(0) == center.size(0), op, ": batch sizes differ");
  STD_TORCH_CHECK(target.numel() <= INT32_MAX, op, ": too many targets in one batch");
}

inline void check_slots(const char* op, const Tensor& slots, const Tensor& target, ScalarType dtype,
                        const char* name) {
  check_contiguous(slots, dtype, 2, op, name);
  check_devices(op, {{"contexts_and_negatives", target}, {name, slots}});
  STD_TORCH_CHECK(slots.size(0) == target.size(0) && slots.size(1) == target.size(1), op, ": ",
                  name, " must have the shape of contexts_and_negatives");
}

inline void check_gradients(const char* op, const Tensor& grad_loss, const Tensor& error,
                            const Tensor& target, const Tensor& embed_v) {
  check_slots(op, error, target, embed_v.scalar_type(), "error");
  check_contiguous(grad_loss, embed_v.scalar_type(), 1, op, "grad_loss");
  check_devices(op, {{"embed_v", embed_v}, {"grad_loss", grad_loss}});
  STD_TORCH_CHECK(grad_loss.size(0) == target.size(0), op, ": grad_loss must be [B]");
}

}  // namespace lexforge
