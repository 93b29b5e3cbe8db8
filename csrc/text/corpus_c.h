// What the C interfaces of all readers of corpora take.
#pragma once

#include <cstdint>

#include "text/corpus.h"

namespace lexforge::text {

inline ReaderOptions make_options(int threads, int64_t chunk_bytes, int errors,
                                  const uint32_t* lowercase, int64_t lowercase_size) {
  ReaderOptions options;
  options.threads = threads;
  options.chunk_bytes = chunk_bytes;
  options.errors = static_cast<BadUtf8>(errors);
  options.lowercase.assign(lowercase, lowercase + lowercase_size);
  return options;
}

}  // namespace lexforge::text
