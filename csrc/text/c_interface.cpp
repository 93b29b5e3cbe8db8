#include "text/c_interface.h"

#include <exception>
#include <new>
#include <stdexcept>
#include <system_error>

namespace lexforge::text {
namespace {

thread_local std::string last_message;
thread_local int last_errno = 0;

Status keep(Status status, const char* message, int number = 0) noexcept {
  last_errno = number;
  try {
    last_message = message;
  } catch (...) {
    last_message.clear();
  }
  return status;
}

}  // namespace

Status keep_error() noexcept {
  try {
    throw;
  } catch (const std::system_error& error) {
    return keep(kOSError, error.what(), error.code().value());
  } catch (const std::invalid_argument& error) {
    return keep(kValueError, error.what());
  } catch (const std::length_error& error) {
    return keep(kValueError, error.what());
  } catch (const std::out_of_range& error) {
    return keep(kIndexError, error.what());
  } catch (const std::bad_alloc& error) {
    return keep(kMemoryError, error.what());
  } catch (const std::exception& error) {
    return keep(kRuntimeError, error.what());
  } catch (...) {
    return keep(kRuntimeError, "unknown exception");
  }
}

std::vector<std::string_view> framed_words(std::string_view block, int64_t count) {
  std::vector<std::string_view> words;
  words.reserve(count);
  for (int64_t i = 0; i < count; ++i) {
    words.push_back(block.substr(0, block.find('\xFF')));
    block.remove_prefix(words.back().size() + 1);
  }
  return words;
}

// Turns NUL into 0xFF and \n into 0xFE; `seen` says how many there were of each.
LEXFORGE_TEXT_API void lexforge_frame(const char* block, int64_t size, char* framed,
                                      int64_t seen[2]) {
  int64_t nulls = 0, line_feeds = 0;
  for (int64_t i = 0; i < size; ++i) {
    const char byte = block[i];
    nulls += byte == '\0';
    line_feeds += byte == '\n';
    framed[i] = byte == '\0' ? '\xFF' : byte == '\n' ? '\xFE' : byte;
  }
  seen[0] = nulls;
  seen[1] = line_feeds;
}

LEXFORGE_TEXT_API const char* lexforge_error_message() { return last_message.c_str(); }
LEXFORGE_TEXT_API int lexforge_error_errno() { return last_errno; }

LEXFORGE_TEXT_API const char* lexforge_block_data(const std::string* block) {
  return block->data();
}
LEXFORGE_TEXT_API int64_t lexforge_block_size(const std::string* block) {
  return static_cast<int64_t>(block->size());
}
LEXFORGE_TEXT_API void lexforge_block_free(std::string* block) { delete block; }

}  // namespace lexforge::text
