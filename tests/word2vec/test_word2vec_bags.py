"""Vectors made of several rows, words' and their n-grams': word2vec_train_ against its oracle."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import logsigmoid

from common.isa import ISAS, passed_again
from lexforge import _library
from lexforge.ops.word2vec.word2vec_train import Bags, word2vec_train_
from lexforge.reference.word2vec.word2vec_train import windows
from word2vec.streaming import Case, random_bags
from word2vec.test_word2vec_models import check_float64
from word2vec.test_word2vec_train import arguments, as_the_op

# Model, losses, negative_sharing.
VARIANTS = [
    ("skipgram", "noise", "pair"),
    ("skipgram", "noise", "window"),
    ("skipgram", "tree", "pair"),
    ("skipgram", "noise and tree", "pair"),
    ("skipgram", "noise and tree", "window"),
    ("cbow", "noise", "pair"),
    ("cbow", "tree", "pair"),
    ("cbow", "noise and tree", "pair"),
]
each_variant = pytest.mark.parametrize(("model", "losses", "sharing"), VARIANTS)
both_models = pytest.mark.parametrize("model", ["skipgram", "cbow"])
mean_or_sum = pytest.mark.parametrize("mean", [True, False], ids=["mean", "sum"])


@pytest.fixture
def cpu_kernels(device):
    if device.type != "cpu" or _library.emulated():
        pytest.skip("a promise of the CPU kernel")
    return device


def bag_case(lengths, model="skipgram", losses="noise", sharing="pair", **options) -> Case:
    options = {"grams": 60, "dim": 20, "scale": 0.2, "alpha": 0.03, **options}
    return Case(lengths, model=model, losses=losses, negative_sharing=sharing, **options)


@each_variant
@mean_or_sum
@pytest.mark.parametrize("dim", [4, 100, 300, 336])
def test_one_sentence_equals_the_oracle(device, model, losses, sharing, mean, dim):
    case = bag_case([60], model, losses, sharing, bag_mean=mean, dim=dim, scale=1 / dim**0.5)
    case.check_sequential(device, tolerance=1e-5)


@each_variant
@pytest.mark.parametrize(
    "options",
    [
        {"dynamic_window": False, "cbow_mean": False},
        {"negatives": 0},
        {"negatives": 1, "window": 1},
        {"negatives": 20, "dynamic_window": False},
        {"window": 40, "negatives": 2, "dynamic_window": False, "alpha": 0.01},
        {"vocab_size": 3},
        {"vocab_size": 2000},
        {"bag_sizes": 0},
        {"grams": 2, "bag_mean": False, "scale": 0.1},
        {"bag_sizes": 150},
    ],
    ids=str,
)
def test_options_equal_the_oracle(device, model, losses, sharing, options):
    """Among them noise words that are contexts, rows twice in a bag and in bags of neighbours."""
    bag_case([50], model, losses, sharing, **options).check_sequential(device, tolerance=1e-5)


@pytest.mark.parametrize("losses", ["noise", "noise and tree"])
def test_windows_too_wide_for_sums(device, losses):
    """On the CPU, CBOW then reads and changes all rows for each window."""
    options = {"window": 100, "negatives": 2, "dynamic_window": False, "alpha": 1e-3}
    bag_case([50], "cbow", losses, **options).check_sequential(device, tolerance=1e-5)


@both_models
@pytest.mark.parametrize("length", [0, 1, 2, 3, 33, 300])
def test_sentence_lengths(device, model, length):
    case = bag_case([length], model, "noise and tree", window=3, negatives=2)
    case.check_sequential(device, tolerance=1e-5)


@both_models
def test_a_long_bag(device, model):
    """Of more rows than are fetched ahead or planned at a time; the others have one."""
    case = bag_case([40], model, bag_sizes=0, vocab_size=9, subsample=False, alpha=0.01)
    rows = np.random.default_rng(1).integers(0, 69, 5000)
    case.bags = Bags(
        torch.tensor([*range(5), 5004, *range(5005, 5009)]),
        torch.tensor([*range(4), *rows, *range(5, 9)], dtype=torch.int32),
        5000,
    )
    case.check_sequential(device, tolerance=1e-4)


@each_variant
@mean_or_sum
@pytest.mark.parametrize("lengths", [[60], [2, 0, 1, 3, 5] * 9], ids=["one", "short"])
def test_float64_equals_the_oracle(cpu_kernels, model, losses, sharing, mean, lengths):
    """Many sentences too: one thread trains them in order."""
    check_float64(bag_case(lengths, model, losses, sharing, dtype="f8", bag_mean=mean), cpu_kernels)


def test_bags_of_one_are_rows(cpu_kernels):
    """CBOW's sum of contexts changes by the whole anyway, and so gives the same."""
    bags = random_bags(np.random.default_rng(1), 40, 1, 0)
    assert bags.longest == 1
    options = {"model": "cbow", "cbow_mean": False, "dtype": "f8", "losses": "noise and tree"}
    with_bags, without = (
        Case([60, 2, 9], dim=20, grams=grams, bag_sizes=0, bag_mean=False, **options)
        for grams in (0, 1)
    )
    for one, other in zip(with_bags.run(cpu_kernels), without.run(cpu_kernels), strict=True):
        np.testing.assert_allclose(one[:40], other[:40], rtol=1e-13, atol=1e-13)


# ---- the update is the gradient


def loss_of(case, window, rows_of_center, rows_of_contexts, in_table, out_table, tree_table):
    """Of one window, pair by pair, from the formulas of the papers."""
    cbow = case.options["model"] == "cbow"
    rows = in_table[rows_of_contexts if cbow else rows_of_center]
    x = rows.mean(0) if case.bags.mean else rows.sum(0)
    loss = torch.zeros((), dtype=torch.float64)
    predicted = [window.center] if cbow else window.contexts
    for word, noise in zip(predicted, window.noise, strict=False):
        if "noise" in case.losses:
            others = [other for other in noise if other != word]
            loss = loss - logsigmoid(x @ out_table[word]) - logsigmoid(-out_table[others] @ x).sum()
        if "tree" in case.losses:
            begin, end = case.tree.offsets[word : word + 2].tolist()
            path = case.tree.nodes[begin:end]
            turns_left = torch.where(path % 2 == 0, 1.0, -1.0).double()
            loss = loss - logsigmoid(turns_left * (tree_table[path // 2] @ x)).sum()
    return loss


@each_variant
@mean_or_sum
def test_the_change_is_the_gradient(cpu_kernels, model, losses, sharing, mean):
    """At a learning rate that makes products of changes vanish; a mean's, times the rows in it."""
    rate = 1e-6
    case = bag_case(
        [9],
        model,
        losses,
        sharing,
        vocab_size=12,
        bag_mean=mean,
        dtype="f8",
        subsample=False,
        alpha=rate,
        min_alpha=rate,
        negatives=3,
        scale=0.5,
    )
    bags = [
        case.bags.rows[begin:end].tolist()
        for begin, end in zip(case.bags.offsets[:-1], case.bags.offsets[1:], strict=True)
    ]
    options = {n: v for n, v in case.options.items() if n not in ("model", "cbow_mean")}
    if "noise" not in losses:
        options["negatives"] = 0
    if model == "cbow":
        options["negative_sharing"] = "window"
    tables = [torch.tensor(table, requires_grad=True) for table in case.tables]
    expected = [np.zeros_like(table) for table in case.tables]
    loss_sum = 0.0
    for window in windows(case.tokens, case.offsets, case.keep, case.noise, **options):
        rows = bags[window.center], [row for word in window.contexts for row in bags[word]]
        loss = loss_of(case, window, *rows, *tables)
        gradients = torch.autograd.grad(loss, tables, allow_unused=True)
        loss_sum += loss.item()
        times = [len(rows[model == "cbow"]) if mean else 1, 1, 1]
        for change, gradient, n in zip(expected, gradients, times, strict=True):
            if gradient is not None:
                change -= n * gradient.numpy()
    *actual, stats = case.run(cpu_kernels)
    assert stats[0] == pytest.approx(loss_sum, rel=1e-4)
    for table in range(3):
        change = (actual[table] - case.tables[table]) / rate
        np.testing.assert_allclose(change, expected[table], rtol=1e-3, atol=1e-3)


# ---- several threads, and one result for any number of them


@each_variant
def test_threads_sample_the_same_stream(cpu_kernels, model, losses, sharing):
    lengths = np.random.default_rng(4).integers(0, 60, 600)
    options = {"vocab_size": 500, "window": 2, "dim": 16, "negatives": 1}
    case = bag_case(
        lengths, model, losses, sharing, grams=300, alpha=1e-4, min_alpha=1e-4, **options
    )
    one, two = case.run(cpu_kernels), case.run(cpu_kernels, threads=2)
    assert (one[3][1:] == two[3][1:]).all()
    assert one[3][0] == pytest.approx(two[3][0], rel=0.01)


@each_variant
def test_changes_of_rows_that_all_threads_train_do_not_add_up_too_far(
    cpu_kernels, model, losses, sharing
):
    """Few words in many turns: two threads end where one does, and not beyond."""
    options = {"vocab_size": 12, "grams": 8, "alpha": 0.05, "subsample": False}
    case = bag_case([4096] * 8, model, losses, sharing, **options)
    one, two = case.run(cpu_kernels), case.run(cpu_kernels, threads=2)
    assert two[3][0] == pytest.approx(one[3][0], rel=0.1)
    assert all(abs(two[table]).max() < 2 * abs(one[table]).max() + 1 for table in range(3))


@each_variant
@pytest.mark.parametrize("shards", [1, 5])
def test_shards_equal_the_oracle(cpu_kernels, model, losses, sharing, shards):
    """Sentences longer than a shard, empty shards, and fewer threads than shards, or more."""
    lengths = [40, 1, 7, 0, 30] + [0] * 250 + [2] * 20
    options = {"dim": 70, "dtype": "f8", "shards": shards, "shard_tokens": 15}
    case = bag_case(lengths, model, losses, sharing, **options)
    check_float64(case, cpu_kernels, threads=(1, 5))


@each_variant
@pytest.mark.parametrize("dim", [20, 300])
def test_any_number_of_threads_gives_the_same_bits(cpu_kernels, model, losses, sharing, dim):
    """Also for a corpus cut into calls between rounds."""
    lengths = np.random.default_rng(7).integers(0, 6, 530)
    options = {"vocab_size": 90, "dim": dim, "scale": 1 / dim**0.5}
    options |= {"shards": 5, "shard_tokens": 60}
    case = bag_case(lengths, model, losses, sharing, **options)
    first = case.run(cpu_kernels)
    assert (first[0][:90] != case.tables[0][:90]).any()
    assert (first[0][90:] != case.tables[0][90:]).any()
    one, two = np.searchsorted(case.offsets, [300, 900]).tolist()
    for threads, cuts in ((2, ()), (3, (one,)), (8, ()), (1, (one, two))):
        again = case.run(cpu_kernels, threads, cuts)
        for table in range(3):
            assert first[table].tobytes() == again[table].tobytes()
        assert (first[3][1:] == again[3][1:]).all()
        assert len(cuts) > 0 or first[3][0] == again[3][0]


@each_variant
def test_one_thread_is_reproducible(cpu_kernels, model, losses, sharing):
    """Bitwise, also for a corpus cut into calls."""
    lengths = np.random.default_rng(3).integers(0, 70, 30)
    case = bag_case(lengths, model, losses, sharing, dim=100)
    first = case.run(cpu_kernels)
    for cuts in ((), (1,), (7, 7, 21), range(1, 30)):
        again = case.run(cpu_kernels, cuts=cuts)
        for table in range(3):
            assert first[table].tobytes() == again[table].tobytes()
        assert (first[3][1:] == again[3][1:]).all()


@each_variant
@pytest.mark.parametrize("shards", [0, 3])
def test_rows_make_some_of_their_changes(device, model, losses, sharing, shards):
    """Equal to the oracle; rows of scale 0 keep their bits."""
    scale = np.tile(np.float32([0, 1, 0.5, 2]), 25)
    options = {"in_scale": scale, "dim": 100}
    if shards:
        if device.type != "cpu" or _library.emulated():
            pytest.skip("the oracle has the CPU's rounds")
        options |= {"shards": shards, "shard_tokens": 20}
    case = bag_case([30, 25, 15] if shards else [70], model, losses, sharing, **options)
    case.check_sequential(device, tolerance=1e-5)
    assert case.run(device)[0][::4].tobytes() == case.tables[0][::4].tobytes()


# ---- what is refused


@both_models
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("shards", [0, 3])
@pytest.mark.parametrize("bad", ["row", "negative", "long", "empty", "before", "beyond", "falls"])
def test_bags_that_are_none(cpu_kernels, model, bad, shards, threads):
    case = bag_case([60], model, subsample=False, shards=shards)
    offsets, rows, longest, mean = case.bags
    word = int(case.tokens[20])
    if bad in ("row", "negative"):
        rows[offsets[word]] = {"row": 100, "negative": -1}[bad]
    elif bad == "long":
        offsets, longest = offsets.clone(), int(offsets.diff()[word]) - 1
        if longest == 0:
            offsets[word + 1] += 1
            longest = 1
    elif bad == "empty":
        offsets[word + 1] = offsets[word]
    elif bad == "before":
        offsets[word] = -(2**62)
    elif bad == "beyond":
        offsets[word + 1] = 2**62
    else:
        offsets[word + 1] = offsets[word] - 1
    case.bags = Bags(offsets, rows, longest, mean)
    with pytest.raises(RuntimeError, match=r"bags 1 to \d+ rows in \[0, 100\)"):
        case.run(cpu_kernels, threads)


def test_a_word_that_is_not_met_may_have_any_bag(cpu_kernels):
    case = bag_case([60])
    case.tokens[case.tokens == 7] = 8
    case.bags.rows[case.bags.offsets[7]] = -1
    case.run(cpu_kernels)


def with_bags(device) -> dict:
    given = arguments(device)
    bags = random_bags(np.random.default_rng(1), 40, 10, 3)
    more = torch.zeros(10, given["in_table"].shape[1], device=device)
    given["in_table"] = torch.cat([given["in_table"], more])
    return given | {"bags": Bags(bags.offsets.to(device), bags.rows.to(device), *bags[2:])}


def test_opcheck(device):
    given = with_bags(device)
    *tensors, noise, tree, bags = given.values()
    op = list(as_the_op(dict(zip(given, (*tensors, noise, tree), strict=False))))
    places = [
        argument.name for argument in torch.ops.lexforge.word2vec_train_.default._schema.arguments
    ]
    op[places.index("bag_offsets") : places.index("bag_mean") + 1] = bags
    torch.library.opcheck(torch.ops.lexforge.word2vec_train_.default, tuple(op))
    for name, wrong, message in (
        ("longest_bag", 0, r"longest_bag must be in \[1, 1048576\], got 0"),
        ("bag_offsets", torch.zeros(52, dtype=torch.int64), "a row for each of the 51 words"),
        ("bag_rows", bags.rows.long(), "bag_rows has the wrong dtype"),
    ):
        bad = list(op)
        bad[places.index(name)] = wrong.to(device) if torch.is_tensor(wrong) else wrong
        with pytest.raises(RuntimeError, match=message):
            torch.ops.lexforge.word2vec_train_.default(*bad)


@pytest.mark.parametrize(
    ("field", "change", "error", "message"),
    [
        ("offsets", lambda t: t.int(), TypeError, "bags.offsets must be int64, got int32"),
        ("rows", lambda t: t.long(), TypeError, "bags.rows must be int32, got int64"),
        ("rows", lambda t: t[None], ValueError, r"bags.rows must be \[B\], got"),
        ("rows", lambda t: t.to("meta"), ValueError, "bags.rows must be on .*, got meta"),
        ("offsets", lambda t: t[:1], ValueError, r"bags.offsets must be \[V \+ 1\], 1 <= V <= the"),
        ("offsets", lambda t: t[:40], ValueError, r"keep must be \[39\], got \[40\]"),
        ("offsets", lambda t: t.repeat(2), ValueError, r"bags.offsets must be .* got \[82\]"),
        ("longest", lambda _: 0, ValueError, r"bags.longest must be in \[1, 2\^20\], got 0"),
        ("longest", lambda _: 2.0, TypeError, "bags.longest must be an int, got float"),
    ],
)
def test_wrong_bags(device, field, change, error, message):
    given = with_bags(device)
    given["bags"] = given["bags"]._replace(**{field: change(getattr(given["bags"], field))})
    with pytest.raises(error, match=f"word2vec_train_: {message}"):
        word2vec_train_(**given)


def test_wrong_tables(device):
    given = with_bags(device)
    for name, wrong, message in (
        ("out_table", given["in_table"].clone(), r"out_table must be \[40, 16\], got \[50, 16\]"),
        ("in_scale", torch.ones(40, device=device), r"in_scale must be \[50\], got \[40\]"),
    ):
        with pytest.raises(ValueError, match=message):
            word2vec_train_(**given | {name: wrong})


@pytest.mark.parametrize("isa", ISAS)
def test_other_instruction_sets(cpu_kernels, isa):
    """The numerical tests of this file again."""
    chosen = "cpu and (one_sentence or bits)"
    assert passed_again(isa, __file__, chosen) > 70
