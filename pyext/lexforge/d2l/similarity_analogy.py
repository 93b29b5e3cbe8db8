"""Word similarity and analogy."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lexforge._display import printable
from lexforge.d2l.hub import download_extract
from lexforge.d2l.text import Vocab
from lexforge.text import datasets
from lexforge.vectors import similarity


class TokenEmbedding:
    """Pretrained vectors; index 0 is ``<unk>`` with a zero vector.

    Args:
        embedding_name: key of ``DATA_HUB`` (downloaded unless it is here), a folder that holds
            ``vec.txt``, or a text file of vectors.
    """

    def __init__(self, embedding_name: str | os.PathLike):
        from lexforge.vectors import load_vectors

        path = Path(embedding_name)
        if not path.exists():
            path = datasets.find(str(embedding_name)) or download_extract(str(embedding_name))
        vectors = load_vectors(path / "vec.txt" if path.is_dir() else path)
        table = torch.as_tensor(np.asarray(vectors.vectors, dtype=np.float32))
        self.idx_to_token: list[str] = ["<unk>", *vectors.index_to_key]
        self.idx_to_vec = torch.cat((torch.zeros(1, table.shape[1]), table))
        self.unknown_idx = 0
        self.token_to_idx = {token: index for index, token in enumerate(self.idx_to_token)}

    def __getitem__(self, tokens: Sequence[str]) -> Tensor:
        """The vectors of tokens [n, D]; zeros for unknown ones."""
        if isinstance(tokens, str):
            tokens = [tokens]
        rows = [self.token_to_idx.get(token, self.unknown_idx) for token in tokens]
        return self.idx_to_vec[rows]

    def __len__(self) -> int:
        return len(self.idx_to_token)


def knn(W: Tensor, x: Tensor, k: int, exclude: Iterable[int] = ()) -> tuple[Tensor, list[float]]:
    """Row numbers and cosines of the `k` rows of W [V, D] closest to x [D], best first.

    W is searched where it lies, also as bfloat16 or float16.
    """
    rows, scores = similarity.knn(W, x.reshape(-1), k, exclude)
    return torch.from_numpy(rows), scores.tolist()


def _rows_and_tokens(embed, vocab, tokens: Sequence[str]):
    """The matrix, the rows of tokens, and the list of all tokens. Unknown tokens: KeyError."""
    if isinstance(embed, TokenEmbedding):
        matrix, index, names = embed.idx_to_vec, embed.token_to_idx, embed.idx_to_token
    elif vocab is None:
        raise ValueError("vocab must be given with an nn.Embedding, got None")
    else:
        matrix, index, names = embed.weight, vocab.token_to_idx, vocab.idx_to_token
    if unknown := [token for token in tokens if token not in index]:
        raise KeyError(f"tokens must be in the vocabulary, got {', '.join(map(repr, unknown))}")
    return matrix, [index[token] for token in tokens], names


def get_similar_tokens(
    query_token: str, k: int, embed: TokenEmbedding | nn.Embedding, vocab: Vocab | None = None
) -> list[tuple[str, float]]:
    """Print and return the `k` nearest tokens by cosine, without the query itself.

    Args:
        query_token: a known token; KeyError otherwise. k: how many.
        embed: pretrained vectors, or an embedding together with its `vocab`.
    """
    matrix, rows, names = _rows_and_tokens(embed, vocab, [query_token])
    found, scores = knn(matrix, matrix[rows[0]], k, exclude=rows)
    result = [(names[int(row)], score) for row, score in zip(found, scores, strict=True)]
    for token, score in result:
        print(f"cosine sim={score:.3f}: {printable(token)}")
    return result


def get_analogy(
    token_a: str,
    token_b: str,
    token_c: str,
    embed: TokenEmbedding | nn.Embedding,
    vocab: Vocab | None = None,
    *,
    exclude: bool = True,
) -> str:
    """The token nearest to vec(b) - vec(a) + vec(c): a is to b as c is to the result.

    Args:
        embed, vocab: as for :func:`get_similar_tokens`. exclude: leave the three tokens out of the
            answer; the text does not (``exclude=False``).
    """
    matrix, rows, names = _rows_and_tokens(embed, vocab, [token_a, token_b, token_c])
    a, b, c = matrix[rows].float()
    found, _ = knn(matrix, b - a + c, 1, exclude=rows if exclude else ())
    return names[int(found[0])]
