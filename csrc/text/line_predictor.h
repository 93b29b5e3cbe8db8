// Labels of lines by a supervised model of fastText.
//
//   hidden       h = (1 / n) sum of the n rows of the input that a line has (labelled.h)
//   scores       s = W h, a score for each label; of a tree one for each inner node
//
//   softmax      p_i = exp(s_i - max s) / sum_j exp(s_j - max s)
//   sigmoids     p_i = 1 / (1 + exp(-s_i))
//   tree         log p_i = sum over the path of log(p of its turn), where a node turns right with
//                1 / (1 + exp(-s)); only what can still be among the k best is looked at
//
//   The original adds 0.00001 to what it takes logarithms of, so p + 0.00001 is told (of a tree at
//   each turn), and looks sigmoids up in a table of 512 steps from -8 to 8. Both are the caller's
//   choice.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "text/labelled.h"
#include "text/matrix_rows.h"

namespace lexforge::text {

class LinePredictor {
 public:
  enum class Loss : int { kSoftmax, kSigmoids, kTree };
  // The labels of lines, by descending probability; of equal ones the last comes first.
  struct Found {
    std::vector<int64_t> ends{0};  // behind the labels of each line
    std::vector<int32_t> labels;
    std::vector<float> probabilities;
  };

  // Everything is borrowed for as long as this lives. A tree's paths are those of huffman.h, for
  // `output.rows` labels. `exact`: without what the original adds and looks up.
  //
  // Throws std::invalid_argument where features have rows that the input lacks, no label, another
  // size of the output.
  LinePredictor(const LineFeatures& features, const MatrixRows& input, const MatrixRows& output,
                Loss loss, const int64_t* path_offsets, const int32_t* path_nodes, bool exact);

  int64_t labels() const { return output_.rows; }

  // The inputs of lines, whose rows end at row_ends[1 .. lines]: hidden [lines, dim], zeros of a
  // line without any.
  void hidden(std::span<const int64_t> row_ends, const int32_t* rows, float* hidden,
              int threads) const;

  // Up to k labels of each line with at least this probability; none of a line without rows.
  // `inputs` is null, or those of the lines [lines, dim]; `scores` is null, or those of all labels
  // [lines, labels], not of a tree.
  Found predict(std::span<const int64_t> row_ends, const int32_t* rows, const float* inputs,
                const float* scores, int64_t k, float threshold, int threads) const;

  // The same of the first line of a text, and its input [dim]. Writes up to k labels and
  // probabilities, and returns how many.
  int64_t predict(std::string_view text, int64_t k, float threshold, int64_t* labels,
                  double* probabilities) const;
  void hidden(std::string_view text, float* hidden) const;

 private:
  struct Label {
    float probability;
    int32_t number;
  };
  struct Room {  // of one thread
    std::vector<float> hidden, scores;
    std::vector<Label> best;
  };

  void best_of(std::span<const float> scores, int64_t k, float threshold, Room& room) const;
  void best_of_tree(const float* input, int64_t k, float threshold, Room& room) const;
  void descend(const float* input, int32_t node, float log_probability, int64_t k,
               float log_threshold, Room& room) const;
  void one_line(const float* input, const float* scores, int64_t k, float threshold,
                Room& room) const;
  float told(float probability) const;

  const LineFeatures& features_;
  const MatrixRows input_, output_;
  const Loss loss_;
  const bool exact_;
  std::vector<int32_t> children_;  // of inner nodes left and right: a node, or -1 - label
};

}  // namespace lexforge::text
