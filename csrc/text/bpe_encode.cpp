#include "text/bpe_encode.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <queue>
#include <stdexcept>

#include "common/philox.h"
#include "text/bpe_split.h"
#include "text/huge_pages.h"
#include "text/threads.h"
#include "text/unicode_classes.h"
#include "text/utf8.h"

namespace lexforge::text {
namespace {

constexpr size_t kShortWord = 64;        // symbols, of which all are looked at for each merge
constexpr size_t kPieceBytes = 1 << 18;  // of a text, for one thread at a time
constexpr size_t kFewSets = 1 << 10;     // of two small words each: 64 KiB
constexpr size_t kManySets = 1 << 18;    // 16 MiB
constexpr size_t kSmallWord = 15;        // bytes
constexpr size_t kSmallIds = 3;
constexpr size_t kManyWords = 1 << 17;  // in the table of the others, then they are forgotten
constexpr size_t kManyIds = 1 << 22;
constexpr size_t kRememberedBytes = 256;  // longer words are not
constexpr size_t kWaiting = 128;          // words that are looked up together

uint64_t hash_pair(uint64_t key) {
  const uint64_t product = (key ^ key >> 32) * 0x9e3779b97f4a7c15;
  return product ^ product >> 29;
}

uint64_t pair_of(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

}  // namespace

struct BpeEncoder::Word {
  std::vector<int32_t> ids;
  std::vector<uint32_t> sizes;  // in bytes of the text
  std::vector<uint64_t> found;  // merge of each symbol with the next one
  std::vector<uint32_t> next, previous;
};

// A word of at most kSmallWord bytes as two numbers: zeros behind it, and its size in the last byte.
// All longer ones have one key, which is that of no small word.
struct BpeEncoder::Key {
  uint64_t low = 0, high = 0;

  bool operator==(const Key& other) const { return ((low ^ other.low) | (high ^ other.high)) == 0; }
  uint64_t hash() const {
    const auto product = static_cast<unsigned __int128>(low ^ 0x9e3779b97f4a7c15) *
                         static_cast<unsigned __int128>(high ^ 0xd6e8feb86659fd93);
    return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
  }
};

// `readable`: 16 bytes may be read.
template <bool readable>
inline BpeEncoder::Key BpeEncoder::key_of(const char* begin, size_t size) {
  static constexpr auto kMasks = [] {
    std::array<std::array<uint64_t, 2>, kSmallWord + 2> masks{};
    for (size_t bytes = 1; bytes <= kSmallWord; ++bytes) {
      masks[bytes] = {bytes < 8 ? (uint64_t{1} << 8 * bytes) - 1 : UINT64_MAX,
                      bytes > 8 ? (uint64_t{1} << 8 * (bytes - 8)) - 1 : 0};
    }
    return masks;
  }();
  const uint64_t length = std::min(size, kSmallWord + 1);
  Key key;
  if (readable && std::endian::native == std::endian::little) {
    std::memcpy(&key, begin, 16);
    key.low &= kMasks[length][0];
    key.high &= kMasks[length][1];
  } else if (size <= kSmallWord) {
    std::memcpy(&key, begin, size);
  }
  key.high |= length << 56;
  return key;
}

struct BpeEncoder::Memory {
  struct Small {
    Key key;                 // zeros: of no word
    int32_t ids[kSmallIds];  // or, where there are more of them, where they begin below
    uint32_t ids_size = 0;
  };
  struct alignas(64) Set {
    Small ways[2];
  };
  using Sets = std::vector<Set, HugePages<Set>>;
  Sets sets = Sets(kFewSets);
  size_t tried = 0;  // to keep, since the sets last became more
  WordTable others;  // `first` is where the ids begin, `count` how many there are
  std::vector<int32_t> ids;
  Word word;
  std::vector<uint32_t> uses;  // of ids, not yet told; zeros between calls

  size_t place_of(const Key& key) const { return key.hash() & (sets.size() - 1); }
  const int32_t* ids_of(const Small& small) const {
    return small.ids_size <= kSmallIds ? small.ids : &ids[small.ids[0]];
  }
  // A word lies in its set, or in the other one of that pair.
  const Small* find(const Key& key) const {
    const size_t place = place_of(key);
    for (const size_t each : {place, place ^ 1}) {
      for (const Small& way : sets[each].ways) {
        if (way.key == key) return &way;
      }
    }
    return nullptr;
  }
  // A small word and where its ids begin. False where there is no room for it among the sets.
  bool keep(const Key& key, size_t first, size_t size) {
    Small small{key, {static_cast<int32_t>(first)}, static_cast<uint32_t>(size)};
    if (size <= kSmallIds) std::copy_n(&ids[first], size, small.ids);
    return keep(small);
  }
  bool keep(const Small& small) {
    ++tried;
    const size_t place = place_of(small.key);
    for (const size_t each : {place, place ^ 1}) {
      for (Small& way : sets[each].ways) {
        if (way.ids_size > 0) continue;
        way = small;
        return true;
      }
    }
    return false;
  }
  // Between words: more sets where they are nearly full, and everything anew where all is.
  void make_room() {
    if (tried > sets.size() && sets.size() < kManySets) {
      Sets before(4 * sets.size());
      sets.swap(before);
      for (const Set& set : before) {
        for (const Small& way : set.ways) {
          if (way.ids_size > 0) keep(way);
        }
      }
      tried = 0;
    }
    if (others.size() < kManyWords && ids.size() < kManyIds) return;
    std::fill(sets.begin(), sets.end(), Set{});
    others = WordTable();
    ids.clear();
  }
};

struct BpeEncoder::Piece {
  const char* begin;
  size_t size;
  int64_t text;
  int32_t special;  // or -1
  bool prefix_space;
};

struct BpeEncoder::Output {
  int32_t* ids;
  Span* spans;
};

BpeEncoder::BpeEncoder(BpeRules rules, const std::vector<std::string_view>& tokens,
                       const std::vector<BpeMerge>& merges, std::vector<int32_t> special)
    : rules_(std::move(rules)), special_(std::move(special)), is_special_(tokens.size()) {
  const auto check = [&](int32_t id, const char* what) {
    if (id < 0 || static_cast<size_t>(id) >= tokens.size()) {
      throw std::invalid_argument(std::string(what) +
                                  " has a number that is none of a token: " + std::to_string(id));
    }
  };
  offsets_.push_back(0);
  of_byte_.fill(-1);
  for (size_t id = 0; id < tokens.size(); ++id) {
    const std::string_view token = tokens[id];
    blob_ += token;
    offsets_.push_back(static_cast<int64_t>(blob_.size()));
  }
  for (const int32_t id : special_) {
    check(id, "a special token");
    is_special_[id] = true;
  }
  for (size_t id = 0; id < tokens.size(); ++id) {
    const std::string_view token = tokens[id];
    if (is_special_[id] || token.empty()) continue;
    longest_ = std::max(longest_, token.size());
    const uint32_t entry = index_.add(token, hash_word(token), id);
    if (++index_[entry].count > 1) {
      throw std::invalid_argument("two tokens have the same bytes: '" + std::string(token) + "'");
    }
    if (token.size() == 1) of_byte_[static_cast<uint8_t>(token[0])] = static_cast<int32_t>(id);
  }
  if (rules_.unknown >= 0) check(rules_.unknown, "the unknown token");
  slots_.resize(std::bit_ceil(2 * merges.size() + 2));
  const size_t mask = slots_.size() - 1;
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const BpeMerge& merge = merges[rank];
    for (const int32_t id : {merge.left, merge.right, merge.merged}) check(id, "a merge");
    const uint64_t key = pair_of(merge.left, merge.right);
    size_t at = hash_pair(key) & mask;
    while (slots_[at].rank != UINT32_MAX && slots_[at].key != key) at = (at + 1) & mask;
    if (slots_[at].rank == UINT32_MAX)
      slots_[at] = {key, static_cast<uint32_t>(rank), merge.merged};
  }
  if (rules_.bytes && *std::min_element(of_byte_.begin(), of_byte_.end()) >= 0) {
    of_bytes_.resize(1 << 16);
    for (int a = 0; a < 256; ++a) {
      for (int b = 0; b < 256; ++b) of_bytes_[a << 8 | b] = find_merge(of_byte_[a], of_byte_[b]);
    }
  }
}

BpeEncoder::~BpeEncoder() = default;

uint64_t BpeEncoder::find_merge(int32_t left, int32_t right) const {
  const uint64_t key = pair_of(left, right);
  const size_t mask = slots_.size() - 1;
  for (size_t at = hash_pair(key) & mask;; at = (at + 1) & mask) {
    const Slot& slot = slots_[at];
    if (slot.rank == UINT32_MAX) return kNone;
    if (slot.key == key) return uint64_t{slot.rank} << 32 | static_cast<uint32_t>(slot.merged);
  }
}

// The characters of a word.
void BpeEncoder::start(std::string_view word, Word& out) const {
  out.ids.clear();
  out.sizes.clear();
  const auto add = [&](int32_t id, size_t size) {
    out.ids.push_back(id);
    out.sizes.push_back(static_cast<uint32_t>(size));
  };
  const auto unknown = [&](size_t size) {
    if (rules_.unknown >= 0 && rules_.fuse_unknown && !out.ids.empty() &&
        out.ids.back() == rules_.unknown) {
      out.sizes.back() += static_cast<uint32_t>(size);
    } else if (rules_.unknown >= 0) {
      add(rules_.unknown, size);
    } else if (!out.sizes.empty()) {
      out.sizes.back() += static_cast<uint32_t>(size);
    }
  };
  if (rules_.bytes) {
    for (const char byte : word) {
      const int32_t id = of_byte_[static_cast<uint8_t>(byte)];
      id >= 0 ? add(id, 1) : unknown(1);
    }
    return;
  }
  std::string marked;
  for (size_t at = 0, length; at < word.size(); at += length) {
    uint32_t code_point;
    read_code_point(word.substr(at), code_point, length);
    marked = at == 0 ? "" : rules_.prefix;
    marked += word.substr(at, length);
    if (at + length == word.size()) marked += rules_.suffix;
    const uint32_t entry = index_.find(marked, hash_word(marked));
    entry != WordTable::kAbsent ? add(static_cast<int32_t>(index_[entry].first), length)
                                : unknown(length);
  }
  if (!rules_.ending.empty()) {
    const uint32_t entry = index_.find(rules_.ending, hash_word(rules_.ending));
    entry != WordTable::kAbsent ? add(static_cast<int32_t>(index_[entry].first), 0) : unknown(0);
  }
}

void BpeEncoder::merge_short(std::string_view text, Word& word) const {
  size_t size = word.ids.size();
  int32_t ids[kShortWord];
  uint64_t found[kShortWord];
  uint32_t sizes[kShortWord];
  std::copy_n(word.ids.data(), size, ids);
  std::copy_n(word.sizes.data(), size, sizes);
  const bool plain = !of_bytes_.empty();
  for (size_t i = 0; i + 1 < size; ++i) {
    const auto byte = [&](size_t at) { return static_cast<uint8_t>(text[at]); };
    found[i] = plain ? of_bytes_[byte(i) << 8 | byte(i + 1)] : find_merge(ids[i], ids[i + 1]);
  }
  while (size > 1) {
    size_t best = 0;
    for (size_t i = 1; i + 1 < size; ++i) best = found[i] < found[best] ? i : best;
    if (found[best] == kNone) break;
    ids[best] = static_cast<int32_t>(found[best] & 0xFFFFFFFF);
    sizes[best] += sizes[best + 1];
    for (size_t i = best + 1; i + 1 < size; ++i) {
      ids[i] = ids[i + 1];
      sizes[i] = sizes[i + 1];
      found[i] = found[i + 1];
    }
    --size;
    if (best + 1 < size) found[best] = find_merge(ids[best], ids[best + 1]);
    if (best > 0) found[best - 1] = find_merge(ids[best - 1], ids[best]);
  }
  word.ids.assign(ids, ids + size);
  word.sizes.assign(sizes, sizes + size);
}

void BpeEncoder::merge_long(Word& word, double dropout, uint64_t seed, uint32_t text,
                            uint64_t offset) const {
  struct Due {
    uint64_t merge;
    uint32_t place;
    bool operator<(const Due& other) const {  // comes later
      const uint64_t mine = merge >> 32, its = other.merge >> 32;
      return mine != its ? mine > its : place > other.place;
    }
  };
  const auto size = static_cast<uint32_t>(word.ids.size());
  std::vector<Due> begin;
  word.found.resize(size);
  word.next.resize(size);
  word.previous.resize(size);
  for (uint32_t i = 0; i < size; ++i) {
    word.found[i] = i + 1 < size ? find_merge(word.ids[i], word.ids[i + 1]) : kNone;
    word.next[i] = i + 1;
    word.previous[i] = i - 1;  // of the first: beyond the end
    if (word.found[i] != kNone) begin.push_back({word.found[i], i});
  }
  std::priority_queue<Due> queue(std::less<Due>(), std::move(begin));
  std::vector<Due> left_out;
  const auto threshold = static_cast<uint64_t>(dropout * 4294967296.0);
  uint32_t draws = 0;
  const auto is_left_out = [&] {
    if (threshold == 0) return false;
    const PhiloxQuad quad = philox_at(seed, text, offset, RandomStream::kMerges, draws >> 2);
    return quad.word[draws++ & 3] < threshold;
  };
  while (!queue.empty()) {
    const Due due = queue.top();
    queue.pop();
    if (word.found[due.place] != due.merge) continue;  // one of the two is another by now
    if (is_left_out()) {
      left_out.push_back(due);
      continue;
    }
    for (const Due& one : left_out) queue.push(one);
    left_out.clear();
    const uint32_t at = due.place, gone = word.next[at], after = word.next[gone];
    word.ids[at] = static_cast<int32_t>(due.merge & 0xFFFFFFFF);
    word.sizes[at] += word.sizes[gone];
    word.ids[gone] = -1;
    word.found[gone] = kNone;
    word.next[at] = after;
    if (after < size) word.previous[after] = at;
    const auto look = [&](uint32_t place, uint32_t other) {
      word.found[place] = find_merge(word.ids[place], word.ids[other]);
      if (word.found[place] != kNone) queue.push({word.found[place], place});
    };
    word.found[at] = kNone;
    if (after < size) look(at, after);
    if (word.previous[at] < size) look(word.previous[at], at);
  }
  size_t kept = 0;
  for (uint32_t i = 0; i < size; i = word.next[i]) {
    word.ids[kept] = word.ids[i];
    word.sizes[kept++] = word.sizes[i];
  }
  word.ids.resize(kept);
  word.sizes.resize(kept);
}

void BpeEncoder::take_longest(std::string_view text, Word& word) const {
  word.ids.clear();
  word.sizes.clear();
  const std::string whole = std::string(text) + rules_.suffix + rules_.ending;
  for (size_t at = 0; at < whole.size();) {
    size_t size = std::min(longest_, whole.size() - at);
    uint32_t entry = WordTable::kAbsent;
    for (; size > 0; --size) {
      const std::string_view token(whole.data() + at, size);
      entry = index_.find(token, hash_word(token));
      if (entry != WordTable::kAbsent) break;
    }
    const size_t before = std::min(at, text.size());
    if (size == 0) {
      if (rules_.unknown < 0) return;
      word.ids.push_back(rules_.unknown);
      word.sizes.push_back(static_cast<uint32_t>(text.size() - before));
      return;
    }
    at += size;
    word.ids.push_back(static_cast<int32_t>(index_[entry].first));
    word.sizes.push_back(static_cast<uint32_t>(std::min(at, text.size()) - before));
  }
}

void BpeEncoder::encode_word(std::string_view text, Word& word) const {
  if (rules_.whole_words) {
    std::string whole = std::string(text) + rules_.suffix;
    const uint32_t entry = index_.find(whole, hash_word(whole));
    if (entry != WordTable::kAbsent) {
      word.ids.assign(1, static_cast<int32_t>(index_[entry].first));
      word.sizes.assign(1, static_cast<uint32_t>(text.size()));
      return;
    }
  }
  if (rules_.greedy) return take_longest(text, word);
  start(text, word);
  word.ids.size() <= kShortWord ? merge_short(text, word) : merge_long(word, 0, 0, 0, 0);
}

template <typename OnWord>
void BpeEncoder::split(std::string_view text, const OnWord& on_word) const {
  if (rules_.bytes) return split_gpt2(text, on_word);
  const uint8_t* classes = character_classes();
  size_t begin = 0;  // of the open word
  for (size_t at = 0, length; at < text.size(); at += length) {
    uint32_t code_point;
    const bool known = read_code_point(text.substr(at, 4), code_point, length);
    if (!known || classes[code_point] != kSpace) continue;
    if (at > begin) on_word(text.data() + begin, at - begin);
    begin = at + length;
  }
  if (text.size() > begin) on_word(text.data() + begin, text.size() - begin);
}

void BpeEncoder::encode_piece(const Piece& piece, const Request& request, Memory& memory,
                              Output& output) const {
  std::string_view text(piece.begin, piece.size);
  const char* const text_begin = request.text + request.offsets[piece.text];
  if (piece.special >= 0) {
    *output.ids++ = piece.special;
    if (output.spans) {
      const int64_t begin = piece.begin - text_begin;
      *output.spans++ = {begin, begin + static_cast<int64_t>(piece.size)};
    }
    return;
  }
  std::string spaced;
  int64_t shift = piece.begin - text_begin;  // offsets in `text` plus this are those in the text
  if (piece.prefix_space) {
    spaced = ' ';
    spaced += text;
    text = spaced;
    --shift;
  }
  const char* const begin = text.data();
  const char* const end = begin + text.size();
  Word& word = memory.word;

  const auto emit = [&](const char* at, size_t size) {
    output.ids = std::copy(word.ids.begin(), word.ids.end(), output.ids);
    if (!output.spans) return;
    int64_t place = at - begin + shift;
    const int64_t first = piece.begin - text_begin, last = place + static_cast<int64_t>(size);
    for (const uint32_t bytes : word.sizes) {
      const int64_t next = std::min(place + bytes, last);
      *output.spans++ = {std::max(place, first), next};
      place = next;
    }
  };
  if (request.dropout > 0 || output.spans) {
    const auto plain = [&](const char* at, size_t size) {
      if (request.dropout > 0 && !rules_.greedy) {
        start({at, size}, word);
        merge_long(word, request.dropout, request.seed, static_cast<uint32_t>(piece.text),
                   static_cast<uint64_t>(at - begin + shift + 1));
      } else {
        encode_word({at, size}, word);
      }
      emit(at, size);
    };
    return split(text, plain);
  }

  std::array<std::string_view, kWaiting> words;
  size_t count = 0;
  const auto encode_waiting = [&] {
    if (count == 0) return;
    const bool readable = end - words[count - 1].data() >= 16;
    output.ids = readable ? encode_words<true>(words.data(), count, memory, output.ids)
                          : encode_words<false>(words.data(), count, memory, output.ids);
    count = 0;
  };
  split(text, [&](const char* at, size_t size) {
    words[count++] = {at, size};
    if (count == kWaiting) encode_waiting();
  });
  encode_waiting();
}

// Writes the ids of words, and perhaps more behind them; returns their end. `readable`: 16 bytes may be
// read from where each begins.
template <bool readable>
int32_t* BpeEncoder::encode_words(const std::string_view* words, size_t count, Memory& memory,
                                  int32_t* ids) const {
  memory.make_room();
  const Memory::Set* const sets = memory.sets.data();
  const size_t mask = memory.sets.size() - 1;
  struct Waiting {
    Key key;
    const Memory::Set* set;
  };
  // All are asked for before the first is looked at.
  std::array<Waiting, kWaiting> waiting;
  for (size_t i = 0; i < count; ++i) {
    const Key key = key_of<readable>(words[i].data(), words[i].size());
    const Memory::Set* const set = sets + (key.hash() & mask);
    __builtin_prefetch(set);
    waiting[i] = {key, set};
  }
  for (size_t i = 0; i < kWaiting; i += 16) __builtin_prefetch(ids + kWaiting + i, 1);
  for (size_t i = 0; i < count; ++i) {
    const auto [key, set] = waiting[i];
    const Memory::Small& known = set->ways[set->ways[0].key == key ? 0 : 1];
    if (known.key == key && known.ids_size <= kSmallIds) [[likely]] {
      std::memcpy(ids, known.ids, 16);  // the last of which are written again
      ids += known.ids_size;
    } else {
      ids = encode_rare(words[i], key, memory, ids);
    }
  }
  return ids;
}

// A word that does not lie in its set with few ids.
int32_t* BpeEncoder::encode_rare(std::string_view text, const Key& key, Memory& memory,
                                 int32_t* ids) const {
  Word& word = memory.word;
  if (text.size() > kRememberedBytes) {
    encode_word(text, word);
    return std::copy(word.ids.begin(), word.ids.end(), ids);
  }
  const bool is_small = text.size() <= kSmallWord;
  if (is_small) {
    if (const Memory::Small* known = memory.find(key)) {
      return std::copy_n(memory.ids_of(*known), known->ids_size, ids);
    }
  }
  const uint64_t hash = hash_word(text);
  const uint32_t entry = memory.others.find(text, hash);
  if (entry != WordTable::kAbsent) {
    const auto [first, size] = std::pair(memory.others[entry].first, memory.others[entry].count);
    if (is_small) memory.keep(key, first, size);  // there may be room by now
    return std::copy_n(&memory.ids[first], size, ids);
  }
  encode_word(text, word);
  const size_t first = memory.ids.size(), size = word.ids.size();
  memory.ids.insert(memory.ids.end(), word.ids.begin(), word.ids.end());
  if (size > 0 && !(is_small && memory.keep(key, first, size))) {
    memory.others[memory.others.add(text, hash, first)].count = size;
  }
  return std::copy(word.ids.begin(), word.ids.end(), ids);
}

// The pieces of all texts that are worked on apart: between special tokens, and not too large.
void BpeEncoder::cut(const Request& request, std::vector<Piece>& pieces) const {
  struct Found {
    std::string_view token;
    int32_t id;
    size_t at;
  };
  std::vector<Found> finds;
  for (int64_t number = 0; number < request.texts; ++number) {
    const std::string_view text(request.text + request.offsets[number],
                                request.offsets[number + 1] - request.offsets[number]);
    const auto plain = [&](size_t from, size_t to) {
      bool first = true;
      while (from < to) {
        size_t size = to - from;
        if (size > kPieceBytes) {
          if (const size_t place = find_cut(text.substr(from, size), kPieceBytes)) size = place;
        }
        const bool spaced = first && rules_.prefix_space && text[from] != ' ';
        pieces.push_back({text.data() + from, size, number, -1, spaced});
        from += size;
        first = false;
      }
    };
    size_t at = 0;
    if (request.special && !special_.empty()) {
      finds.clear();
      for (const int32_t id : special_) {
        const std::string_view token(blob_.data() + offsets_[id], offsets_[id + 1] - offsets_[id]);
        const size_t found = token.empty() ? std::string_view::npos : text.find(token);
        if (found != std::string_view::npos) finds.push_back({token, id, found});
      }
      while (!finds.empty()) {
        const auto first =
            std::min_element(finds.begin(), finds.end(), [](const Found& a, const Found& b) {
              return a.at != b.at ? a.at < b.at : a.token.size() > b.token.size();
            });
        const size_t begin = first->at, size = first->token.size();
        plain(at, begin);
        pieces.push_back({text.data() + begin, size, number, first->id, false});
        at = begin + size;
        for (Found& one : finds) {
          if (one.at < at) one.at = text.find(one.token, at);
        }
        std::erase_if(finds, [](const Found& one) { return one.at == std::string_view::npos; });
      }
    }
    plain(at, text.size());
  }
}

std::unique_ptr<BpeEncoder::Memory> BpeEncoder::borrow() const {
  {
    const std::lock_guard lock(mutex_);
    if (!free_.empty()) {
      auto memory = std::move(free_.back());
      free_.pop_back();
      return memory;
    }
  }
  return std::make_unique<Memory>();
}

void BpeEncoder::give_back(std::unique_ptr<Memory> memory) const {
  const std::lock_guard lock(mutex_);
  free_.push_back(std::move(memory));
}

// Writes what pieces that follow each other become from `room` on, and how many ids of each that is.
void BpeEncoder::encode_pieces(const Piece* pieces, int64_t count, const Request& request,
                               size_t room, size_t* made) const {
  auto memory = borrow();
  if (!request.objects) {
    Output output{request.ids + room, request.spans ? request.spans + room : nullptr};
    for (int64_t i = 0; i < count; ++i) {
      const int32_t* const start = output.ids;
      encode_piece(pieces[i], request, *memory, output);
      made[i] = output.ids - start;
    }
    return give_back(std::move(memory));
  }
  // The ids of a piece are read again while they are near.
  const Objects& objects = *request.objects;
  size_t most = 0;
  for (int64_t i = 0; i < count; ++i) most = std::max(most, room_of(pieces[i]));
  const auto ids = std::make_unique_for_overwrite<int32_t[]>(most + 8);
  void** item = objects.items + room;
  memory->uses.resize(is_special_.size());
  uint32_t* const uses = memory->uses.data();
  void* const* const numbers = objects.numbers;
  size_t counted = 0;
  const auto tell_uses = [&] {
    const std::lock_guard lock(mutex_);
    for (size_t id = 0; id < memory->uses.size(); ++id) {
      objects.uses[id] += std::exchange(uses[id], 0);
    }
    counted = 0;
  };
  for (int64_t i = 0; i < count; ++i) {
    Output output{ids.get(), nullptr};
    encode_piece(pieces[i], request, *memory, output);
    made[i] = output.ids - ids.get();
    if (counted + made[i] > UINT32_MAX) tell_uses();
    counted += made[i];
    for (size_t j = 0; j < made[i]; ++j) {
      const int32_t id = ids[j];
      *item++ = numbers[id];
      ++uses[id];
    }
  }
  tell_uses();
  give_back(std::move(memory));
}

// Ids that a piece may become; and there may be eight more behind those of all.
size_t BpeEncoder::room_of(const Piece& piece) const {
  // What ends a word may become tokens byte by byte.
  const size_t most = rules_.greedy ? 1 + rules_.suffix.size() + rules_.ending.size() : 1;
  return most * (piece.size + (rules_.bytes && !rules_.prefix_space ? 0 : 1));
}

void BpeEncoder::encode(const Request& request) const {
  std::vector<Piece> pieces;
  cut(request, pieces);
  size_t bytes = 0;
  for (const Piece& piece : pieces) bytes += room_of(piece);
  const size_t parts = std::clamp<size_t>(std::min<size_t>(request.threads, bytes >> 12), 1,
                                          std::max<size_t>(pieces.size(), 1));
  // Each part has pieces of about so many bytes, and room for as many ids.
  std::vector<size_t> first_piece{0}, room{0};
  size_t before = 0;
  for (size_t i = 0; i < pieces.size(); ++i) {
    if (first_piece.size() < parts && before >= first_piece.size() * bytes / parts) {
      first_piece.push_back(i);
      room.push_back(before + 8 * (first_piece.size() - 1));
    }
    before += room_of(pieces[i]);
  }
  first_piece.push_back(pieces.size());
  std::vector<size_t> made(pieces.size());
  run_parts(static_cast<int64_t>(room.size()), [&](int64_t part) {
    const size_t first = first_piece[part];
    encode_pieces(pieces.data() + first, static_cast<int64_t>(first_piece[part + 1] - first),
                  request, room[part], made.data() + first);
  });
  // Together, without gaps.
  size_t total = 0;
  int64_t text = 0;
  request.ends[0] = 0;
  for (size_t part = 0; part < room.size(); ++part) {
    size_t size = 0;
    for (size_t i = first_piece[part]; i < first_piece[part + 1]; ++i) {
      while (text < pieces[i].text) request.ends[++text] = static_cast<int64_t>(total + size);
      size += made[i];
    }
    const auto move = [&](auto* all) {
      if (all) std::memmove(all + total, all + room[part], size * sizeof(*all));
    };
    if (part > 0) {
      move(request.ids);
      move(request.spans);
      move(request.objects ? request.objects->items : nullptr);
    }
    total += size;
  }
  while (text < request.texts) request.ends[++text] = static_cast<int64_t>(total);
}

std::string BpeEncoder::decode(const int32_t* ids, int64_t size, bool skip_special) const {
  std::string text;
  for (int64_t i = 0; i < size; ++i) {
    const int32_t id = ids[i];
    if (id < 0 || static_cast<size_t>(id) + 1 >= offsets_.size()) {
      throw std::out_of_range("decode: ids must be in 0.." +
                              std::to_string(static_cast<int64_t>(offsets_.size()) - 2) + ", got " +
                              std::to_string(id));
    }
    if (is_special_[id]) {
      if (!skip_special) text.append(blob_, offsets_[id], offsets_[id + 1] - offsets_[id]);
      continue;
    }
    const std::string_view token(blob_.data() + offsets_[id], offsets_[id + 1] - offsets_[id]);
    const std::string& end = rules_.suffix.empty() ? rules_.ending : rules_.suffix;
    if (rules_.bytes) {
      text += token;
    } else if (!end.empty() && token.ends_with(end)) {
      text.append(token.substr(0, token.size() - end.size())) += ' ';
    } else if (!rules_.prefix.empty()) {
      const bool inside = token.starts_with(rules_.prefix);
      if (!inside && !text.empty()) text += ' ';
      text += token.substr(inside ? rules_.prefix.size() : 0);
    } else {
      text += token;
    }
  }
  const bool marks_ends = !rules_.suffix.empty() || !rules_.ending.empty();
  if (!rules_.bytes && marks_ends && text.ends_with(' ')) text.pop_back();
  return text;
}

}  // namespace lexforge::text
