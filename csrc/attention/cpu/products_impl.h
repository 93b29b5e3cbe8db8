// The sizes of the blocks that are multiplied by the register tile, whose P says what an element is
// and how a lane multiplies it (packed_impl.h). A part of attention_cpu_impl.h.
#pragma once

#include <cstdint>

// The instruction set applies from here on.
#include "common/register_tile.h"

namespace lexforge::LEXFORGE_ISA {

// Queries at a time: their scores against all keys stay in the second-level cache.
constexpr int64_t kRows = 48;
// Keys summed over at a time in the forward pass, so that their values stay in the first-level
// cache while the rows pass by; keys of a block of the backward pass. Multiples of every kPanel and
// of the keys of one step of the random generator.
constexpr int64_t kDepth = 64;
constexpr int64_t kKeys = 128;

constexpr int64_t kMaxTiles = kRows / kTileRows;

}  // namespace lexforge::LEXFORGE_ISA
