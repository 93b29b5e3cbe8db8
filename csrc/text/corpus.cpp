#include "text/corpus.h"

#include <algorithm>
#include <cerrno>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "text/bpe_split.h"
#include "text/scan.h"
#include "text/threads.h"
#include "text/utf8.h"

namespace lexforge::text {
Normalizer::Outcome Normalizer::operator()(std::string_view& word) {
  constexpr uint32_t kReplacement = 0xFFFD;
  const auto& lowercase = options_.lowercase;
  copy_.clear();
  for (size_t at = 0, length; at < word.size(); at += length) {
    uint32_t code_point;
    if (!read_code_point(word.substr(at), code_point, length)) {
      if (options_.errors == BadUtf8::kSkip) return Outcome::kDrop;
      if (options_.errors == BadUtf8::kStrict) {
        bad_at_ = at;
        return Outcome::kBad;
      }
      code_point = kReplacement;
    } else if (code_point < lowercase.size()) {
      code_point = lowercase[code_point];
    }
    append_code_point(copy_, code_point);
  }
  word = copy_;
  return Outcome::kKeep;
}

ChunkPipeline::ChunkPipeline(const ReaderOptions& options, ChunkHandler& handler)
    : options_(options), handler_(handler) {
  workers_.reserve(options.threads);  // no thread is left to wait where growing fails
  try {
    for (int worker = 0; worker < options.threads; ++worker) {
      workers_.push_back(start_thread(&ChunkPipeline::work, this, worker));
    }
  } catch (...) {
    fail(nullptr);
    workers_.clear();
    throw;
  }
}

ChunkPipeline::~ChunkPipeline() {
  fail(nullptr);
  workers_.clear();
}

void ChunkPipeline::begin_document(std::string name, bool framed) {
  if (open_.document || workers_.empty()) {
    throw std::logic_error("a document can begin only after the last one ended, before finish()");
  }
  open_.document = std::make_shared<const std::string>(std::move(name));
  open_.framed = framed;
  open_.document_offset = 0;
  open_buffer({});
}

void ChunkPipeline::feed(std::string_view bytes) {
  if (!open_.document) throw std::logic_error("no document has begun");
  while (!bytes.empty()) {
    if (open_.size == capacity_) cut_buffer();
    const size_t part = std::min(bytes.size(), capacity_ - open_.size);
    std::memcpy(open_.bytes.get() + open_.size, bytes.data(), part);
    open_.size += part;
    bytes.remove_prefix(part);
  }
}

void ChunkPipeline::end_document() {
  if (!open_.document) throw std::logic_error("no document has begun");
  open_.ends_document = true;
  const uint64_t corpus_end = open_.corpus_offset + open_.size;
  push(std::move(open_));
  open_ = Chunk{};
  open_.corpus_offset = corpus_end;
}

void ChunkPipeline::finish() {
  if (open_.document || workers_.empty()) {
    throw std::logic_error("finish() comes once, after the last document has ended");
  }
  {
    const std::lock_guard lock(mutex_);
    closed_ = true;
  }
  queued_.notify_all();
  workers_.clear();
  if (failure_) std::rethrow_exception(failure_);
}

// A fresh buffer for open_, which begins with `start`.
void ChunkPipeline::open_buffer(std::string_view start) {
  capacity_ = std::max(options_.chunk_bytes, 2 * start.size());
  auto bytes =
      std::make_unique_for_overwrite<char[]>(capacity_ + 1);  // + 1: the stopping separator
  std::copy(start.begin(), start.end(), bytes.get());
  open_.bytes = std::move(bytes);
  open_.size = start.size();
  searched_ = 0;
}

// Behind the last separator of a full buffer, or searched_ where there is none. Where lines fall apart
// by a pattern: behind the last line, else in front of a space.
size_t ChunkPipeline::find_cut_of_buffer() const {
  const ByteClasses& classes = classes_of(open_);
  const bool lines = options_.split == Split::kGpt2 && !open_.framed;
  size_t cut = open_.size;
  for (; cut > searched_; --cut) {
    const uint8_t kind = classes[static_cast<uint8_t>(open_.bytes[cut - 1])];
    if (lines ? kind == kLineEnd : kind != kWordByte) return cut;
  }
  if (!lines) return searched_;
  const std::string_view line(open_.bytes.get(), open_.size);
  cut = find_cut(line, line.size() - 1);
  if (cut > searched_) return cut;
  if (line.size() <= kMaxWordBytes) return searched_;
  for (cut = line.size(); cut > line.size() - 3 && (line[cut - 1] & 0xC0) == 0x80;) --cut;
  return cut - ((line[cut - 1] & 0xC0) == 0xC0);  // whole characters
}

// Sends what comes before the last word of a full buffer on its way, or enlarges the buffer when
// the whole of it is one word; one that is too long is sent as it is, to be refused in its turn.
void ChunkPipeline::cut_buffer() {
  size_t cut = find_cut_of_buffer();
  if (cut == searched_ && open_.size > kMaxWordBytes) cut = open_.size;
  if (cut == searched_) {
    const auto full = std::move(open_.bytes);
    const size_t size = open_.size;
    open_buffer({full.get(), size});
    searched_ = size;
    return;
  }
  Chunk rest;
  rest.corpus_offset = open_.corpus_offset + cut;
  rest.document_offset = open_.document_offset + cut;
  rest.document = open_.document;
  rest.framed = open_.framed;
  Chunk full = std::exchange(open_, std::move(rest));
  open_buffer({full.bytes.get() + cut, full.size - cut});
  searched_ = open_.size;
  full.size = cut;
  push(std::move(full));
}

void ChunkPipeline::push(Chunk chunk) {
  chunk.bytes[chunk.size] = static_cast<char>(chunk.framed ? 0xFF : ' ');
  chunk.number = next_number_++;
  {
    std::unique_lock lock(mutex_);
    taken_.wait(lock, [&] { return stopped_ || queue_.size() < workers_.size(); });
    if (failure_) std::rethrow_exception(failure_);
    queue_.push_back(std::move(chunk));
  }
  queued_.notify_one();
}

void ChunkPipeline::work(int worker) {
  for (;;) {
    Chunk chunk;
    {
      std::unique_lock lock(mutex_);
      queued_.wait(lock, [&] { return stopped_ || closed_ || !queue_.empty(); });
      if (stopped_ || queue_.empty()) return;
      chunk = std::move(queue_.front());
      queue_.pop_front();
    }
    taken_.notify_one();

    ScanReport report;
    std::exception_ptr failure;
    try {
      report = handler_.process(worker, chunk);
    } catch (...) {
      failure = std::current_exception();
    }

    {
      std::unique_lock lock(mutex_);
      committed_changed_.wait(lock, [&] { return stopped_ || committed_ == chunk.number; });
      if (stopped_) return;
    }
    // From here to the increment of committed_ no other worker passes the wait above.
    try {
      if (failure) std::rethrow_exception(failure);
      if (report.bad_byte) {
        throw std::invalid_argument(
            *chunk.document + ": invalid UTF-8 at byte " +
            std::to_string(chunk.document_offset + *report.bad_byte) + " (line " +
            std::to_string(document_lines_ + report.lines + 1) +
            "); errors=\"replace\" puts U+FFFD there, errors=\"skip\" leaves such words out");
      }
      if (report.long_word) {
        throw std::invalid_argument(*chunk.document + ": a word of more than " +
                                    std::to_string(kMaxWordBytes) + " bytes at byte " +
                                    std::to_string(chunk.document_offset + *report.long_word) +
                                    " (line " + std::to_string(document_lines_ + report.lines + 1) +
                                    "); words stand between spaces or line breaks");
      }
      handler_.commit(worker, chunk);
    } catch (...) {
      return fail(std::current_exception());
    }
    document_lines_ = chunk.ends_document ? 0 : document_lines_ + report.lines;
    {
      const std::lock_guard lock(mutex_);
      ++committed_;
    }
    committed_changed_.notify_all();
  }
}

// Stops everything; the calling thread meets `failure` at its next call.
void ChunkPipeline::fail(std::exception_ptr failure) {
  {
    const std::lock_guard lock(mutex_);
    stopped_ = true;
    if (!failure_) failure_ = std::move(failure);
  }
  queued_.notify_all();
  taken_.notify_all();
  committed_changed_.notify_all();
}

WordCounter::WordCounter(ReaderOptions options)
    : options_(std::move(options)),
      tables_(options_.threads),
      normalizers_(make_normalizers(options_)),
      pipeline_(options_, *this) {}

ScanReport WordCounter::process(int worker, const Chunk& chunk) {
  if (options_.split == Split::kGpt2) return process_gpt2(worker, chunk);
  WordTable& table = tables_[worker];
  const auto on_word = [&](std::string_view word, uint64_t offset) {
    ++table[table.add(word, hash_word(word), chunk.corpus_offset + offset)].count;
  };
  return scan(chunk, normalizers_[worker], on_word, [] {});
}

ScanReport WordCounter::process_gpt2(int worker, const Chunk& chunk) {
  WordTable& table = tables_[worker];
  Normalizer& normalize = normalizers_[worker];
  ScanReport report;
  const char* const begin = chunk.bytes.get();
  std::string_view left(begin, chunk.size);
  if (!chunk.framed && chunk.document_offset == 0 && left.starts_with("\xEF\xBB\xBF")) {
    left.remove_prefix(3);
  }
  const auto count = [&](const char* part, size_t size) {
    std::string_view word(part, size);
    uint8_t seen = 0;
    for (const char byte : word) seen |= static_cast<uint8_t>(byte);
    if (normalize.wants(seen < 0x80)) {
      const auto outcome = normalize(word);
      if (outcome == Normalizer::Outcome::kBad && !report.bad_byte) {
        report.bad_byte = part - begin + normalize.bad_at();
      }
      if (outcome != Normalizer::Outcome::kKeep) return;
    }
    ++table[table.add(word, hash_word(word), chunk.corpus_offset + (part - begin))].count;
  };
  while (!left.empty() && !report.bad_byte) {
    const size_t found = left.find(chunk.framed ? '\xFF' : '\n');
    const size_t size = found == std::string_view::npos ? left.size() : found + 1;
    split_gpt2(left.substr(0, chunk.framed && size > found ? found : size), count);
    left.remove_prefix(size);
    if (!report.bad_byte) report.lines += found != std::string_view::npos;
  }
  return report;
}

void WordCounter::finish() {
  pipeline_.finish();
  // Halving rounds: table i takes table i + half, all pairs of a round at once.
  while (tables_.size() > 1) {
    const size_t kept = (tables_.size() + 1) / 2;
    run_parts(static_cast<int64_t>(tables_.size() - kept), [&](int64_t i) {
      WordTable &into = tables_[i], &from = tables_[i + kept];
      for (uint32_t j = 0; j < from.size(); ++j) {
        const auto& entry = from[j];
        auto& sum = into[into.add(entry.word(), entry.hash, entry.first)];
        sum.count += entry.count;
        sum.first = std::min(sum.first, entry.first);
      }
      from = WordTable();
    });
    tables_.resize(kept);
  }
  for (uint32_t i = 0; i < types(); ++i) tokens_ += tables_.front()[i].count;
}

uint64_t WordCounter::largest_count() const {
  uint64_t largest = 0;
  for (uint32_t i = 0; i < types(); ++i) largest = std::max(largest, tables_.front()[i].count);
  return largest;
}

std::vector<const WordTable::Entry*> WordCounter::words(uint64_t min_count,
                                                        uint64_t max_words) const {
  std::vector<const WordTable::Entry*> kept;
  for (uint32_t i = 0; i < types(); ++i) {
    const auto& entry = tables_.front()[i];
    if (entry.count >= min_count) kept.push_back(&entry);
  }
  std::sort(kept.begin(), kept.end(), [](const auto* a, const auto* b) {
    return a->count != b->count ? a->count > b->count : a->first < b->first;
  });
  if (kept.size() > max_words) kept.resize(max_words);
  return kept;
}

OutputFile::OutputFile(const std::string& path)
    : path_(path), file_(std::fopen(path.c_str(), "wb")) {
  if (!file_) throw std::system_error(errno, std::generic_category(), path_);
}

void OutputFile::write(const void* bytes, size_t size) {
  if (size > 0 && std::fwrite(bytes, 1, size, file_.get()) != size) {
    throw std::system_error(errno, std::generic_category(), path_);
  }
}

void OutputFile::close() {
  if (file_ && std::fclose(file_.release()) != 0) {
    throw std::system_error(errno, std::generic_category(), path_);
  }
}

CorpusEncoder::CorpusEncoder(ReaderOptions options, const std::vector<std::string_view>& words,
                             uint64_t max_sentence_length, const std::string& tokens_path,
                             const std::string& offsets_path)
    : options_(std::move(options)),
      max_sentence_length_(max_sentence_length),
      normalizers_(make_normalizers(options_)),
      encoded_(options_.threads),
      tokens_file_(tokens_path),
      offsets_file_(offsets_path),
      pending_offsets_{0},
      pipeline_(options_, *this) {
  for (const auto word : words) {
    const size_t id = table_.size();
    if (table_.add(word, hash_word(word), 0) != id) {
      throw std::invalid_argument("the vocabulary holds '" + std::string(word) + "' twice");
    }
  }
}

ScanReport CorpusEncoder::process(int worker, const Chunk& chunk) {
  Encoded& out = encoded_[worker];
  out.tokens.clear();
  out.line_ends.clear();
  out.unknown = 0;
  const auto on_word = [&](std::string_view word, uint64_t) {
    const uint32_t id = table_.find(word, hash_word(word));
    if (id != WordTable::kAbsent) {
      out.tokens.push_back(static_cast<int32_t>(id));
    } else {
      ++out.unknown;
    }
  };
  return scan(chunk, normalizers_[worker], on_word,
              [&] { out.line_ends.push_back(out.tokens.size()); });
}

void CorpusEncoder::commit(int worker, const Chunk& chunk) {
  const Encoded& encoded = encoded_[worker];
  tokens_file_.write(encoded.tokens.data(), encoded.tokens.size() * sizeof(int32_t));
  for (const uint64_t end : encoded.line_ends) end_line(tokens_written_ + end);
  tokens_written_ += encoded.tokens.size();
  if (chunk.ends_document) end_line(tokens_written_);
  unknown_ += encoded.unknown;
  write_offsets();
}

void CorpusEncoder::end_line(uint64_t end) {
  while (sentence_start_ < end) {
    sentence_start_ += std::min(max_sentence_length_, end - sentence_start_);
    pending_offsets_.push_back(static_cast<int64_t>(sentence_start_));
    ++sentences_;
  }
}

void CorpusEncoder::write_offsets() {
  offsets_file_.write(pending_offsets_.data(), pending_offsets_.size() * sizeof(int64_t));
  pending_offsets_.clear();
}

void CorpusEncoder::finish() {
  pipeline_.finish();
  write_offsets();  // the leading 0 of an empty corpus
  tokens_file_.close();
  offsets_file_.close();
}

}  // namespace lexforge::text
