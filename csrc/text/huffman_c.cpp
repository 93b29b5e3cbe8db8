// C interface of the Huffman tree, which is written into memory that the caller allocated.
#include "text/c_interface.h"
#include "text/huffman.h"

namespace lexforge::text {

LEXFORGE_TEXT_API int lexforge_huffman_links(const int64_t* counts, int64_t words, int32_t* links,
                                             int64_t* offsets, int64_t* longest) {
  return checked(
      [&] { *longest = huffman_links({counts, static_cast<size_t>(words)}, links, offsets); });
}

LEXFORGE_TEXT_API void lexforge_huffman_paths(int64_t words, const int32_t* links,
                                              const int64_t* offsets, int32_t* nodes) {
  huffman_paths(words, links, offsets, nodes);
}

}  // namespace lexforge::text
