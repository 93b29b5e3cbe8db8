// What nvcc embeds in an object: PTX, and the machine code beside it.
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace ptx {

struct FatBinary {
  std::string ptx;                            // empty if there is none
  std::map<std::string, uint32_t> registers;  // a thread's, by kernel, for compute capability 9.0
};

// `wrapper` is what __cudaRegisterFatBinary gets. Entries must not be compressed (--no-compress).
FatBinary read_fat_binary(const void* wrapper);

}  // namespace ptx
