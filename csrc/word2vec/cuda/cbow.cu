// CBOW of words, which are rows.
#include "word2vec/cuda/gathered.cuh"

namespace lexforge::word2vec {

void start_cbow(const Word2vecTrainParams<float>& params, const Launch& launched,
                cudaStream_t stream) {
  start_gathered<false>(params, launched, stream);
}

}  // namespace lexforge::word2vec
