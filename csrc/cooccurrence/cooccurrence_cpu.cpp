#include "cooccurrence/cooccurrence_cpu.h"

#include <algorithm>

namespace lexforge {
namespace {

// The sentence of a token among [s_begin, s_end): the last one that begins at it or before.
int64_t sentence_of(const CooccurrenceIndexParams& params, int64_t s_begin, int64_t s_end,
                    int64_t token) {
  return std::upper_bound(params.offsets + s_begin, params.offsets + s_end, token) -
         params.offsets - 1;
}

// Calls f(first token, tokens, place) for each sentence's part of tokens [begin, end).
template <typename Function>
void each_sentence(const CooccurrenceIndexParams& params, const CooccurrenceSpan& span,
                   int64_t begin, int64_t end, Function f) {
  for (int64_t s = sentence_of(params, span.s_first, span.s_last + 1, begin); begin < end; ++s) {
    const int64_t stop = std::min(end, params.offsets[s + 1]);
    f(begin, stop - begin, span.at(begin, s));
    begin = stop;
  }
}

}  // namespace

bool cooccurrence_span(const CooccurrenceIndexParams& params, CooccurrenceSpan& span) {
  span = {0, 0, 0, -2, params.window};  // of size 0
  if (params.first == params.last) return true;
  const int64_t s_first = sentence_of(params, 0, params.sentences, params.first);
  const int64_t s_last = sentence_of(params, 0, params.sentences, params.last - 1);
  if (s_first < 0 || s_last < s_first || s_last >= params.sentences) return false;
  for (int64_t s = s_first; s <= s_last; ++s) {
    if (params.offsets[s] > params.offsets[s + 1]) return false;
  }
  if (params.offsets[s_first] < 0 || params.offsets[s_first] > params.first ||
      params.offsets[s_last + 1] < params.last || params.offsets[s_last + 1] > params.token_count) {
    return false;
  }
  span = {std::max(params.first - params.window, params.offsets[s_first]),
          std::min(params.last + params.window, params.offsets[s_last + 1]), s_first, s_last,
          params.window};
  return true;
}

void write_separators(const CooccurrenceIndexParams& params, const CooccurrenceSpan& span,
                      int64_t s_begin, int64_t s_end) {
  for (int64_t s = s_begin; s < s_end; ++s) {
    const int64_t token = std::max(params.offsets[s], span.begin);
    std::fill_n(params.padded + span.at(token, s) - span.window, span.window, params.vocab_size);
  }
}

bool copy_tokens(const CooccurrenceIndexParams& params, const CooccurrenceSpan& span, int64_t begin,
                 int64_t end, int32_t* count) {
  uint32_t largest = 0;
  each_sentence(params, span, begin, end, [&](int64_t token, int64_t tokens, int64_t place) {
    for (int64_t i = 0; i < tokens; ++i) {
      params.padded[place + i] = params.tokens[token + i];
      largest = std::max(largest, static_cast<uint32_t>(params.tokens[token + i]));
    }
  });
  if (begin < end && largest >= static_cast<uint32_t>(params.vocab_size)) return false;
  const int64_t last = std::min(end, params.last);
  for (int64_t p = std::max(begin, params.first); p < last; ++p) ++count[params.tokens[p]];
  return true;
}

void write_positions(const CooccurrenceIndexParams& params, const CooccurrenceSpan& span,
                     int64_t begin, int64_t end, int32_t* place) {
  constexpr int64_t kTokensAhead = 16;
  begin = std::max(begin, params.first);
  end = std::min(end, params.last);
  each_sentence(params, span, begin, end, [&](int64_t token, int64_t tokens, int64_t at) {
    for (int64_t i = 0; i < tokens; ++i) {
      const int64_t ahead = std::min(token + i + kTokensAhead, end - 1);
      __builtin_prefetch(params.positions + place[params.tokens[ahead]], 1);
      params.positions[place[params.tokens[token + i]]++] = static_cast<int32_t>(at + i);
    }
  });
}

namespace {

// Windows are random places of `padded`; they are asked for this many positions ahead. From 8 to 48
// dense rows took half the time, from 48 to 64 no less (English Wikipedia, window 10, one thread).
constexpr int64_t kAhead = 48;
constexpr int64_t kLine = 16;  // tokens of a cache line

template <bool kSparse, bool kSaturate>
struct RowSum {
  uint64_t* sum;
  int32_t* touched;
  int64_t listed;

  // The column is written to the list in any case, and stays there when it is new.
  inline void add(int32_t column, int64_t units) {
    const uint64_t before = sum[column];
    if (kSparse) {
      touched[listed] = column;
      listed += before == 0;
    }
    sum[column] = kSaturate
                      ? static_cast<uint64_t>(cooccurrence_add(static_cast<int64_t>(before), units))
                      : before + static_cast<uint64_t>(units);
  }
};

// kWindow is the window where it is a usual one, so that the loop unrolls; else 0.
template <bool kSparse, bool kSaturate, bool kSymmetric, int64_t kWindow>
int64_t add_windows_of(const CooccurrenceRowsParams& params, const int64_t* units, int64_t begin,
                       int64_t end, const CooccurrenceScratch& scratch) {
  RowSum<kSparse, kSaturate> row{scratch.sum, scratch.touched, 0};
  const int64_t last_ahead = params.starts[params.last_row] - 1;
  const int64_t window = kWindow > 0 ? kWindow : params.window;
  for (int64_t i = begin; i < end; ++i) {
    const int32_t* ahead = params.padded + params.positions[std::min(i + kAhead, last_ahead)];
    for (int64_t d = kSymmetric ? -window : 1; d < window; d += kLine)
      __builtin_prefetch(ahead + d);
    __builtin_prefetch(ahead + window);
    const int32_t* center = params.padded + params.positions[i];
#pragma GCC unroll 15
    for (int64_t d = 1; d <= window; ++d) {
      if (kSymmetric) row.add(center[-d], units[d]);
      row.add(center[d], units[d]);
    }
  }
  return row.listed;
}

template <bool kSparse, bool kSymmetric>
auto choose_window(int32_t window, bool saturate) {
  if (saturate) return add_windows_of<kSparse, true, kSymmetric, 0>;
  switch (window) {
    case 5:
      return add_windows_of<kSparse, false, kSymmetric, 5>;
    case 10:
      return add_windows_of<kSparse, false, kSymmetric, 10>;
    case 15:
      return add_windows_of<kSparse, false, kSymmetric, 15>;
    default:
      return add_windows_of<kSparse, false, kSymmetric, 0>;
  }
}

}  // namespace

int64_t add_windows(const CooccurrenceRowsParams& params, const int64_t* units, int64_t begin,
                    int64_t end, bool sparse, bool saturate, const CooccurrenceScratch& scratch) {
  const auto add = params.symmetric
                       ? (sparse ? choose_window<true, true>(params.window, saturate)
                                 : choose_window<false, true>(params.window, saturate))
                       : (sparse ? choose_window<true, false>(params.window, saturate)
                                 : choose_window<false, false>(params.window, saturate));
  scratch.sum[params.vocab_size] = 1;  // not new, so separators are never listed
  const int64_t listed = add(params, units, begin, end, scratch);
  scratch.sum[params.vocab_size] = 0;
  return listed;
}

int64_t add_entries(const int32_t* cols, const int64_t* counts, int64_t entries, int64_t listed,
                    bool sparse, const CooccurrenceScratch& scratch) {
  RowSum<true, true> list{scratch.sum, scratch.touched, listed};
  RowSum<false, true> dense{scratch.sum, nullptr, 0};
  for (int64_t e = 0; e < entries; ++e) {
    if (sparse) {
      list.add(cols[e], counts[e]);
    } else {
      dense.add(cols[e], counts[e]);
    }
  }
  return list.listed;
}

}  // namespace lexforge
