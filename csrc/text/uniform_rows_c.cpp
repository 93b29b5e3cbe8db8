// C interface of the drawing of rows.
#include "text/c_interface.h"
#include "text/uniform_rows.h"

namespace lexforge::text {

// states [ceil(rows / part_rows), 4].
LEXFORGE_TEXT_API int lexforge_draw_rows(float* values, int64_t rows, int64_t dim, int64_t stride,
                                         const void* states, int64_t part_rows, float step,
                                         int threads) {
  return checked([&] {
    draw_rows({values, rows, dim, stride, static_cast<const std::array<uint64_t, 4>*>(states),
               part_rows, step},
              threads);
  });
}

}  // namespace lexforge::text
