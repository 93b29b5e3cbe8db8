"""Which ops a CUDA graph may capture: the device refuses what waits for it or copies to the host.

Runs with the ops of the device only (run.py).
"""

from __future__ import annotations

import ctypes
import os
from contextlib import contextmanager

import numpy as np
import pytest
import torch

from attention import test_attention
from convolution import test_conv_max_pool
from cooccurrence.test_cuda import counted
from glove import test_glove_train
from glove.matrices import Matrix, random_tables
from lexforge import _library
from lexforge.ops.attention.attention import attention
from lexforge.ops.convolution.conv_max_pool import conv_max_pool
from lexforge.ops.sampling.sampling import alias_sample, build_alias
from lexforge.ops.transformer.add_layer_norm import add_layer_norm
from lexforge.ops.transformer.bias_activation import bias_activation
from lexforge.ops.transformer.embedding_sum import embedding_sum
from lexforge.ops.transformer.linear_cross_entropy import linear_cross_entropy
from lexforge.ops.word2vec.skipgram_loss import skipgram_loss
from transformer import (
    test_add_layer_norm,
    test_bias_activation,
    test_embedding_sum,
    test_linear_cross_entropy,
)
from word2vec import test_skipgram_loss, test_word2vec_train

pytestmark = pytest.mark.skipif(not _library.emulated(), reason="a switch of the PTX device")


@contextmanager
def capturing():
    device = ctypes.CDLL(os.environ["LEXFORGE_OPS_LIBRARY"])
    device.lexforge_ptx_set_capturing(1)
    try:
        yield
    finally:
        device.lexforge_ptx_set_capturing(0)


def attend(device):
    heads = test_attention.batch((1, 2, 70, 24), device, dtype=torch.bfloat16)
    return test_attention.gradients(attention, heads, dropout_p=0.1, seed=1)


def norm(device):
    tensors = test_add_layer_norm.problem((9, 24), device)
    return test_add_layer_norm.gradients(add_layer_norm, tensors, dropout_p=0.1, seed=1)


def activate(device):
    return test_bias_activation.gradients(
        bias_activation, test_bias_activation.problem((9, 24), device), activation="gelu"
    )


def embed(device):
    return test_embedding_sum.gradients(
        embedding_sum, test_embedding_sum.problem(70, 24, device), dropout_p=0.1, seed=1
    )


def cross_entropy(device):
    problem = test_linear_cross_entropy.problem(9, 50, 24, device)
    return test_linear_cross_entropy.run(linear_cross_entropy, *problem[:4])


def pool(device):
    problem = test_conv_max_pool.problem(24, 10, 3, device, dtype=torch.bfloat16)
    return test_conv_max_pool.results(conv_max_pool, *problem)


def train_skipgram(device):
    run = test_word2vec_train.Case([60], dim=20).run(device)
    return [torch.from_numpy(np.asarray(x)) for x in run]


def train_glove(device):
    tables = random_tables(37, 20, "adagrad")
    return test_glove_train.train(tables, Matrix(37).tiles(4), device, dim=20)


def draw(device):
    return [alias_sample(build_alias(torch.rand(17, device=device)), 100, seed=3)]


CAPTURED = [attend, norm, activate, embed, cross_entropy, pool, train_skipgram, train_glove, draw]


@pytest.mark.parametrize("op", CAPTURED)
def test_captured(op, device):
    torch.manual_seed(0)
    expected = op(device)
    torch.manual_seed(0)
    with capturing():
        actual = op(device)
    for x, y in zip(actual, expected, strict=True):
        assert torch.equal(x, y)


def count(device):
    sentences = [np.array([0, 1, 2, 1])] * 3
    return counted(sentences, device, vocab_size=3, window=2)


def sparse_gradients(device):
    batch = test_skipgram_loss.minibatch(3, 5, 4, 4, 3, device)
    return test_skipgram_loss.gradients(skipgram_loss, batch, sparse=True)


def train_in_rounds(device):
    return test_word2vec_train.Case([60], dim=20, windows_together=8).run(device)


@pytest.mark.parametrize("op", [count, sparse_gradients, train_in_rounds])
def test_refused(op, device):
    """Work that depends on the data: an error, and the next call works again."""
    with capturing(), pytest.raises(RuntimeError, match="captur"):
        op(device)
    op(device)
