"""word2vec_train_ on every device against its oracle."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import logsigmoid

import lexforge
from common.isa import ISAS, passed_again
from lexforge import _library
from lexforge.ops._tables import padded_table
from lexforge.ops.word2vec.word2vec_train import word2vec_train_
from lexforge.reference.word2vec.word2vec_train import windows
from word2vec.streaming import Case, aligned

SHARING = ["pair", "window"]


@pytest.fixture
def cuda_kernels(device):
    if device.type == "cpu" and not _library.emulated():
        pytest.skip("a limit of the CUDA kernel")
    return device


@pytest.fixture
def cpu_kernels(device):
    if device.type != "cpu" or _library.emulated():
        pytest.skip("a promise of the CPU kernel")
    return device


@pytest.mark.parametrize("sharing", SHARING)
@pytest.mark.parametrize("dim", [4, 16, 48, 64, 100, 128, 200, 300, 336, 500, 600])
def test_one_sentence_equals_the_oracle(device, dim, sharing):
    Case([60], dim=dim, negative_sharing=sharing, scale=4 / dim**0.5).check_sequential(device)


@pytest.mark.parametrize(
    "options",
    [
        {"dynamic_window": False},
        {"negatives": 0},
        {"negatives": 1, "window": 1},
        {"negatives": 20, "dynamic_window": False},
        {"negatives": 20, "dynamic_window": False, "negative_sharing": "window"},
        {"negatives": 40, "window": 2, "negative_sharing": "window"},
        {"window": 40, "negatives": 2, "dynamic_window": False},
        {"window": 17, "negatives": 3},
        {"subsample": False},
        {"vocab_size": 3},
        {"vocab_size": 1},
        {"vocab_size": 2000},
        {"seed": -1, "epoch": 2**32 - 1},
    ],
    ids=str,
)
def test_options_equal_the_oracle(device, options):
    Case([50], **{"dim": 20, **options}).check_sequential(device)


@pytest.mark.parametrize("length", [0, 1, 2, 3, 31, 32, 33, 64, 65, 127, 300])
def test_sentence_lengths(device, length):
    Case([length], dim=12, window=3, negatives=2).check_sequential(device)


def test_an_empty_range_does_nothing(device):
    case = Case([10, 10], dim=12, first_sentence=1, last_sentence=1)
    in_table, out_table, _, stats = case.run(device)
    assert (in_table == case.tables[0]).all()
    assert (out_table == case.tables[1]).all()
    assert (stats == 0).all()


def check_same_stream(device, lengths, **options):
    """Order differs between warps, so only the sampled stream is exact."""
    case = Case(lengths, **options)
    actual, expected = case.run(device, threads=2), case.expected()
    assert (actual[3][1:] == expected[3][1:]).all()
    assert actual[3][0] == pytest.approx(expected[3][0], rel=1e-3)
    for table in (0, 1):
        moved = expected[table] - case.tables[table]
        difference = actual[table] - expected[table]
        assert np.linalg.norm(difference) < 0.3 * np.linalg.norm(moved)  # measured: up to 0.15


@pytest.mark.parametrize("sharing", SHARING)
def test_many_sentences_sample_the_same_stream(device, sharing):
    lengths = np.random.default_rng(5).integers(0, 40, 100)
    check_same_stream(
        device, lengths, vocab_size=200, dim=20, negative_sharing=sharing, window=3, negatives=3
    )


def test_sentences_trained_at_the_same_time(device):
    """Enough words and tokens for several blocks of warps, and turns of threads."""
    lengths = np.random.default_rng(6).integers(0, 40, 500)
    assert sum(lengths) > 8 * 1024
    slowly = {"alpha": 1e-3, "min_alpha": 1e-3}  # they see each other's changes late
    check_same_stream(device, lengths, vocab_size=400, dim=16, window=1, negatives=1, **slowly)


@pytest.mark.parametrize("cuts", [(2,), (1, 1, 5), range(1, 6)], ids=str)
def test_a_corpus_can_be_cut_anywhere(device, cuts):
    """Calls on parts of the corpus sample what one call samples."""
    case = Case([20] * 6, dim=12, window=3, negatives=2)
    assert (case.run(device, cuts=cuts)[3][1:] == case.run(device)[3][1:]).all()


def test_padding_columns_stay_zero(device):
    case = Case([80], dim=5)
    in_table, out_table, _, _ = case.run(device)
    assert (in_table[:, 5:] == 0).all()
    assert (out_table[:, 5:] == 0).all()


def test_extreme_logits_stay_finite(device):
    case = Case([40], dim=16, scale=30)
    in_table, out_table, _, stats = case.run(device)
    assert np.isfinite(in_table).all()
    assert np.isfinite(out_table).all()
    assert np.isfinite(stats).all()


@pytest.mark.parametrize("bad", [-1, 40, 2**31 - 1])
def test_a_token_outside_the_vocabulary_makes_the_loss_nan(cuda_kernels, bad):
    case = Case([30, 30], dim=12)
    case.tokens[41] = bad
    in_table, out_table, _, stats = case.run(cuda_kernels)
    assert np.isnan(stats[0])
    assert np.isfinite(in_table).all()
    assert np.isfinite(out_table).all()


def test_offsets_beyond_the_corpus_make_the_loss_nan(cuda_kernels):
    for position, value in ((2, 61), (1, -1), (1, 61)):
        case = Case([30, 30], dim=12)
        case.offsets[position] = value
        assert np.isnan(case.run(cuda_kernels)[3][0])


def test_limits_are_refused(cuda_kernels):
    with pytest.raises(RuntimeError, match="at most 1024 floats on CUDA, got 1040"):
        Case([5], dim=1030).run(cuda_kernels)
    message = "must need at most 163840 bytes of shared memory on CUDA, got"
    for limits in (
        {"window": 1000, "negatives": 9},
        {"dim": 1000, "negatives": 40, "negative_sharing": "window"},
    ):
        with pytest.raises(RuntimeError, match=message):
            Case([5], **{"dim": 5, **limits}).run(cuda_kernels)


def test_windows_up_to_the_limit_work(device):
    Case([70], dim=12, window=1000, negatives=3, dynamic_window=False).check_sequential(device)


# ---- noise, windows and lengths


@pytest.mark.parametrize("sharing", SHARING)
@pytest.mark.parametrize("negatives", [0, 1, 4, 5, 6, 11, 20])
def test_numbers_of_noise_words(device, negatives, sharing):
    """Around the sizes of the tiles in which targets are handled."""
    for dim in (20, 100, 200):
        case = Case([45], dim=dim, negatives=negatives, negative_sharing=sharing)
        case.check_sequential(device, tolerance=2e-5)


@pytest.mark.parametrize("sharing", SHARING)
@pytest.mark.parametrize("window", [1, 2, 3, 4, 7, 8, 9, 16, 17, 31, 32, 33, 40])
def test_windows(device, window, sharing):
    for dynamic in (True, False):
        case = Case(
            [90],
            dim=16,
            scale=0.3,
            window=window,
            negatives=3,
            dynamic_window=dynamic,
            negative_sharing=sharing,
        )
        case.check_sequential(device, tolerance=2e-5)


@pytest.mark.parametrize("sharing", SHARING)
def test_a_long_sentence(device, sharing):
    """More kept tokens than any buffer of a kernel holds."""
    case = Case(
        [5000], vocab_size=2000, dim=16, window=3, negatives=2, negative_sharing=sharing, alpha=0.02
    )
    case.check_sequential(device, tolerance=1e-4)


# ---- the CPU kernel's own promises

OPTIONS = [
    {},
    {"negatives": 0},
    {"negatives": 11},
    {"window": 12, "dynamic_window": False},
    {"vocab_size": 3},
    {"vocab_size": 1},
]


@pytest.mark.parametrize("sharing", SHARING)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize(
    "lengths", [[60], [2, 0, 1, 3, 5] * 25, [40, 31, 32, 33, 64, 7]], ids=["one", "short", "some"]
)
def test_float64_equals_the_oracle(cpu_kernels, lengths, options, sharing):
    """Many sentences too: one thread trains them in order."""
    case = Case(lengths, dtype="f8", negative_sharing=sharing, **{"dim": 20, **options})
    actual, expected = case.run(cpu_kernels), case.expected()
    assert (actual[3][1:] == expected[3][1:]).all()
    assert actual[3][0] == pytest.approx(expected[3][0], rel=1e-12)
    for table in (0, 1):
        np.testing.assert_allclose(actual[table], expected[table], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("sharing", SHARING)
@pytest.mark.parametrize("dim", [16, 48, 64, 112, 128, 208, 304, 336])
def test_many_sentences_in_order(cpu_kernels, dim, sharing):
    lengths = np.random.default_rng(2).integers(0, 9, 120)
    case = Case(lengths, vocab_size=100, dim=dim, scale=2 / dim**0.5, negative_sharing=sharing)
    case.check_sequential(cpu_kernels, tolerance=2e-5)


@pytest.mark.parametrize(("length", "sharing"), [(2, "pair"), (12, "window")])
def test_the_change_is_the_gradient(cpu_kernels, length, sharing):
    """At a learning rate of 1 each window subtracts the gradient of eq. 4.

    Noise per pair does so for one context: with more, each sees the changes of those before.
    """
    case = Case(
        [length],
        vocab_size=5000,
        dim=16,
        dtype="f8",
        subsample=False,
        alpha=1.0,
        min_alpha=1.0,
        negative_sharing=sharing,
    )
    expected = [torch.tensor(table, requires_grad=True) for table in case.tables[:2]]
    loss_sum = 0.0
    for window in windows(case.tokens, case.offsets, case.keep, case.noise, **case.options):
        in_table, out_table = expected
        v = in_table[window.contexts]
        noise = torch.tensor(window.noise)
        positive = logsigmoid(v @ out_table[window.center])
        scores = torch.einsum("cd,ckd->ck", v, out_table[noise])
        negative = logsigmoid(-scores)[noise != window.center]
        loss = -positive.sum() - negative.sum()
        gradients = torch.autograd.grad(loss, expected)
        loss_sum += loss.item()
        with torch.no_grad():
            for table, gradient in zip(expected, gradients, strict=True):
                table -= gradient
    actual = case.run(cpu_kernels)
    assert actual[3][0] == pytest.approx(loss_sum, rel=1e-12)
    for table in (0, 1):
        difference = np.abs(actual[table] - expected[table].detach().numpy())
        assert difference.max() < 1e-12
        assert (actual[table] != case.tables[table]).any()


@pytest.mark.parametrize("sharing", SHARING)
def test_one_thread_is_reproducible(cpu_kernels, sharing):
    """Bitwise, also for a corpus cut into calls."""
    lengths = np.random.default_rng(3).integers(0, 70, 60)
    case = Case(lengths, vocab_size=30, dim=100, negative_sharing=sharing)
    first = case.run(cpu_kernels)
    for cuts in ((), (1,), (7, 7, 31), range(1, 60)):
        again = case.run(cpu_kernels, cuts=cuts)
        assert (first[0] == again[0]).all()
        assert (first[1] == again[1]).all()
        assert (first[3][1:] == again[3][1:]).all()
        assert len(cuts) > 0 or first[3][0] == again[3][0]


@pytest.mark.parametrize("sharing", SHARING)
def test_threads_sample_the_same_stream(cpu_kernels, sharing):
    lengths = np.random.default_rng(4).integers(0, 60, 600)
    assert sum(lengths) > 4 * 4096  # several turns of every thread
    # Threads see each other's changes late, how late depends on the machine: a small rate.
    slowly = {"alpha": 1e-3, "min_alpha": 1e-3}
    case = Case(lengths, vocab_size=500, dim=16, negative_sharing=sharing, window=2, **slowly)
    one, two = case.run(cpu_kernels), case.run(cpu_kernels, threads=2)
    assert (one[3][1:] == two[3][1:]).all()
    assert one[3][0] == pytest.approx(two[3][0], rel=0.01)


@pytest.mark.parametrize("bad", [-1, 40, 2**31 - 1, -(2**31)])
@pytest.mark.parametrize("threads", [1, 2])
def test_a_token_outside_the_vocabulary(cpu_kernels, bad, threads):
    case = Case([30, 30], dim=12)
    case.tokens[41] = bad
    with pytest.raises(RuntimeError, match=r"tokens must be in \[0, 40\)"):
        case.run(cpu_kernels, threads)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("index", "value"), [(2, 61), (1, -1), (1, 61), (0, -3), (0, 31), (2, 2**62), (0, -(2**62))]
)
def test_offsets_that_do_not_rise(cpu_kernels, index, value, threads):
    case = Case([30, 30], dim=12)
    case.offsets[index] = value
    with pytest.raises(RuntimeError, match="offsets must rise from 0 to at most 60"):
        case.run(cpu_kernels, threads)


@pytest.mark.parametrize("alias", [40, 2**31, 2**32 - 1])
def test_an_alias_outside_the_vocabulary(cpu_kernels, alias):
    case = Case([30], dim=12)
    case.noise[17, 1] = alias
    with pytest.raises(RuntimeError, match=r"noise\[17\] must have an alias in \[0, 40\), got"):
        case.run(cpu_kernels)


@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
def test_workspace(cpu_kernels, tmp_path):
    """What is in the workspace does not matter, and what is beyond it is never touched."""
    here = Path(__file__).resolve().parent
    csrc = here.parents[1] / "csrc"
    isa = lexforge.cpu_capability()
    program = tmp_path / "workspace"
    kernel = tmp_path / "kernel.cpp"  # as the build writes it
    kernel.write_text(
        f"#define LEXFORGE_ISA {isa}\n#define LEXFORGE_ISA_{isa.upper()}\n"
        '#include "word2vec/word2vec_train_cpu_impl.h"\n'
    )
    sources = [here / "word2vec_train_workspace.cpp", kernel, csrc / "common/team.cpp"]
    flags = ["-std=c++20", "-O1", "-pthread", f"-I{csrc}"]
    flags += [f"-DISA={isa}"]
    flags += ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    subprocess.run(["g++", *flags, *map(str, sources), "-o", str(program)], check=True)
    done = subprocess.run([str(program)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "1584 of 1584 runs equal\n"


@pytest.mark.parametrize("isa", ISAS)
def test_other_instruction_sets(cpu_kernels, isa):
    """The numerical tests of this file again."""
    chosen = "cpu and (oracle or noise_words or windows or long or order or reproducible)"
    assert passed_again(isa, __file__, chosen) > 100


# ---- arguments


def arguments(device):
    case = Case([10], dim=12, losses="noise and tree")
    names = "in_table", "out_table", "tree_table", "stats", "tokens", "offsets", "keep", "noise"
    tables = case.used([aligned(table, device) for table in case.tables])
    stats = torch.zeros(3, dtype=torch.float64, device=device)
    given = (*tables, stats, *case.corpus(device))
    return dict(zip((*names, "tree"), given, strict=True))


def as_the_op(given):
    """All arguments of the op itself, without its wrapper's checks."""
    *tensors, noise, tree = given.values()
    bags = (tensors[5][:0], tensors[4][:0], 0, True)
    tensors.insert(4, torch.empty(0, dtype=torch.uint8, device=tensors[0].device))
    options = (False, True, 5, 5, True, False, 0, 0, 1, 0.02, 0.01, 0, 20, 1, 0, 1)
    return (*tensors, given["keep"][:0], noise, *tree, *bags, 0, 1, *options)


def test_versions_are_bumped(device):
    given = arguments(device)
    before = [given[name]._version for name in ("in_table", "out_table", "tree_table", "stats")]
    word2vec_train_(**given)
    after = [given[name]._version for name in ("in_table", "out_table", "tree_table", "stats")]
    assert all(a > b for a, b in zip(after, before, strict=True))


def test_tables_that_require_grad(device):
    given = arguments(device)
    given["out_table"].requires_grad_()
    with pytest.raises(ValueError, match="word2vec_train_: out_table requires grad"):
        word2vec_train_(**given)
    with torch.no_grad():
        word2vec_train_(**given)


def test_opcheck(device):
    op = torch.ops.lexforge.word2vec_train_.default
    torch.library.opcheck(op, as_the_op(arguments(device)))


@pytest.mark.parametrize(
    ("name", "change", "error", "message"),
    [
        ("in_table", lambda t: t.half(), TypeError, "must be float32, float64 or bfloat16, got"),
        ("out_table", lambda t: t.double(), TypeError, "must be float32, got float64"),
        ("stats", lambda t: t.float(), TypeError, "must be float64, got float32"),
        ("tokens", lambda t: t.long(), TypeError, "must be int32, got int64"),
        ("offsets", lambda t: t.int(), TypeError, "must be int64, got int32"),
        ("keep", lambda t: t.double(), TypeError, "must be float32, got float64"),
        ("noise", lambda t: t.long(), TypeError, "must be int32, got int64"),
        ("in_table", lambda t: t[0], ValueError, r"must be \[V, stride\], got"),
        ("tokens", lambda t: t[None], ValueError, r"must be \[N\], got"),
        ("keep", lambda t: t.to("meta"), ValueError, "must be on .*, got meta"),
        ("noise", lambda t: t.T.contiguous().T, ValueError, "must be contiguous, got strides"),
        (
            "in_table",
            lambda t: t[:, :8].contiguous(),
            ValueError,
            r"must be .* of 16\], got \[40, 8",
        ),
        ("in_table", lambda t: t[:0], ValueError, r"must be \[V >= 1, a multiple"),
        ("out_table", lambda t: t[:39], ValueError, r"must be \[40, 16\], got \[39, 16\]"),
        ("keep", lambda t: t[:39], ValueError, r"must be \[40\], got \[39\]"),
        ("in_scale", lambda _: torch.ones(39), ValueError, r"must be \[40\], got \[39\]"),
        ("in_scale", lambda _: torch.ones(40).int(), TypeError, "must be float32, got int32"),
        ("noise", lambda t: t[:39], ValueError, r"must be \[40, 2\], got \[39, 2\]"),
        ("stats", lambda t: t[:2], ValueError, r"must be \[3\], got \[2\]"),
        ("tree_table", lambda t: t[:38], ValueError, r"must be \[39, 16\], got \[38, 16\]"),
        ("tree_table", lambda t: t.double(), TypeError, "must be float32, got float64"),
    ],
)
def test_wrong_tensors(device, name, change, error, message):
    given = arguments(device)
    changed = change(given.get(name))
    given[name] = changed if changed.device.type == "meta" else changed.to(device)
    with pytest.raises(error, match=f"word2vec_train_: {name} {message}"):
        word2vec_train_(**given)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"negative_sharing": "none"}, "negative_sharing must be one of pair, window, got 'none'"),
        ({"first_sentence": -1}, r"must be a range within \[0, 1\], got \[-1, 1\)"),
        ({"last_sentence": 2}, r"must be a range within \[0, 1\], got \[0, 2\)"),
        ({"first_sentence": 1, "last_sentence": 0}, r"must be a range within \[0, 1\]"),
        ({"model": "sg"}, "model must be one of skipgram, cbow, got 'sg'"),
        ({"out_table": None}, "out_table and noise must be given both or neither"),
        ({"tree": None}, "tree_table and tree must be given both or neither"),
        ({"windows_together": 1001}, r"windows_together must be in \[0, 1000\], got 1001"),
        ({"shards": 65}, r"shards must be in \[0, 64\], got 65"),
        ({"shard_tokens": 0}, r"shard_tokens must be in \[1, 2\^32\], got 0"),
        ({"window": 0}, r"window must be in \[1, 1000\], got 0"),
        ({"window": 1001}, r"window must be in \[1, 1000\], got 1001"),
        ({"negatives": -1}, r"negatives must be in \[0, 1000\], got -1"),
        ({"tokens_before": -1}, "tokens_before must be in"),
        ({"total_tokens": 0}, "total_tokens must be in"),
        ({"seed": 2**64}, "seed must have at most 64 bits"),
        ({"epoch": 2**32}, "epoch must be in"),
        ({"alpha": -0.1}, "alpha must be finite and >= 0, got -0.1"),
        ({"min_alpha": float("nan")}, "min_alpha must be finite and >= 0, got nan"),
        ({"threads": 0}, "threads must be in .*, got 0"),
        ({"threads": 1025}, r"threads must be in \[1, 1024\], got 1025"),
    ],
    ids=str,
)
def test_wrong_options(device, options, message):
    with pytest.raises(ValueError, match=f"word2vec_train_: .*{message}"):
        word2vec_train_(**arguments(device) | options)


def test_one_table_for_both(device):
    given = arguments(device)
    with pytest.raises(ValueError, match="out_table must be another tensor than in_table"):
        word2vec_train_(**given | {"out_table": given["in_table"]})
    memory = torch.zeros(60, 16, device=device)
    with pytest.raises(ValueError, match=r"out_table must be another tensor .* memory in common"):
        word2vec_train_(**given | {"in_table": memory[:40], "out_table": memory[20:]})


def test_alignment(device):
    """Checked by the wrapper, and by the binding for callers of torch.ops."""
    for name, shift, message in (("in_table", 4, "64-byte"), ("noise", 1, "multiple of 8 bytes")):
        given = arguments(device)
        memory = torch.zeros(given[name].numel() + shift, dtype=given[name].dtype, device=device)
        given[name] = memory[shift:].view(given[name].shape)
        assert given[name].data_ptr() % (64 if name == "in_table" else 8)
        with pytest.raises(RuntimeError, match=f"word2vec_train_: {name} must start at a"):
            torch.ops.lexforge.word2vec_train_.default(*as_the_op(given))
        with pytest.raises((ValueError, RuntimeError), match=message):
            word2vec_train_(**given)


def test_padded_table():
    table = padded_table(7, 20)
    assert table.shape == (7, 32) and table.dtype == torch.float32
    assert (table == 0).all() and table.data_ptr() % 64 == 0
    with pytest.raises(ValueError, match=r"padded_table: vocab_size must be in .*, got 0"):
        padded_table(0, 20)
