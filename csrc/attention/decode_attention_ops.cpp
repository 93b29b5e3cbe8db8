// CPU binding of decode_attention.h.
#include <vector>

#include "attention/decode_attention_binding.h"
#include "common/cpu_binding.h"

namespace lexforge {
namespace {

constexpr int64_t kWorkPerTask = 1 << 16;  // elements of keys and values that a thread is woken for

constexpr int64_t parts_of(int64_t keys) {
  return keys <= kDecodePart ? 1 : (keys + kDecodePart - 1) / kDecodePart;
}

struct Cpu : CpuCall {
  using CpuCall::CpuCall;

  template <typename scalar_t>
  static void check_lengths(const Checks& check, const DecodeAttentionParams<scalar_t>& params) {
    const int64_t most = params.capacity - (params.k.data != nullptr ? 1 : 0);
    for (int64_t b = 0; b < params.sequences; ++b) {
      const int64_t length = params.lengths[b];
      check.that(0 <= length && length <= most, "lengths must be 0 to ", most, " for caches of ",
                 params.capacity, " places, got ", length, " at position ", b);
    }
  }

  template <typename scalar_t>
  void run(const DecodeAttentionParams<scalar_t>& params, const Tensor&) const {
    using stat_t = Stat<scalar_t>;
    auto* compute = LEXFORGE_CHOOSE(decode_attention_part<scalar_t, stat_t>);
    auto* join = LEXFORGE_CHOOSE(decode_attention_join<scalar_t, stat_t>);
    auto* bytes = LEXFORGE_CHOOSE(decode_attention_workspace<scalar_t, stat_t>);
    // Task t of sequence b, from begin[b] on, is part (t - begin[b]) / H of head (t - begin[b]) % H.
    std::vector<int64_t> begin(params.sequences + 1, 0), join_begin(params.sequences + 1, 0);
    int64_t keys = 0;
    for (int64_t b = 0; b < params.sequences; ++b) {
      const int64_t n = params.keys(b), parts = parts_of(n);
      keys += n;
      begin[b + 1] = begin[b] + parts * params.heads;
      join_begin[b + 1] = join_begin[b] + (parts > 1 ? params.heads : 0);
    }
    const int64_t tasks = begin.back(), joins = join_begin.back();
    const int64_t work = 2 * params.dim * std::max<int64_t>(1, keys * params.heads / tasks);
    const bool several = joins > 0;
    std::vector<DecodeSums<stat_t>> sums(several ? tasks : 0);
    const Scratch memory = new_scratch(several ? tasks * params.dim * sizeof(stat_t) : 0);
    if (!memory) fail("decode_attention_: no memory for the sums of ", tasks, " parts");
    for (int64_t t = 0; t < static_cast<int64_t>(sums.size()); ++t) {
      sums[t].values = static_cast<stat_t*>(memory.get()) + t * params.dim;
    }
    // The sums of one head lie one after another.
    const auto sums_of = [&](int64_t b, int64_t h) {
      return sums.data() + begin[b] + h * ((begin[b + 1] - begin[b]) / params.heads);
    };
    const auto sequence_of = [](const std::vector<int64_t>& starts, int64_t task) {
      return std::upper_bound(starts.begin(), starts.end(), task) - starts.begin() - 1;
    };
    parallel_with_scratch(
        "decode_attention_", tasks, kWorkPerTask / work, bytes(),
        [&](int64_t first, int64_t last, void* workspace) {
          for (int64_t t = first; t < last; ++t) {
            const int64_t b = sequence_of(begin, t), n = params.keys(b), parts = parts_of(n);
            const int64_t h = (t - begin[b]) / parts, part = (t - begin[b]) % parts;
            compute(params, {b, h, part * kDecodePart, std::min(n, (part + 1) * kDecodePart)},
                    parts > 1 ? sums_of(b, h) + part : nullptr, workspace);
          }
        });
    if (!several) return;
    parallel_for(0, joins, kWorkPerTask / params.dim, [&](int64_t first, int64_t last) {
      for (int64_t t = first; t < last; ++t) {
        const int64_t b = sequence_of(join_begin, t), h = t - join_begin[b];
        join(params, b, h, sums_of(b, h), parts_of(params.keys(b)));
      }
    });
  }
};

}  // namespace
}  // namespace lexforge

STABLE_TORCH_LIBRARY_IMPL(lexforge, CPU, m) {
  m.impl("decode_attention_", TORCH_BOX(&lexforge::decode_attention<lexforge::Cpu>));
}
