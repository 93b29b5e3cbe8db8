// One head of one sequence: its sizes when packed, where its rows lie, the fetching of the next
// head's rows, and the pieces of a workspace. A part of attention_cpu_impl.h.
#pragma once

#include "attention/attention_cpu.h"
// The instruction set applies from here on.
#include "attention/cpu/products_impl.h"

namespace lexforge::LEXFORGE_ISA {

// What all kernels here need to know of one head of one sequence.
template <typename P>
struct HeadShape {
  using L = typename P::lanes;
  static constexpr int64_t W = L::kWidth;
  static constexpr int64_t kPanel = kTileVectors * W;
  int64_t dim;       // D
  int64_t elements;  // of a row of D
  int64_t padded;    // numbers of a row that is written or summed into
  explicit HeadShape(int64_t dim)
      : dim(dim), elements((dim + P::kPack - 1) / P::kPack), padded(round_up(dim, W)) {}
  int64_t row() const { return round_up(elements, W); }  // packed row of elements
  // Packed rows of pack_depth.
  static int64_t depth(int64_t rows) { return (rows + P::kPack - 1) / P::kPack; }
  int64_t panels(int64_t keys) const { return (keys + kPanel - 1) / kPanel; }
  int64_t panel_size() const { return elements * kPanel; }
};

template <typename T>
LEXFORGE_INLINE T* head_rows(const AttentionRows<T>& rows, const AttentionShape& shape,
                             AttentionTask task) {
  return rows.data +
         (shape.cu_seqlens != nullptr ? shape.cu_seqlens[task.sequence] * rows.token_stride
                                      : task.sequence * rows.sequence_stride) +
         task.head * rows.head_stride;
}

// Fetches the rows of the next head into the second-level cache while this one computes: they are
// far apart (each row may lie in a page of its own), so no hardware prefetcher sees them coming. A
// step follows each tile, which takes about as long as the few lines that it asks for.
template <typename T>
class Ahead {
 public:
  // At most this much is asked for, so that it does not push out what is in use.
  static constexpr int64_t kBytes = 256 * 1024;
  static constexpr int64_t kRowsPerStep = 4;

  Ahead(const AttentionShape& shape, AttentionTask next, int64_t tensors)
      : shape_(shape), next_(next) {
    const int64_t row_bytes = shape.dim * static_cast<int64_t>(sizeof(T));
    rows_ = next.sequence < 0 ? 0 : attention_span(shape, next.sequence).length;
    const int64_t most = kBytes / (tensors * row_bytes);
    rows_ = rows_ < most ? rows_ : most;
    lines_ = (row_bytes + 63) / 64;
  }
  void add(const AttentionRows<const T>& rows) {
    if (rows_ == 0) return;
    streams_[count_++] = {reinterpret_cast<const char*>(head_rows(rows, shape_, next_)),
                          rows.token_stride * static_cast<int64_t>(sizeof(T))};
    left_ = rows_;
  }
  LEXFORGE_INLINE void step() {
    for (int64_t r = 0; r < kRowsPerStep && at_ < count_; ++r) {
      const char* row = streams_[at_].row;
      for (int64_t line = 0; line < lines_; ++line) __builtin_prefetch(row + 64 * line, 0, 2);
      streams_[at_].row += streams_[at_].stride;
      if (--left_ == 0) {
        ++at_;
        left_ = rows_;
      }
    }
  }

 private:
  struct Stream {
    const char* row;
    int64_t stride;
  };
  const AttentionShape& shape_;
  AttentionTask next_;
  Stream streams_[5];
  int64_t count_ = 0, at_ = 0, rows_ = 0, left_ = 0, lines_ = 0;
};

// A piece of workspace memory, 64-byte aligned.
template <typename T>
LEXFORGE_INLINE T* take(char*& memory, int64_t count) {
  T* piece = reinterpret_cast<T*>(memory);
  memory += round_up(count * static_cast<int64_t>(sizeof(T)), 64);
  return piece;
}

}  // namespace lexforge::LEXFORGE_ISA
