"""What the CUDA kernels of word2vec_train_ alone promise: training in rounds, and their limits."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.nn.functional import softplus

from lexforge.ops.word2vec.word2vec_train import HuffmanPaths, word2vec_train_
from lexforge.reference.sampling.sampling import SUBSAMPLE
from lexforge.reference.word2vec.word2vec_train import windows, word2vec_train, words_at
from word2vec import test_word2vec_train
from word2vec.test_word2vec_train import aligned, cuda_kernels  # noqa: F401 (a fixture)

pytestmark = pytest.mark.usefixtures("cuda_kernels")

SENTENCES_TOGETHER = 256  # kWord2vecSentencesTogether

# Model, losses, whose noise.
MODELS = {
    "pair": ("skipgram", "noise", "pair"),
    "window": ("skipgram", "noise", "window"),
    "tree": ("skipgram", "tree", "pair"),
    "pair-and-tree": ("skipgram", "noise tree", "pair"),
    "window-and-tree": ("skipgram", "noise tree", "window"),
    "cbow": ("cbow", "noise", "pair"),
    "cbow-tree": ("cbow", "tree", "pair"),
    "cbow-and-tree": ("cbow", "noise tree", "pair"),
}


def some_tree(leaves: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Paths of a binary tree whose nodes are joined by luck, some leaves near the root."""
    paths: list[list[int]] = [[] for _ in range(leaves)]
    below = [[leaf] for leaf in range(leaves)]
    for node in range(leaves - 1):
        parts = [below.pop(int(len(below) * random.random() ** 2)) for _ in range(2)]
        for turn, part in enumerate(parts):
            for leaf in part:
                paths[leaf].insert(0, 2 * node + turn)
        below.append(parts[0] + parts[1])
    offsets = np.cumsum([0, *map(len, paths)])
    return offsets.astype(np.int64), np.concatenate(paths).astype(np.int32)


class Case(test_word2vec_train.Case):
    """One of MODELS."""

    def __init__(self, lengths, name, *, vocab_size=40, dim=20, scale=0.5, **options):
        model, losses, sharing = MODELS[name]
        options |= {"negative_sharing": sharing}
        super().__init__(lengths, vocab_size=vocab_size, dim=dim, scale=scale, **options)
        self.options["model"] = model
        random = np.random.default_rng(vocab_size)
        self.tree = some_tree(vocab_size, random) if "tree" in losses else None
        nodes = np.zeros((vocab_size - 1, self.tables.shape[2]), self.tables.dtype)
        nodes[:, :dim] = random.uniform(-scale, scale, (vocab_size - 1, dim))
        self.given = [
            self.tables[0],
            self.tables[1] if "noise" in losses else None,
            nodes if "tree" in losses else None,
        ]

    def run(self, device, cuts=(), **more):
        """Tables and stats after training on the device, in calls that end at the cuts."""
        tables = [None if table is None else aligned(table, device) for table in self.given]
        stats = torch.zeros(3, dtype=torch.float64, device=device)
        *corpus, noise = self.corpus(device)
        tree = None
        if self.tree is not None:
            longest = int(np.diff(self.tree[0]).max(initial=1))
            tree = HuffmanPaths(*(torch.tensor(x, device=device) for x in self.tree), longest)
            tree = tree._replace(longest=more.pop("longest", longest))
        noise = None if tables[1] is None else noise
        for first, last in pairwise([0, *cuts, len(self.offsets) - 1]):
            options = self.options | more | {"first_sentence": first, "last_sentence": last}
            word2vec_train_(*tables, stats, *corpus, noise, tree, **options)
        return [x.cpu().numpy() for x in (*tables, stats) if x is not None]

    def expected(self):
        """By the oracle, window by window."""
        tables = [None if table is None else table.astype(np.float64) for table in self.given]
        corpus = self.tokens, self.offsets, self.keep, self.noise
        stats = word2vec_train(*tables, *corpus, self.tree, **self.options)
        return [x for x in (*tables, stats) if x is not None]

    def check(self, device, expected, tolerance=1e-5, **more):
        actual = self.run(device, **more)
        assert (actual[-1][1:] == expected[-1][1:]).all()
        assert actual[-1][0] == pytest.approx(expected[-1][0], rel=2e-6)
        before = [table for table in self.given if table is not None]
        for x, y, start in zip(actual[:-1], expected[:-1], before, strict=True):
            np.testing.assert_allclose(x, y, rtol=0, atol=tolerance)
            assert (y != start).any()

    def in_rounds(self, size):
        """By autograd: each round is a step of gradient descent on the loss of its windows."""
        tables = [None if x is None else torch.tensor(x).double() for x in self.given]
        options = {key: value for key, value in self.options.items() if key != "windows_together"}
        cbow, mean = options.pop("model") == "cbow", options.pop("cbow_mean", True)
        if cbow:
            options["negative_sharing"] = "window"
        if tables[1] is None:
            options["negatives"] = 0
        positions = np.arange(len(self.tokens))
        chance = words_at(options["seed"], options["epoch"], positions, SUBSAMPLE) >> 8
        kept = positions[chance * np.float32(2.0**-24) < self.keep[self.tokens]]
        found = windows(self.tokens, self.offsets, self.keep, self.noise, **options)
        rounds: dict[tuple[int, int], list] = {}
        starts = self.offsets[:-1:SENTENCES_TOGETHER]
        for position, window in zip(kept, found, strict=True):
            group = int(np.searchsorted(starts, position, side="right")) - 1
            rounds.setdefault((group, (position - starts[group]) // size), []).append(window)
        stats = np.zeros(3)
        for _, part in sorted(rounds.items()):
            leaves = [x.clone().requires_grad_() for x in tables if x is not None]
            in_table, *others = leaves
            step = torch.zeros((), dtype=torch.float64)
            for window in part:
                stats[2] += 1
                if not window.contexts:
                    continue
                x = in_table[window.contexts]
                if cbow:
                    x = x.mean(0, keepdim=True) if mean else x.sum(0, keepdim=True)
                stats[1] += len(x)
                loss = torch.zeros((), dtype=torch.float64)
                if self.tree is not None:
                    begin, end = self.tree[0][window.center : window.center + 2]
                    path = torch.tensor(self.tree[1][begin:end])
                    sign = 1.0 - 2.0 * (path % 2)
                    loss += softplus(-sign * (x @ others[-1][path // 2].T)).sum()
                if tables[1] is not None:
                    loss += softplus(-(x @ others[0][window.center])).sum()
                    noise = torch.tensor(window.noise[: len(x)], dtype=torch.long)
                    score = torch.einsum("cd,ckd->ck", x, others[0][noise])
                    loss += softplus(score)[noise != window.center].sum()
                stats[0] += loss.item()
                step = step + window.learning_rate * loss
            if step.requires_grad:
                gradients = iter(torch.autograd.grad(step, leaves, allow_unused=True))
                for table in tables:
                    gradient = None if table is None else next(gradients)
                    if gradient is not None:
                        table -= gradient
        return [table.numpy() for table in tables if table is not None] + [stats]


# ---- one sentence at a time


@pytest.mark.parametrize("name", [name for name in MODELS if name not in ("pair", "window")])
@pytest.mark.parametrize("dim", [20, 100, 200, 300, 500, 600])
def test_one_sentence_equals_the_oracle(device, dim, name):
    case = Case([45], name, dim=dim, scale=3 / dim**0.5)
    case.check(device, case.expected())


# ---- rounds


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("dim", [20, 200, 300, 500, 600])
def test_a_round_is_a_step_of_gradient_descent(device, dim, name):
    case = Case([11, 0, 1, 23, 5], name, dim=dim, scale=3 / dim**0.5, windows_together=16)
    case.check(device, case.in_rounds(16))


@pytest.mark.parametrize(
    "options",
    [
        {"windows_together": 1},
        {"windows_together": 7, "negatives": 11},
        {"windows_together": 1000, "negatives": 1, "window": 1},
        {"windows_together": 50, "negatives": 0},
        {"windows_together": 9, "window": 40, "dynamic_window": False},
        {"windows_together": 9, "vocab_size": 3},
        {"windows_together": 9, "subsample": False, "cbow_mean": False},
    ],
    ids=str,
)
@pytest.mark.parametrize("name", MODELS)
def test_options_of_rounds(device, name, options):
    case = Case([40, 3, 21], name, scale=0.2, **options)
    case.check(device, case.in_rounds(options["windows_together"]))


@pytest.mark.parametrize("name", ["pair-and-tree", "window", "cbow"])
def test_groups_of_sentences(device, name):
    """Rounds begin anew every 256 sentences, so a corpus can be cut there into calls."""
    lengths = np.random.default_rng(1).integers(0, 5, 2 * SENTENCES_TOGETHER + 9)
    case = Case(lengths, name, window=2, negatives=2, windows_together=100, dim=8)
    case.check(device, case.in_rounds(100))
    whole = case.run(device)
    for cuts in ([SENTENCES_TOGETHER], [0, SENTENCES_TOGETHER, 2 * SENTENCES_TOGETHER]):
        for x, y in zip(case.run(device, cuts=cuts), whole, strict=True):
            assert (x == y).all()


def test_a_round_grows_with_vocabulary_and_corpus(device):
    """No longer than asked for: one token for every 32 words and every 1024 tokens."""
    lengths = np.random.default_rng(2).integers(0, 40, 230)
    assert 4 * 1024 <= sum(lengths) < 5 * 1024
    options = dict(vocab_size=150, dim=8, window=1, negatives=1, windows_together=1)
    case = Case(lengths, "window", **options)
    case.check(device, case.in_rounds(4))


@pytest.mark.parametrize("name", MODELS)
def test_rounds_are_reproducible(device, name):
    lengths = np.random.default_rng(3).integers(0, 30, 30)
    case = Case(lengths, name, vocab_size=100, windows_together=64)
    for x, y in zip(case.run(device), case.run(device), strict=True):
        assert (x == y).all()


def test_divergence_makes_the_loss_nan(device):
    """Also where the sums of integers would know of no infinity."""
    for scale, value in ((3e4, None), (0.5, np.inf), (0.5, np.nan), (0.5, 1e30)):
        case = Case([30], "pair-and-tree", scale=scale, windows_together=8)
        if value is not None:
            case.given[0][case.tokens[7], 2] = value
        assert np.isnan(case.run(device)[-1][0]), value


def test_a_token_outside_the_vocabulary_makes_the_loss_nan(device):
    for bad in (-1, 40, 2**31 - 1):
        case = Case([30, 30], "pair", windows_together=8)
        case.tokens[41] = bad
        *tables, stats = case.run(device)
        assert np.isnan(stats[0])
        assert all(np.isfinite(table).all() for table in tables)


def test_offsets_of_rounds_are_checked(device):
    for position, value in ((2, 61), (1, -1), (1, 61), (0, -3)):
        case = Case([30, 30], "window", windows_together=8)
        case.offsets[position] = value
        with pytest.raises(RuntimeError, match="offsets must rise from 0 to at most 60"):
            case.run(device)


# ---- trees


@pytest.mark.parametrize("together", [0, 8])
@pytest.mark.parametrize("name", [name for name in MODELS if "tree" in name])
def test_paths_that_are_not_allowed_make_the_loss_nan(device, name, together):
    """Of the words whose paths they are nothing is trained."""

    def run(change):
        case = Case([30], name, windows_together=together)
        change(*case.tree, int(case.tokens[3]))
        case.keep[case.tokens[3]] = 1
        *tables, stats = case.run(device, longest=20)
        assert np.isnan(stats[0])
        assert all(np.isfinite(table).all() for table in tables)

    def longer(offsets, nodes, word):
        offsets[word + 1 :] += 21 - (offsets[word + 1] - offsets[word])

    def beyond(offsets, nodes, word):
        nodes[offsets[word]] = 2 * 39

    def negative(offsets, nodes, word):
        nodes[offsets[word + 1] - 1] = -1

    def backwards(offsets, nodes, word):
        offsets[word + 1] = offsets[word] - 1

    def outside(offsets, nodes, word):
        offsets[word + 1] = len(nodes) + 1

    for change in (longer, beyond, negative, backwards, outside):
        run(change)


# ---- limits


def test_limits_are_refused(device):
    message = "longest_path and rows must need at most 163840 bytes of shared memory on CUDA, got"
    for name, limits in (
        ("tree", {"dim": 1000, "longest": 40}),
        ("pair-and-tree", {"dim": 1000, "longest": 40}),
        ("window-and-tree", {"dim": 1000, "negatives": 19, "longest": 20}),
        ("tree", {"window": 1000, "longest": 20}),
        ("pair-and-tree", {"window": 1000, "negatives": 9}),
    ):
        for together in (0, 8):
            longest = limits.get("longest", 20)
            options = {key: value for key, value in limits.items() if key != "longest"}
            case = Case([5], name, windows_together=together, **options)
            with pytest.raises(RuntimeError, match=message):
                case.run(device, longest=longest)


def test_cbow_keeps_no_rows(device):
    """Its lists alone: any path, any number of noise words, any window."""
    case = Case(
        [40], "cbow-and-tree", dim=16, window=1000, negatives=60, dynamic_window=False, scale=0.1
    )
    case.check(device, case.expected(), longest=96)
