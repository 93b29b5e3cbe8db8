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
  count_pairs(kAll);
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
  for (const Word& word : words) size += word.text.size() + 2;
  if (size > UINT32_MAX) throw std::length_error("distinct words of more than 4 GB");
  cells_.reserve(size);  // what is not used of it is never touched
  cells_.push_back({kBetween, 1, 0});
  int32_t of_byte[256];
  for (int byte = 0; byte < 256; ++byte) {
    const auto found = index_.find(std::string(1, static_cast<char>(byte)));
    of_byte[byte] = found == index_.end() ? -1 : found->second;
  }
  std::string marked;
  for (const Word& word : words) {
    const auto number = static_cast<uint32_t>(counts_.size());
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
      cells_.push_back({symbol, 1, number});
    };
    each_character(options_.bytes, word.text, add);
    if (!options_.ending.empty()) cells_.push_back({index_.at(options_.ending), 1, number});
    if (cells_.back().symbol < 0) continue;  // nothing is left of it
    counts_.push_back(word.count);
    cells_.push_back({kBetween, 1, 0});
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

// Counts the pairs with a symbol, or all of them, as the words are now.
void BpeTrainer::count_pairs(int32_t symbol) {
  const auto is_meant = [&](int32_t a, int32_t b) {
    return symbol == kAll || ((a == symbol || b == symbol) && allowed(a, b));
  };
  const auto each = [&](const auto& visit) {
    for (uint32_t at = 0, next; (next = at + cells_[at].length) < cells_.size(); at = next) {
      const int32_t a = cells_[at].symbol, b = cells_[next].symbol;
      if (a >= 0 && b >= 0 && is_meant(a, b)) visit(table_.add(key(a, b)), at);
    }
  };
  for (uint32_t pair = 0; pair < pairs_.size(); ++pair) {
    const uint64_t key = table_[pair].key;
    if (is_meant(left_of(key), right_of(key))) pairs_[pair] = {0, nullptr, 0};
  }
  each([&](uint32_t pair, uint32_t at) {
    if (pair == pairs_.size()) pairs_.push_back({0, nullptr, 0});
    pairs_[pair].count += counts_[cells_[at].word];
    ++pairs_[pair].number;
  });
  for (uint32_t pair = 0; pair < pairs_.size(); ++pair) {
    const uint64_t key = table_[pair].key;
    if (!is_meant(left_of(key), right_of(key))) continue;
    pairs_[pair].places = room(std::exchange(pairs_[pair].number, 0));
  }
  each([&](uint32_t pair, uint32_t at) { pairs_[pair].places[pairs_[pair].number++] = at; });
  for (uint32_t pair = 0; pair < pairs_.size(); ++pair) {
    const uint64_t key = table_[pair].key;
    if (is_meant(left_of(key), right_of(key))) push(pair);
  }
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
  if (count >= std::max<int64_t>(options_.min_frequency, 1)) {
    queue_.push({count, order_of(pair), pair});
  }
}

bool BpeTrainer::step(uint64_t merges) {
  while (merges > 0) {
    if (symbols_.size() >= options_.vocab_size || merges_.size() >= options_.max_merges) {
      return false;
    }
    if (queue_.empty()) return false;
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
  merges_.push_back({a, b, merged, pair.count});

  const auto lose = [&](int32_t left, int32_t right, int64_t count) {
    const uint32_t found = table_.find(key(left, right));
    if (found != PairTable::kAbsent && found != number) pairs_[found].count -= count;
  };
  const auto gain = [&](int32_t left, int32_t right, int64_t count, uint32_t place) {
    if (!allowed(left, right)) return;
    const uint32_t found = table_.add(key(left, right));
    if (found == pairs_.size()) pairs_.push_back({0, nullptr, 0});
    pairs_[found].count += count;
    touched_.push_back({found, place});
  };
  const auto first_new = static_cast<uint32_t>(pairs_.size());
  touched_.clear();
  for (uint32_t i = 0; i < pair.number; ++i) {
    if (i + 8 < pair.number) __builtin_prefetch(&cells_[pair.places[i + 8]], 1);
    const uint32_t at = pair.places[i];
    if (!is_at(merged_key, at)) continue;
    Cell& first = cells_[at];
    const uint32_t next = at + first.length, end = next + cells_[next].length;
    const uint32_t before = at - cells_[at - 1].length;
    const int64_t count = counts_[first.word];
    cells_[next].symbol = kInside;
    first.symbol = merged;
    first.length = cells_[end - 1].length = end - at;
    if (const int32_t symbol = cells_[before].symbol; symbol >= 0) {
      lose(symbol, a, count);
      gain(symbol, merged, count, before);
    }
    if (const int32_t symbol = cells_[end].symbol; symbol >= 0) {
      lose(b, symbol, count);
      gain(merged, symbol, count, at);
    }
  }
  pairs_[number].count = pairs_[number].number = 0;
  if (!is_new) return count_pairs(merged);

  // All pairs with a new symbol are new.
  const auto is_kept = [&](uint32_t one) {
    return pairs_[one].count >= std::max<int64_t>(options_.min_frequency, 1);
  };
  for (const Touched& one : touched_) pairs_[one.pair].number += is_kept(one.pair);
  for (uint32_t one = first_new; one < pairs_.size(); ++one) {
    pairs_[one].places = room(std::exchange(pairs_[one].number, 0));
  }
  for (const Touched& one : touched_) {
    Pair& made = pairs_[one.pair];
    if (is_kept(one.pair)) made.places[made.number++] = one.place;
  }
  for (uint32_t one = first_new; one < pairs_.size(); ++one) push(one);
}

}  // namespace lexforge::text
