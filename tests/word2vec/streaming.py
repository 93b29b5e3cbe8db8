"""Random corpora for word2vec_train_, and both ways to train on them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import torch

from lexforge.ops.word2vec.word2vec_train import (
    Bags,
    HuffmanPaths,
    shard_rows,
    word2vec_train_,
)
from lexforge.reference.word2vec.word2vec_train import word2vec_train


def aligned(table: np.ndarray, device, dtype: torch.dtype | None = None) -> torch.Tensor:
    """A copy that starts at a cache line, of the dtype or its own."""
    dtype = dtype or torch.from_numpy(table).dtype
    memory = torch.empty(table.size + 64 // dtype.itemsize, dtype=dtype)
    skip = -memory.data_ptr() % 64 // dtype.itemsize
    copy = memory[skip : skip + table.size].view(*table.shape)
    return copy.copy_(torch.from_numpy(table)).to(device)


def random_paths(random, vocab_size) -> HuffmanPaths:
    """Those of a binary tree whose leaves are merged in random order, not of a good one."""
    paths: dict[int, list[int]] = {word: [] for word in range(vocab_size)}
    members = {word: [word] for word in range(vocab_size)}
    for node in range(vocab_size - 1):
        left, right = random.choice(list(members), 2, replace=False).tolist()
        for code, side in enumerate((left, right)):
            for word in members[side]:
                paths[word].append(2 * node + code)
        members[vocab_size + node] = members.pop(left) + members.pop(right)
    lengths = [len(path) for path in paths.values()]
    nodes = [entry for path in paths.values() for entry in reversed(path)]
    return HuffmanPaths(
        torch.tensor([0, *lengths]).cumsum(0), torch.tensor(nodes, dtype=torch.int32), max(lengths)
    )


def random_bags(random, vocab_size, grams, sizes, mean=True) -> Bags:
    """Each word's own row and up to ``sizes`` others of so many, which words share."""
    bags = [
        [word, *(vocab_size + random.integers(0, grams, random.integers(0, sizes + 1))).tolist()]
        for word in range(vocab_size)
    ]
    lengths = [len(bag) for bag in bags]
    rows = torch.tensor([row for bag in bags for row in bag], dtype=torch.int32)
    return Bags(torch.tensor([0, *lengths]).cumsum(0), rows, max(lengths), mean)


def apart(found, expected):
    """The largest difference of two sets of tables, and the relative one of their losses."""
    tables = max(np.abs(x - y).max() for x, y in zip(found[:3], expected[:3], strict=True))
    return tables, abs(found[3][0] - expected[3][0]) / max(expected[3][0], 1e-30)


class Case:
    """A random corpus and tables, and both ways to train on them.

    Args:
        dtype: Of the tables here, and of what runs return.
        stored: Of the tables that the op is given, where that is another one: bfloat16.
    """

    def __init__(
        self,
        lengths,
        *,
        vocab_size=40,
        dim=100,
        subsample=True,
        scale=0.5,
        dtype="f4",
        stored=None,
        losses="noise",
        grams=0,
        bag_sizes=4,
        bag_mean=True,
        **options,
    ):
        self.stored = stored
        random = np.random.default_rng(len(lengths) + sum(lengths))
        self.offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        # Squared uniform numbers: a few words are frequent, so rows repeat within windows.
        self.tokens = (random.random(self.offsets[-1]) ** 2 * vocab_size).astype(np.int32)
        self.keep = np.ones(vocab_size, np.float32)
        if subsample:
            self.keep = random.uniform(0.3, 1.2, vocab_size).astype(np.float32)
        self.noise = np.stack(
            [random.integers(0, 2**32, vocab_size), random.integers(0, vocab_size, vocab_size)], 1
        ).astype(np.uint32)
        stride = -(-dim // 16) * 16
        self.tables = [np.zeros((vocab_size, stride), dtype) for _ in range(3)]
        for table, values in zip(
            self.tables, random.uniform(-scale, scale, (2, vocab_size, dim)), strict=False
        ):
            table[:, :dim] = values
        self.losses, self.tree, self.bags = losses, None, None
        if "tree" in losses:
            self.tree = random_paths(random, vocab_size)
            self.tables[2][:, :dim] = random.uniform(-scale, scale, (vocab_size, dim))
        if grams:
            self.bags = random_bags(random, vocab_size, grams, bag_sizes, bag_mean)
            more = np.zeros((grams, stride), dtype)
            more[:, :dim] = random.uniform(-scale, scale, (grams, dim))
            self.tables[0] = np.concatenate([self.tables[0], more])
        if stored is not None:
            self.tables = [torch.tensor(t).to(stored).float().numpy() for t in self.tables]
        self.options = {
            "window": 5,
            "negatives": 5,
            "dynamic_window": True,
            "negative_sharing": "pair",
            "alpha": 0.05,
            "min_alpha": 0.01,
            "tokens_before": 7,
            "total_tokens": 7 + 2 * max(1, len(self.tokens)),
            "seed": 2**63 + 12345678901,
            "epoch": 3,
            **options,
        }

    def corpus(self, device):
        """Tokens, offsets, keep, noise and paths as the op takes them."""
        arrays = self.tokens, self.offsets, self.keep, self.noise.view(np.int32)
        tokens, offsets, keep, noise = [torch.tensor(array, device=device) for array in arrays]
        tree = None
        if self.tree is not None:
            tree = HuffmanPaths(*(t.to(device) for t in self.tree[:2]), self.tree.longest)
        return tokens, offsets, keep, noise if "noise" in self.losses else None, tree

    def used(self, tables):
        """Of the three tables those that the losses need, the last one without its last row."""
        in_table, out_table, tree_table = tables
        return (
            in_table,
            out_table if "noise" in self.losses else None,
            tree_table[:-1] if "tree" in self.losses else None,
        )

    def run(self, device, threads=1, cuts=(), kept=False):
        """Tables and stats after training on the device, in calls that end at the cuts.

        Args:
            kept: Whether the calls keep the copies of their shards.
        """
        tables = [aligned(table, device, self.stored) for table in self.tables]
        stats = torch.zeros(3, dtype=torch.float64, device=device)
        options = {"first_sentence": 0, "last_sentence": len(self.offsets) - 1} | self.options
        if options.get("in_scale") is not None:
            options["in_scale"] = torch.tensor(options["in_scale"], device=device)
        if self.bags is not None:
            offsets, rows, *others = self.bags
            options["bags"] = Bags(offsets.to(device), rows.to(device), *others)
        if kept:
            options["shard_rows"] = shard_rows(options["shards"], *self.used(tables))
        ends = [options["first_sentence"], *cuts, options["last_sentence"]]
        for first, last in pairwise(ends):
            options |= {"first_sentence": first, "last_sentence": last}
            word2vec_train_(
                *self.used(tables), stats, *self.corpus(device), threads=threads, **options
            )
        found = (table if self.stored is None else table.float() for table in tables)
        return *(table.cpu().numpy() for table in found), stats.cpu().numpy()

    def expected(self, dtype="f8"):
        tables = [table.astype(dtype) for table in self.tables]
        tree = None if self.tree is None else [t.numpy() for t in self.tree[:2]]
        arrays = self.tokens, self.offsets, self.keep, self.noise, tree
        options = self.options
        if self.bags is not None:
            offsets, rows, *others = self.bags
            options = options | {"bags": (offsets.numpy(), rows.numpy(), *others)}
        stats = word2vec_train(*self.used(tables), *arrays, **options)
        return *tables, stats

    def check_sequential(self, device, tolerance=4e-6):
        """Sentences trained in order: equal to the oracle to rounding.

        Training amplifies it: where that is more than the tolerance, the error of the oracle on
        tables of float32 tells by how much.
        """
        actual, expected = self.run(device), self.expected()
        assert (actual[3][1:] == expected[3][1:]).all()
        error, loss_error = apart(actual, expected)
        if error > tolerance or loss_error > 2e-6:
            with np.errstate(over="ignore"):  # of exp, within a sigmoid
                plain_error, plain_loss_error = apart(self.expected("f4"), expected)
            assert error <= max(tolerance, 4 * plain_error)
            assert loss_error <= max(2e-6, 4 * plain_loss_error)
        for table in range(3):
            changed = expected[table] != self.tables[table]
            used = table == 0 or ("noise", "tree")[table - 1] in self.losses
            assert len(self.tokens) < 20 or changed.any() == used
