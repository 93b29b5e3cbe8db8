// Where the kernels of word2vec_train_ get their windows from: sentences that warps take in turn,
// or the positions of a round.
#pragma once

#include "common/warp.cuh"
#include "word2vec/cuda/launches.h"

namespace lexforge::word2vec {

// A token that survived sub-sampling, in the warp's ring.
struct alignas(16) KeptToken {
  int32_t token;
  int32_t window;
  int64_t position;
};

// A centre and its contexts.
struct Window {
  const Word2vecTrainParams<float>& params;
  const KeptToken* ring;
  int32_t ring_mask;
  int32_t center;
  int64_t position;
  int32_t first_slot;        // in the ring, of the leftmost kept token in reach
  int32_t before, contexts;  // contexts left of the centre, and all
  float lr;

  __device__ int32_t context(int32_t j) const {
    return ring[(first_slot + j + (j >= before)) & ring_mask].token;
  }

  // Noise words 2 m and 2 m + 1, which come from one quad; -1 where they are left out.
  __device__ int2 noise_pair(int32_t m) const {
    static_assert(kDrawsPerQuad == 2);
    const PhiloxQuad quad = philox_at(params.seed, params.epoch, static_cast<uint64_t>(position),
                                      RandomStream::kNegative, static_cast<uint32_t>(m));
    const auto size = static_cast<uint32_t>(params.vocab_size);
    const int32_t first = alias_draw(params.noise, size, quad.word[0], quad.word[1]);
    const int32_t second = alias_draw(params.noise, size, quad.word[2], quad.word[3]);
    return make_int2(first == center ? -1 : first, second == center ? -1 : second);
  }

  // A noise word.
  __device__ int32_t drawn(int32_t draw) const {
    return word2vec_noise(params.seed, params.epoch, position, static_cast<uint32_t>(draw),
                          params.noise, params.vocab_size);
  }

  // The same, or -1 where it is left out.
  __device__ int32_t noise(int32_t draw) const {
    const int32_t word = drawn(draw);
    return word == center ? -1 : word;
  }
};

// ---- sentences ----------------------------------------------------------------------------------

// Reads a sentence 32 tokens at a time and keeps the survivors of sub-sampling in a ring that is
// just large enough for a window and one more reading, whatever the sentence's length.
struct Reader {
  const Word2vecTrainParams<float>& params;
  KeptToken* ring;
  int32_t ring_mask;
  int lane;
  int64_t position = 0, end = 0;  // of the part still to be read
  int64_t kept = 0;               // survivors so far
  bool valid = true;

  __device__ void start(int64_t first, int64_t last) {
    position = first;
    end = last;
    kept = 0;
    __syncwarp();  // the ring's last readers are done
  }

  // Reads on until survivor `rank` is known to exist or not to.
  __device__ void read_up_to(int64_t rank) {
    while (kept <= rank && position < end) {
      const int64_t mine = position + lane;
      int32_t token = 0;
      bool keep = false, bad = false;
      if (mine < end) {
        token = params.tokens[mine];
        bad = token < 0 || token >= params.vocab_size;
        keep = !bad && word2vec_keep(params.seed, params.epoch, mine, params.keep[token]);
      }
      if (__any_sync(kAllLanes, bad)) {
        valid = false;
        end = position;
        return;
      }
      const unsigned survivors = __ballot_sync(kAllLanes, keep);
      if (keep) {
        const int window = params.dynamic_window
                               ? word2vec_window(params.seed, params.epoch, mine, params.window)
                               : params.window;
        ring[slot(kept + __popc(survivors & ((1u << lane) - 1)))] = {token, window, mine};
      }
      kept += __popc(survivors);
      position += kWarp;
    }
    __syncwarp();
  }

  __device__ KeptToken at(int64_t rank) const { return ring[slot(rank)]; }
  __device__ int32_t slot(int64_t rank) const { return static_cast<int32_t>(rank) & ring_mask; }
};

__device__ __forceinline__ int32_t inputs_of(const Window& window) {
  return window.params.cbow ? 1 : window.contexts;
}

// Takes sentences until there are none and calls train(window) for their windows in order; it
// returns the lane's share of the window's loss. Adds to stats.
template <typename Train>
__device__ __forceinline__ void train_sentences(const Word2vecTrainParams<float>& params,
                                                const Launch& launch, KeptToken* ring, int lane,
                                                Train train) {
  Reader reader{params, ring, launch.ring_size - 1, lane};
  double loss = 0.0;
  int64_t inputs = 0, centers = 0;
  const auto take_sentence = [&] {
    unsigned long long taken = 0;
    if (lane == 0) taken = atomicAdd(launch.next_sentence, 1ull);
    return params.first_sentence + static_cast<int64_t>(__shfl_sync(kAllLanes, taken, 0));
  };
  for (int64_t sentence = take_sentence(); sentence < params.last_sentence;
       sentence = take_sentence()) {
    const int64_t begin = params.offsets[sentence], end = params.offsets[sentence + 1];
    if (begin < 0 || end < begin || end > launch.token_count) {
      reader.valid = false;
      continue;
    }
    const float lr = word2vec_learning_rate(params, begin);
    reader.start(begin, end);
    for (int64_t rank = 0;; ++rank) {
      reader.read_up_to(rank + params.window);
      if (rank >= reader.kept) break;
      ++centers;
      const KeptToken center = reader.at(rank);
      const int64_t reach = center.window;
      const int32_t before = static_cast<int32_t>(min(rank, reach));
      const int32_t after = static_cast<int32_t>(min(reader.kept - 1 - rank, reach));
      const Window window{params,
                          ring,
                          reader.ring_mask,
                          center.token,
                          center.position,
                          reader.slot(rank - before),
                          before,
                          before + after,
                          lr};
      if (window.contexts == 0) continue;
      inputs += inputs_of(window);
      loss += static_cast<double>(train(window));
      __syncwarp();  // the lists and the ring have been read
    }
  }
  loss = warp_sum(loss);
  if (lane == 0) {
    atomicAdd(launch.stats, reader.valid ? loss : nan(""));
    atomicAdd(launch.stats + 1, static_cast<double>(inputs));
    atomicAdd(launch.stats + 2, static_cast<double>(centers));
  }
}

// ---- positions of a round -----------------------------------------------------------------------

__device__ __forceinline__ bool is_kept(const Round& round, int64_t position) {
  return (round.kept[position / kWarp] >> (position % kWarp) & 1) != 0;
}

// Survivors of sub-sampling next to a position, nearest first: number i at ring slot
// center_slot + (i + 1) * direction, at most `reach` of them. Looks at `left` tokens from `from`
// on. Returns how many there are.
__device__ __forceinline__ int32_t read_beside(const Word2vecTrainParams<float>& params,
                                               const Round& round, KeptToken* ring,
                                               int32_t ring_mask, int32_t center_slot, int64_t from,
                                               int64_t left, int direction, int32_t reach,
                                               int lane) {
  int32_t kept = 0;
  for (int64_t base = 0; kept < reach && base < left; base += kWarp) {
    const int64_t mine = from + direction * (base + lane);
    const bool keep = base + lane < left && is_kept(round, mine);
    const unsigned survivors = __ballot_sync(kAllLanes, keep);
    const int32_t rank = kept + __popc(survivors & ((1u << lane) - 1));
    if (keep && rank < reach) {
      ring[(center_slot + (rank + 1) * direction) & ring_mask].token = params.tokens[mine];
    }
    kept += __popc(survivors);
  }
  return min(kept, reach);
}

// Calls train(window) for the centre at one position of the round, if it is kept, and counts.
template <typename Train>
__device__ __forceinline__ void train_position(const Word2vecTrainParams<float>& params,
                                               const Launch& launch, KeptToken* ring, int lane,
                                               Train train) {
  const Round& round = launch.round;
  const int64_t warp =
      static_cast<int64_t>(blockIdx.x) * (blockDim.x / kWarp) + threadIdx.x / kWarp;
  const int64_t position = round.first + warp;
  if (position >= round.last || !is_kept(round, position)) return;
  int64_t sentence = round.first_sentence;  // the last one that begins at the position or before
  for (int64_t base = round.first_sentence + 1; base < round.last_sentence; base += kWarp) {
    const int64_t mine = base + lane;
    sentence += __popc(
        __ballot_sync(kAllLanes, mine < round.last_sentence && params.offsets[mine] <= position));
  }
  const int64_t begin = params.offsets[sentence], end = params.offsets[sentence + 1];
  const int32_t reach = params.dynamic_window
                            ? word2vec_window(params.seed, params.epoch, position, params.window)
                            : params.window;
  const int32_t mask = launch.ring_size - 1;
  const int32_t before = read_beside(params, round, ring, mask, reach, position - 1,
                                     position - begin, -1, reach, lane);
  const int32_t after = read_beside(params, round, ring, mask, reach, position + 1,
                                    end - 1 - position, 1, reach, lane);
  __syncwarp();  // the ring is written
  const Window window{params,
                      ring,
                      mask,
                      params.tokens[position],
                      position,
                      reach - before,
                      before,
                      before + after,
                      word2vec_learning_rate(params, begin)};
  double loss = 0.0;
  if (window.contexts > 0) loss = warp_sum(static_cast<double>(train(window)));
  if (lane != 0) return;
  RoundTotals& totals = round.totals[blockIdx.x % kRoundTotals];
  if (!(loss < kMostLoss)) {
    totals.diverged = 1;
    return;
  }
  atomicAdd(&totals.loss, static_cast<unsigned long long>(__double2ll_rn(loss * kLossOne)));
  if (round.counts) {
    if (window.contexts > 0) {
      atomicAdd(&totals.inputs, static_cast<unsigned long long>(inputs_of(window)));
    }
    atomicAdd(&totals.centers, 1ull);
  }
}

// Calls train(window) for the windows of this warp.
template <bool kRounds, typename Train>
__device__ __forceinline__ void for_each_window(const Word2vecTrainParams<float>& params,
                                                const Launch& launch, KeptToken* ring, int lane,
                                                Train train) {
  if constexpr (kRounds) {
    train_position(params, launch, ring, lane, train);
  } else {
    train_sentences(params, launch, ring, lane, train);
  }
}

}  // namespace lexforge::word2vec
