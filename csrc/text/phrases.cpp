#include "text/phrases.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <stdexcept>
#include <utility>

#include "text/scan.h"

namespace lexforge::text {

// In the order of operations of the formulas, and of whoever checks them with doubles.
bool Scoring::accepts(uint64_t a, uint64_t b, uint64_t both, uint64_t texts, double& score) const {
  const auto count_a = static_cast<double>(a), count_b = static_cast<double>(b);
  if (kind == kDefault) {
    const auto product = static_cast<double>(static_cast<unsigned __int128>(a) * b);
    score = (static_cast<double>(both) - min_count) / product * static_cast<double>(texts);
  } else if (kind == kNpmi) {
    if (static_cast<double>(both) < min_count) return false;
    const auto all = static_cast<double>(corpus_words);
    const double p_a = count_a / all, p_b = count_b / all, p = static_cast<double>(both) / all;
    score = std::log(p / (p_a * p_b)) / -std::log(p);
  } else {
    score = 0;
    return true;
  }
  return score > threshold;
}

// -- the table

PhraseTable::PhraseTable(std::string delimiter, std::vector<std::string> connectors)
    : delimiter_(std::move(delimiter)), connectors_(std::move(connectors)) {
  if (delimiter_.empty()) throw std::invalid_argument("delimiter must not be empty");
  for (size_t at = 0; at < delimiter_.size();) {
    size_t end = at + 1;
    while (end < delimiter_.size() && (delimiter_[end] & 0xC0) == 0x80) ++end;
    characters_.push_back(delimiter_.substr(at, end - at));
    at = end;
  }
  std::sort(characters_.begin(), characters_.end());
  characters_.erase(std::unique(characters_.begin(), characters_.end()), characters_.end());
  std::sort(connectors_.begin(), connectors_.end());
  connectors_.erase(std::unique(connectors_.begin(), connectors_.end()), connectors_.end());
  for (const std::string& connector : connectors_) add_word(connector, hash_word(connector));
}

bool PhraseTable::is_safe(std::string_view word) const {
  return !word.empty() && std::none_of(characters_.begin(), characters_.end(), [&](const auto& c) {
    return word.find(c) != std::string_view::npos;
  });
}

uint32_t PhraseTable::add_word(std::string_view word, uint64_t hash) {
  const size_t before = words_.size();
  // The place of a next word comes first: where memory runs out, no word is without.
  if (words_info_.size() == before) words_info_.push_back({kAbsent, false});
  const uint32_t number = words_.add(word, hash, 0);
  if (words_.size() > before) {
    if (number >= kStep) throw std::length_error("more than 2^31 distinct words");
    words_info_[number].safe = is_safe(word);
  }
  return number;
}

bool PhraseTable::split(std::string_view text, std::vector<std::string_view>& parts) const {
  parts.clear();
  for (size_t at = 0, end = 0; end != std::string_view::npos; at = end + delimiter_.size()) {
    end = text.find(delimiter_, at);
    const std::string_view part = text.substr(at, end - at);
    if (!is_safe(part)) return false;
    const bool connects = is_connector(find_word(part, hash_word(part)));
    const bool inside = !parts.empty() && end != std::string_view::npos;
    if (connects != inside) return false;
    parts.push_back(part);
  }
  return parts.size() > 1;
}

uint32_t PhraseTable::add_text_of(const std::vector<std::string_view>& parts) {
  const auto number = [&](std::string_view part) { return add_word(part, hash_word(part)); };
  const uint32_t first = number(parts.front());
  uint32_t steps = 0;
  for (size_t i = 1; i + 1 < parts.size(); ++i) steps = add_step(steps, number(parts[i]));
  return add_pair(first, steps, number(parts.back()));
}

uint32_t PhraseTable::find_text_of(const std::vector<std::string_view>& parts) const {
  const auto number = [&](std::string_view part) { return find_word(part, hash_word(part)); };
  const uint32_t first = number(parts.front()), last = number(parts.back());
  if (first == kAbsent || last == kAbsent) return kAbsent;
  uint32_t steps = 0;
  for (size_t i = 1; i + 1 < parts.size(); ++i) {
    steps = find_step(steps, number(parts[i]));
    if (steps == 0) return kAbsent;
  }
  return find_pair(first, steps, last);
}

uint32_t PhraseTable::find_pair(uint32_t a, uint32_t steps, uint32_t b) const {
  if (steps == 0) return entries_.find(pair(a, b));
  const uint32_t all = find_step(steps, b);
  return all == 0 ? kAbsent : entries_.find(pair(a, kStep | all));
}

uint32_t PhraseTable::add_word_entry(uint32_t word) {
  uint32_t& entry = words_info_[word].entry;
  if (entry != kAbsent) return entry;
  std::vector<std::string_view> parts;
  const bool several = !is_safe(word) && split(this->word(word), parts);
  const uint32_t found = several ? add_text_of(parts) : entries_.add(pair(word, kAlone));
  return words_info_[word].entry = found;  // which may be elsewhere by now
}

uint32_t PhraseTable::find_word_entry(uint32_t word) const {
  const WordInfo& info = words_info_[word];
  if (info.entry != kAbsent || info.safe) return info.entry;
  std::vector<std::string_view> parts;
  return split(this->word(word), parts) ? find_text_of(parts) : kAbsent;
}

uint32_t PhraseTable::find(std::string_view text) const {
  const uint32_t word = find_word(text, hash_word(text));
  if (word != kAbsent) return find_word_entry(word);
  std::vector<std::string_view> parts;
  return split(text, parts) ? find_text_of(parts) : kAbsent;
}

uint32_t PhraseTable::add(std::string_view text) {
  const uint64_t hash = hash_word(text);
  const uint32_t word = find_word(text, hash);
  if (word != kAbsent) return add_word_entry(word);
  std::vector<std::string_view> parts;
  return split(text, parts) ? add_text_of(parts) : add_word_entry(add_word(text, hash));
}

void PhraseTable::append_text(uint32_t entry, std::string& out) const {
  const auto first = static_cast<uint32_t>(entries_[entry].key >> 32);
  const auto second = static_cast<uint32_t>(entries_[entry].key);
  out += word(first);
  if (second == kAlone) return;
  std::vector<uint32_t> words;
  if ((second & kStep) == 0) words.push_back(second);
  for (uint32_t steps = second & kStep ? second & ~kStep : 0; steps != 0;) {
    const uint64_t step = steps_[steps - 1].key;
    words.push_back(static_cast<uint32_t>(step));
    steps = static_cast<uint32_t>(step >> 32);
  }
  for (size_t i = words.size(); i-- > 0;) out.append(delimiter_).append(word(words[i]));
}

void PhraseTable::merge(const PhraseTable& other) {
  std::string text;
  for (uint32_t entry = 0; entry < other.size(); ++entry) {
    text.clear();
    other.append_text(entry, text);
    value(add(text)) += other.value(entry);
  }
}

void PhraseTable::prune(uint64_t least) {
  PhraseTable kept(delimiter_, connectors_);
  std::string text;
  for (uint32_t entry = 0; entry < size(); ++entry) {
    if (value(entry) < least) continue;
    text.clear();
    append_text(entry, text);
    kept.value(kept.add(text)) = value(entry);
  }
  *this = std::move(kept);
}

uint64_t PhraseTable::count(std::string_view text) const {
  const uint32_t entry = find(text);
  return entry == kAbsent ? 0 : value(entry);
}

std::vector<PhraseTable::Phrase> PhraseTable::phrases(const Scoring& scoring) const {
  std::vector<Phrase> found;
  for (uint32_t entry = 0; entry < size(); ++entry) {
    const auto first = static_cast<uint32_t>(entries_[entry].key >> 32);
    const auto second = static_cast<uint32_t>(entries_[entry].key);
    Phrase phrase{entry, 0, 0, 0};
    if (second != kAlone) {
      const uint32_t last =
          second & kStep ? static_cast<uint32_t>(steps_[(second & ~kStep) - 1].key) : second;
      const uint32_t a = find_word_entry(first), b = find_word_entry(last);
      phrase.count_a = a == kAbsent ? 0 : value(a);
      phrase.count_b = b == kAbsent ? 0 : value(b);
    } else if (!is_safe(first)) {
      const std::string_view text = word(first);
      const size_t first_end = text.find(delimiter_);
      if (first_end == std::string_view::npos) continue;
      size_t last = first_end;
      for (size_t at = last; at != std::string_view::npos; at = text.find(delimiter_, last)) {
        last = at + delimiter_.size();
      }
      phrase.count_a = count(text.substr(0, first_end));
      phrase.count_b = count(text.substr(last));
    }
    if (phrase.count_a > 0 && phrase.count_b > 0 &&
        scoring.accepts(phrase.count_a, phrase.count_b, value(entry), size(), phrase.score)) {
      found.push_back(phrase);
    }
  }
  return found;
}

// -- the words of a chunk

namespace {
constexpr size_t kFar = 24, kNear = 12;  // words ahead for which memory is asked
}

ScanReport ChunkWords::scan(const Chunk& chunk, Normalizer& normalize) {
  tokens.clear();
  text.clear();
  line_ends.clear();
  const auto on_word = [&](std::string_view word, uint64_t) {
    tokens.push_back({hash_word(word), static_cast<uint32_t>(word.size()), PhraseTable::kAbsent});
    text += word;
  };
  return lexforge::text::scan(chunk, normalize, on_word,
                              [&] { line_ends.push_back(tokens.size()); });
}

template <typename Number>
void ChunkWords::look_up(const WordTable& table, const Number& number) {
  size_t at = 0;
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (i + kFar < tokens.size()) {
      table.prefetch(tokens[i + kFar].hash);
      table.prefetch_entry(tokens[i + kNear].hash);
    }
    Token& token = tokens[i];
    token.number = number(std::string_view(text).substr(at, token.length), token.hash);
    at += token.length;
  }
}

// -- counting

PhraseCounter::PhraseCounter(ReaderOptions options, PhraseTable& table, uint64_t max_texts)
    : options_(std::move(options)),
      table_(table),
      max_texts_(max_texts),
      normalizers_(make_normalizers(options_)),
      scanned_(options_.threads),
      pipeline_(options_, *this) {}

ScanReport PhraseCounter::process(int worker, const Chunk& chunk) {
  constexpr size_t kMostWords = 1 << 20;  // the worker's own, kept for the next chunk
  Scanned& out = scanned_[worker];
  const auto report = out.scan(chunk, normalizers_[worker]);
  if (out.words.size() > kMostWords) {
    out.words = WordTable();
    out.in_table.clear();
  }
  out.look_up(out.words,
              [&](std::string_view word, uint64_t hash) { return out.words.add(word, hash, 0); });
  out.in_table.resize(out.words.size(), PhraseTable::kAbsent);
  return report;
}

void PhraseCounter::commit(int worker, const Chunk& chunk) {
  Scanned& scanned = scanned_[worker];
  numbers_.resize(scanned.tokens.size());
  number(scanned, 0);
  size_t done = 0;
  const auto end_sentence = [&] {
    start_ = PhraseTable::kAbsent;
    sentence_words_ = 0;
    if (table_.size() <= max_texts_) return;
    if (least_ > 1) {
      table_.prune(least_);
      ++generation_;
      number(scanned, done);
    }
    ++least_;
  };
  const auto take = [&](size_t end) {
    while (done < end) {
      const size_t most = chunk.framed ? end - done : kMaxSentenceWords - sentence_words_;
      const size_t words = std::min(end - done, most);
      count(done, done + words);
      done += words;
      sentence_words_ += words;
      if (!chunk.framed && sentence_words_ == kMaxSentenceWords) end_sentence();
    }
  };
  for (const uint64_t end : scanned.line_ends) {
    take(end);
    if (chunk.framed || sentence_words_ > 0) end_sentence();
  }
  take(scanned.tokens.size());
  if (chunk.ends_document && sentence_words_ > 0) end_sentence();
}

// Numbers the words of a chunk, from one of them on, as the table does.
void PhraseCounter::number(Scanned& scanned, size_t first) {
  if (scanned.generation != generation_) {
    std::fill(scanned.in_table.begin(), scanned.in_table.end(), PhraseTable::kAbsent);
    scanned.generation = generation_;
  }
  for (size_t i = first; i < scanned.tokens.size(); ++i) {
    const uint32_t token = scanned.tokens[i].number;
    uint32_t& number = scanned.in_table[token];
    if (number == PhraseTable::kAbsent) {
      const auto& word = scanned.words[token];
      number = table_.add_word(word.word(), word.hash);
    }
    numbers_[i] = number;
  }
}

void PhraseCounter::count(size_t first, size_t last) {
  for (size_t i = first; i < last; ++i) {
    if (i + kFar < numbers_.size()) {
      table_.prefetch(numbers_[i + kFar - 1], numbers_[i + kFar]);
      table_.prefetch_entry(numbers_[i + kNear - 1], numbers_[i + kNear]);
      table_.prefetch_word_entry(numbers_[i + kNear]);
    }
    const uint32_t word = numbers_[i];
    const bool safe = table_.is_safe(word);
    if (table_.is_connector(word)) {
      if (start_ == PhraseTable::kAbsent) continue;
      safe_ = safe_ && safe;
      steps_ = table_.add_step(steps_, word);
      between_.push_back(word);
      continue;
    }
    ++table_.value(table_.add_word_entry(word));
    if (start_ != PhraseTable::kAbsent) {
      uint32_t entry;
      if (safe_ && safe) {
        entry = table_.add_pair(start_, steps_, word);
      } else {
        text_ = table_.word(start_);
        between_.push_back(word);
        for (const uint32_t next : between_) {
          text_.append(table_.delimiter()).append(table_.word(next));
        }
        entry = table_.add(text_);
      }
      ++table_.value(entry);
    }
    start_ = word;
    safe_ = safe;
    steps_ = 0;
    between_.clear();
  }
  tokens_ += last - first;
}

// -- finding

template <typename Sink>
void PhraseMatcher::word(uint32_t number, std::string_view word, Sink& sink) {
  const bool known = number != PhraseTable::kAbsent;
  const bool safe = known ? table_.is_safe(number) : table_.is_safe(word);
  if (known && table_.is_connector(number)) {
    if (!held_) return sink.alone(word);
    text_.append(table_.delimiter()).append(word);
    steps_ = known_ ? table_.find_step(steps_, number) : 0;
    known_ = steps_ != 0;
    safe_ = safe_ && safe;
    return sink.hold(word);
  }
  if (held_) {
    const size_t held = text_.size();
    text_.append(table_.delimiter()).append(word);
    double score;
    if (completes(number, word, safe, score)) {
      held_ = false;
      return sink.phrase(score);
    }
    text_.resize(held);
    sink.release();
  }
  held_ = true;
  start_ = number;
  start_size_ = word.size();
  steps_ = 0;
  safe_ = safe;
  known_ = known;
  text_ = word;
  sink.hold(word);
}

// Whether text_, whose last word this is, is a phrase.
bool PhraseMatcher::completes(uint32_t number, std::string_view word, bool safe,
                              double& score) const {
  constexpr uint32_t kAbsent = PhraseTable::kAbsent;
  uint32_t entry;
  if (safe_ && safe) {
    if (!known_ || number == kAbsent) return false;
    entry = table_.find_pair(start_, steps_, number);
  } else {
    entry = table_.find(text_);
  }
  if (entry == kAbsent) return false;
  if (scoring_.kind == Scoring::kStored) {
    score = std::bit_cast<double>(table_.value(entry));
    return score > scoring_.threshold;
  }
  // A word that the table has no number for may be the text of a candidate.
  const uint32_t a = start_ == kAbsent ? table_.find(std::string_view(text_).substr(0, start_size_))
                                       : table_.find_word_entry(start_);
  const uint32_t b = number == kAbsent ? table_.find(word) : table_.find_word_entry(number);
  return a != kAbsent && b != kAbsent &&
         scoring_.accepts(table_.value(a), table_.value(b), table_.value(entry), table_.size(),
                          score);
}

PhraseMatches match_phrases(const PhraseTable& table, const Scoring& scoring,
                            std::string_view framed) {
  struct Sink {
    PhraseMatches found;
    int32_t sentence = 0, word = 0, begin = -1;

    void alone(std::string_view) {}
    void hold(std::string_view) { begin = begin < 0 ? word : begin; }
    void release() { begin = -1; }
    void phrase(double score) {
      found.spans.insert(found.spans.end(), {sentence, begin, word + 1});
      found.scores.push_back(score);
      begin = -1;
    }
  } sink;
  PhraseMatcher matcher(table, scoring);
  for (const char *at = framed.data(), *const end = at + framed.size(); at < end; ++at) {
    const char* const start = at;
    while (static_cast<uint8_t>(*at) < 0xFE) ++at;  // each word and each sentence has its end
    if (static_cast<uint8_t>(*at) == 0xFE) {
      matcher.end(sink);
      ++sink.sentence;
      sink.word = 0;
      continue;
    }
    const std::string_view word(start, at - start);
    if (word.empty()) {
      ++sink.found.empty;
    } else {
      matcher.word(table.find_word(word, hash_word(word)), word, sink);
    }
    ++sink.word;
  }
  return std::move(sink.found);
}

// -- joining

PhraseJoiner::PhraseJoiner(ReaderOptions options, const PhraseTable& table, const Scoring& scoring)
    : options_(std::move(options)),
      table_(table),
      normalizers_(make_normalizers(options_)),
      scanned_(options_.threads),
      matcher_(table, scoring),
      pipeline_(options_, *this) {}

ScanReport PhraseJoiner::process(int worker, const Chunk& chunk) {
  ChunkWords& out = scanned_[worker];
  const auto report = out.scan(chunk, normalizers_[worker]);
  out.look_up(table_.words(),
              [&](std::string_view word, uint64_t hash) { return table_.find_word(word, hash); });
  return report;
}

void PhraseJoiner::commit(int worker, const Chunk& chunk) {
  const ChunkWords& scanned = scanned_[worker];
  const auto& tokens = scanned.tokens;
  size_t done = 0, at = 0;
  const auto take = [&](size_t end) {
    for (; done < end; ++done) {
      if (done + kFar < tokens.size()) {
        table_.prefetch(tokens[done + kFar - 1].number, tokens[done + kFar].number);
        table_.prefetch_entry(tokens[done + kNear - 1].number, tokens[done + kNear].number);
      }
      const auto& token = tokens[done];
      matcher_.word(token.number, std::string_view(scanned.text).substr(at, token.length), *this);
      at += token.length;
      if (++line_words_ % kMaxSentenceWords == 0) matcher_.end(*this);
    }
  };
  for (const uint64_t end : scanned.line_ends) {
    take(end);
    end_line();
  }
  take(tokens.size());
  if (chunk.ends_document && line_words_ > 0) end_line();
  tokens_ += tokens.size();

  const std::lock_guard lock(mutex_);
  written_ += text_;
  text_.clear();
}

std::string PhraseJoiner::take() {
  const std::lock_guard lock(mutex_);
  return std::exchange(written_, {});
}

void PhraseJoiner::alone(std::string_view word) {
  if (in_line_) text_ += ' ';
  text_ += word;
  in_line_ = true;
}

void PhraseJoiner::hold(std::string_view word) {
  if (!held_.empty()) held_ += ' ';
  held_ += word;
}

void PhraseJoiner::release() {
  alone(held_);
  held_.clear();
}

void PhraseJoiner::phrase(double score) {
  const std::string& text = matcher_.text();
  alone(text);
  held_.clear();
  ++phrases_[phrases_.add(text, hash_word(text), std::bit_cast<uint64_t>(score))].count;
}

void PhraseJoiner::end_line() {
  matcher_.end(*this);
  text_ += '\n';
  in_line_ = false;
  line_words_ = 0;
}

}  // namespace lexforge::text
