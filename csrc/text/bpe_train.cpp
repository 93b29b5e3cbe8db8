#include "text/bpe_train.h"

#include <algorithm>
#include <map>
#include <stdexcept>
#include <utility>

#include "text/utf8.h"

namespace lexforge::text {
namespace {

// Calls on_character(text, code point or byte, is the first, is the last).
template <typename OnCharacter>
void each_character(bool bytes, std::string_view word, const OnCharacter& on_character) {
  for (size_t at = 0, length; at < word.size(); at += length) {
    uint32_t character = static_cast<uint8_t>(word[at]);
    length = 1;
    if (!bytes) read_code_point(word.substr(at), character, length);
    on_character(word.substr(at, length), character, at == 0, at + length == word.size());
  }
}

uint32_t character_of(bool bytes, std::string_view text) {
  if (bytes) return gpt2_character(static_cast<uint8_t>(text[0]));
  uint32_t character;
  size_t length;
  read_code_point(text, character, length);
  return character;
}

}  // namespace

bool BpeTrainer::Comes::operator()(const Candidate& a, const Candidate& b) const {
  if (a.count != b.count) return a.count < b.count;
  const TieRule rule = trainer->options_.ties;
  if (rule != TieRule::kLexical && rule != TieRule::kLexicalLast) return a.order > b.order;
  const auto texts = [&](const Candidate& c) {
    return std::pair<const std::string&, const std::string&>(
        trainer->symbols_[trainer->left_of(c.order)],
        trainer->symbols_[trainer->right_of(c.order)]);
  };
  return rule == TieRule::kLexical ? texts(a) > texts(b) : texts(a) < texts(b);
}

BpeTrainer::BpeTrainer(BpeOptions options, const std::vector<Word>& words)
    : options_(std::move(options)), queue_(Comes{this}) {
  for (const std::string& token : options_.special) {
    if (index_.contains(token)) {
      throw std::invalid_argument("BPETokenizer: special_tokens must be distinct, got '" + token +
                                  "' twice");
    }
    add_symbol(token, 1);
  }
  make_alphabet(words);
  if (symbols_.size() > options_.vocab_size) {
    throw std::invalid_argument("BPETokenizer: vocab_size must be at least " +
                                std::to_string(symbols_.size()) +
                                ", the number of characters and special tokens, got " +
                                std::to_string(options_.vocab_size));
  }
  make_cells(words);
  made_.resize(symbols_.size());
}

int32_t BpeTrainer::add_symbol(std::string text, uint32_t length) {
  const auto [found, is_new] = index_.try_emplace(text, static_cast<int32_t>(symbols_.size()));
  if (is_new) {
    symbols_.push_back(std::move(text));
    lengths_.push_back(length);
  }
  return found->second;
}

void BpeTrainer::make_alphabet(const std::vector<Word>& words) {
  struct Seen {
    std::string text;
    uint64_t count = 0;
  };
  std::map<uint32_t, Seen> seen;  // by code point
  for (const Word& word : words) {
    each_character(options_.bytes, word.text, [&](std::string_view text, uint32_t c, bool, bool) {
      Seen& one = seen[options_.bytes ? gpt2_character(c) : c];
      if (one.text.empty()) one.text = text;
      one.count += word.count;
    });
  }
  for (const std::string& text : options_.alphabet) {
    seen[character_of(options_.bytes, text)] = {text, UINT64_MAX};
  }
  if (seen.size() > options_.limit_alphabet) {
    std::vector<std::pair<uint64_t, uint32_t>> order;  // the rarest first, of equals the last
    for (const auto& [c, one] : seen) order.emplace_back(one.count, UINT32_MAX - c);
    std::sort(order.begin(), order.end());
    order.resize(seen.size() - options_.limit_alphabet);
    for (const auto& [count, c] : order) {
      if (count != UINT64_MAX) seen.erase(UINT32_MAX - c);
    }
  }
  for (const auto& [c, one] : seen) add_symbol(one.text, 1);
  if (!options_.ending.empty()) add_symbol(options_.ending, 1);
}

void BpeTrainer::make_cells(const std::vector<Word>& words) {
  size_t size = 1;
  for (const Word& word : words) {
    if (word.text.size() + 2 >= -kEdge) throw std::length_error("a word of more than 1 GB");
    size += word.text.size() + 2;
  }
  if (size > UINT32_MAX) throw std::length_error("distinct words of more than 4 GB");
  if (words.size() >= -kEdge) throw std::length_error("more than 2^30 distinct words");
  cells_.reserve(size);  // what is not used of it is never touched
  cells_.push_back(kEdge);
  int32_t of_byte[256];
  for (int byte = 0; byte < 256; ++byte) {
    const auto found = index_.find(std::string(1, static_cast<char>(byte)));
    of_byte[byte] = found == index_.end() ? -1 : found->second;
  }
  std::string marked;
  for (const Word& word : words) {
    const auto add = [&](std::string_view text, uint32_t, bool first, bool last) {
      const bool plain = (first || options_.prefix.empty()) && (!last || options_.suffix.empty());
      int32_t symbol;
      if (text.size() == 1 && (options_.bytes || !(text[0] & 0x80))) {
        symbol = of_byte[static_cast<uint8_t>(text[0])];
      } else {
        marked = text;
        const auto found = index_.find(marked);
        symbol = found == index_.end() ? -1 : found->second;
      }
      if (symbol < 0) return;  // not of the alphabet
      if (!plain) {
        marked.clear();
        if (!first) marked += options_.prefix;
        marked += text;
        if (last) marked += options_.suffix;
        symbol = add_symbol(marked, 1);
      }
      cells_.push_back(symbol);
    };
    each_character(options_.bytes, word.text, add);
    if (!options_.ending.empty()) cells_.push_back(index_.at(options_.ending));
    if (cells_.back() < 0) continue;  // nothing is left of it
    counts_.push_back(word.count);
    cells_.push_back(kEdge - static_cast<int32_t>(counts_.size()));
  }
}

uint32_t* BpeTrainer::room(size_t places) {
  constexpr size_t kBlock = 1 << 16;
  if (places > kBlock / 4) {
    arena_.push_back(std::make_unique_for_overwrite<uint32_t[]>(places));
    return arena_.back().get();
  }
  if (places > arena_left_) {
    arena_.push_back(std::make_unique_for_overwrite<uint32_t[]>(kBlock));
    arena_next_ = arena_.back().get();
    arena_left_ = kBlock;
  }
  uint32_t* at = arena_next_;
  arena_next_ += places;
  arena_left_ -= places;
  return at;
}

// visit(key, where it begins, count of the word) for the pairs in the words as they are now.
template <typename Visit>
void BpeTrainer::each_pair(const Visit& visit) const {
  int64_t count = 0;
  for (uint32_t at = 0, next; at + 1 < cells_.size(); at = next) {
    next = next_of(at);
    const int32_t left = cells_[at], right = cells_[next];
    if (left < 0) {
      count = counts_[kEdge - left];
    } else if (right >= 0) {
      visit(key(left, right), at, count);
    }
  }
}

// Counts the pairs with a symbol, or all of them, as the words are now.
void BpeTrainer::count_pairs(int32_t symbol) {
  const auto is_meant = [&](uint64_t key) {
    const int32_t a = left_of(key), b = right_of(key);
    if (symbol == kAll) return (!made_[a] && !made_[b]) || allowed(a, b);
    return (a == symbol || b == symbol) && allowed(a, b);
  };
  if (symbol == kAll) {
    table_ = PairTable();
    pairs_.clear();
    queue_ = decltype(queue_)(Comes{this});
    arena_.clear();
    arena_left_ = 0;
  }
  for (uint32_t pair = 0; pair < pairs_.size(); ++pair) {
    if (is_meant(table_[pair].key)) pairs_[pair] = {0, nullptr, 0};
  }
  {
    PairTable counted;
    each_pair([&](uint64_t key, uint32_t, int64_t count) {
      if (is_meant(key)) counted[counted.add(key)].value += count;
    });
    for (uint32_t i = 0; i < counted.size(); ++i) {
      const auto count = static_cast<int64_t>(counted[i].value);
      if (count < threshold_) continue;
      const uint32_t pair = table_.add(counted[i].key);
      if (pair == pairs_.size()) pairs_.push_back({0, nullptr, 0});
      pairs_[pair].count = count;
    }
  }
  const auto each_kept = [&](const auto& visit) {
    each_pair([&](uint64_t key, uint32_t at, int64_t) {
      if (!is_meant(key)) return;
      const uint32_t pair = table_.find(key);
      if (pair != PairTable::kAbsent && pairs_[pair].count > 0) visit(pairs_[pair], at);
    });
  };
  each_kept([](Pair& pair, uint32_t) { ++pair.number; });
  for (uint32_t pair = 0; pair < pairs_.size(); ++pair) {
    if (!is_meant(table_[pair].key)) continue;
    pairs_[pair].places = room(std::exchange(pairs_[pair].number, 0));
  }
  each_kept([](Pair& pair, uint32_t at) { pair.places[pair.number++] = at; });
  for (uint32_t pair = 0; pair < pairs_.size(); ++pair) {
    if (is_meant(table_[pair].key)) push(pair);
  }
}

// Counts all pairs that are frequent enough to be among those that will be merged, by a guess the
// first time. False where all are known.
bool BpeTrainer::count_more() {
  constexpr int64_t kRarer = 64;  // than if all that are merged were as frequent; 10 to 40 in text
  if (threshold_ == least()) return false;
  if (threshold_ > 0) {
    threshold_ = std::max(least(), threshold_ / 8);
  } else {
    int64_t all = 0;
    each_pair([&](uint64_t, uint32_t, int64_t count) { all += count; });
    const uint64_t wanted =
        std::clamp<uint64_t>(options_.vocab_size - symbols_.size(), 1, options_.max_merges);
    threshold_ = std::max(least(), static_cast<int64_t>(all / kRarer / wanted));
  }
  count_pairs(kAll);
  return true;
}

// What decides between pairs of one count; of kFirst the first place that still has the pair.
uint64_t BpeTrainer::order_of(uint32_t number) {
  const uint64_t key = table_[number].key;
  if (options_.ties != TieRule::kFirst) return key;
  Pair& pair = pairs_[number];
  while (pair.number > 0 && !is_at(key, *pair.places)) ++pair.places, --pair.number;
  return pair.number > 0 ? *pair.places : UINT64_MAX;
}

void BpeTrainer::push(uint32_t pair) {
  const int64_t count = pairs_[pair].count;
  if (count >= threshold_) {
    queue_.push({count, order_of(pair), pair});
  }
}

bool BpeTrainer::step(uint64_t merges) {
  while (merges > 0) {
    if (symbols_.size() >= options_.vocab_size || merges_.size() >= options_.max_merges) {
      return false;
    }
    if (queue_.empty() && !count_more()) return false;
    if (queue_.empty()) continue;
    const Candidate top = queue_.top();
    queue_.pop();
    if (top.count != pairs_[top.pair].count || top.order != order_of(top.pair)) {
      push(top.pair);
      continue;
    }
    merge(top.pair);
    --merges;
  }
  return true;
}

void BpeTrainer::merge(uint32_t number) {
  const uint64_t merged_key = table_[number].key;
  const int32_t a = left_of(merged_key), b = right_of(merged_key);
  const Pair pair = pairs_[number];
  std::string_view tail = symbols_[b];
  if (!options_.prefix.empty() && tail.starts_with(options_.prefix)) {
    tail.remove_prefix(options_.prefix.size());
  }
  std::string text = symbols_[a] + std::string(tail);
  const size_t symbols_before = symbols_.size();
  const int32_t merged = add_symbol(std::move(text), lengths_[a] + lengths_[b]);
  const bool is_new = symbols_.size() > symbols_before;
  made_.resize(symbols_.size());
  made_[merged] = true;
  fresh_.resize(2 * symbols_.size());
  merges_.push_back({a, b, merged, pair.count});

  // All pairs with a new symbol are new.
  const auto lose = [&](int32_t left, int32_t right, int64_t count) {
    if (left == merged && is_new) {
      if (allowed(left, right)) fresh_[2 * static_cast<size_t>(right) + 1].count -= count;
      return;
    }
    const uint32_t found = table_.find(key(left, right));
    if (found != PairTable::kAbsent && found != number) pairs_[found].count -= count;
  };
  const auto gain = [&](int32_t left, int32_t right, int64_t count, uint32_t place) {
    if (!is_new || !allowed(left, right)) return;
    const uint32_t side =
        left == merged ? 2 * static_cast<uint32_t>(right) + 1 : 2 * static_cast<uint32_t>(left);
    fresh_[side].count += count;
    touched_.push_back({side, place});
  };
  touched_.clear();
  for (uint32_t i = 0; i < pair.number; ++i) {
    if (i + 8 < pair.number) __builtin_prefetch(&cells_[pair.places[i + 8]], 1);
    const uint32_t at = pair.places[i];
    if (!is_at(merged_key, at)) continue;
    const uint32_t next = next_of(at), end = next_of(next);
    const int32_t inside = -static_cast<int32_t>(end - at);
    const int64_t count = count_at(at);
    cells_[at] = merged;
    cells_[at + 1] = cells_[next] = cells_[end - 1] = inside;
    const uint32_t previous = before(at);
    if (const int32_t symbol = cells_[previous]; symbol >= 0) {
      lose(symbol, a, count);
      gain(symbol, merged, count, previous);
    }
    if (const int32_t symbol = cells_[end]; symbol >= 0) {
      lose(b, symbol, count);
      gain(merged, symbol, count, at);
    }
  }
  pairs_[number].count = pairs_[number].number = 0;
  if (!is_new) return count_pairs(merged);

  const auto first_new = static_cast<uint32_t>(pairs_.size());
  for (const Touched& one : touched_) {
    Fresh& fresh = fresh_[one.side];
    if (fresh.count < threshold_) continue;
    if (fresh.pair == PairTable::kAbsent) {
      const auto symbol = static_cast<int32_t>(one.side / 2);
      fresh.pair = table_.add(one.side & 1 ? key(merged, symbol) : key(symbol, merged));
      pairs_.push_back({fresh.count, nullptr, 0});
    }
    ++pairs_[fresh.pair].number;
  }
  for (uint32_t one = first_new; one < pairs_.size(); ++one) {
    pairs_[one].places = room(std::exchange(pairs_[one].number, 0));
  }
  for (const Touched& one : touched_) {
    if (const uint32_t made = fresh_[one.side].pair; made != PairTable::kAbsent) {
      pairs_[made].places[pairs_[made].number++] = one.place;
    }
  }
  for (const Touched& one : touched_) fresh_[one.side] = {};
  for (uint32_t one = first_new; one < pairs_.size(); ++one) push(one);
}

}  // namespace lexforge::text
