"""What the CUDA kernels of word2vec_train_ alone promise: training in rounds, and their limits."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.nn.functional import softplus

from lexforge import _library
from lexforge.ops.word2vec.word2vec_train import Bags
from lexforge.reference.sampling.sampling import SUBSAMPLE
from lexforge.reference.word2vec.word2vec_train import windows, words_at
from word2vec.streaming import Case

SENTENCES_TOGETHER = 256  # kSentencesTogether
MOST_DRAWS = 64  # kMostDraws

MODELS = {
    "pair": {},
    "window": {"negative_sharing": "window"},
    "tree": {"losses": "tree"},
    "pair-and-tree": {"losses": "noise and tree"},
    "window-and-tree": {"losses": "noise and tree", "negative_sharing": "window"},
    "cbow": {"model": "cbow"},
    "cbow-tree": {"model": "cbow", "losses": "tree"},
    "cbow-and-tree": {"model": "cbow", "losses": "noise and tree"},
}
BAGS = {
    f"bags-{name}": {"grams": 30, **MODELS[name]}
    for name in ("pair", "window", "pair-and-tree", "window-and-tree", "cbow-and-tree")
}
MODELS |= BAGS


@pytest.fixture(autouse=True)
def cuda_kernels(device):
    if device.type == "cpu" and not _library.emulated():
        pytest.skip("a promise of the CUDA kernels")


def case_of(name, lengths, **options):
    return Case(lengths, **{"dim": 20, "scale": 0.5, **MODELS[name], **options})


def in_rounds(case, size):
    """By autograd: each round is a step of gradient descent on the loss of its windows.

    The rows of a bag change by what its mean would, not by a part of it.
    """
    tables = [torch.tensor(table).double() for table in case.tables]
    options = {key: value for key, value in case.options.items() if key != "windows_together"}
    scale = options.pop("in_scale", None)
    cbow, mean = options.pop("model", None) == "cbow", options.pop("cbow_mean", True)
    if case.bags is not None:
        mean = case.bags.mean
    if cbow:
        options["negative_sharing"] = "window"
    if "noise" not in case.losses:
        options["negatives"] = 0
    positions = np.arange(len(case.tokens))
    chance = words_at(options["seed"], options["epoch"], positions, SUBSAMPLE) >> 8
    kept = positions[chance * np.float32(2.0**-24) < case.keep[case.tokens]]
    found = windows(case.tokens, case.offsets, case.keep, case.noise, **options)
    rounds: dict[tuple[int, int], list] = {}
    starts = case.offsets[:-1:SENTENCES_TOGETHER]
    for position, window in zip(kept, found, strict=True):
        group = int(np.searchsorted(starts, position, side="right")) - 1
        rounds.setdefault((group, (position - starts[group]) // size), []).append(window)
    stats = np.zeros(3)
    for _, part in sorted(rounds.items()):
        stats[2] += len(part)
        leaves = [table.clone().requires_grad_() for table in tables]
        draws = [np.zeros(len(table)) for table in tables]
        step = torch.zeros((), dtype=torch.float64)
        for window in part:
            if not window.contexts:
                continue
            rows = rows_of(case, window)
            x = leaves[0][rows]
            if cbow or case.bags is not None:
                total = x.sum(0, keepdim=True)
                x = total / len(rows) if mean else total
                if case.bags is not None:
                    x = x.detach() + total - total.detach()
            loss = loss_of(case, window, x, *leaves[1:])
            stats[:2] += loss.item(), 1 if cbow else len(window.contexts)
            step = step + window.learning_rate * loss
            for table, rows in enumerate(drawn(case, window)):
                np.add.at(draws[table], rows, 1)
        if step.requires_grad:
            gradients = torch.autograd.grad(step, leaves, allow_unused=True)
            for table, gradient, n in zip(tables, gradients, draws, strict=True):
                if gradient is not None:
                    part = MOST_DRAWS / np.maximum(n, MOST_DRAWS)
                    if scale is not None and table is tables[0]:
                        part = part * scale
                    table -= torch.from_numpy(part)[:, None] * gradient
    return *(table.numpy() for table in tables), stats


def rows_of(case, window):
    """Rows of in_table that the window reads."""
    if case.bags is None:
        return window.contexts
    words = window.contexts if case.options.get("model") == "cbow" else [window.center]
    offsets, rows = case.bags[:2]
    return [row for word in words for row in rows[offsets[word] : offsets[word + 1]].tolist()]


def path_of(case, word):
    begin, end = case.tree.offsets[word : word + 2].tolist()
    return case.tree.nodes[begin:end]


def pairs_of(case, window):
    """What skip-gram with bags predicts from the centre, each with its noise words."""
    return [
        (word, [other for other in noise if other != word])
        for word, noise in zip(window.contexts, window.noise, strict=True)
    ]


def drawn(case, window):
    """Rows of each table that a window draws, as often as it does."""
    noise = window.noise
    if case.bags is not None and case.options.get("model") != "cbow":
        words = [word for pair in pairs_of(case, window) for word in (pair[0], *pair[1])]
        path = []
        if case.tree is not None:
            path = [code // 2 for w in window.contexts for code in path_of(case, w).tolist()]
        return rows_of(case, window), words, path
    if case.options.get("model") == "cbow" or case.options["negative_sharing"] == "window":
        noise = noise[:1]
    words = [window.center, *(w for part in noise for w in part if w != window.center)]
    path = []
    if case.tree is not None:
        path = (path_of(case, window.center) // 2).tolist()
    return rows_of(case, window), words, path


def loss_of(case, window, x, out_table, tree_table):
    """Of one window and its inputs."""
    loss = torch.zeros((), dtype=torch.float64)
    if case.bags is not None and case.options.get("model") != "cbow":
        for word, noise in pairs_of(case, window):
            if "tree" in case.losses:
                path = path_of(case, word)
                loss += softplus((2.0 * (path % 2) - 1) * (x @ tree_table[path // 2].T)).sum()
            if "noise" in case.losses:
                loss += softplus(-(x @ out_table[word])).sum()
                loss += softplus(x @ out_table[torch.tensor(noise, dtype=torch.long)].T).sum()
        return loss
    if "tree" in case.losses:
        path = path_of(case, window.center)
        loss += softplus((2.0 * (path % 2) - 1) * (x @ tree_table[path // 2].T)).sum()
    if "noise" in case.losses:
        noise = torch.tensor(window.noise[: len(x)], dtype=torch.long)
        loss += softplus(-(x @ out_table[window.center])).sum()
        score = torch.einsum("cd,ckd->ck", x, out_table[noise])
        loss += softplus(score)[noise != window.center].sum()
    return loss


def check(actual, expected, tolerance=1e-5):
    assert (actual[3][1:] == expected[3][1:]).all()
    assert actual[3][0] == pytest.approx(expected[3][0], rel=2e-6)
    for x, y in zip(actual[:3], expected[:3], strict=True):
        np.testing.assert_allclose(x, y, rtol=0, atol=tolerance)
    assert (expected[0][: len(expected[1])] != expected[1]).any()


# ---- one sentence at a time: the rows that other tests do not have


@pytest.mark.parametrize(
    "name", [name for name in MODELS if "tree" in name or "cbow" in name or "bags" in name]
)
@pytest.mark.parametrize("dim", [200, 500, 600])
def test_wide_rows(device, dim, name):
    case_of(name, [45], dim=dim, scale=2 / dim**0.5).check_sequential(device, tolerance=1e-5)


@pytest.mark.parametrize("name", ["tree", "pair-and-tree", "cbow-tree", "bags-pair-and-tree"])
def test_the_root_is_damped_where_many_pairs_meet_it(device, name):
    """Sixteen sentences at the same time, at a learning rate that leaves the errors as they are."""
    case = case_of(name, [1030] * 16, vocab_size=512, dim=8, window=40, negatives=1)
    rate = 1e-5 if "bags" in name else 1e-4  # rows of many words change more often
    case.options |= {"alpha": rate, "min_alpha": rate, "dynamic_window": False}
    case.keep[:] = 0.03
    in_flight = 16 * (1 if "cbow" in name else 80)
    share = np.ones(512)
    for begin, end in pairwise(case.tree.offsets.tolist()):
        for depth, code in enumerate(case.tree.nodes[begin:end].tolist()):
            share[code // 2] = min(1, 128 / in_flight * 2**depth)
    assert (share < 1).any() == ("cbow" not in name)
    actual, expected = case.run(device)[2], case.expected()[2]
    change = share[:, None] * (expected - case.tables[2])
    np.testing.assert_allclose(actual - case.tables[2], change, rtol=0.05, atol=0.2 * rate)


# ---- rounds


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("dim", [20, 200, 300, 500, 600])
def test_a_round_is_a_step_of_gradient_descent(device, dim, name):
    case = case_of(name, [11, 0, 1, 23, 5], dim=dim, scale=3 / dim**0.5, windows_together=16)
    check(case.run(device), in_rounds(case, 16))


@pytest.mark.parametrize(
    "options",
    [
        {"windows_together": 1},
        {"windows_together": 7, "negatives": 11},
        {"windows_together": 1000, "negatives": 1, "window": 1},
        {"windows_together": 50, "negatives": 0},
        {"windows_together": 9, "window": 40, "dynamic_window": False},
        {"windows_together": 1000, "vocab_size": 3},
        {"windows_together": 9, "subsample": False, "cbow_mean": False, "bag_mean": False},
        {"windows_together": 40, "bag_sizes": 90, "alpha": 0.01},
    ],
    ids=str,
)
@pytest.mark.parametrize("name", MODELS)
def test_options_of_rounds(device, name, options):
    case = case_of(name, [40, 3, 21], scale=0.2, **options)
    check(case.run(device), in_rounds(case, options["windows_together"]))


@pytest.mark.parametrize("name", ["pair-and-tree", "cbow", *BAGS])
def test_rows_make_some_of_their_changes_in_a_round(device, name):
    case = case_of(name, [40, 3, 21], windows_together=16)
    scale = np.resize(np.float32([0, 1, 0.5, 2]), len(case.tables[0]))
    case.options["in_scale"] = scale
    actual = case.run(device)
    check(actual, in_rounds(case, 16))
    assert (actual[0][::4] == case.tables[0][::4]).all()


@pytest.mark.parametrize("name", ["pair-and-tree", "window", "cbow", "bags-window-and-tree"])
def test_groups_of_sentences(device, name):
    """Rounds begin anew every 256 sentences, so a corpus can be cut there into calls."""
    lengths = np.random.default_rng(1).integers(0, 5, 2 * SENTENCES_TOGETHER + 9)
    case = case_of(name, lengths, window=2, negatives=2, windows_together=100, dim=8)
    whole = case.run(device)
    check(whole, in_rounds(case, 100))
    for cuts in ([SENTENCES_TOGETHER], [0, SENTENCES_TOGETHER, 2 * SENTENCES_TOGETHER]):
        for x, y in zip(case.run(device, cuts=cuts), whole, strict=True):
            assert (x == y).all()


def test_a_round_grows_with_vocabulary_and_corpus(device):
    """Where that is more than asked for: a token for every 32 words and every 1024 tokens."""
    lengths = np.random.default_rng(2).integers(0, 40, 120)
    assert 2 * 1024 <= sum(lengths) < 3 * 1024
    options = {"vocab_size": 150, "dim": 8, "window": 1, "negatives": 1, "windows_together": 1}
    case = case_of("window", lengths, **options)
    check(case.run(device), in_rounds(case, 2))


@pytest.mark.parametrize("name", MODELS)
def test_rounds_are_reproducible(device, name):
    lengths = np.random.default_rng(3).integers(0, 30, 30)
    case = case_of(name, lengths, vocab_size=100, windows_together=64)
    for x, y in zip(case.run(device), case.run(device), strict=True):
        assert (x == y).all()


def test_divergence_makes_the_loss_nan(device):
    """Also where the sums of integers would know of no infinity."""
    for value in (3e4, 1e30, np.inf, np.nan):
        case = case_of("pair-and-tree", [30], subsample=False, windows_together=8)
        case.tables[0][case.tokens[7], 2] = value
        assert np.isnan(case.run(device)[3][0]), value


def test_a_token_outside_the_vocabulary_makes_the_loss_nan(device):
    for bad in (-1, 40, 2**31 - 1):
        case = case_of("pair", [30, 30], windows_together=8)
        case.tokens[41] = bad
        *tables, stats = case.run(device)
        assert np.isnan(stats[0])
        assert all(np.isfinite(table).all() for table in tables)


def test_offsets_of_rounds_are_checked(device):
    for position, value in ((2, 61), (1, -1), (1, 61), (0, -3)):
        case = case_of("window", [30, 30], windows_together=8)
        case.offsets[position] = value
        with pytest.raises(RuntimeError, match="offsets must rise from 0 to at most 60"):
            case.run(device)


# ---- trees


@pytest.mark.parametrize("together", [0, 8])
@pytest.mark.parametrize("name", [name for name in MODELS if "tree" in name])
@pytest.mark.parametrize("bad", ["node", "negative", "long", "backwards", "outside"])
def test_paths_that_are_not_allowed_make_the_loss_nan(device, name, together, bad):
    """Of the words whose paths they are nothing is trained."""
    case = case_of(name, [30], windows_together=together, subsample=False)
    offsets, nodes, longest = case.tree
    word = int(case.tokens[20])
    if bad in ("node", "negative"):
        nodes[offsets[word + 1] - 1] = {"node": 2 * 39, "negative": -1}[bad]
    elif bad == "long":
        longest = int(offsets.diff()[word]) - 1
    else:
        offsets[word + 1] = {"backwards": offsets[word] - 1, "outside": len(nodes) + 1}[bad]
    case.tree = case.tree._replace(longest=max(longest, 1))
    *tables, stats = case.run(device)
    assert np.isnan(stats[0])
    assert all(np.isfinite(table).all() for table in tables)


# ---- bags


@pytest.mark.parametrize("together", [0, 8])
@pytest.mark.parametrize("name", ["bags-pair-and-tree", "bags-cbow-and-tree"])
@pytest.mark.parametrize("bad", ["row", "negative", "long", "empty", "before", "beyond", "falls"])
def test_bags_that_are_none_make_the_loss_nan(device, name, together, bad):
    """A window that they are part of trains nothing."""
    case = case_of(name, [30], windows_together=together, subsample=False, bag_sizes=40)
    offsets, rows, longest, mean = case.bags
    word = int(case.tokens[20])
    if bad in ("row", "negative"):
        rows[offsets[word + 1] - 1] = {"row": 70, "negative": -(2**31)}[bad]
    elif bad == "long":
        longest = int(offsets.diff()[word]) - 1
    else:
        position = word if bad == "before" else word + 1
        begin = int(offsets[word])
        wrong = {"empty": begin, "before": -(2**62), "beyond": 2**62, "falls": begin - 1}
        offsets[position] = wrong[bad]
    case.bags = Bags(offsets, rows, max(longest, 1), mean)
    *tables, stats = case.run(device)
    assert np.isnan(stats[0])
    assert all(np.isfinite(table).all() for table in tables)
    if bad != "before":  # which makes the bag of the word before too long
        others = np.setdiff1d(case.tokens, [word])
        assert (tables[0][others] != case.tables[0][others]).any()
    assert (tables[0][word] == case.tables[0][word]).all()


def test_lists_beyond_a_warp(device):
    """More contexts, rows of a bag, targets and nodes than lanes, each row many times."""
    for name in BAGS:
        options = {"window": 40, "dynamic_window": False, "bag_sizes": 70, "negatives": 7}
        case = case_of(name, [90], vocab_size=7, scale=0.1, alpha=1e-3, **options)
        case.check_sequential(device, tolerance=1e-5)


# ---- limits


@pytest.mark.parametrize("together", [0, 8])
@pytest.mark.parametrize(
    ("name", "longest", "options"),
    [
        ("tree", 40, {"dim": 1000}),
        ("pair-and-tree", 40, {"dim": 1000}),
        ("window-and-tree", 20, {"dim": 1000, "negatives": 19}),
        ("tree", 20, {"window": 1000}),
        ("pair-and-tree", 20, {"window": 1000, "negatives": 9}),
        ("bags-pair-and-tree", 20, {"window": 1000, "negatives": 9}),
    ],
)
def test_limits_are_refused(device, name, longest, options, together):
    message = "longest_path and rows must need at most 163840 bytes of shared memory on CUDA, got"
    case = case_of(name, [5], windows_together=together, **options)
    case.tree = case.tree._replace(longest=longest)
    with pytest.raises(RuntimeError, match=message):
        case.run(device)


@pytest.mark.parametrize("name", ["cbow-and-tree", "bags-cbow-and-tree", "bags-window"])
def test_one_input_keeps_no_rows(device, name):
    """Its lists alone: any path, any number of noise words, any window."""
    options = {"window": 1000, "negatives": 60, "dynamic_window": False, "alpha": 0.01}
    case = case_of(name, [40], scale=0.1, **options)
    if case.tree is not None:
        case.tree = case.tree._replace(longest=96)
    case.check_sequential(device, tolerance=1e-5)
