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
struct BpeEncoder::Key {
  uint64_t low = 0, high = 0;

  bool operator==(const Key& other) const { return ((low ^ other.low) | (high ^ other.high)) == 0; }
  uint64_t hash() const {
    const auto product = static_cast<unsigned __int128>(low ^ 0x9e3779b97f4a7c15) *
                         static_cast<unsigned __int128>(high ^ 0xd6e8feb86659fd93);
    const uint64_t folded = static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
    return folded ^ folded >> 32;
  }
};

// Of a word in a text that ends at `readable_end`.
BpeEncoder::Key BpeEncoder::key_of(const char* begin, size_t size, const char* readable_end) {
  static constexpr auto kMask = [] {
    std::array<uint8_t, 32> mask{};
    std::fill_n(mask.begin(), 16, uint8_t{0xFF});
    return mask;
  }();
  Key key, mask;
  if (std::endian::native == std::endian::little && readable_end - begin >= 16) {
    std::memcpy(&key, begin, 16);
    std::memcpy(&mask, kMask.data() + 16 - size, 16);
    key.low &= mask.low;
    key.high &= mask.high;
  } else {
    std::memcpy(&key, begin, size);
  }
  key.high |= uint64_t{size} << 56;
  return key;
}

struct BpeEncoder::Memory {
  struct Small {
    Key key;  // of no word: zeros
    uint32_t ids_size = 0;
    int32_t ids[kSmallIds];  // or, where there are more of them, where they begin among the others'
  };
  struct alignas(64) Set {
    Small ways[2];  // the one that came last first
  };
  std::vector<Set, HugePages<Set>> sets = std::vector<Set, HugePages<Set>>(kFewSets);
  size_t kept = 0;   // since the sets last became more
  WordTable others;  // `first` is where the ids begin, `count` how many there are
  std::vector<int32_t> ids;
  Word word;

  void forget() {
    std::fill(sets.begin(), sets.end(), Set{});
    others = WordTable();
    ids.clear();
  }
  Set& set_of(uint64_t hash) { return sets[hash & (sets.size() - 1)]; }
  void keep(const Small& small) {
    if (++kept > sets.size() && sets.size() < kManySets) {
      std::vector<Set, HugePages<Set>> before(4 * sets.size());
      sets.swap(before);
      kept = 0;
      for (const Set& set : before) {
        for (const int way : {1, 0}) {
          if (set.ways[way].ids_size > 0) keep(set.ways[way]);
        }
      }
    }
    Set& set = set_of(small.key.hash());
    set.ways[1] = set.ways[0];
    set.ways[0] = small;
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

  // A word, then its place in the memory, some words before it is looked up there.
  struct Waiting {
    const char* at;
    size_t size;
    Key key;
    uint64_t hash;
  };
  constexpr size_t kWaiting = 32;
  Waiting waiting[kWaiting];
  size_t count = 0;
  const auto encode_new = [&](const Waiting& one) __attribute__((noinline)) {
    const std::string_view bytes(one.at, one.size);
    const bool is_small = one.size <= kSmallWord, is_large = one.size > kRememberedBytes;
    const uint64_t hash = is_small || is_large ? 0 : hash_word(bytes);
    if (!is_small && !is_large) {
      const uint32_t entry = memory.others.find(bytes, hash);
      if (entry != WordTable::kAbsent) {
        const WordTable::Entry& known = memory.others[entry];
        output.ids = std::copy_n(&memory.ids[known.first], known.count, output.ids);
        return;
      }
    }
    encode_word(bytes, word);
    output.ids = std::copy(word.ids.begin(), word.ids.end(), output.ids);
    if (is_large || word.ids.empty()) return;
    if (memory.others.size() >= kManyWords || memory.ids.size() >= kManyIds) memory.forget();
    const size_t place = memory.ids.size(), size = word.ids.size();
    if (!is_small || size > kSmallIds) {
      memory.ids.insert(memory.ids.end(), word.ids.begin(), word.ids.end());
    }
    if (is_small) {
      Memory::Small small{one.key, static_cast<uint32_t>(size), {static_cast<int32_t>(place)}};
      if (size <= kSmallIds) std::copy(word.ids.begin(), word.ids.end(), small.ids);
      memory.keep(small);
    } else {
      memory.others[memory.others.add(bytes, hash, place)].count = size;
    }
  };
  const auto look_up = [&](const Waiting& one) {
    if (one.size <= kSmallWord) {
      const Memory::Set& set = memory.set_of(one.hash);
      const Memory::Small& known = set.ways[set.ways[0].key == one.key ? 0 : 1];
      if (known.key == one.key) {
        if (known.ids_size <= kSmallIds) {
          std::memcpy(output.ids, known.ids, sizeof(known.ids));
        } else {
          std::copy_n(&memory.ids[known.ids[0]], known.ids_size, output.ids);
        }
        output.ids += known.ids_size;
        return;
      }
    }
    encode_new(one);
  };
  split(text, [&](const char* at, size_t size) {
    Waiting& one = waiting[count++];
    one.at = at;
    one.size = size;
    if (size <= kSmallWord) {
      one.key = key_of(at, size, end);
      one.hash = one.key.hash();
      __builtin_prefetch(&memory.set_of(one.hash));
    }
    if (count == kWaiting) {
      for (const Waiting& each : waiting) look_up(each);
      count = 0;
    }
  });
  for (size_t i = 0; i < count; ++i) look_up(waiting[i]);
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

void BpeEncoder::encode(const Request& request) const {
  std::vector<Piece> pieces;
  cut(request, pieces);
  // What ends a word may become tokens byte by byte.
  const size_t most = rules_.greedy ? 1 + rules_.suffix.size() + rules_.ending.size() : 1;
  const auto room_of = [&](const Piece& piece) { return most * (piece.size + 1); };
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
    auto memory = borrow();
    Output output{request.ids + room[part], request.spans ? request.spans + room[part] : nullptr};
    for (size_t i = first_piece[part]; i < first_piece[part + 1]; ++i) {
      const int32_t* const start = output.ids;
      encode_piece(pieces[i], request, *memory, output);
      made[i] = output.ids - start;
    }
    give_back(std::move(memory));
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
    if (part > 0) {
      std::memmove(request.ids + total, request.ids + room[part], size * sizeof(int32_t));
      if (request.spans) {
        std::memmove(request.spans + total, request.spans + room[part], size * sizeof(Span));
      }
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
