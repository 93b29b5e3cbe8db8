// CUDA binding of lstm.h. The content of cu_seqlens and index is not looked at here.
#include "common/cuda_binding.h"
#include "recurrent/lstm_binding.h"

namespace lexforge {
namespace {

struct Cuda : CudaCall {
  Cuda(const Tensor& like) : CudaCall(like), like_(like) {}

  static void check_lengths(const Checks&, const LstmShape&) {}

  template <typename scalar_t>
  void run(const LstmParams<scalar_t>& params) const {
    const LstmShape& shape = params.shape;
    const Tensor packed =
        new_empty(like_, {shape.directions * kGates * shape.hidden * shape.hidden});
    launch_lstm(params, data<scalar_t>(packed), stream());
  }

  template <typename scalar_t>
  void run(const LstmBackwardParams<scalar_t>& params) const {
    launch_lstm_backward(params, stream());
  }

 private:
  const Tensor& like_;
};

}  // namespace
}  // namespace lexforge

LEXFORGE_CUDA_IMPL(m) {
  m.impl("lstm", TORCH_BOX(&lexforge::lstm<lexforge::Cuda>));
  m.impl("lstm_backward", TORCH_BOX(&lexforge::lstm_backward<lexforge::Cuda>));
}
