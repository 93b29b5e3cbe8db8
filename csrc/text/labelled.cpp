#include "text/labelled.h"

#include <algorithm>
#include <array>
#include <span>
#include <stdexcept>
#include <utility>

#include "text/scan.h"
#include "text/threads.h"

namespace lexforge::text {
namespace {

struct Token {
  std::string_view word;
  uint64_t hash;
};

constexpr size_t kWaiting = 64;  // words

// Words stay where they are in a chunk: nothing is decoded.
ReaderOptions as_bytes(ReaderOptions options) {
  options.errors = BadUtf8::kKeep;
  return options;
}

void add_known(const WordSpans& words, WordTable& table) {
  for (int64_t i = 0; i < words.count; ++i) {
    const auto before = table.size();
    if (table.add(words[i], hash_word(words[i]), 0) != before) {
      throw std::invalid_argument("the vocabulary holds '" + std::string(words[i]) + "' twice");
    }
  }
}

}  // namespace

LabelledEncoder::LabelledEncoder(ReaderOptions options, std::string prefix, const WordSpans& known,
                                 const Paths& paths)
    : options_(as_bytes(std::move(options))),
      prefix_(std::move(prefix)),
      normalizers_(make_normalizers(options_)),
      workers_(options_.threads),
      words_file_(paths.words),
      word_ends_file_(paths.word_ends),
      labels_file_(paths.labels),
      label_ends_file_(paths.label_ends),
      pipeline_(options_, *this) {
  add_known(known, types_);  // the threads have nothing to do yet
}

ScanReport LabelledEncoder::process(int worker, const Chunk& chunk) {
  Worker& own = workers_[worker];
  own.words.clear();
  own.labels.clear();
  own.ends.clear();
  // Words wait until some are known: what is looked at for each then comes at the same time.
  std::array<Token, kWaiting> waiting;
  size_t count = 0;
  const auto take_all = [&] {
    const std::span tokens(waiting.data(), std::exchange(count, 0));
    for (const Token& token : tokens) own.types.prefetch_entry(token.hash);
    for (const Token& token : tokens) own.types.prefetch_bytes(token.hash);
    for (const Token& token : tokens) {
      const uint32_t type = own.types.add(token.word, token.hash, 0);
      if (type == own.is_label.size()) own.is_label.push_back(token.word.starts_with(prefix_));
      ++own.types[type].count;
      (own.is_label[type] ? own.labels : own.words).push_back(static_cast<int32_t>(type));
      if (token.word == kEndOfLine) own.ends.push_back({own.words.size(), own.labels.size()});
    }
  };
  const auto take = [&](std::string_view word) {
    const Token token{word, hash_word(word)};
    own.types.prefetch(token.hash);
    waiting[count++] = token;
    if (count == kWaiting) take_all();
  };
  const ScanReport report = scan(
      chunk, normalizers_[worker], [&](std::string_view word, uint64_t) { take(word); },
      [&] { take(kEndOfLine); });
  take_all();
  return report;
}

void LabelledEncoder::commit(int worker, const Chunk& chunk) {
  Worker& own = workers_[worker];
  for (auto type = static_cast<uint32_t>(own.number.size()); type < own.types.size(); ++type) {
    const auto& entry = own.types[type];
    const uint32_t number = types_.add(entry.word(), entry.hash, 0);
    if (number > INT32_MAX) throw std::length_error("more than 2^31 - 1 distinct words");
    own.number.push_back(static_cast<int32_t>(number));
  }
  for (int32_t& word : own.words) word = own.number[word];
  for (int32_t& label : own.labels) label = own.number[label];
  words_file_.write(own.words.data(), own.words.size() * sizeof(int32_t));
  labels_file_.write(own.labels.data(), own.labels.size() * sizeof(int32_t));
  for (const End end : own.ends) end_line(words_written_ + end.words, labels_written_ + end.labels);
  words_written_ += own.words.size();
  labels_written_ += own.labels.size();
  if (chunk.ends_document && words_written_ + labels_written_ > line_.words + line_.labels) {
    end_line(words_written_, labels_written_);
  }
  word_ends_file_.write(pending_words_.data(), pending_words_.size() * sizeof(int64_t));
  label_ends_file_.write(pending_labels_.data(), pending_labels_.size() * sizeof(int64_t));
  pending_words_.clear();
  pending_labels_.clear();
}

void LabelledEncoder::end_line(uint64_t words, uint64_t labels) {
  line_ = {words, labels};
  pending_words_.push_back(static_cast<int64_t>(words));
  pending_labels_.push_back(static_cast<int64_t>(labels));
  ++lines_;
}

void LabelledEncoder::finish() {
  pipeline_.finish();
  for (Worker& own : workers_) {
    for (uint32_t type = 0; type < own.types.size(); ++type) {
      types_[own.number[type]].count += own.types[type].count;
    }
    own = Worker();
  }
  word_ends_file_.write(pending_words_.data(), pending_words_.size() * sizeof(int64_t));
  label_ends_file_.write(pending_labels_.data(), pending_labels_.size() * sizeof(int64_t));
  for (OutputFile* file : {&words_file_, &word_ends_file_, &labels_file_, &label_ends_file_}) {
    file->close();
  }
}

LineFeatures::LineFeatures(const WordSpans& words, const WordSpans& labels, std::string prefix,
                           Settings settings, const SubwordRows* pruned)
    : prefix_(std::move(prefix)),
      settings_(settings.buckets > 0 ? settings : Settings{}),
      words_(static_cast<int32_t>(words.count)),
      rows_(words.count + settings_.buckets),
      pruned_(settings_.buckets > 0 ? pruned : nullptr) {
  if (rows_ > INT32_MAX) throw std::invalid_argument("more than 2^31 - 1 words and buckets");
  add_known(words, table_);
  add_known(labels, table_);
  if (pruned_ != nullptr) rows_ = words_ + pruned_->rows();
}

void LineFeatures::push_bucket(uint64_t hash, std::vector<int32_t>& rows) const {
  const auto bucket = static_cast<int32_t>(hash % static_cast<uint64_t>(settings_.buckets));
  const int32_t row = pruned_ == nullptr ? bucket : pruned_->row_of(bucket);
  if (row >= 0) rows.push_back(words_ + row);
}

void LineFeatures::read(std::string_view text, bool whole, Lines& lines) const {
  // The words of a line wait until all are known: what is looked at for each comes meanwhile.
  constexpr size_t kAhead = 8;
  std::vector<Token> tokens;
  std::vector<int32_t> hashes;
  std::string wrapped;
  tokens.reserve(64);
  lines.rows.reserve(256);
  bool ended = false;  // what follows is left out
  const auto take = [&](std::string_view word) {
    if (ended) return;
    tokens.push_back({word, hash_word(word)});
    table_.prefetch(tokens.back().hash);
  };
  const auto push_word = [&](const Token& token) {
    const std::string_view word = token.word;
    const uint32_t found = table_.find(word, token.hash);
    const auto id = static_cast<int32_t>(found == WordTable::kAbsent ? UINT32_MAX : found);
    if (id >= words_) {
      lines.labels.push_back(id - words_);
      return;
    }
    if (id < 0 && word.starts_with(prefix_)) return;
    if (settings_.word_ngrams > 1) hashes.push_back(static_cast<int32_t>(hash_ngram(word)));
    if (id >= 0) lines.rows.push_back(id);
    if (settings_.max_n == 0 || word == kEndOfLine) return;
    wrapped.assign("<").append(word).push_back('>');
    each_ngram(wrapped, settings_.min_n, settings_.max_n,
               [&](std::string_view, uint32_t hash) { push_bucket(hash, lines.rows); });
  };
  const auto end_line = [&] {
    for (size_t i = 0; i < tokens.size(); ++i) {
      if (i + kAhead < tokens.size()) table_.prefetch_entry(tokens[i + kAhead].hash);
      push_word(tokens[i]);
    }
    const auto count = static_cast<int64_t>(hashes.size());
    for (int64_t i = 0; i < count; ++i) {
      auto hash = static_cast<uint64_t>(int64_t{hashes[i]});
      const int64_t end = std::min(count, i + settings_.word_ngrams);
      for (int64_t j = i + 1; j < end; ++j) {
        hash = hash * 116049371 + static_cast<uint64_t>(int64_t{hashes[j]});
        push_bucket(hash, lines.rows);
      }
    }
    lines.tokens += static_cast<int64_t>(tokens.size());
    tokens.clear();
    hashes.clear();
    lines.row_ends.push_back(static_cast<int64_t>(lines.rows.size()));
    lines.label_ends.push_back(static_cast<int64_t>(lines.labels.size()));
  };
  size_t at = 0;
  while (at < text.size()) {
    const size_t start = at;
    while (at < text.size() && kTextClasses[static_cast<uint8_t>(text[at])] == kWordByte) ++at;
    if (at > start) {
      const std::string_view word = text.substr(start, at - start);
      take(word);
      if (word == kEndOfLine) {
        if (whole) {
          ended = true;
        } else {
          end_line();
        }
      }
    }
    if (at < text.size() && text[at] == '\n') {
      take(kEndOfLine);
      ended = false;
      end_line();
    }
    ++at;
  }
  if (!tokens.empty()) end_line();
}

LineFeatures::Lines LineFeatures::read(std::string_view text, bool whole, int threads) const {
  constexpr size_t kLeast = 1 << 14;  // bytes that are worth a thread
  const auto parts = static_cast<int64_t>(
      std::clamp<size_t>(text.size() / kLeast, 1, static_cast<size_t>(std::max(threads, 1))));
  if (parts == 1) {
    Lines all;
    read(text, whole, all);
    return all;
  }
  std::vector<size_t> begins{0};
  for (int64_t part = 1; part < parts; ++part) {
    const size_t from = std::max(begins.back(), text.size() * part / parts);
    const size_t feed = from == 0 ? std::string_view::npos : text.find('\n', from - 1);
    begins.push_back(feed == std::string_view::npos ? text.size() : feed + 1);
  }
  begins.push_back(text.size());
  std::vector<Lines> found(parts);
  run_parts(parts, [&](int64_t part) {
    read(text.substr(begins[part], begins[part + 1] - begins[part]), whole, found[part]);
  });
  Lines all = std::move(found[0]);
  for (int64_t part = 1; part < parts; ++part) {
    const Lines& more = found[part];
    const auto append = [](const auto& from, auto& to) {
      to.insert(to.end(), from.begin(), from.end());
    };
    const int64_t rows = all.row_ends.back(), labels = all.label_ends.back();
    for (size_t i = 1; i < more.row_ends.size(); ++i) {
      all.row_ends.push_back(rows + more.row_ends[i]);
      all.label_ends.push_back(labels + more.label_ends[i]);
    }
    append(more.rows, all.rows);
    append(more.labels, all.labels);
    all.tokens += more.tokens;
  }
  return all;
}

}  // namespace lexforge::text
