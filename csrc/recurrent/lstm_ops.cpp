// CPU binding of lstm.h.
#include <numeric>
#include <vector>

#include "common/cpu_binding.h"
#include "common/flush_denormals.h"
#include "recurrent/lstm_binding.h"

namespace lexforge {
namespace {

// Texts of a group below which the weights are read for too few rows at a time.
constexpr int64_t kLeastTexts = 4;

// The texts in as many groups as keep all threads at work, longest first and dealt out in turn, so
// that all groups have texts of all lengths.
class Groups {
 public:
  explicit Groups(const LstmShape& shape)
      : directions_(shape.directions),
        count_(
            std::clamp<int64_t>((torch::stable::get_num_threads() + directions_ - 1) / directions_,
                                1, std::max<int64_t>(1, shape.texts / kLeastTexts))),
        texts_(shape.texts) {
    std::vector<int32_t> longest_first(shape.texts);
    std::iota(longest_first.begin(), longest_first.end(), 0);
    std::stable_sort(longest_first.begin(), longest_first.end(), [&](int32_t a, int32_t b) {
      return lstm_walk(shape, a, 0).length > lstm_walk(shape, b, 0).length;
    });
    auto to = texts_.begin();
    for (int64_t g = 0; g < count_; ++g) {
      begin_.push_back(to - texts_.begin());
      for (int64_t i = g; i < shape.texts; i += count_) *to++ = longest_first[i];
    }
    begin_.push_back(shape.texts);
  }

  int64_t count() const { return directions_ * count_; }
  int64_t largest() const { return begin_[1]; }
  LstmGroup operator[](int64_t i) const {
    const int64_t g = i % count_;
    return {i / count_, texts_.data() + begin_[g], begin_[g + 1] - begin_[g]};
  }

 private:
  int64_t directions_, count_;
  std::vector<int32_t> texts_;
  std::vector<int64_t> begin_;
};

template <typename Params>
void run_groups(const Params& params, int64_t (*workspace)(int64_t, int64_t),
                void (*kernel)(const Params&, LstmGroup, void*)) {
  const Groups groups(params.shape);
  const int64_t bytes = workspace(params.shape.hidden, groups.largest());
  parallel_with_scratch("lstm", groups.count(), 1, bytes,
                        [&](int64_t first, int64_t last, void* memory) {
                          const FlushDenormals flush;
                          for (int64_t i = first; i < last; ++i) kernel(params, groups[i], memory);
                        });
}

struct Cpu : CpuCall {
  using CpuCall::CpuCall;

  static void check_lengths(const Checks& check, const LstmShape& shape) {
    check_packed(check, {"cu_seqlens", "T", "T"}, shape.cu_seqlens, shape.texts, shape.tokens,
                 INT32_MAX);
  }

  template <typename scalar_t>
  void run(const LstmParams<scalar_t>& params) const {
    run_groups(params, LEXFORGE_CHOOSE(lstm_workspace<scalar_t>), LEXFORGE_CHOOSE(lstm<scalar_t>));
  }

  template <typename scalar_t>
  void run(const LstmBackwardParams<scalar_t>& params) const {
    run_groups(params, LEXFORGE_CHOOSE(lstm_backward_workspace<scalar_t>),
               LEXFORGE_CHOOSE(lstm_backward<scalar_t>));
  }
};

}  // namespace
}  // namespace lexforge

STABLE_TORCH_LIBRARY_IMPL(lexforge, CPU, m) {
  m.impl("lstm", TORCH_BOX(&lexforge::lstm<lexforge::Cpu>));
  m.impl("lstm_backward", TORCH_BOX(&lexforge::lstm_backward<lexforge::Cpu>));
}
