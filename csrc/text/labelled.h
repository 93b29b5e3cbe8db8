// Text with labels, as fastText reads it: each line has words and labels, in any order.
//
//   Words are separated by NUL, \t, \n, \v, \f, \r and space, and are bytes: nothing is decoded. One
//   that begins with a prefix ("__label__") is a label. A line ends with \n, and the end itself is
//   the word </s>; one that stands in the text ends a line as well. The last line of a document has
//   no such word where there is no \n.
//
// LabelledEncoder turns a corpus into numbers to train on, LineFeatures text into rows of a model.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/corpus.h"
#include "text/subwords.h"
#include "text/word_table.h"

namespace lexforge::text {

// Numbers all distinct words and labels in the order of their first appearance, behind those that
// are known before, and writes files of numbers:
//
//   words, labels            int32: the numbers of the words, and of the labels, of all lines
//   word_ends, label_ends    int64: 0, and how many of them there are up to the end of each line
class LabelledEncoder final : public Reader {
 public:
  struct Paths {
    std::string words, word_ends, labels, label_ends;
  };

  // Throws std::invalid_argument when one that is known comes twice.
  LabelledEncoder(ReaderOptions options, std::string prefix, const WordSpans& known,
                  const Paths& paths);

  ChunkPipeline& pipeline() override { return pipeline_; }
  void finish() override;  // closes the files

  uint64_t tokens() const override { return words_written_ + labels_written_; }
  uint64_t lines() const { return lines_; }
  // All that have numbers, with their counts.
  const WordTable& types() const { return types_; }
  bool is_label(uint32_t type) const { return types_[type].word().starts_with(prefix_); }

  ScanReport process(int worker, const Chunk& chunk) override;
  void commit(int worker, const Chunk& chunk) override;

 private:
  struct End {
    uint64_t words, labels;  // of the chunk, before the end of a line
  };
  struct Worker {
    WordTable types;
    std::vector<uint8_t> is_label;  // of its types
    std::vector<int32_t> number;    // of those that have been committed, in types_
    std::vector<int32_t> words, labels;
    std::vector<End> ends;
  };

  void end_line(uint64_t words, uint64_t labels);

  const ReaderOptions options_;
  const std::string prefix_;
  std::vector<Normalizer> normalizers_;
  std::vector<Worker> workers_;
  WordTable types_;
  OutputFile words_file_, word_ends_file_, labels_file_, label_ends_file_;
  uint64_t words_written_ = 0, labels_written_ = 0, lines_ = 0;
  End line_{0, 0};                                             // where the line being written began
  std::vector<int64_t> pending_words_{0}, pending_labels_{0};  // ends not yet written
  ChunkPipeline pipeline_;  // last: its threads use the members above
};

// The rows of an input matrix that a line is the mean of, for a model whose words are known:
//
//   of each word its row, then its n-grams' (subwords.h), if any; an unknown word has no row
//   of each word i and n = 2 .. word_ngrams: with H = hash_i, and then for the words that follow
//   H = H * 116049371 + hash of the word mod 2^64, the bucket H mod buckets
//
// where a word's hash (subwords.h) is a number of 32 bits with its sign. Row `words + b` is bucket
// b's; or, of a pruned model, words + the row of b, and none where b has none.
class LineFeatures {
 public:
  struct Settings {
    int32_t min_n = 0, max_n = 0, word_ngrams = 1;
    int64_t buckets = 0;
  };
  struct Lines {
    std::vector<int64_t> row_ends{0}, label_ends{0};
    std::vector<int32_t> rows, labels;
    int64_t tokens = 0;
  };

  // `labels` have numbers of their own, from 0 on. `pruned` is null, or has the rows of buckets, and
  // is borrowed. Without buckets there are no n-grams.
  LineFeatures(const WordSpans& words, const WordSpans& labels, std::string prefix,
               Settings settings, const SubwordRows* pruned);

  // Lines of a text by so many threads. Where `whole`, what follows a </s> in a line is left out;
  // otherwise it is a line of its own. A last line without \n gets no </s>.
  Lines read(std::string_view text, bool whole, int threads) const;

  int64_t labels() const { return static_cast<int64_t>(table_.size()) - words_; }
  int64_t rows() const { return rows_; }  // of the matrix that rows are numbers of, at least

 private:
  void read(std::string_view text, bool whole, Lines& lines) const;
  void push_bucket(uint64_t hash, std::vector<int32_t>& rows) const;

  const std::string prefix_;
  const Settings settings_;
  WordTable table_;  // words, then labels
  int32_t words_;
  int64_t rows_;
  const SubwordRows* pruned_;
};

}  // namespace lexforge::text
