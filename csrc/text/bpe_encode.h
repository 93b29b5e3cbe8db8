// Texts as numbers of tokens by byte pair encoding, and back.
//
// A text falls apart at special tokens (the first one, of several there the longest), what is between
// them into words: by GPT-2's pattern, or at white space, which is left out. A word is a row of
// characters or bytes, and
//
//   merges   of the neighbours that have a merge the ones with the first merge become one, the
//            leftmost first, until there are none: by looking at all of a short word, with a heap
//            in a long one (n log n)
//   greedy   the longest token at the beginning is taken, again and again; where there is none
//            the rest of the word is the unknown token
//
// What most words become is remembered: those of at most 15 bytes lie with up to three tokens in 32
// bytes, two to a cache line, longer ones in a table. Both grow, up to a limit.
//
// With dropout a merge that is due is left out for once with that probability (Provilkov et al.
// 2020), by word w of quads philox_at(seed, text, offset of the word in it, kMerges, t), words in
// order. Nothing depends on the number of threads.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "text/word_table.h"

namespace lexforge::text {

struct BpeRules {
  bool bytes = false;  // words by GPT-2's pattern, of bytes; else between white space
  bool greedy = false;
  bool whole_words = false;   // a word that is a token is that token, whatever the merges
  bool prefix_space = false;  // a space before a text, or part of one, that begins with none
  bool fuse_unknown = false;
  int32_t unknown = -1;                // its number; -1: what is unknown is left out
  std::string prefix, suffix, ending;  // as in bpe_train.h
};

struct BpeMerge {
  int32_t left, right, merged;
};

class BpeEncoder {
 public:
  // Tokens by number, as bytes; of bytes and characters those count that `base` has. Throws
  // std::invalid_argument for a number that is none of a token.
  BpeEncoder(BpeRules rules, const std::vector<std::string_view>& tokens,
             const std::vector<BpeMerge>& merges, std::vector<int32_t> special);
  ~BpeEncoder();

  struct Span {
    int64_t begin, end;
  };
  struct Objects {
    void** items;          // of each id in turn: what lies at its place in
    void* const* numbers;  // [V]
    int64_t* uses;         // [V]: to which is added how many items that are
  };
  struct Request {
    const char* text;
    const int64_t* offsets;  // [texts + 1]
    int64_t texts;
    int threads;
    double dropout;
    uint64_t seed;
    bool special;   // find special tokens
    int32_t* ids;   // room for most * bytes + 16 * (threads + 1); most is 1, and for greedy that
                    // and the bytes of suffix and ending, twice where not all words are of bytes
                    // alone
    int64_t* ends;  // [texts + 1]: where each text's ids begin, and how many there are
    Span* spans;    // bytes of the text for each id, or null; room as of ids
    const Objects* objects;  // then they, and not ids, have the room and are filled
  };
  void encode(const Request& request) const;

  // Throws std::out_of_range.
  std::string decode(const int32_t* ids, int64_t size, bool skip_special) const;

 private:
  struct Word;
  struct Key;
  struct Memory;
  struct Piece;
  struct Output;
  struct Slot {
    uint64_t key = 0;
    uint32_t rank = UINT32_MAX;
    int32_t merged = 0;
  };
  static constexpr uint64_t kNone = UINT64_MAX;  // no merge; else rank << 32 | merged

  uint64_t find_merge(int32_t left, int32_t right) const;
  void start(std::string_view word, Word& out) const;
  template <bool readable>
  static Key key_of(const char* begin, size_t size);
  void merge_short(std::string_view text, Word& word) const;
  void merge_long(Word& word, double dropout, uint64_t seed, uint32_t text, uint64_t offset) const;
  void take_longest(std::string_view text, Word& word) const;
  void encode_word(std::string_view text, Word& word) const;
  void encode_piece(const Piece& piece, const Request& request, Memory& memory,
                    Output& output) const;
  template <bool readable>
  int32_t* encode_words(const std::string_view* words, size_t count, Memory& memory,
                        int32_t* ids) const;
  int32_t* encode_rare(std::string_view word, const Key& key, Memory& memory, int32_t* ids) const;
  template <typename OnWord>
  void split(std::string_view text, const OnWord& on_word) const;
  size_t room_of(const Piece& piece) const;
  void encode_pieces(const Piece* pieces, int64_t count, const Request& request, size_t room,
                     size_t* made) const;
  void cut(const Request& request, std::vector<Piece>& pieces) const;
  std::unique_ptr<Memory> borrow() const;
  void give_back(std::unique_ptr<Memory> memory) const;

  const BpeRules rules_;
  std::string blob_;              // the tokens' bytes
  std::vector<int64_t> offsets_;  // [V + 1]
  WordTable index_;               // tokens; `first` is the number
  size_t longest_ = 0;            // token, in bytes
  std::array<int32_t, 256> of_byte_;
  std::vector<Slot> slots_;         // of merges; a power of two
  std::vector<uint64_t> of_bytes_;  // [65536] merges of two bytes, if all bytes are tokens
  std::vector<int32_t> special_;
  std::vector<bool> is_special_;
  mutable std::mutex mutex_;
  mutable std::vector<std::unique_ptr<Memory>> free_;
};

}  // namespace lexforge::text
