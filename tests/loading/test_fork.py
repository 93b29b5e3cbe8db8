"""Kernels in a child of fork(), which has none of its parent's threads."""

from __future__ import annotations

import multiprocessing
import queue
import warnings

import numpy as np
import pytest
import torch

from lexforge import GloVe, Word2Vec, _library, bert
from lexforge.models.bert.config import BertConfig
from lexforge.models.bert.model import BertModel
from lexforge.ops.attention.attention import attention
from lexforge.ops.sampling.sampling import build_alias
from lexforge.ops.word2vec.skipgram_batch import Examples, skipgram_epoch_, skipgram_windows
from lexforge.ops.word2vec.skipgram_step import SkipgramState
from lexforge.text import build_vocabulary
from lexforge.text.tokenizers.words import WordTokenizer

SENTENCES = [["tea", "cup", f"w{i % 50}"] for i in range(4000)]
TEXT = ["<unk>", "<pad>", "<mask>", "<cls>", "<sep>", "a", "crane", "he", "left"]


def word2vec(workers: int, **options) -> np.ndarray:
    options |= {"vector_size": 32, "min_count": 1, "epochs": 1, "device": "cpu"}
    return Word2Vec(SENTENCES, workers=workers, **options).wv.vectors


def word2vec_together(workers: int) -> np.ndarray:
    return word2vec(workers, hs=1, deterministic=True)


def minibatches(workers: int) -> np.ndarray:
    tokens, offsets = torch.arange(6000, dtype=torch.int32) % 50, torch.arange(0, 6001, 10)
    windows = skipgram_windows(tokens, offsets, torch.ones(50))
    noise, order = build_alias(torch.ones(50)), torch.arange(len(windows.centers))
    state = SkipgramState.create(torch.ones(50, 16), torch.ones(50, 16))
    source = Examples(windows, order, noise, window=5, negatives=5, seed=1, epoch=0)
    stats = torch.zeros(3, dtype=torch.float64)
    skipgram_epoch_(state, stats, source, batch_size=512, lr=0.01)
    return state.in_table.numpy()


def glove(workers: int) -> np.ndarray:
    model = GloVe(vector_size=16, min_count=1, workers=workers, epochs=1, device="cpu")
    model.train(SENTENCES)
    return model.word_vectors


def encoding(workers: int) -> np.ndarray:
    torch.manual_seed(1)
    tokenizer = WordTokenizer(TEXT)
    model = BertModel(BertConfig.reference(len(tokenizer), 32, 64, 2, 1), seed=3).eval()
    return bert.encode(model, tokenizer, ["a crane", "he left"] * 100)


def gradients(workers: int) -> np.ndarray:
    q = torch.linspace(0, 1, 4 * 64 * 2 * 16).view(4, 64, 2, 16).requires_grad_()
    attention(q, q, q).square().sum().backward()
    return q.grad.numpy()


def reading(workers: int) -> np.ndarray:
    return build_vocabulary(SENTENCES, min_count=1, threads=workers).counts


def in_child(work, workers: int, results) -> None:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = [work(workers) for _ in range(2)][-1]
    results.put((found, [str(w.message) for w in said if w.category is RuntimeWarning]))


@pytest.mark.skipif(_library.emulated(), reason="that device has no threads")
@pytest.mark.parametrize(
    "work", [word2vec, word2vec_together, minibatches, glove, encoding, gradients, reading]
)
def test_a_child_of_fork_does_what_its_parent_did(work):
    """On one thread, told once where more are asked for; reading has threads of its own."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        work(2)  # the parent's threads are there
        expected = work(1)
        context = multiprocessing.get_context("fork")
        results = context.Queue()
        child = context.Process(target=in_child, args=(work, 2, results), daemon=True)
        child.start()
        try:
            found, said = results.get(timeout=60)
        except queue.Empty:
            pytest.fail("the child hangs")
        finally:
            child.kill()
            child.join()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    asked = work in (word2vec, word2vec_together, glove)
    assert [text.startswith("kernels run on one thread, not 2") for text in said] == [True] * asked
