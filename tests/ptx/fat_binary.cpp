#include "fat_binary.h"

#include <elf.h>

#include <cstring>

#include "program.h"

namespace ptx {
namespace {

template <typename T>
T read_at(const uint8_t* at) {
  T value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

// Entries have a header: kind, bytes of the header, bytes of what follows, the architecture.
constexpr uint16_t kPtx = 1, kMachineCode = 2;
constexpr uint32_t kArchitecture = 90;

// The attributes of .nv.info: format, attribute and a size or value of two bytes; format 4 is
// followed by so many bytes. The register count is a symbol and a number.
constexpr uint8_t kSized = 4, kRegisterCount = 0x2F;

void read_registers(const uint8_t* elf, std::map<std::string, uint32_t>& registers) {
  const auto header = read_at<Elf64_Ehdr>(elf);
  const auto section = [&](size_t n) {
    return read_at<Elf64_Shdr>(elf + header.e_shoff + n * header.e_shentsize);
  };
  const auto* names = reinterpret_cast<const char*>(elf) + section(header.e_shstrndx).sh_offset;
  Elf64_Shdr info{}, symbols{};
  for (size_t n = 0; n < header.e_shnum; ++n) {
    const Elf64_Shdr s = section(n);
    if (s.sh_type == SHT_SYMTAB) symbols = s;
    if (std::strcmp(names + s.sh_name, ".nv.info") == 0) info = s;
  }
  if (info.sh_size == 0 || symbols.sh_size == 0) return;
  const auto* strings = reinterpret_cast<const char*>(elf) + section(symbols.sh_link).sh_offset;
  const uint8_t* const end = elf + info.sh_offset + info.sh_size;
  for (const uint8_t* at = elf + info.sh_offset; at + 4 <= end;) {
    const uint8_t format = at[0], attribute = at[1];
    const auto bytes = read_at<uint16_t>(at + 2);
    at += 4;
    if (format != kSized) continue;
    if (attribute == kRegisterCount && bytes == 8) {
      const auto symbol =
          read_at<Elf64_Sym>(elf + symbols.sh_offset + read_at<uint32_t>(at) * sizeof(Elf64_Sym));
      registers[strings + symbol.st_name] = read_at<uint32_t>(at + 4);
    }
    at += bytes;
  }
}

}  // namespace

FatBinary read_fat_binary(const void* wrapper) {
  FatBinary result;
  const auto* data = read_at<const uint8_t*>(static_cast<const uint8_t*>(wrapper) + 8);
  const auto header_bytes = read_at<uint16_t>(data + 6);
  const auto bytes = read_at<uint64_t>(data + 8);
  for (const uint8_t *at = data + header_bytes, *end = at + bytes; at < end;) {
    const auto kind = read_at<uint16_t>(at);
    const auto entry_header = read_at<uint32_t>(at + 4);
    const auto entry_bytes = read_at<uint64_t>(at + 8);
    const auto architecture = read_at<uint32_t>(at + 28);
    const uint8_t* const entry = at + entry_header;
    if (kind == kPtx) {
      const auto* text = reinterpret_cast<const char*>(entry);
      result.ptx.assign(text, strnlen(text, entry_bytes));
    } else if (kind == kMachineCode && architecture == kArchitecture &&
               std::memcmp(entry, ELFMAG, SELFMAG) == 0) {
      read_registers(entry, result.registers);
    }
    at += entry_header + entry_bytes;
  }
  return result;
}

}  // namespace ptx
