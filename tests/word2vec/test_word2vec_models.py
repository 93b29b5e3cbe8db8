"""CBOW, hierarchical softmax and training with one result: word2vec_train_ against its oracle."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch.nn.functional import logsigmoid

from common.isa import ISAS, passed_again
from lexforge import _library
from lexforge.ops.word2vec.word2vec_train import HuffmanPaths, shard_rows, word2vec_train_
from lexforge.reference.word2vec.word2vec_train import windows
from word2vec.streaming import Case, aligned

# Model, losses, negative_sharing; skip-gram with noise alone has its own file.
VARIANTS = [
    ("skipgram", "tree", "pair"),
    ("skipgram", "noise and tree", "pair"),
    ("skipgram", "noise and tree", "window"),
    ("cbow", "noise", "pair"),
    ("cbow", "tree", "pair"),
    ("cbow", "noise and tree", "pair"),
]
ALL = [("skipgram", "noise", "pair"), ("skipgram", "noise", "window"), *VARIANTS]
each_variant = pytest.mark.parametrize(("model", "losses", "sharing"), VARIANTS)
all_variants = pytest.mark.parametrize(("model", "losses", "sharing"), ALL)


@pytest.fixture
def cpu_kernels(device):
    if device.type != "cpu" or _library.emulated():
        pytest.skip("a promise of the CPU kernel")
    return device


@each_variant
@pytest.mark.parametrize("dim", [4, 64, 100, 200, 300, 336])
def test_one_sentence_equals_the_oracle(device, model, losses, sharing, dim):
    options = {"model": model, "losses": losses, "negative_sharing": sharing}
    Case([60], dim=dim, scale=2 / dim**0.5, **options).check_sequential(device)


@each_variant
@pytest.mark.parametrize(
    "options",
    [
        {"dynamic_window": False},
        {"negatives": 0},
        {"negatives": 1, "window": 1},
        {"negatives": 20, "dynamic_window": False},
        {"window": 40, "negatives": 2, "dynamic_window": False},
        {"subsample": False},
        {"vocab_size": 2},
        {"vocab_size": 3},
        {"vocab_size": 2000},
        {"cbow_mean": False},
    ],
    ids=str,
)
def test_options_equal_the_oracle(device, model, losses, sharing, options):
    given = {"model": model, "losses": losses, "negative_sharing": sharing, "dim": 20, **options}
    Case([50], scale=0.3, **given).check_sequential(device, tolerance=1e-5)


@each_variant
@pytest.mark.parametrize("length", [0, 1, 2, 3, 33, 300])
def test_sentence_lengths(device, model, losses, sharing, length):
    options = {"model": model, "losses": losses, "negative_sharing": sharing}
    case = Case([length], dim=12, window=3, negatives=2, **options)
    case.check_sequential(device, tolerance=1e-5)


@each_variant
@pytest.mark.parametrize("lengths", [[60], [2, 0, 1, 3, 5] * 9], ids=["one", "short"])
def test_float64_equals_the_oracle(cpu_kernels, model, losses, sharing, lengths):
    options = {"model": model, "losses": losses, "negative_sharing": sharing}
    check_float64(Case(lengths, dtype="f8", dim=20, **options), cpu_kernels)


def check_float64(case, device, threads=(1,)):
    """On each of these numbers of threads."""
    expected = case.expected()
    for number in threads:
        actual = case.run(device, number)
        assert (actual[3][1:] == expected[3][1:]).all()
        assert actual[3][0] == pytest.approx(expected[3][0], rel=1e-12)
        for table in range(3):
            np.testing.assert_allclose(actual[table], expected[table], rtol=1e-12, atol=1e-12)


def in_rounds(device):
    """What makes the result the same every time."""
    if device.type == "cpu" and not _library.emulated():
        return {"shards": 3, "shard_tokens": 20}
    return {"windows_together": 8}


# ---- several threads


@all_variants
def test_copies_of_frequent_rows_come_together(cpu_kernels, model, losses, sharing):
    """Two turns that train rows of their own end as one thread does, whoever takes them."""
    options = {"model": model, "losses": losses, "negative_sharing": sharing, "negatives": 0}
    case = Case([2100, 2100], vocab_size=200, dim=20, window=1, subsample=False, **options)
    random = np.random.default_rng(5)
    case.tokens[:] = random.integers(0, 100, 4200)
    case.tokens[2100:] += 100
    if case.tree is not None:
        offsets, nodes, longest = case.tree  # nodes 0..98 for the first words, 99.. for the others
        nodes = random.integers(0, 198, len(nodes)) + 198 * (
            np.arange(len(nodes)) >= int(offsets[100])
        )
        case.tree = HuffmanPaths(offsets, torch.from_numpy(nodes.astype(np.int32)), longest)
    one, two = case.run(cpu_kernels), case.run(cpu_kernels, threads=2)
    for table in range(3):
        np.testing.assert_allclose(two[table], one[table], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(two[3], one[3], rtol=1e-6)


@all_variants
def test_changes_of_rows_that_all_threads_train_do_not_add_up_too_far(
    cpu_kernels, model, losses, sharing
):
    """Few words in many turns: two threads end where one does, and not beyond."""
    options = {"model": model, "losses": losses, "negative_sharing": sharing, "alpha": 0.1}
    case = Case([4096] * 8, vocab_size=12, dim=20, subsample=False, **options)
    one, two = case.run(cpu_kernels), case.run(cpu_kernels, threads=2)
    assert two[3][0] == pytest.approx(one[3][0], rel=0.1)
    assert all(abs(two[table]).max() < 2 * abs(one[table]).max() + 1 for table in range(3))


# ---- rows that are held back


@all_variants
@pytest.mark.parametrize("shards", [0, 3])
def test_rows_make_some_of_their_changes(device, model, losses, sharing, shards):
    """Equal to the oracle; rows of scale 0 keep their bits."""
    scale = np.tile(np.float32([0, 1, 0.5, 2]), 10)
    options = {"model": model, "losses": losses, "negative_sharing": sharing, "in_scale": scale}
    if shards:
        options |= in_rounds(device)
        if "shards" not in options:
            pytest.skip("the oracle has the CPU's rounds")
    for window in (2, 40):  # fewer targets, or more, than a step has registers for
        lengths = [30, 25, 15] if shards else [70]
        case = Case(lengths, dim=100, scale=0.2, window=window, **options)
        case.check_sequential(device, tolerance=1e-5)
        assert case.run(device)[0][::4].tobytes() == case.tables[0][::4].tobytes()


@all_variants
def test_held_rows_keep_their_bits_in_rounds(device, model, losses, sharing):
    """With several threads."""
    scale = np.tile(np.float32([0, 1, 1, 0]), 10)
    options = {"model": model, "losses": losses, "negative_sharing": sharing, "in_scale": scale}
    case = Case([40, 0, 9] * 4, dim=70, **in_rounds(device), **options)
    trained = case.run(device, threads=2)[0]
    assert trained[scale == 0].tobytes() == case.tables[0][scale == 0].tobytes()
    assert (trained[scale == 1] != case.tables[0][scale == 1]).any()


# ---- the update is the gradient


def loss_of(case, window, in_table, out_table, tree_table):
    """Of one window, from the formulas of the papers."""
    v = in_table[window.contexts]
    if case.options["model"] == "cbow":
        v = v.mean(0, keepdim=True) if case.options.get("cbow_mean", True) else v.sum(0)[None]
    loss = torch.zeros((), dtype=torch.float64)
    if "noise" in case.losses:
        noise = torch.tensor(window.noise[: len(v)])
        scores = torch.einsum("cd,ckd->ck", v, out_table[noise])
        loss = loss - logsigmoid(v @ out_table[window.center]).sum()
        loss = loss - logsigmoid(-scores)[noise != window.center].sum()
    if "tree" in case.losses:
        begin, end = case.tree.offsets[window.center : window.center + 2].tolist()
        path = case.tree.nodes[begin:end]
        turns_left = torch.where(path % 2 == 0, 1.0, -1.0).double()
        loss = loss - logsigmoid(turns_left * (v @ tree_table[path // 2].T)).sum()
    return loss


@each_variant
@pytest.mark.parametrize("mean", [True, False])
def test_the_change_is_the_gradient(cpu_kernels, model, losses, sharing, mean):
    """At a learning rate of 1 a window subtracts the gradient of its loss.

    Own noise of each context does so for one context: with more, each sees the changes of those
    before.
    """
    if model == "skipgram" and not mean:
        pytest.skip("CBOW alone has a mean")
    own = model == "skipgram" and sharing == "pair" and "noise" in losses
    case = Case(
        [2 if own else 9],
        vocab_size=5000 if "tree" not in losses else 300,
        dim=16,
        dtype="f8",
        subsample=False,
        alpha=1.0,
        min_alpha=1.0,
        negatives=3,
        negative_sharing=sharing,
        losses=losses,
        model=model,
        cbow_mean=mean,
        scale=0.2,
    )
    if own and "tree" in losses:
        pytest.skip("the noise part sees what the tree's changed; the oracle has it")
    expected = [torch.tensor(table, requires_grad=True) for table in case.tables]
    loss_sum = 0.0
    options = {n: v for n, v in case.options.items() if n not in ("model", "cbow_mean")}
    if "noise" not in losses:
        options["negatives"] = 0
    if model == "cbow":
        options["negative_sharing"] = "window"
    for window in windows(case.tokens, case.offsets, case.keep, case.noise, **options):
        loss = loss_of(case, window, *expected)
        gradients = torch.autograd.grad(loss, expected, allow_unused=True)
        loss_sum += loss.item()
        with torch.no_grad():
            for table, gradient in zip(expected, gradients, strict=True):
                if gradient is not None:
                    table -= gradient
    actual = case.run(cpu_kernels)
    assert actual[3][0] == pytest.approx(loss_sum, rel=1e-12)
    for table in range(3):
        assert np.abs(actual[table] - expected[table].detach().numpy()).max() < 1e-12


# ---- one result for any number of threads


@all_variants
@pytest.mark.parametrize("shards", [1, 3, 16])
def test_shards_equal_the_oracle(cpu_kernels, model, losses, sharing, shards):
    """Sentences longer than a shard, empty shards, and fewer threads than shards, or more."""
    options = {"model": model, "losses": losses, "negative_sharing": sharing, "dim": 70}
    lengths = [40, 1, 7, 0, 30] + [0] * 250 + [2] * 20
    case = Case(lengths, dtype="f8", shards=shards, shard_tokens=15, **options)
    check_float64(case, cpu_kernels, threads=(1, 5))


@all_variants
def test_rows_that_all_shards_train_often(cpu_kernels, model, losses, sharing):
    """Some of what they change by is added."""
    options = {"model": model, "losses": losses, "negative_sharing": sharing, "alpha": 0.01}
    options |= {"shards": 4, "shard_tokens": 300, "vocab_size": 3, "dim": 12}
    case = Case([300] * 5, dtype="f8", subsample=False, **options)
    check_float64(case, cpu_kernels, threads=(3,))


@all_variants
@pytest.mark.parametrize("dim", [20, 100, 300])
def test_any_number_of_threads_gives_the_same_bits(cpu_kernels, model, losses, sharing, dim):
    """Also for a corpus cut into calls between rounds, with copies that are kept or made anew."""
    lengths = np.random.default_rng(7).integers(0, 6, 600)
    options = {"model": model, "losses": losses, "negative_sharing": sharing}
    options |= {"shards": 5, "shard_tokens": 60, "scale": 2 / dim**0.5}
    case = Case(lengths, vocab_size=90, dim=dim, **options)
    first = case.run(cpu_kernels)
    assert (first[0] != case.tables[0]).any()
    one, two = np.searchsorted(case.offsets, [300, 900]).tolist()
    runs = ((2, (), False), (3, (one,), True), (8, (), True), (1, (one, two), False))
    for threads, cuts, kept in (*runs, (2, (one, two), True)):
        again = case.run(cpu_kernels, threads, cuts, kept)
        for table in range(3):
            assert first[table].tobytes() == again[table].tobytes()
        assert (first[3][1:] == again[3][1:]).all()
        assert len(cuts) > 0 or first[3][0] == again[3][0]


@all_variants
@pytest.mark.parametrize("dim", [100, 130])
def test_one_shard_is_plain_training(cpu_kernels, model, losses, sharing, dim):
    """To the last bit."""
    case = Case([50, 20], dim=dim, model=model, losses=losses, negative_sharing=sharing)
    plain = case.run(cpu_kernels)
    case.options |= {"shards": 1, "shard_tokens": 50}
    for one, other in zip(plain, case.run(cpu_kernels, threads=2), strict=True):
        assert one.tobytes() == other.tobytes()


def test_a_long_sentence_in_a_shard(cpu_kernels):
    """More kept tokens than the buffers hold, and than a round has."""
    options = {"shards": 2, "shard_tokens": 100, "window": 3, "negatives": 2, "alpha": 0.02}
    case = Case([5000, 3], vocab_size=500, dim=16, **options)
    case.check_sequential(cpu_kernels, tolerance=1e-4)


# ---- probabilities


def test_probabilities_of_the_tree_sum_to_one(device):
    """The loss of a pair is -log P(word | context), and those are probabilities."""
    vocab_size, dim = 23, 10
    case = Case([2], vocab_size=vocab_size, dim=dim, losses="tree", scale=1.0, subsample=False)
    case.options |= {"alpha": 0.0, "min_alpha": 0.0, "window": 1}
    context, total = 4, 0.0
    for word in range(vocab_size):
        loss = 0.0
        for center, other in ((word, context), (context, word)):
            case.tokens[:] = (center, other)
            loss = case.run(device)[3][0]
        pair = loss - own_loss(case, context, word)
        total += math.exp(-pair)
    assert total == pytest.approx(1, abs=1e-5)


def own_loss(case, center, context):
    """-log P(center | context), from the paths."""
    begin, end = case.tree.offsets[center : center + 2].tolist()
    path = case.tree.nodes[begin:end].numpy()
    score = case.tables[2].astype("f8")[path // 2] @ case.tables[0].astype("f8")[context]
    return np.logaddexp(0, np.where(path % 2 == 0, -score, score)).sum()


# ---- what is refused


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("shards", [0, 3])
@pytest.mark.parametrize("bad", ["node", "negative", "long", "offset"])
def test_paths_that_are_none(cpu_kernels, bad, shards, threads):
    case = Case([60], dim=12, losses="tree", subsample=False, shards=shards)
    offsets, nodes, longest = case.tree
    word = int(case.tokens[20])
    if bad in ("node", "negative"):
        nodes[offsets[word]] = {"node": 2 * 39, "negative": -2}[bad]
    elif bad == "long":
        longest = int(offsets.diff()[word]) - 1
    else:
        offsets[word + 1] = len(nodes) + 1
    case.tree = HuffmanPaths(offsets, nodes, longest)
    with pytest.raises(RuntimeError, match=r"paths have at most \d+ nodes in \[0, 39\)"):
        case.run(cpu_kernels, threads)


def test_a_token_outside_the_vocabulary_stops_a_team(cpu_kernels):
    case = Case([30] * 10, dim=100, shards=3, shard_tokens=20)
    case.tokens[211] = 40
    for threads in (1, 2, 5):
        with pytest.raises(RuntimeError, match=r"tokens must be in \[0, 40\)"):
            case.run(cpu_kernels, threads)


def test_a_round_that_failed_leaves_no_copies(cpu_kernels):
    case = Case([30] * 10, dim=100, shards=3, shard_tokens=20)
    bad, case.tokens[211] = case.tokens[211], 40
    tables, stats = [aligned(table, cpu_kernels) for table in case.tables], torch.zeros(3).double()
    kept = shard_rows(3, *case.used(tables))
    with pytest.raises(RuntimeError, match=r"tokens must be in \[0, 40\)"):
        word2vec_train_(
            *case.used(tables), stats, *case.corpus(cpu_kernels), shard_rows=kept, **case.options
        )
    assert (tables[0].numpy() != case.tables[0]).any()  # rounds before it are done
    case.tables, case.tokens[211] = [table.numpy().copy() for table in tables], bad
    word2vec_train_(
        *case.used(tables), stats, *case.corpus(cpu_kernels), shard_rows=kept, **case.options
    )
    for again, table in zip(case.run(cpu_kernels)[:3], tables, strict=True):
        assert again.tobytes() == table.numpy().tobytes()


def test_copies_of_other_tables(cpu_kernels):
    case = Case([30] * 10, dim=100, shards=3, shard_tokens=20)
    tables = case.used([aligned(table, cpu_kernels) for table in case.tables])
    stats = torch.zeros(3, dtype=torch.float64)
    for wrong, error, message in (
        (shard_rows(2, *tables), RuntimeError, r"shard_rows must have \d+ bytes or none"),
        (torch.zeros(64), TypeError, "shard_rows must be uint8"),
    ):
        with pytest.raises(error, match=message):
            word2vec_train_(
                *tables, stats, *case.corpus(cpu_kernels), shard_rows=wrong, **case.options
            )


@pytest.mark.parametrize(
    "given, error, message",
    [
        ({"shards": 0}, ValueError, r"shards must be in \[1, 64\], got 0"),
        ({"shards": -1}, ValueError, r"shards must be in \[1, 64\], got -1"),
        ({"shards": 65}, ValueError, r"shards must be in \[1, 64\], got 65"),
        ({"shards": 2.0}, TypeError, "shards must be an int, got float"),
        ({"in_table": None}, TypeError, "in_table must be a tensor, got NoneType"),
        ({"in_table": torch.zeros(5).double()}, TypeError, "must be float32 or bfloat16, got"),
        ({"in_table": torch.zeros(16)}, ValueError, r"in_table must be \[V, stride\], got \[16"),
        ({"in_table": torch.zeros(5, 0)}, ValueError, r"a multiple of 16\], got \[5, 0\]"),
        ({"in_table": torch.zeros(0, 16)}, ValueError, r"in_table must be \[V >= 1, a multiple"),
        ({"in_table": torch.zeros(5, 20)}, ValueError, r"a multiple of 16\], got \[5, 20\]"),
        ({"in_table": torch.zeros(5, 16, device="meta")}, ValueError, "on the CPU, got meta"),
        ({"out_table": torch.zeros(16)}, ValueError, r"out_table must be \[V, 16\], got \[16\]"),
        ({"tree_table": torch.zeros(4, 32)}, ValueError, r"tree_table must be \[V, 16\], got"),
        ({"tree_table": torch.zeros(4, 16).int()}, TypeError, "tree_table must be float32, got"),
    ],
)  # fmt: skip
def test_copies_of_what_is_no_table(given, error, message):
    with pytest.raises(error, match=f"^shard_rows: .*{message}"):
        shard_rows(**{"shards": 2, "in_table": torch.zeros(5, 16), **given})


def test_copies_of_one_word():
    kept = shard_rows(1, torch.zeros(1, 16), tree_table=torch.zeros(0, 16))
    assert kept.dtype == torch.uint8 and kept.numel() > 0 and not kept.any()


def test_neither_loss_and_no_tree(device):
    case = Case([10], dim=12, losses="tree")
    tokens, offsets, keep, noise, tree = case.corpus(device)
    in_table = torch.zeros(1, 16, device=device)
    stats = torch.zeros(3, dtype=torch.float64, device=device)
    with pytest.raises(ValueError, match="out_table or tree_table must be given, or both"):
        word2vec_train_(in_table, None, None, stats, tokens, offsets, keep)
    with pytest.raises(ValueError, match="a tree needs two words or more, got 1"):
        word2vec_train_(in_table, None, in_table[:0], stats, tokens, offsets, keep[:1], noise, tree)


@pytest.mark.parametrize("isa", ISAS)
def test_other_instruction_sets(cpu_kernels, isa):
    """The numerical tests of this file again."""
    chosen = "cpu and (one_sentence or options or groups or bits)"
    assert passed_again(isa, __file__, chosen) > 100
