"""Word vectors and small language models, trained by hand-written C++ and CUDA kernels."""

__version__ = "0.1.0"

from lexforge._library import build_info, cpu_capability, cuda_usable

__all__ = ["__version__", "build_info", "cpu_capability", "cuda_usable"]
