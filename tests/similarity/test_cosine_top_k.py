"""cosine_top_k: which rows, in which order, with which bits; errors."""

from __future__ import annotations

import math

import pytest
import torch

from common.isa import ISAS, run_under
from lexforge import _library
from lexforge.ops.similarity.cosine_top_k import cosine_top_k, row_norms
from lexforge.reference.similarity import cosine_top_k as reference

DTYPES = (torch.float32, torch.bfloat16, torch.float16)
NOTHING = (-1, -math.inf)


def problem(rows, dim, count, device, dtype=torch.float32, seed=0):
    """A table and queries; of other lengths, and with rows and queries of zeros."""
    generator = torch.Generator().manual_seed(seed)
    table = torch.randn(rows, dim, generator=generator) * torch.rand(rows, 1, generator=generator)
    queries = 9 * torch.randn(count, dim, generator=generator)
    table[5:6], queries[3:4] = 0, 0
    return table.to(device, dtype), queries.to(device)


def assert_nearest(table, queries, k, ids, scores, **options):
    """Right but for scores that rounding may have put in another order."""
    expected_ids, expected = reference.cosine_top_k(table, queries, k, **options)
    assert ids.dtype == torch.int64 and scores.dtype == torch.float32
    assert ids.shape == scores.shape == (queries.shape[0], k)
    torch.testing.assert_close(scores.double(), expected, rtol=0, atol=2e-6, equal_nan=True)
    assert torch.equal(ids < 0, expected_ids < 0)
    all_scores = reference.cosines(table, queries, options.get("norms"))
    own = torch.where(ids < 0, -math.inf, all_scores.gather(1, ids.clamp(min=0)))
    torch.testing.assert_close(own, expected, rtol=0, atol=2e-6, equal_nan=True)
    for row in ids.tolist():
        real = [i for i in row if i >= 0]
        assert len(set(real)) == len(real)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("rows", "dim", "count"),
    [(1, 1, 1), (7, 3, 2), (33, 16, 4), (97, 59, 7), (300, 40, 17), (131, 130, 20), (260, 8, 1)],
)
def test_nearest(rows, dim, count, dtype, device):
    table, queries = problem(rows, dim, count, device, dtype)
    for k in (1, 10):
        assert_nearest(table, queries, k, *cosine_top_k(table, queries, k))


@pytest.mark.parametrize("k", [0, 1, 2, 70, 150, 299, 300, 301])
def test_how_many(k, device):
    table, queries = problem(300, 5, 5, device)
    ids, scores = cosine_top_k(table, queries, k)
    assert_nearest(table, queries, k, ids, scores)
    if k > 300:
        assert set(zip(ids[:, -1].tolist(), scores[:, -1].tolist(), strict=True)) == {NOTHING}


def test_nothing(device):
    table, queries = problem(4, 3, 2, device)
    assert [x.shape for x in cosine_top_k(table, queries[:0], 3)] == [(0, 3)] * 2
    for empty in (cosine_top_k(table[:0], queries, 2), cosine_top_k(table, queries, 2, first=4)):
        assert set(zip(*(x.flatten().tolist() for x in empty), strict=True)) == {NOTHING}
    ids, scores = cosine_top_k(table[:, :0], queries[:, :0], 2)
    assert ids.tolist() == [[0, 1]] * 2 and not scores.any()


def test_by_hand(device):
    table = torch.tensor([[1.0, 0.0], [3.0, 4.0], [0.0, -2.0], [0.0, 0.5]], device=device)
    ids, scores = cosine_top_k(table, torch.tensor([[0.0, 7.0], [-1.0, 0.0]], device=device), 4)
    assert ids.tolist() == [[3, 1, 0, 2], [2, 3, 1, 0]]
    expected = torch.tensor([[1.0, 0.8, 0.0, -1.0], [0.0, 0.0, -0.6, -1.0]], device=device)
    torch.testing.assert_close(scores, expected)


def test_equal_scores_are_in_row_order(device):
    """Across tiles, blocks of rows, and the parts of threads; more of them than wanted."""
    table, queries = problem(700, 20, 5, device)
    copies = torch.arange(1, 700, 3, device=device)
    table[copies] = queries[0]
    ids, scores = cosine_top_k(table, queries[[0, 1, 0]], 200)
    for q in (0, 2):
        assert torch.equal(ids[q], copies[:200])
    assert (scores[0] == scores[0, 0]).all()
    assert_nearest(table, queries[[0, 1, 0]], 200, ids, scores)
    table[:] = 0
    ids, scores = cosine_top_k(table, queries, 300)
    assert torch.equal(ids, torch.arange(300, device=device).expand(5, 300))
    assert not scores.any()


def test_zero_has_one_place_whatever_its_sign(device):
    table = torch.tensor([[-0.0, 0.0], [0.0, 1.0], [0.0, -1.0], [0.0, 0.0]], device=device)
    ids, scores = cosine_top_k(table, torch.tensor([[-1.0, 0.0], [1.0, -0.0]], device=device), 4)
    assert ids.tolist() == [[0, 1, 2, 3]] * 2
    assert scores.tolist() == [[0.0] * 4] * 2


def test_nan_is_last_and_in_row_order(device):
    table, queries = problem(200, 12, 3, device)
    table[torch.tensor([0, 3, 190], device=device), 7] = math.nan
    queries[1, 11] = math.nan
    ids, scores = cosine_top_k(table, queries, 200)
    assert_nearest(table, queries, 200, ids, scores)
    assert ids[0, -3:].tolist() == [0, 3, 190]
    assert scores[0, -3:].isnan().all() and not scores[0, :-3].isnan().any()
    assert torch.equal(ids[1], torch.arange(200, device=device)) and scores[1].isnan().all()
    few, _ = cosine_top_k(table, queries, 3)
    assert torch.equal(few, ids[:, :3])


def test_numbers_after_many_nan(device):
    """The first rows fill every list with NaN, and what comes then takes their place."""
    table, queries = problem(600, 4, 2, device)
    table[:500] = math.nan
    ids, scores = cosine_top_k(table, queries, 3)
    assert (ids >= 500).all() and not scores.isnan().any()
    assert_nearest(table, queries, 3, ids, scores)


def test_infinite_rows_and_scores(device):
    table, queries = problem(100, 4, 2, device)
    norms = row_norms(table)
    table[50], table[60] = math.inf, 1e30
    norms[50] = 1.0
    queries = queries.abs()
    ids, scores = cosine_top_k(table, torch.cat((queries, -queries)), 100, norms=norms)
    assert ids[:2, 0].tolist() == [50, 50] and ids[2:, -1].tolist() == [50, 50]
    assert (scores[:2, 0] == math.inf).all() and (scores[2:, -1] == -math.inf).all()


def test_norms_are_taken_as_given(device):
    table, queries = problem(50, 6, 3, device)
    norms = torch.arange(50.0, device=device)
    options = {"norms": norms}
    ids, scores = cosine_top_k(table, queries, 9, **options)
    exact = reference.cosine_top_k(table, queries, 9, **options)[1]
    # The first row's length counts as 1e-12.
    torch.testing.assert_close(scores.double(), exact, rtol=1e-5, atol=1e-6)
    assert torch.equal(ids, reference.cosine_top_k(table, queries, 9, **options)[0])


@pytest.mark.parametrize("size", [1e-30, 1e-12, 1e30])
def test_queries_of_any_length(size, device):
    table, queries = problem(40, 9, 3, device)
    expected = cosine_top_k(table, queries[:2], 5)
    ids, scores = cosine_top_k(table, queries[:2] * size, 5)
    if size >= 1e-12:
        assert torch.equal(ids, expected[0])
        torch.testing.assert_close(scores, expected[1])
    else:
        assert scores.abs().max() < 1e-15  # as good as zeros


@pytest.mark.parametrize(("first", "last"), [(0, 90), (17, 300), (64, 65), (33, 250), (300, 300)])
def test_ranges(first, last, device):
    table, queries = problem(300, 7, 4, device)
    options = {"first": first, "last": last}
    ids, scores = cosine_top_k(table, queries, 6, **options)
    assert_nearest(table, queries, 6, ids, scores, **options)
    assert ((ids >= first) & (ids < last) | (ids == -1)).all()


def test_excluded(device):
    table, queries = problem(200, 9, 3, device)
    best = cosine_top_k(table, queries, 8)[0]
    none = torch.full((1, 3), -1, device=device)
    excluded = torch.cat((best[:1, [2, 0, 2]], none, best[2:, [7, 1, 5]]))
    ids, scores = cosine_top_k(table, queries, 5, excluded=excluded)
    assert_nearest(table, queries, 5, ids, scores, excluded=excluded)
    assert ids.tolist() == [
        best[0, [1, 3, 4, 5, 6]].tolist(),
        best[1, :5].tolist(),
        best[2, [0, 2, 3, 4, 6]].tolist(),
    ]
    everything = torch.arange(200, device=device).expand(3, 200)
    ids, _ = cosine_top_k(table, queries, 5, excluded=everything)
    assert (ids == -1).all()
    ids, _ = cosine_top_k(table, queries, 5, excluded=everything[:, 2:])
    assert [sorted(row) for row in ids.tolist()] == [[-1, -1, -1, 0, 1]] * 3


def test_strides(device):
    table, queries = problem(60, 11, 4, device)
    expected = cosine_top_k(table, queries, 7)
    padded = torch.full((60, 16), math.nan, device=device)
    padded[:, 2:13] = table
    turned = table.T.contiguous().T
    for other in (padded[:, 2:13], turned):
        found = cosine_top_k(other, queries.T.contiguous().T, 7, norms=row_norms(table))
        assert torch.equal(found[0], expected[0]) and torch.equal(found[1], expected[1])


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_query_alone_and_among_others(dtype, device):
    """The same bits, in whatever tile of queries and batch it is."""
    count = 8 if _library.emulated() else 300
    table, queries = problem(150, 37, count, device, dtype)
    ids, scores = cosine_top_k(table, queries, 12)
    for q in (0, 1, 2, count // 2, count - 2, count - 1):
        alone = cosine_top_k(table, queries[q : q + 1], 12)
        assert torch.equal(alone[0][0], ids[q]) and torch.equal(alone[1][0], scores[q])


def test_more_queries_than_go_at_a_time(device):
    table, queries = problem(5, 2, 2100, device)
    excluded = torch.arange(2100, device=device)[:, None] % 5
    ids, scores = cosine_top_k(table, queries, 2, excluded=excluded)
    assert_nearest(table, queries, 2, ids, scores, excluded=excluded)
    assert (ids != excluded).all()


def test_a_row_alone_and_among_others(device):
    table, queries = problem(150, 37, 4, device)
    ids, scores = cosine_top_k(table, queries, 150)
    by_row = torch.empty_like(scores).scatter_(1, ids, scores)
    for row in (0, 6, 8, 31, 32, 127, 128, 149):
        _, alone = cosine_top_k(table[row : row + 1].clone(), queries, 1)
        assert torch.equal(alone[:, 0], by_row[:, row])


@pytest.mark.skipif(_library.emulated(), reason="of the CPU's threads")
@pytest.mark.parametrize("k", [3, 400])
def test_threads_do_not_change_bits(k):
    table, queries = problem(4000, 64, 40, "cpu")
    table[torch.arange(5, 4000, 97)] = queries[0]
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 8):
            torch.set_num_threads(threads)
            found.append(cosine_top_k(table, queries, k))
    finally:
        torch.set_num_threads(before)
    assert_nearest(table, queries, k, *found[0])
    for ids, scores in found[1:]:
        assert torch.equal(ids, found[0][0]) and torch.equal(scores, found[0][1])


ISA_SCRIPT = """
import torch
from lexforge import cpu_capability
from similarity.test_cosine_top_k import DTYPES, assert_nearest, problem
from lexforge.ops import cosine_top_k
for dtype in DTYPES:
    for rows, dim, count in ((1, 1, 1), (97, 59, 7), (70, 16, 3), (200, 33, 4)):
        table, queries = problem(rows, dim, count, "cpu", dtype)
        table[rows // 2, 0] = float("nan")
        for k in (1, 40, 300):
            assert_nearest(table, queries, k, *cosine_top_k(table, queries, k))
# Every float16 number there is, but for NaN.
halves = torch.arange(65536, dtype=torch.int32).to(torch.int16).view(torch.float16)[:, None]
halves = halves[halves.isfinite()][:, None]
ones = torch.ones(len(halves))
ids, scores = cosine_top_k(halves, torch.ones(1, 1), len(halves), norms=ones)
assert torch.equal(scores[0], halves[ids[0], 0].float())
print(cpu_capability())
"""


@pytest.mark.parametrize("isa", ISAS)
def test_instruction_sets(isa):
    assert run_under(isa, ISA_SCRIPT).strip() == isa


def test_row_norms():
    table, _ = problem(97, 13, 1, "cpu")
    for dtype in DTYPES:
        norms = row_norms(table.to(dtype))
        assert norms.dtype == torch.float32
        torch.testing.assert_close(norms, table.to(dtype).double().norm(dim=1).float())


def test_opcheck(device):
    table, queries = problem(20, 6, 4, device)
    excluded = torch.tensor([[1, -1], [0, 2], [3, 3], [-1, -1]], device=device)
    for given in (None, excluded):
        torch.library.opcheck(
            torch.ops.lexforge.cosine_top_k.default,
            (table, row_norms(table), queries, given, 1, 19, 5),
        )


def test_weights_that_want_gradients_are_searched(device):
    table, queries = problem(20, 6, 2, device)
    ids, scores = cosine_top_k(table.requires_grad_(), queries.requires_grad_(), 3)
    assert not scores.requires_grad
    assert torch.equal(ids, cosine_top_k(table.detach(), queries.detach(), 3)[0])


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"table": torch.ones(5)}, ValueError, r"table must be \[V, D\], got \[5\]"),
        (
            {"table": torch.ones(5, 4).double()},
            TypeError,
            "table must be float32, bfloat16 or float16, got float64",
        ),
        ({"queries": torch.ones(2, 3)}, ValueError, r"queries must be \[Q, 4\], got \[2, 3\]"),
        ({"queries": torch.ones(4)}, ValueError, r"queries must be \[Q, 4\], got \[4\]"),
        (
            {"queries": torch.ones(2, 4).bfloat16()},
            TypeError,
            "queries must be float32, got bfloat16",
        ),
        ({"k": -1}, ValueError, r"k must be in \[0, 2\^31 - 1\], got -1"),
        ({"k": 1.5}, TypeError, "k must be an int, got float"),
        ({"norms": torch.ones(4)}, ValueError, r"norms must be \[5\], got \[4\]"),
        ({"norms": torch.ones(5).double()}, TypeError, "norms must be float32, got float64"),
        ({"first": 3, "last": 2}, ValueError, r"within \[0, 5\], got \[3, 2\)"),
        ({"first": -1}, ValueError, r"first and last must be a range within \[0, 5\]"),
        ({"last": 6}, ValueError, r"first and last must be a range within \[0, 5\]"),
        ({"excluded": torch.zeros(3, 1).long()}, ValueError, r"excluded must be \[2, E\]"),
        ({"excluded": torch.zeros(2, 1)}, TypeError, "excluded must be int64, got float32"),
        (
            {"excluded": torch.tensor([[0, -1], [2, 5]])},
            IndexError,
            r"excluded must be in \[0, 5\) or -1, got 5 for query 1",
        ),
        ({"excluded": torch.tensor([[-2], [0]])}, IndexError, "got -2 for query 0"),
    ],
)
def test_errors(change, error, message):
    arguments = {"table": torch.ones(5, 4), "queries": torch.ones(2, 4), "k": 2, **change}
    with pytest.raises(error, match=f"cosine_top_k: .*{message}"):
        cosine_top_k(**arguments)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"k": -1}, "k must be >= 0"),
        ({"last": 6}, "first and last must be a range within"),
        ({"norms": torch.ones(4)}, r"norms must be \[5\]"),
        ({"table": torch.ones(4, 5).T}, "table must have stride 1"),
        ({"table": torch.ones(5, 4).double()}, "table must be float32, bfloat16 or float16"),
        ({"queries": torch.ones(2, 3)}, r"queries must be \[\*, 4\]"),
    ],
)
def test_the_binding_checks_again(change, message, device):
    arguments = {
        **{"table": torch.ones(5, 4), "norms": torch.ones(5), "queries": torch.ones(2, 4)},
        **{"excluded": None, "first": 0, "last": 5, "k": 2, **change},
    }
    moved = [x.to(device) if isinstance(x, torch.Tensor) else x for x in arguments.values()]
    with pytest.raises(RuntimeError, match=f"cosine_top_k: {message}"):
        torch.ops.lexforge.cosine_top_k.default(*moved)
