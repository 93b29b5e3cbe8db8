// Phrases: words that come together more often than by chance (Mikolov et al. 2013, "Distributed
// representations of words and phrases"), counted, scored, and found in text.
//
// A sentence is a row of words. Connectors (of, the, ...) neither begin nor end a phrase. A
// candidate is a word, the connectors behind it, and the next word that is none:
//
//   text = word_a + delimiter + connector + delimiter + ... + word_b
//
// What is counted are texts: of each word that is no connector, and of each candidate. A word that
// holds the delimiter and a candidate of the same text share one count, as in a dictionary from
// texts to counts. Texts are numbered in the order of their first appearance.
//
//   score        (count(text) - min_count) / (count(word_a) count(word_b)) * number of texts
//   score, npmi  ln(p(text) / (p(word_a) p(word_b))) / -ln p(text), where p(x) = count(x) / words of
//                the corpus, connectors and all; no phrase where count(text) < min_count
//
// A candidate whose text and two words were all counted is a phrase if its score exceeds the
// threshold. Sentences are read from the left: behind a phrase the next one begins anew.
#pragma once

#include <cstdint>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

#include "text/corpus.h"
#include "text/pair_table.h"
#include "text/word_table.h"

namespace lexforge::text {

// Sentences of text documents are lines, cut behind so many words.
constexpr uint64_t kMaxSentenceWords = 10000;

struct Scoring {
  enum Kind : int {
    kDefault,
    kNpmi,
    kStored,   // the values of the table are scores, kept as the bits of doubles
    kUnknown,  // somebody else scores: all are accepted
  };
  Kind kind = kDefault;
  double threshold = 0, min_count = 0;
  uint64_t corpus_words = 0;

  // Of a text and its words, whose counts are positive; not for kStored.
  bool accepts(uint64_t a, uint64_t b, uint64_t both, uint64_t texts, double& score) const;
};

// Texts and a value of each: its count, or a score.
//
// A candidate of safe words, those without a character of the delimiter, has a text that no other
// candidate has. It is never written down: its key is the number of its first word and that of the
// second, or, where connectors stand between, that of the steps over them to the second. The other
// candidates go by their text, which is that of a safe candidate when it falls apart into safe
// words and else an entry of the words' own table.
class PhraseTable {
 public:
  static constexpr uint32_t kAbsent = UINT32_MAX;

  // Throws std::invalid_argument for an empty delimiter.
  PhraseTable(std::string delimiter, std::vector<std::string> connectors);

  // -- texts

  uint32_t size() const { return entries_.size(); }
  uint64_t& value(uint32_t entry) { return entries_[entry].value; }
  uint64_t value(uint32_t entry) const { return entries_[entry].value; }
  uint32_t find(std::string_view text) const;
  uint32_t add(std::string_view text);
  void append_text(uint32_t entry, std::string& out) const;

  // Leaves out values below `least`. Numbers of words and steps are others afterwards.
  void prune(uint64_t least);
  // Adds the values of another table, its new texts behind the own ones.
  void merge(const PhraseTable& other);

  // A text of several words, told apart by the delimiter wherever it stands.
  struct Phrase {
    uint32_t entry;
    uint64_t count_a, count_b;  // of its first and its last word
    double score;
  };
  // Those that are phrases, in order; for kUnknown all whose first and last words were counted.
  std::vector<Phrase> phrases(const Scoring& scoring) const;

  // -- words, by number

  uint32_t add_word(std::string_view word, uint64_t hash);
  uint32_t find_word(std::string_view word, uint64_t hash) const { return words_.find(word, hash); }
  const WordTable& words() const { return words_; }
  bool is_connector(uint32_t word) const { return word < connectors_.size(); }
  bool is_safe(std::string_view word) const;
  bool is_safe(uint32_t word) const { return words_info_[word].safe; }
  std::string_view word(uint32_t word) const { return words_[word].word(); }
  const std::string& delimiter() const { return delimiter_; }
  // The entry of the text that is this word.
  uint32_t add_word_entry(uint32_t word);
  uint32_t find_word_entry(uint32_t word) const;

  // -- candidates of safe words; `steps` are those over the connectors, 0 where there are none

  uint32_t add_step(uint32_t steps, uint32_t word) {
    const uint32_t all = steps_.add(pair(steps, word)) + 1;
    if (all >= kStep - 1) throw std::length_error("more than 2^31 - 2 ways over connectors");
    return all;
  }
  uint32_t find_step(uint32_t steps, uint32_t word) const {
    return steps_.find(pair(steps, word)) + 1;  // 0, kAbsent + 1, where there is none
  }
  uint32_t add_pair(uint32_t a, uint32_t steps, uint32_t b) {
    return entries_.add(pair(a, steps == 0 ? b : kStep | add_step(steps, b)));
  }
  uint32_t find_pair(uint32_t a, uint32_t steps, uint32_t b) const;
  void prefetch(uint32_t a, uint32_t b) const { entries_.prefetch(pair(a, b)); }
  void prefetch_entry(uint32_t a, uint32_t b) const { entries_.prefetch_entry(pair(a, b)); }
  void prefetch_word_entry(uint32_t word) const {
    const uint32_t entry = words_info_[word].entry;
    if (entry != kAbsent) __builtin_prefetch(&entries_[entry], 1);
  }

 private:
  static constexpr uint32_t kStep = uint32_t{1} << 31;  // a number of steps, not of a word
  static constexpr uint32_t kAlone = UINT32_MAX;        // a word by itself

  struct WordInfo {
    uint32_t entry = kAbsent;
    bool safe = false;
  };

  static uint64_t pair(uint32_t a, uint32_t b) { return static_cast<uint64_t>(a) << 32 | b; }

  // The safe words that a text falls apart into, if they are those of a candidate.
  bool split(std::string_view text, std::vector<std::string_view>& parts) const;
  uint32_t add_text_of(const std::vector<std::string_view>& parts);
  uint32_t find_text_of(const std::vector<std::string_view>& parts) const;
  uint64_t count(std::string_view text) const;

  std::string delimiter_;
  std::vector<std::string> connectors_;  // the first words
  std::vector<std::string> characters_;  // of the delimiter
  WordTable words_;
  std::vector<WordInfo> words_info_;
  PairTable steps_;    // (steps so far, word)
  PairTable entries_;  // (word, kAlone), (word, word) or (word, kStep | steps)
};

// The words of a chunk, looked up once all of them are there: memory is slower than the work.
struct ChunkWords {
  struct Token {
    uint64_t hash;
    uint32_t length, number;
  };
  std::vector<Token> tokens;
  std::string text;                 // of the words, one behind the other
  std::vector<uint64_t> line_ends;  // number of tokens before each

  // Fills all but the numbers.
  ScanReport scan(const Chunk& chunk, Normalizer& normalize);
  // Gives each token number(word, hash), of words that are in `table` or soon will be.
  template <typename Number>
  void look_up(const WordTable& table, const Number& number);
};

// Counts the words and candidates of documents into an empty table, which outlives it.
//
// After a sentence that leaves more than `max_texts` texts, those that came less than n times are
// dropped: n is 1 at first, which drops none, and one more each time.
class PhraseCounter final : public Reader {
 public:
  PhraseCounter(ReaderOptions options, PhraseTable& table, uint64_t max_texts);

  ChunkPipeline& pipeline() override { return pipeline_; }
  void finish() override { pipeline_.finish(); }
  uint64_t tokens() const override { return tokens_; }
  uint64_t least() const { return least_; }  // n of the next time

  ScanReport process(int worker, const Chunk& chunk) override;
  void commit(int worker, const Chunk& chunk) override;

 private:
  // What a worker has scanned: words by numbers of its own, so that it waits for nobody.
  struct Scanned : ChunkWords {
    WordTable words;
    std::vector<uint32_t> in_table;  // own number -> that in the table, kAbsent: not known yet
    uint64_t generation = 0;         // of the table in which those are
  };

  void number(Scanned& scanned, size_t first);
  void count(size_t first, size_t last);

  const ReaderOptions options_;
  PhraseTable& table_;
  const uint64_t max_texts_;
  std::vector<Normalizer> normalizers_;
  std::vector<Scanned> scanned_;
  std::vector<uint32_t> numbers_;  // of the chunk's words in the table

  uint64_t generation_ = 0, least_ = 1, tokens_ = 0;
  // The sentence so far.
  uint64_t sentence_words_ = 0;
  uint32_t start_ = PhraseTable::kAbsent;  // the last word that is no connector
  uint32_t steps_ = 0;                     // over the connectors behind it
  bool safe_ = true;                       // all of them are
  std::string text_;                       // of them all, where one is not
  std::vector<uint32_t> between_;
  ChunkPipeline pipeline_;  // last: its threads use the members above
};

// Finds the phrases of sentences, word by word.
class PhraseMatcher {
 public:
  PhraseMatcher(const PhraseTable& table, const Scoring& scoring)
      : table_(table), scoring_(scoring) {}

  // Takes the next word, whose number is that in the table or kAbsent. Of `sink` is called
  //   alone(word)     it is no part of a phrase
  //   hold(word)      it may be, which will show
  //   release()       what is held is no phrase
  //   phrase(score)   what is held and this word are one; text() is theirs
  template <typename Sink>
  void word(uint32_t number, std::string_view word, Sink& sink);
  // The sentence ends.
  template <typename Sink>
  void end(Sink& sink) {
    if (held_) sink.release();
    held_ = false;
  }
  const std::string& text() const { return text_; }

 private:
  bool completes(uint32_t number, std::string_view word, bool safe, double& score) const;

  const PhraseTable& table_;
  const Scoring scoring_;
  bool held_ = false;
  uint32_t start_ = PhraseTable::kAbsent, steps_ = 0;
  size_t start_size_ = 0;
  bool safe_ = true, known_ = true;  // all that is held; known: to the table, as steps too
  std::string text_;
};

// Where phrases are in a framed block of sentences (corpus.h), empty words being left out.
struct PhraseMatches {
  std::vector<int32_t> spans;  // of each: sentence, first word, behind the last one
  std::vector<double> scores;
  int64_t empty = 0;  // words
};
PhraseMatches match_phrases(const PhraseTable& table, const Scoring& scoring,
                            std::string_view framed);

// Writes documents with one space between words, "\n" after each line, phrases as their text.
class PhraseJoiner final : public Reader {
 public:
  // The table is only read; it outlives this.
  PhraseJoiner(ReaderOptions options, const PhraseTable& table, const Scoring& scoring);

  ChunkPipeline& pipeline() override { return pipeline_; }
  void finish() override { pipeline_.finish(); }
  uint64_t tokens() const override { return tokens_; }
  // The phrases that were joined, in the order of their first appearance: `count` times, and
  // `first` has the bits of their score. Complete after finish().
  const WordTable& phrases() const { return phrases_; }
  // What was written since the last call.
  std::string take();

  ScanReport process(int worker, const Chunk& chunk) override;
  void commit(int worker, const Chunk& chunk) override;

  // For the matcher.
  void alone(std::string_view word);
  void hold(std::string_view word);
  void release();
  void phrase(double score);

 private:
  void end_line();

  const ReaderOptions options_;
  const PhraseTable& table_;
  std::vector<Normalizer> normalizers_;
  std::vector<ChunkWords> scanned_;
  PhraseMatcher matcher_;
  std::string text_;      // of the chunk
  std::string held_;      // words, one space between
  bool in_line_ = false;  // something of the line is written
  uint64_t line_words_ = 0, tokens_ = 0;
  WordTable phrases_;
  std::mutex mutex_;
  std::string written_;     // since the last take(); under mutex_
  ChunkPipeline pipeline_;  // last: its threads use the members above
};

}  // namespace lexforge::text
