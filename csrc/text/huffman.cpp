#include "text/huffman.h"

#include <algorithm>
#include <stdexcept>
#include <string>
#include <vector>

namespace lexforge::text {
namespace {

void check(std::span<const int64_t> counts) {
  const auto fail = [](const std::string& what) {
    throw std::invalid_argument("huffman_tree: " + what);
  };
  const auto words = static_cast<int64_t>(counts.size());
  if (words < 2 || words > kMostTreeWords) {
    fail("counts must be of 2 to 2^30 words, got " + std::to_string(words));
  }
  int64_t sum = 0;
  for (int64_t w = 0; w < words; ++w) {
    if (counts[w] < 0) {
      fail("counts must be >= 0, got " + std::to_string(counts[w]) + " at " + std::to_string(w));
    }
    if (w > 0 && counts[w] > counts[w - 1]) {
      fail("counts must not rise, got " + std::to_string(counts[w]) + " after " +
           std::to_string(counts[w - 1]) + " at " + std::to_string(w));
    }
    if (__builtin_add_overflow(sum, std::max<int64_t>(counts[w], 1), &sum)) {
      fail("counts must add up to <= 2^63 - 1");
    }
  }
}

}  // namespace

int64_t huffman_links(std::span<const int64_t> counts, int32_t* links, int64_t* offsets) {
  check(counts);
  const auto words = static_cast<int64_t>(counts.size());
  const int64_t inner = words - 1;
  std::vector<int64_t> sums(inner);
  int64_t word = words - 1, node = 0;  // the next ones of both queues
  for (int64_t made = 0; made < inner; ++made) {
    for (int code = 0; code < 2; ++code) {
      const int64_t count = word < 0 ? 0 : std::max<int64_t>(counts[word], 1);
      const bool merged = word < 0 || (node < made && sums[node] <= count);
      sums[made] += merged ? sums[node] : count;
      links[merged ? words + node++ : word--] = static_cast<int32_t>(2 * made + code);
    }
  }
  links[words + inner - 1] = -1;

  std::vector<int32_t> depths(inner);  // the node above was made later
  for (int64_t i = inner - 2; i >= 0; --i) depths[i] = depths[links[words + i] >> 1] + 1;
  int64_t longest = 0;
  offsets[0] = 0;
  for (int64_t w = 0; w < words; ++w) {
    const int64_t length = depths[links[w] >> 1] + 1;
    longest = std::max(longest, length);
    offsets[w + 1] = offsets[w] + length;
  }
  return longest;
}

void huffman_paths(int64_t words, const int32_t* links, const int64_t* offsets, int32_t* nodes) {
  for (int64_t w = 0; w < words; ++w) {
    int32_t link = links[w];
    for (int64_t at = offsets[w + 1] - 1; link >= 0; --at) {
      nodes[at] = link;
      link = links[words + (link >> 1)];
    }
  }
}

}  // namespace lexforge::text
