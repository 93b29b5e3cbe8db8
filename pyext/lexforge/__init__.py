"""Word vectors and small language models, trained by hand-written C++ and CUDA kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lexforge._lazy import attach
from lexforge._version import __version__

if TYPE_CHECKING:
    from lexforge._library import build_info, cpu_capability, cuda_usable
    from lexforge.models.cooccurrence.count import cooccurrence
    from lexforge.models.cooccurrence.counts import Cooccurrence
    from lexforge.models.glove.model import GloVe
    from lexforge.models.word2vec.model import Word2Vec
    from lexforge.vectors import KeyedVectors, load_vectors

__all__ = [
    "Cooccurrence",
    "GloVe",
    "KeyedVectors",
    "Word2Vec",
    "__version__",
    "build_info",
    "cooccurrence",
    "cpu_capability",
    "cuda_usable",
    "load_vectors",
]

# Where each public name lives. They are imported on first use, so that `import lexforge` and
# `lexforge --help` do not wait for torch.
_HOME = {
    "Cooccurrence": "lexforge.models.cooccurrence.counts",
    "GloVe": "lexforge.models.glove.model",
    "KeyedVectors": "lexforge.vectors",
    "Word2Vec": "lexforge.models.word2vec.model",
    "build_info": "lexforge._library",
    "cooccurrence": "lexforge.models.cooccurrence.count",  # the function, not the module
    "cpu_capability": "lexforge._library",
    "cuda_usable": "lexforge._library",
    "load_vectors": "lexforge.vectors",
}

__getattr__, __dir__ = attach(
    __name__, _HOME, ("bert", "d2l", "nn", "ops", "optim", "reference", "text", "vectors")
)
