#include "text/bpe_split.h"

#include <cstring>
#include <iterator>
#include <vector>

#include "common/cpu_capability.h"
#include "text/unicode_classes.h"

namespace lexforge {

namespace baseline {
text::FindParts find_parts;
}
namespace avx2 {
text::FindParts find_parts;
}
namespace avx512 {
text::FindParts find_parts;
}

namespace text {

const uint8_t* character_classes() {
  static const std::vector<uint8_t> classes = [] {
    std::vector<uint8_t> spread(0x110000);
    for (size_t i = 0; i < std::size(kClassRuns); ++i) {
      const uint32_t end = i + 1 < std::size(kClassRuns) ? kClassRuns[i + 1] >> 2 : 0x110000;
      std::memset(&spread[kClassRuns[i] >> 2], kClassRuns[i] & 3, end - (kClassRuns[i] >> 2));
    }
    return spread;
  }();
  return classes.data();
}

FindParts* find_parts() { return LEXFORGE_CHOOSE(find_parts); }

}  // namespace text
}  // namespace lexforge
