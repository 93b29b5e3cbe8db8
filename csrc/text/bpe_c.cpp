// C interface of byte pair encoding. Strings come framed (corpus.h) where they are text, and as bytes
// with offsets where they may be anything.
#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>

#include "text/bpe_encode.h"
#include "text/bpe_train.h"
#include "text/c_interface.h"
#include "text/corpus.h"
#include "text/corpus_c.h"
#include "text/huge_pages.h"

namespace lexforge::text {
namespace {

std::vector<std::string_view> pieces(const char* bytes, const int64_t* offsets, int64_t count) {
  std::vector<std::string_view> found;
  found.reserve(count);
  for (int64_t i = 0; i < count; ++i) {
    found.emplace_back(bytes + offsets[i], offsets[i + 1] - offsets[i]);
  }
  return found;
}

std::vector<std::string> strings(const std::vector<std::string_view>& views) {
  return {views.begin(), views.end()};
}

template <typename T>
std::string* block_of(const std::vector<T>& values) {
  return new std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
}

// How a list of Python's begins, where _text.py has seen that it does.
struct PythonList {
  int64_t references;
  const void* type;
  int64_t size;
  void** items;
  int64_t room;
};

}  // namespace

LEXFORGE_TEXT_API int lexforge_part_counter_new(int threads, int64_t chunk_bytes, int errors,
                                                const uint32_t* lowercase, int64_t lowercase_size,
                                                Reader** made) {
  return checked([&] {
    auto options = make_options(threads, chunk_bytes, errors, lowercase, lowercase_size);
    options.split = Split::kGpt2;
    *made = new WordCounter(options);
  });
}

// numbers: vocab_size, max_merges, min_frequency, ties, max_token_length, limit_alphabet.
// texts: prefix, suffix, ending, then `special` tokens, then the alphabet, as bytes.
// The words are those of a counter or, where that is null, come with their counts.
LEXFORGE_TEXT_API int lexforge_bpe_trainer_new(bool bytes, const int64_t* numbers,
                                               const char* texts, const int64_t* texts_offsets,
                                               int64_t special, int64_t alphabet,
                                               const Reader* reader, const char* words,
                                               const int64_t* words_offsets, const int64_t* counts,
                                               int64_t num_words, BpeTrainer** made) {
  return checked([&] {
    BpeOptions options;
    options.bytes = bytes;
    options.vocab_size = numbers[0];
    options.max_merges = numbers[1];
    options.min_frequency = numbers[2];
    options.ties = static_cast<TieRule>(numbers[3]);
    options.max_token_length = numbers[4];
    options.limit_alphabet = numbers[5];
    const auto given = strings(pieces(texts, texts_offsets, 3 + special + alphabet));
    options.prefix = given[0];
    options.suffix = given[1];
    options.ending = given[2];
    options.special.assign(given.begin() + 3, given.begin() + 3 + special);
    options.alphabet.assign(given.begin() + 3 + special, given.end());
    std::vector<BpeTrainer::Word> list;
    if (reader != nullptr) {
      auto entries = static_cast<const WordCounter&>(*reader).words(1, UINT64_MAX);
      std::sort(entries.begin(), entries.end(),
                [](const auto* a, const auto* b) { return a->first < b->first; });
      list.reserve(entries.size());
      for (const auto* entry : entries) {
        list.push_back({entry->word(), static_cast<int64_t>(entry->count)});
      }
    } else {
      const auto views = pieces(words, words_offsets, num_words);
      for (int64_t i = 0; i < num_words; ++i) list.push_back({views[i], counts[i]});
    }
    *made = new BpeTrainer(std::move(options), list);
  });
}

LEXFORGE_TEXT_API void lexforge_bpe_trainer_free(BpeTrainer* trainer) { delete trainer; }

LEXFORGE_TEXT_API int lexforge_bpe_trainer_step(BpeTrainer* trainer, int64_t merges, bool* more) {
  return checked([&] { *more = trainer->step(merges); });
}

LEXFORGE_TEXT_API int64_t lexforge_bpe_trainer_symbols(const BpeTrainer* trainer) {
  return static_cast<int64_t>(trainer->symbols().size());
}

// The symbols' bytes and their sizes as int64; int32 [M, 3] of merges and their counts as int64.
LEXFORGE_TEXT_API int lexforge_bpe_trainer_result(const BpeTrainer* trainer, std::string** symbols,
                                                  std::string** sizes, std::string** merges,
                                                  std::string** counts) {
  return checked([&] {
    std::string bytes;
    std::vector<int64_t> lengths, numbers;
    std::vector<int32_t> triples;
    for (const std::string& symbol : trainer->symbols()) {
      bytes += symbol;
      lengths.push_back(static_cast<int64_t>(symbol.size()));
    }
    for (const BpeTrainer::Merge& merge : trainer->merges()) {
      triples.insert(triples.end(), {merge.left, merge.right, merge.merged});
      numbers.push_back(merge.count);
    }
    *symbols = new std::string(std::move(bytes));
    *sizes = block_of(lengths);
    *merges = block_of(triples);
    *counts = block_of(numbers);
  });
}

// flags: bytes, greedy, whole_words, prefix_space, fuse_unknown.
// texts: prefix, suffix, ending, then the tokens, as bytes.
LEXFORGE_TEXT_API int lexforge_bpe_new(const bool* flags, int32_t unknown, const char* texts,
                                       const int64_t* offsets, int64_t tokens,
                                       const int32_t* merges, int64_t num_merges,
                                       const int32_t* special, int64_t num_special,
                                       BpeEncoder** made) {
  return checked([&] {
    BpeRules rules;
    rules.bytes = flags[0];
    rules.greedy = flags[1];
    rules.whole_words = flags[2];
    rules.prefix_space = flags[3];
    rules.fuse_unknown = flags[4];
    rules.unknown = unknown;
    auto views = pieces(texts, offsets, 3 + tokens);
    rules.prefix = views[0];
    rules.suffix = views[1];
    rules.ending = views[2];
    views.erase(views.begin(), views.begin() + 3);
    std::vector<BpeMerge> list(num_merges);
    for (int64_t i = 0; i < num_merges; ++i) {
      list[i] = {merges[3 * i], merges[3 * i + 1], merges[3 * i + 2]};
    }
    *made = new BpeEncoder(std::move(rules), views, list, {special, special + num_special});
  });
}

LEXFORGE_TEXT_API void lexforge_bpe_free(BpeEncoder* encoder) { delete encoder; }

// `objects` is null, or ids and spans are.
LEXFORGE_TEXT_API int lexforge_bpe_encode(const BpeEncoder* encoder, const char* text,
                                          const int64_t* offsets, int64_t texts, int threads,
                                          double dropout, uint64_t seed, bool special, int32_t* ids,
                                          int64_t* ends, BpeEncoder::Span* spans,
                                          const BpeEncoder::Objects* objects) {
  return checked([&] {
    encoder->encode(
        {text, offsets, texts, threads, dropout, seed, special, ids, ends, spans, objects});
  });
}

// Has an empty list hold memory for items, none of which are there yet; null where there is not so
// much. `allocate` is Python's, whose lock the caller holds.
LEXFORGE_TEXT_API void** lexforge_list_room(PythonList* list, int64_t room,
                                            void* (*allocate)(size_t)) {
  const size_t size = room * sizeof(void*);
  void* const items = allocate(size);
  if (items == nullptr) return nullptr;
  ask_for_huge_pages(items, size);
  list->items = static_cast<void**>(items);
  list->room = room;
  return list->items;
}

// The items are there now: `uses[i]` of them are numbers[i]. The references are added to what an
// object begins with: a number of 64 bits, or, `narrow`, of 32, where the upper half are those that
// never go. `reallocate` is Python's, whose lock the caller holds.
LEXFORGE_TEXT_API void lexforge_list_filled(PythonList* list, int64_t size, void* const* numbers,
                                            const int64_t* uses, int64_t known, bool narrow,
                                            void* (*reallocate)(void*, size_t)) {
  for (int64_t i = 0; i < known; ++i) {
    if (uses[i] == 0) continue;
    if (!narrow) {
      *static_cast<int64_t*>(numbers[i]) += uses[i];
    } else if (auto* const references = static_cast<uint32_t*>(numbers[i]);
               *references <= INT32_MAX) {
      *references = static_cast<uint32_t>(std::min(*references + uses[i], int64_t{3} << 30));
    }
  }
  if (void* const items = reallocate(list->items, size * sizeof(void*))) {
    list->items = static_cast<void**>(items);
    list->room = size;
  }
  list->size = size;
}

LEXFORGE_TEXT_API int lexforge_bpe_decode(const BpeEncoder* encoder, const int32_t* ids,
                                          int64_t size, bool skip_special, std::string** text) {
  return checked([&] { *text = new std::string(encoder->decode(ids, size, skip_special)); });
}

}  // namespace lexforge::text
