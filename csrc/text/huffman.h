// A binary tree over words, those that come often near the root (Huffman 1952), as hierarchical
// softmax wants it (Mikolov et al. 2013, "Distributed representations of words and phrases").
//
//   Words 0 .. V - 1, V >= 2, wait in a queue, the last one first; their counts do not rise, so the
//   smallest is the next. Inner nodes wait in another, in the order in which they were made.
//
//   for i = 0 .. V - 2:
//     take twice the smaller of both queues' next ones, the inner node where they are equal
//     inner node i = (first taken: left, code 0; second: right, code 1), its count the sum
//
// The last inner node, V - 2, is the root. A count of 0 counts as 1: otherwise words that never
// come would hang below each other in one long chain. No path is longer than 90: one of d nodes
// takes counts of at least the Fibonacci number d + 2 (1, 1, 1, 2, 3, 5, ...), and they add up to
// less than 2^63.
//
// The link of a word, or of an inner node, is 2 p + code, where p is the inner node above it. A
// word's path is the links from the root down to its own.
#pragma once

#include <cstdint>
#include <span>

namespace lexforge::text {

// No inner node, doubled, exceeds 31 bits.
constexpr int64_t kMostTreeWords = int64_t{1} << 30;

// Writes the links of the words, then those of the inner nodes (the root's is -1), where each
// word's path begins in the paths of all, and behind that their sum. Returns the longest path.
//
// Throws std::invalid_argument for too few or too many counts, for a negative one, counts that rise
// and counts that add up to more than 2^63 - 1.
int64_t huffman_links(std::span<const int64_t> counts, int32_t* links /* [2 V - 1] */,
                      int64_t* offsets /* [V + 1] */);

// Writes the paths of all words, offsets[V] links.
void huffman_paths(int64_t words, const int32_t* links, const int64_t* offsets, int32_t* nodes);

}  // namespace lexforge::text
