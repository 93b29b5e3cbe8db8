"""Launches kernels once each, at the sizes of the benchmarks, for a profiler to look at.

ncu --clock-control none --set basic -k regex:'skipgram|gathered' python benchmarks/gpu/profiled.py
"""

from __future__ import annotations

import argparse

import torch

import attention
import cooccurrence
import glove_train
import word2vec_train
from lexforge.ops.cooccurrence.cooccurrence import cooccurrence_index, cooccurrence_rows
from lexforge.ops.glove.glove_tiles import glove_deal_parts, glove_default_parts, glove_tiles
from lexforge.ops.glove.glove_train import glove_train_
from lexforge.ops.transformer.bias_activation import bias_activation

VOCAB_SIZE, DIM, WINDOW, BAGS = 71_000, 100, 10, 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
    parser.add_argument("--small", action="store_true", help="sizes of no interest, for a test")
    options = parser.parse_args()
    device, small = options.device, options.small
    vocab_size = 500 if small else VOCAB_SIZE
    tokens = 5000 if small else 4_000_000

    corpus = word2vec_train.Corpus(tokens, vocab_size, 1e-4, device)
    for model in word2vec_train.MODELS:
        word2vec_train.stream_case(corpus, vocab_size, DIM, model, device)  # trains once
    with_bags = word2vec_train.Corpus(tokens, vocab_size, 1e-4, device, BAGS, 7 * vocab_size)
    word2vec_train.stream_case(with_bags, vocab_size, DIM, "pair", device)

    matrix = glove_train.random_matrix(tokens, vocab_size, device)
    parts = glove_default_parts(vocab_size, DIM, device=device)
    tiles = glove_tiles(*matrix, glove_deal_parts(matrix[0].diff(), parts), parts=parts).to(device)
    tables = glove_train.tables(vocab_size, DIM, "adagrad", device)
    stats = torch.zeros(2, dtype=torch.float64, device=device)
    glove_train_(*tables, stats, tiles, dim=DIM, first_round=0, last_round=1)

    words, offsets = (x.to(device) for x in cooccurrence.zipf_corpus(vocab_size, tokens))
    index = cooccurrence_index(words, offsets, vocab_size=vocab_size, window=WINDOW)
    cooccurrence_rows(index, window=WINDOW)

    sizes = argparse.Namespace(device=device, heads=12, dim=64, dropout=0.0)
    lengths = (16,) if small else (128, 512)
    for length in lengths:
        batch = 2 if small else attention.CUDA_TOKENS // length
        case = attention.Case(sizes, batch, length, False, torch.bfloat16)
        torch.autograd.grad(case.ours(), case.packed, case.packed_grad)

    rows = 8 if small else 32_768
    x = torch.randn(rows, 3072, device=device, dtype=torch.bfloat16)
    bias_activation(x, torch.randn(3072, device=device), activation="gelu")
    if device == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
