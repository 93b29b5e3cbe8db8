// Parallel corpus reader: words counted, or words turned into ids, from bytes fed in order.
//
// The caller feeds documents as blocks of bytes of any size. They are cut into chunks behind a
// separator, worker threads scan the chunks in any order, and results are committed in chunk order,
// so nothing depends on the number of threads, the chunk size or the sizes of the blocks fed.
// At most 2 * threads + 1 chunks exist at a time: memory does not grow with the corpus. A word
// longer than a chunk makes a longer chunk; one longer than kMaxWordBytes is refused.
//
//   text documents    words are separated by NUL, \t, \n, \v, \f, \r and space; \n ends a line, and
//                     so does the end of the document; a UTF-8 byte order mark at its start is
//                     dropped
//   framed documents  words are separated by 0xFF and lines end with 0xFE, bytes that UTF-8 never
//                     uses, so that words may hold white space
//
// Bad UTF-8 inside a word (Unicode 15, table 3-7): kReplace turns each maximal part of an
// ill-formed sequence into U+FFFD, as Python's bytes.decode does; kSkip drops the word; kStrict
// throws std::invalid_argument naming document, byte offset and line of the first one in the
// corpus; kKeep leaves words as they are.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "text/word_table.h"

namespace lexforge::text {

// No text has such a word: what does is without spaces, or no text.
constexpr size_t kMaxWordBytes = 1 << 24;

enum class BadUtf8 { kReplace, kStrict, kSkip, kKeep };

// What a word of a text document is: what stands between separators; or what the pattern of GPT-2
// finds in a line, its end included, or in a word of a framed document, where nothing is left out
// (bpe_split.h). A line without a space is cut behind kMaxWordBytes.
enum class Split { kWords, kGpt2 };

struct ReaderOptions {
  int threads = 1;
  size_t chunk_bytes = 1 << 20;
  BadUtf8 errors = BadUtf8::kReplace;
  std::vector<uint32_t>
      lowercase;                // code point -> its lower case; empty: words are kept as they are
  Split split = Split::kWords;  // of WordCounter
};

// Whole words and separators of one document.
struct Chunk {
  std::unique_ptr<char[]> bytes;  // bytes[size] is a separator that stops the scan
  size_t size = 0;
  uint64_t number = 0;
  uint64_t corpus_offset = 0;    // of bytes[0], counted over all documents
  uint64_t document_offset = 0;  // of bytes[0], within the document
  std::shared_ptr<const std::string> document;
  bool framed = false;
  bool ends_document = false;
};

// Turns the bytes of one word into what is counted: valid UTF-8, in lower case when asked for.
class Normalizer {
 public:
  explicit Normalizer(const ReaderOptions& options) : options_(options) {}

  enum class Outcome { kKeep, kDrop, kBad };
  // May point `word` at the normalised copy, good until the next call; kBad leaves the offset of
  // the first bad byte within the word in bad_at().
  Outcome operator()(std::string_view& word);
  bool wants(bool ascii) const {
    return options_.errors != BadUtf8::kKeep && (!ascii || !options_.lowercase.empty());
  }
  size_t bad_at() const { return bad_at_; }

 private:
  const ReaderOptions& options_;
  std::string copy_;
  size_t bad_at_ = 0;
};

// What a scan tells about a chunk besides its words.
struct ScanReport {
  uint64_t lines = 0;  // line ends seen, up to where one of these ended the scan
  // Offsets in the chunk: of the first bad byte under kStrict, of a word that is too long.
  std::optional<uint64_t> bad_byte, long_word;
};

// What is done with the words.
class ChunkHandler {
 public:
  virtual ~ChunkHandler() = default;
  // Called on the worker's thread; chunks reach one worker in increasing order.
  virtual ScanReport process(int worker, const Chunk& chunk) = 0;
  // Called on the same thread right after process(), in chunk order over all workers.
  virtual void commit(int worker, const Chunk& chunk) = 0;
};

// Cuts what is fed into chunks and runs a handler over them on threads of its own.
class ChunkPipeline {
 public:
  // Throws std::runtime_error when a thread cannot be started.
  ChunkPipeline(const ReaderOptions& options, ChunkHandler& handler);
  ~ChunkPipeline();  // abandons what is not finished

  void begin_document(std::string name, bool framed);
  // Blocks while the workers are behind; throws what a worker threw.
  void feed(std::string_view bytes);
  void end_document();
  // Waits for the workers; afterwards the handler is complete and nothing more may be fed.
  void finish();

 private:
  void open_buffer(std::string_view start);
  size_t find_cut_of_buffer() const;
  void cut_buffer();
  void push(Chunk chunk);
  void work(int worker);
  void fail(std::exception_ptr failure);

  const ReaderOptions& options_;
  ChunkHandler& handler_;

  // The calling thread's.
  Chunk open_;           // being filled
  size_t capacity_ = 0;  // of open_
  size_t searched_ = 0;  // leading bytes of open_ known to hold no separator
  uint64_t next_number_ = 0;

  // Shared, under mutex_.
  std::mutex mutex_;
  std::condition_variable queued_, taken_, committed_changed_;
  std::deque<Chunk> queue_;
  uint64_t committed_ = 0;       // chunks committed so far
  uint64_t document_lines_ = 0;  // line ends committed in the current document
  bool closed_ = false, stopped_ = false;
  std::exception_ptr failure_;

  std::vector<std::jthread> workers_;
};

// What documents are fed to.
class Reader : public ChunkHandler {
 public:
  virtual ChunkPipeline& pipeline() = 0;
  virtual void finish() = 0;  // pipeline().finish(), then what the reader has left to do
  virtual uint64_t tokens() const = 0;
};

// Counts words. Order of the result: descending count, ties by first appearance in the corpus.
class WordCounter final : public Reader {
 public:
  explicit WordCounter(ReaderOptions options);

  ChunkPipeline& pipeline() override { return pipeline_; }
  void finish() override;  // merges the threads' counts

  uint64_t tokens() const override { return tokens_; }
  uint64_t types() const { return tables_.front().size(); }
  uint64_t largest_count() const;
  // Words with at least min_count occurrences, at most max_words of them; good while this lives.
  std::vector<const WordTable::Entry*> words(uint64_t min_count, uint64_t max_words) const;

  ScanReport process(int worker, const Chunk& chunk) override;
  void commit(int, const Chunk&) override {}

 private:
  ScanReport process_gpt2(int worker, const Chunk& chunk);

  const ReaderOptions options_;
  std::vector<WordTable> tables_;  // one per worker; all in the first after finish()
  std::vector<Normalizer> normalizers_;
  uint64_t tokens_ = 0;
  ChunkPipeline pipeline_;  // last: its threads use the members above
};

// A file that is written from its beginning.
class OutputFile {
 public:
  explicit OutputFile(const std::string& path);
  void write(const void* bytes, size_t size);  // throws std::system_error naming the file
  void close();

 private:
  struct Closer {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  std::string path_;
  std::unique_ptr<std::FILE, Closer> file_;
};

// Writes the ids of known words as int32 into one file and the sentence boundaries as int64 into
// another: offsets 0 = o[0] < o[1] < ... < o[S] = N, sentence s being tokens o[s] .. o[s+1].
// Unknown words are dropped; a line is cut into sentences of max_sentence_length words, the last
// one shorter; a line without known words leaves no sentence.
class CorpusEncoder final : public Reader {
 public:
  // Word i has id i. Throws std::invalid_argument when a word comes twice.
  CorpusEncoder(ReaderOptions options, const std::vector<std::string_view>& words,
                uint64_t max_sentence_length, const std::string& tokens_path,
                const std::string& offsets_path);

  ChunkPipeline& pipeline() override { return pipeline_; }
  void finish() override;  // closes the files

  uint64_t tokens() const override { return tokens_written_; }
  uint64_t sentences() const { return sentences_; }
  uint64_t unknown() const { return unknown_; }

  ScanReport process(int worker, const Chunk& chunk) override;
  void commit(int worker, const Chunk& chunk) override;

 private:
  struct Encoded {
    std::vector<int32_t> tokens;
    std::vector<uint64_t> line_ends;  // number of tokens of the chunk before each line end
    uint64_t unknown = 0;
  };

  void end_line(uint64_t end);
  void write_offsets();

  const ReaderOptions options_;
  const uint64_t max_sentence_length_;
  WordTable table_;
  std::vector<Normalizer> normalizers_;
  std::vector<Encoded> encoded_;  // one per worker
  OutputFile tokens_file_, offsets_file_;
  uint64_t tokens_written_ = 0, sentences_ = 0, unknown_ = 0;
  uint64_t sentence_start_ = 0;           // of the line being written
  std::vector<int64_t> pending_offsets_;  // not yet written
  ChunkPipeline pipeline_;                // last: its threads use the members above
};

}  // namespace lexforge::text
