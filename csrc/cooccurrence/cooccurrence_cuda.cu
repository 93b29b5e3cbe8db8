#include <algorithm>
#include <cstddef>
#include <iterator>

#include "common/cub.cuh"
#include "common/cuda_launch.cuh"
#include "common/warp.cuh"
#include "cooccurrence/cooccurrence_cuda.h"

namespace lexforge {
namespace {

constexpr int kThreads = 256;

// First index in [low, high) whose value is above `bound`, or `high`; values ascend.
template <typename T>
__device__ __forceinline__ int64_t first_above(const T* values, int64_t low, int64_t high,
                                               T bound) {
  while (low < high) {
    const int64_t middle = low + (high - low) / 2;
    if (values[middle] > bound) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low;
}

__global__ void __launch_bounds__(kThreads)
    cooccurrence_check_kernel(const int32_t* x, int64_t n, unsigned low, unsigned count,
                              WideWord* outside) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  const int outsiders = __syncthreads_count(i < n && static_cast<unsigned>(x[i]) - low >= count);
  if (threadIdx.x == 0 && outsiders > 0) atomicAdd(outside, static_cast<WideWord>(outsiders));
}

// ---- index ----

__global__ void cooccurrence_sentences_kernel(CooccurrenceIndexParams params,
                                              CooccurrenceSentences* sentences) {
  // Sentence s has offsets[s] <= token < offsets[s + 1].
  const auto sentence_of = [&](int64_t token) {
    const int64_t after = first_above(params.offsets, 0, params.sentences + 1, token);
    return after <= params.sentences ? after - 1 : -1;
  };
  const int64_t first = sentence_of(params.first), last = sentence_of(params.last - 1);
  *sentences = {first, last, first < 0 ? 0 : params.offsets[first],
                last < 0 ? 0 : params.offsets[last + 1]};
}

// One thread per element of `padded`. Neighbours search the offsets along one path.
__global__ void __launch_bounds__(kThreads)
    cooccurrence_pad_kernel(CooccurrenceIndexParams params, CooccurrenceChunk span, int32_t* words,
                            int32_t* places, CooccurrenceFaults* faults) {
  const int64_t place = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  bool falls = false, outside = false;
  if (place < span.size) {
    int64_t sentence = span.first_sentence;
    int64_t begin = span.begin, end = span.end;
    if (!params.cross_sentences) {
      // There are more places than sentences.
      const int64_t other = span.first_sentence + place;
      falls = other <= span.last_sentence && params.offsets[other] > params.offsets[other + 1];
      // The last sentence whose separators begin at or before `place`.
      int64_t last = span.last_sentence;
      while (sentence < last) {
        const int64_t middle = last - (last - sentence) / 2;
        const int64_t separators =
            params.window * (middle - span.first_sentence) + params.offsets[middle] - span.begin;
        if (separators <= place) {
          sentence = middle;
        } else {
          last = middle - 1;
        }
      }
      begin = max(begin, params.offsets[sentence]);
      end = min(end, params.offsets[sentence + 1]);
    }
    const int64_t token = span.begin + place - params.window * (1 + sentence - span.first_sentence);
    int32_t word = params.vocab_size;
    if (token >= begin && token < end) {
      word = params.tokens[token];
      outside = word < 0 || word >= params.vocab_size;
      if (token >= params.first && token < params.last) {
        words[token - params.first] = word;
        places[token - params.first] = static_cast<int32_t>(place);
      }
    }
    params.padded[place] = word;
  }
  const int falling = __syncthreads_count(falls), outsiders = __syncthreads_count(outside);
  if (threadIdx.x != 0) return;
  if (falling > 0) atomicAdd(&faults->falling_offsets, static_cast<WideWord>(falling));
  if (outsiders > 0) atomicAdd(&faults->outside, static_cast<WideWord>(outsiders));
}

__global__ void __launch_bounds__(kThreads)
    cooccurrence_starts_kernel(const int32_t* words, int64_t centers, int32_t vocab_size,
                               int64_t* starts) {
  const int64_t word = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (word > vocab_size) return;
  starts[word] = first_above(words, 0, centers, static_cast<int32_t>(word - 1));
}

// ---- entries of the contexts ----

// Shared memory, so that three blocks share a multiprocessor of 228 KiB (48 of 64 warps): 48 KiB of
// counters and 1.5 KiB of queue for each warp.
constexpr int kEntryThreads = 512;
constexpr int kEntryWarps = kEntryThreads / kWarp;
constexpr int kCounterBytes = 48 * 1024;
constexpr int kQueueBytes = 1536;

// A row with as many centres in a block adds up its contexts first: 1280 of them at window 10, at
// the price of one look at all counters.
constexpr int kLeastSummed = 64;

// Centres of a block. More of them leave fewer entries for the sort, as long as there are several
// blocks for each place on a multiprocessor.
constexpr int kMostCenters = 8192;
constexpr int kBlocksPerMultiprocessor = 12;

// A warp's entries on their way to memory: written in long pieces, one atomic for each.
// All lanes call push and flush together.
template <typename Word>
struct EntryQueue {
  static constexpr int kCapacity = kQueueBytes / (2 * sizeof(Word));
  Word* queue;  // shared: keys, then units
  Word* keys;
  Word* units;
  WideWord* written;
  int lane;
  int count;

  __device__ __forceinline__ void push(bool wanted, Word key, Word unit) {
    const unsigned lanes = __ballot_sync(kAllLanes, wanted);
    if (lanes == 0) return;
    const int more = __popc(lanes);
    if (count + more > kCapacity) flush();
    if (wanted) {
      const int place = count + __popc(lanes & ((1u << lane) - 1));
      queue[place] = key;
      queue[kCapacity + place] = unit;
    }
    count += more;
  }

  __device__ __forceinline__ void flush() {
    __syncwarp();
    WideWord place = 0;
    if (lane == 0) place = atomicAdd(written, static_cast<WideWord>(count));
    place = __shfl_sync(kAllLanes, place, 0);
#pragma unroll 1
    for (int i = lane; i < count; i += kWarp) {
      keys[place + i] = queue[i];
      units[place + i] = queue[kCapacity + i];
    }
    __syncwarp();
    count = 0;
  }
};

template <typename Word>
struct EntriesParams {
  CooccurrenceRowsParams rows;
  CooccurrencePart part;
  int column_bits;
  int counters;  // columns below it are summed in shared memory
  int centers;   // of a block
  int slots;     // contexts of a centre
  int64_t unit;  // units of distance 1
  Word* keys;
  Word* units;
  WideWord* written;
};

constexpr int kNoRow = -1;

// A row and where its centres in the block begin and end.
struct Segment {
  int row;
  int64_t begin, end;
};

// The row of a centre, or kNoRow and no centres where the index is not what it should be.
template <typename Word>
__device__ __forceinline__ Segment segment_at(const EntriesParams<Word>& params, int64_t center,
                                              int64_t begin, int64_t end) {
  const int row = params.rows.padded[params.rows.positions[center]];
  if (row < params.part.first_row || row >= params.part.last_row) return {kNoRow, 0, 0};
  return {row - params.part.first_row, max(begin, params.rows.starts[row]),
          min(end, params.rows.starts[row + 1])};
}

// A block has some of the centres, which are sorted by row, and goes from one segment of them to
// the next. A row with many centres adds up its contexts of frequent words (low ids: a vocabulary
// is sorted by count) in shared memory, and what comes of it are entries. Its other contexts, and
// those of all other rows, are entries one by one; separators are none. Thread e of a segment takes
// context e % slots of centre e / slots, so that the lanes of a warp read neighbouring words.
//
// Of 8.3 M words of English at window 10, 145 M contexts leave 40 M entries for the sort, of which
// 26 M are distinct.
template <typename Word>
__global__ void __launch_bounds__(kEntryThreads, 3)
    cooccurrence_entries_kernel(EntriesParams<Word> params) {
  LEXFORGE_DYNAMIC_SHARED(Word, counter);
  __shared__ Word units_at[kLargestWeightedWindow + 1];
  const int thread = static_cast<int>(threadIdx.x), lane = thread % kWarp, warp = thread / kWarp;
  const bool weighted = params.rows.distance_weighting;
  Word* queued = counter + kCounterBytes / sizeof(Word) + warp * (kQueueBytes / sizeof(Word));
  EntryQueue<Word> queue{queued, params.keys, params.units, params.written, lane, 0};
  if (weighted && thread >= 1 && thread <= params.rows.window) {
    units_at[thread] = static_cast<Word>(params.unit / thread);
  }
  for (int c = thread; c < params.counters; c += kEntryThreads) counter[c] = 0;
  __syncthreads();

  const int64_t begin = params.part.first + int64_t{blockIdx.x} * params.centers;
  const int64_t end = min(params.part.last, begin + params.centers);
  for (int64_t center = begin; center < end;) {
    // A row of kLeastSummed centres that begins among the next as many ends behind them.
    const int64_t behind = min(end, center + kLeastSummed);
    const Segment row = segment_at(params, center, begin, end);
    const Segment next = segment_at(params, behind - 1, begin, end);
    const bool summed = row.end - center >= kLeastSummed;
    const bool stop = next.end - next.begin >= kLeastSummed && next.begin > center;
    const int64_t last = summed ? row.end : stop ? next.begin : behind;

    const int32_t* places = params.rows.positions + center;
    const int contexts = static_cast<int>(last - center) * params.slots;
#pragma unroll 1
    for (int first = warp * kWarp; first < contexts; first += kEntryThreads) {
      const int e = first + lane;
      const int i = e / params.slots, slot = e - i * params.slots;
      // -window .. -1, 1 .. window, or the latter alone
      int distance = params.rows.symmetric ? slot - params.rows.window : slot + 1;
      if (params.rows.symmetric && distance >= 0) ++distance;
      int own = row.row, column = params.rows.vocab_size;
      if (e < contexts) {
        const int32_t place = places[i];
        if (!summed) own = params.rows.padded[place] - params.part.first_row;
        column = params.rows.padded[place + distance];
      }
      const bool counts = own >= 0 && own < params.part.last_row - params.part.first_row &&
                          column < params.rows.vocab_size;
      const bool shared = counts && summed && column < params.counters;
      const Word units = weighted ? units_at[distance < 0 ? -distance : distance] : Word{1};
      const Word key = static_cast<Word>(own) << params.column_bits | static_cast<Word>(column);
      queue.push(counts && !shared, key, units);
      if (shared && atomicAdd(&counter[column], units) > static_cast<Word>(~units)) {
        // The counter has passed its end, which is rare.
        const WideWord place = atomicAdd(params.written, WideWord{2});
        params.keys[place] = params.keys[place + 1] = key;
        params.units[place] = params.units[place + 1] = Word{1} << (8 * sizeof(Word) - 1);
      }
    }

    if (summed) {
      __syncthreads();
#pragma unroll 1
      for (int first = warp * kWarp; first < params.counters; first += kEntryThreads) {
        const int c = first + lane;
        const Word sum = c < params.counters ? counter[c] : 0;
        const Word key = static_cast<Word>(row.row) << params.column_bits | static_cast<Word>(c);
        queue.push(sum != 0, key, sum);
        if (sum != 0) counter[c] = 0;
      }
      __syncthreads();
    }
    center = last;
  }
  queue.flush();
}

// ---- entries of counted rows ----

__global__ void __launch_bounds__(kThreads)
    cooccurrence_expand_kernel(const int64_t* begin, const int32_t* cols, const int64_t* counts,
                               int64_t first_row, int64_t last_row, int64_t entries,
                               int column_bits, WideWord* keys, WideWord* units) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i >= entries) return;
  const int64_t entry = begin[first_row] + i;
  const int64_t row = first_above(begin, first_row + 1, last_row, entry) - 1 - first_row;
  const WideWord mask = (WideWord{1} << column_bits) - 1;
  keys[i] = static_cast<WideWord>(row) << column_bits | (static_cast<WideWord>(cols[entry]) & mask);
  units[i] = static_cast<WideWord>(counts[entry]);
}

// ---- from entries to rows ----

// Units as counts that cannot be negative, for CUB to read.
template <typename Word>
struct CountsOfUnits {
  using iterator_category = std::random_access_iterator_tag;
  using value_type = int64_t;
  using difference_type = ptrdiff_t;
  using pointer = void;
  using reference = int64_t;

  const Word* units;

  __host__ __device__ int64_t operator[](ptrdiff_t i) const {
    const uint64_t value = units[i];
    return static_cast<int64_t>(value < uint64_t{INT64_MAX} ? value : uint64_t{INT64_MAX});
  }
  __host__ __device__ int64_t operator*() const { return (*this)[0]; }
  __host__ __device__ CountsOfUnits operator+(ptrdiff_t n) const { return {units + n}; }
};

struct AddCounts {
  __host__ __device__ int64_t operator()(int64_t a, int64_t b) const {
    return cooccurrence_add(a, b);
  }
};

template <typename Word>
__global__ void __launch_bounds__(kThreads)
    cooccurrence_columns_kernel(const Word* distinct, int64_t n, Word mask, int32_t* cols) {
  const int64_t i = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (i < n) cols[i] = static_cast<int32_t>(distinct[i] & mask);
}

// Two searches for each row; there are many more entries than rows.
template <typename Word>
__global__ void __launch_bounds__(kThreads)
    cooccurrence_row_sizes_kernel(const Word* distinct, int64_t n, int64_t rows, int column_bits,
                                  int64_t* row_size) {
  const int64_t row = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (row >= rows) return;
  const Word mask = (Word{1} << column_bits) - 1, key = static_cast<Word>(row) << column_bits;
  const int64_t end = first_above(distinct, int64_t{0}, n, static_cast<Word>(key | mask));
  const int64_t begin = row == 0 ? 0 : first_above(distinct, int64_t{0}, end, key - 1);
  row_size[row] = end - begin;
}

}  // namespace

// ---- launchers ----

void launch_cooccurrence_check(const int32_t* x, int64_t n, int64_t low, int64_t count,
                               WideWord* outside, void* stream) {
  launch(cooccurrence_check_kernel, dim3(blocks_for(n, kThreads)), dim3(kThreads), 0,
         static_cast<cudaStream_t>(stream), x, n, static_cast<unsigned>(low),
         static_cast<unsigned>(count), outside);
}

void launch_cooccurrence_sentences(const CooccurrenceIndexParams& params,
                                   CooccurrenceSentences* sentences, void* stream) {
  launch(cooccurrence_sentences_kernel, dim3(1), dim3(1), 0, static_cast<cudaStream_t>(stream),
         params, sentences);
}

void launch_cooccurrence_pad(const CooccurrenceIndexParams& params, const CooccurrenceChunk& span,
                             int32_t* words, int32_t* places, CooccurrenceFaults* faults,
                             void* stream) {
  launch(cooccurrence_pad_kernel, dim3(blocks_for(span.size, kThreads)), dim3(kThreads), 0,
         static_cast<cudaStream_t>(stream), params, span, words, places, faults);
}

void launch_cooccurrence_starts(const CooccurrenceIndexParams& params, const int32_t* words,
                                void* stream) {
  launch(cooccurrence_starts_kernel, dim3(blocks_for(int64_t{params.vocab_size} + 1, kThreads)),
         dim3(kThreads), 0, static_cast<cudaStream_t>(stream), words, params.last - params.first,
         params.vocab_size, params.starts);
}

template <typename Word>
void launch_cooccurrence_entries(const CooccurrenceRowsParams& rows, const CooccurrencePart& part,
                                 Word* keys, Word* units, WideWord* written, void* stream) {
  const int64_t centers = part.last - part.first;
  if (centers == 0) return;
  int multiprocessors = 0, device = 0;
  check_cuda(cudaGetDevice(&device), "device");
  check_cuda(cudaDeviceGetAttribute(&multiprocessors, cudaDevAttrMultiProcessorCount, device),
             "multiprocessors");
  EntriesParams<Word> params{};
  params.rows = rows;
  params.part = part;
  params.column_bits = CooccurrenceKeys::bits_for(rows.vocab_size);
  params.counters = std::min(rows.vocab_size, static_cast<int32_t>(kCounterBytes / sizeof(Word)));
  params.centers =
      static_cast<int>(std::clamp(centers / (int64_t{multiprocessors} * kBlocksPerMultiprocessor),
                                  int64_t{kLeastSummed}, int64_t{kMostCenters}));
  params.slots = static_cast<int>(cooccurrence_slots(rows));
  params.unit = cooccurrence_unit(rows.window, rows.distance_weighting);
  params.keys = keys;
  params.units = units;
  params.written = written;
  launch(cooccurrence_entries_kernel<Word>, dim3(blocks_for(centers, params.centers)),
         dim3(kEntryThreads), kCounterBytes + kEntryWarps * kQueueBytes,
         static_cast<cudaStream_t>(stream), params);
}

size_t cooccurrence_row_begins(void* storage, size_t bytes, const int64_t* row_size, int64_t rows,
                               int64_t* begin, void* stream) {
  const auto cuda_stream = static_cast<cudaStream_t>(stream);
  if (storage != nullptr) {
    check_cuda(cudaMemsetAsync(begin, 0, sizeof *begin, cuda_stream), "row begins");
  }
  // Unsigned, because forged sizes may overflow.
  check_cuda(cub::DeviceScan::InclusiveSum(
                 storage, bytes, reinterpret_cast<const uint64_t*>(row_size),
                 reinterpret_cast<uint64_t*>(begin + 1), static_cast<int>(rows), cuda_stream),
             "row begins");
  return bytes;
}

void launch_cooccurrence_expand(const int64_t* begin, const int32_t* cols, const int64_t* counts,
                                int64_t first_row, int64_t last_row, int64_t entries,
                                const CooccurrenceKeys& layout, WideWord* keys, WideWord* units,
                                void* stream) {
  if (entries == 0) return;
  launch(cooccurrence_expand_kernel, dim3(blocks_for(entries, kThreads)), dim3(kThreads), 0,
         static_cast<cudaStream_t>(stream), begin, cols, counts, first_row, last_row, entries,
         layout.column_bits, keys, units);
}

template <typename Word>
size_t cooccurrence_sort(void* storage, size_t bytes, CooccurrenceBuffers<Word>& keys,
                         CooccurrenceBuffers<Word>& units, int64_t n, int key_bits, void* stream) {
  cub::DoubleBuffer<Word> key_buffers(keys.array[0], keys.array[1]);
  cub::DoubleBuffer<Word> unit_buffers(units.array[0], units.array[1]);
  key_buffers.selector = keys.current;
  unit_buffers.selector = units.current;
  check_cuda(cub::DeviceRadixSort::SortPairs(storage, bytes, key_buffers, unit_buffers,
                                             static_cast<int>(n), 0, key_bits,
                                             static_cast<cudaStream_t>(stream)),
             "sort of entries");
  keys.current = key_buffers.selector;
  units.current = unit_buffers.selector;
  return bytes;
}

template <typename Word>
size_t cooccurrence_sum(void* storage, size_t bytes, const Word* keys, const Word* units, int64_t n,
                        Word* distinct, int64_t* counts, int64_t* runs, void* stream) {
  check_cuda(cub::DeviceReduce::ReduceByKey(storage, bytes, keys, distinct,
                                            CountsOfUnits<Word>{units}, counts, runs, AddCounts{},
                                            static_cast<int>(n), static_cast<cudaStream_t>(stream)),
             "sum of entries");
  return bytes;
}

template <typename Word>
void launch_cooccurrence_unpack(const Word* distinct, int64_t n, const CooccurrenceKeys& layout,
                                int32_t* cols, int64_t* row_size, void* stream) {
  const auto cuda_stream = static_cast<cudaStream_t>(stream);
  launch(cooccurrence_columns_kernel<Word>, dim3(blocks_for(n, kThreads)), dim3(kThreads), 0,
         cuda_stream, distinct, n, (Word{1} << layout.column_bits) - 1, cols);
  launch(cooccurrence_row_sizes_kernel<Word>, dim3(blocks_for(layout.rows, kThreads)),
         dim3(kThreads), 0, cuda_stream, distinct, n, layout.rows, layout.column_bits, row_size);
}

void cooccurrence_read(void* host, const void* device, size_t bytes, void* stream) {
  const auto cuda_stream = static_cast<cudaStream_t>(stream);
  check_cuda(cudaMemcpyAsync(host, device, bytes, cudaMemcpyDeviceToHost, cuda_stream),
             "read back");
  check_cuda(cudaStreamSynchronize(cuda_stream), "read back");
}

int64_t cooccurrence_memory() {
  size_t free = 0, total = 0;
  check_cuda(cudaMemGetInfo(&free, &total), "free memory");
  return static_cast<int64_t>(std::max(free / 2, total / 64));
}

#define LEXFORGE_INSTANTIATE(Word)                                                             \
  template void launch_cooccurrence_entries(                                                   \
      const CooccurrenceRowsParams&, const CooccurrencePart&, Word*, Word*, WideWord*, void*); \
  template size_t cooccurrence_sort(void*, size_t, CooccurrenceBuffers<Word>&,                 \
                                    CooccurrenceBuffers<Word>&, int64_t, int, void*);          \
  template size_t cooccurrence_sum(void*, size_t, const Word*, const Word*, int64_t, Word*,    \
                                   int64_t*, int64_t*, void*);                                 \
  template void launch_cooccurrence_unpack(const Word*, int64_t, const CooccurrenceKeys&,      \
                                           int32_t*, int64_t*, void*);
LEXFORGE_INSTANTIATE(NarrowWord)
LEXFORGE_INSTANTIATE(WideWord)
#undef LEXFORGE_INSTANTIATE

}  // namespace lexforge
