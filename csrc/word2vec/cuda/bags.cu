// Skip-gram and CBOW of words that are bags of rows.
#include "word2vec/cuda/gathered.cuh"

namespace lexforge::word2vec {

void start_bags(const Word2vecTrainParams<float>& params, const Launch& launched,
                cudaStream_t stream) {
  start_gathered<true>(params, launched, stream);
}

}  // namespace lexforge::word2vec
