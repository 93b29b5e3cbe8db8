"""row_update_ against its reference: rules, rows that occur often, bits, errors."""

from __future__ import annotations

import pytest
import torch

from common.isa import ISAS, run_under
from lexforge import _library
from lexforge.ops.embedding.row_update import RULES, row_update_
from lexforge.reference.embedding.row_update import row_update

SETTINGS = {"lr": 0.1, "decay": (0.9, 0.99), "fresh": (0.1, 0.01), "eps": 1e-3}
ROUNDING = {torch.float64: 1e-13, torch.float32: 2e-6, torch.bfloat16: 2e-6}

# Rows, columns, ids; the last table is so long that its ids are sorted.
SHAPES = [(9, 1, 7), (40, 16, 90), (40, 37, 33), (3, 131, 5), (900, 3, 20)]


def table(rule, rows, dim, device, dtype=torch.float32, flags=True, seed=0) -> dict:
    """A table and state that steps have been made on before; half of the rows are untouched."""
    generator = torch.Generator().manual_seed(seed)
    stat = torch.float64 if dtype is torch.float64 else torch.float32
    touched = torch.rand(rows, generator=generator) < 0.5
    shape = (rows,) if rule == "rowwise_adagrad" else (rows, dim)

    def moment():
        state = torch.rand(shape, generator=generator, dtype=stat)
        return (state * (touched if state.dim() == 1 else touched[:, None])).to(device)

    return {
        "weight": torch.randn(rows, dim, generator=generator).to(device, dtype),
        "first": None if rule == "sgd" else moment(),
        "second": moment() if rule == "adam" else None,
        "touched": touched.to(device, torch.uint8) if flags else None,
    }


def gradient(rows, dim, count, device, dtype=torch.float32, seed=1) -> dict:
    generator = torch.Generator().manual_seed(seed)
    ids = (rows * torch.rand(count, generator=generator) ** 2).long()  # some occur often
    values = torch.randn(count, dim, generator=generator)
    return {"ids": ids.to(device), "gradients": values.to(device, dtype)}


def step(given, sparse, rule, **settings) -> None:
    given = dict(given)
    row_update_(given.pop("weight"), **sparse, rule=rule, **given, **{**SETTINGS, **settings})


def rounded_sums(sparse, sign) -> dict:
    """The gradient with each row's sum further from 0, or nearer, by what its rounding comes to.

    That is an ulp of the sum of magnitudes: more than any sum of a few, far more than the parts of
    a long one.
    """
    ids, values = sparse["ids"].long(), sparse["gradients"].double()
    rows = ids.unique()
    size = int(rows.max()) + 1 if len(rows) else 0
    total, magnitude = (values.new_zeros(size, values.shape[1]) for _ in range(2))
    total.index_add_(0, ids, values)
    magnitude.index_add_(0, ids, values.abs())
    ulp = 2**-52 if sparse["gradients"].dtype is torch.float64 else 2**-23
    more = sign * ulp * total.sign() * magnitude
    return {"ids": torch.cat([ids, rows]), "gradients": torch.cat([values, more[rows]])}


def check(given, sparse, rule, **settings) -> None:
    """One step beside the reference's, which begins from the same numbers.

    Where gradients cancel, what remains is as far off as their sum is: the reference tells how
    far, by what it makes of sums that are off.
    """
    state = {name: given[name] for name in ("first", "second", "touched")}

    def reference(gradient):
        numbers = {**SETTINGS, **settings}
        return row_update(given["weight"], **gradient, rule=rule, **state, **numbers)

    expected = reference(sparse)
    off = [reference(rounded_sums(sparse, sign)) for sign in (1, -1)]
    step(given, sparse, rule, **settings)
    dtype = given["weight"].dtype
    for (name, ours), exact, *others in zip(given.items(), expected, *off, strict=True):
        if ours is None:
            assert exact is None
            continue
        error = (ours.double() - exact.double()).abs()
        relative = 2**-8 if ours.dtype is torch.bfloat16 else ROUNDING[dtype]
        allowed = relative * (1 + exact.abs())
        allowed = allowed + torch.stack([(other - exact).abs() for other in others]).amax(0)
        assert (error <= allowed).all(), (name, error.max())
    if given["touched"] is not None:
        assert torch.equal(given["touched"], expected[3])


@pytest.mark.parametrize("flags", [False, True], ids=["lazy", "exact"])
@pytest.mark.parametrize("rule", RULES)
def test_against_the_reference(rule, flags, device):
    for seed, (rows, dim, count) in enumerate(SHAPES):
        for dtype in (torch.float32, torch.float64, torch.bfloat16):
            given = table(rule, rows, dim, device, dtype, flags, seed)
            for weight_decay in (0.0, 0.05):
                sparse = gradient(rows, dim, count, device, dtype, seed)
                check(given, sparse, rule, weight_decay=weight_decay)


@pytest.mark.parametrize("rule", ["sgd", "rowwise_adagrad", "adam"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_rows_that_occur_often(rule, dtype, device):
    """Of one that occurs 10,000 times, of runs that fill parts, and those that go on by one."""
    counts = {1: 10_000, 3: 64, 4: 65, 6: 1, 7: 129, 0: 32, 9: 33}
    ids = torch.cat([torch.full((n,), row) for row, n in counts.items()])
    ids = ids[torch.randperm(len(ids), generator=torch.Generator().manual_seed(2))]
    sparse = gradient(10, 5, len(ids), device, dtype)
    sparse["ids"] = ids.to(device, torch.int32)
    sparse["gradients"] /= 100
    check(table(rule, 10, 5, device, dtype), sparse, rule)


@pytest.mark.parametrize("rule", RULES)
def test_sizes_zero_and_one(rule, device):
    check(table(rule, 1, 1, device), gradient(1, 1, 1, device), rule)
    check(table(rule, 1, 3, device), gradient(1, 3, 200, device), rule)
    for rows, dim in ((0, 4), (4, 0)):
        given = table(rule, rows, dim, device, flags=False)
        step(given, gradient(rows, dim, 0, device), rule)
    # No gradient at all: with flags, rows that were touched go on.
    check(table(rule, 6, 20, device), gradient(6, 20, 0, device), rule)
    given = table(rule, 6, 20, device, flags=False)
    before = given["weight"].clone()
    check(given, gradient(6, 20, 0, device), rule, weight_decay=0.1)
    assert torch.equal(given["weight"], before)


def test_untouched_rows_stay_untouched(device):
    """Among 300 rows, with no flag, some: looked at eight at a time."""
    for touched in ([], [0], [7, 8], [299], [100, 250]):
        given = table("adam", 300, 3, device)
        flags = torch.zeros(300, dtype=torch.uint8)
        flags[touched] = 1
        for name in ("first", "second"):
            given[name] *= flags[:, None].to(device)
        given["touched"] = flags.to(device)
        sparse = {"ids": torch.tensor([5, 260, 5]), "gradients": torch.ones(3, 3)}
        check(given, {name: t.to(device) for name, t in sparse.items()}, "adam")
        assert given["touched"].cpu().nonzero().flatten().tolist() == sorted({*touched, 5, 260})


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("flags", [False, True], ids=["lazy", "exact"])
def test_bit_identical_for_any_threads(rule, flags, device):
    before, results = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 8):
            torch.set_num_threads(threads)
            given = table(rule, 9000, 20, device, flags=flags)
            for seed in range(2):
                step(given, gradient(9000, 20, 3000, device, seed=seed), rule, weight_decay=0.01)
            sparse = gradient(9000, 20, 3000, device)
            sparse["ids"][:2000] = 17
            step(given, sparse, rule)
            results.append([t for t in given.values() if t is not None])
    finally:
        torch.set_num_threads(before)
    for result in results[1:]:
        assert all(torch.equal(x, y) for x, y in zip(result, results[0], strict=True))


UNDER = """
import torch
from embedding.test_row_update import RULES, check, gradient, table
for rule in RULES:
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        for dim in (3, 16, 59, 200):
            check(table(rule, 30, dim, "cpu", dtype), gradient(30, dim, 300, "cpu", dtype), rule)
print(torch.ops.lexforge.cpu_capability())
"""


@pytest.mark.parametrize("isa", ISAS)
def test_each_instruction_set(isa):
    assert int(run_under(isa, UNDER)) == ISAS.index(isa)


@pytest.mark.skipif(_library.emulated(), reason="a GPU computes with them as fast")
def test_moments_below_the_smallest_normal_number_count_as_zero():
    given = table("adam", 4, 20, "cpu")
    given["touched"].fill_(1)
    given["first"].fill_(2e-38)
    for _ in range(20):
        step(given, gradient(4, 20, 0, "cpu"), "adam")
    assert (given["first"] == 0).all() and (given["second"] > 0).any()
    assert torch.tensor(1e-40) * 1 > 0  # torch's own arithmetic is as before


def test_gradients_may_have_any_strides(device):
    given, other = table("adam", 9, 6, device), table("adam", 9, 6, device)
    sparse = gradient(9, 6, 12, device)
    step(given, {"ids": sparse["ids"], "gradients": sparse["gradients"][:1].expand(12, 6)}, "adam")
    step(
        other, {"ids": sparse["ids"].int(), "gradients": sparse["gradients"][:1].repeat(12, 1)},
        "adam",
    )  # fmt: skip
    assert torch.equal(given["weight"], other["weight"])


def test_versions_and_grad(device):
    given, sparse = table("adam", 9, 6, device), gradient(9, 6, 12, device)
    versions = [t._version for t in given.values()]
    step(given, sparse, "adam")
    assert all(t._version > v for t, v in zip(given.values(), versions, strict=True))
    given["weight"].requires_grad_()
    with pytest.raises(ValueError, match="weight requires grad"):
        step(given, sparse, "adam")
    with torch.no_grad():
        step(given, sparse, "adam")


@pytest.mark.parametrize("wrong", [-1, 9, 2**40])
def test_ids_out_of_range_change_nothing(wrong, device):
    given, sparse = table("adam", 9, 6, device), gradient(9, 6, 12, device)
    before = [t.clone() for t in given.values()]
    sparse["ids"][4] = wrong
    with pytest.raises(IndexError, match=rf"ids must be in \[0, 9\), got {wrong} at position 4"):
        step(given, sparse, "adam")
    assert all(torch.equal(x, y) for x, y in zip(given.values(), before, strict=True))


def test_opcheck(device):
    given, sparse = table("adam", 9, 6, device), gradient(9, 6, 12, device)
    arguments = (
        *given.values(),
        sparse["ids"].int(),
        sparse["gradients"],
        "adam",
        *(0.1, 0.0, 0.9, 0.1, 0.99, 0.01, 1e-8),
    )
    kinds = ("test_schema", "test_faketensor")
    torch.library.opcheck(torch.ops.lexforge.row_update_.default, arguments, test_utils=kinds)


@pytest.mark.parametrize(
    ("error", "match", "wrong"),
    [
        (ValueError, "rule must be one of", {"rule": "adamw"}),
        (TypeError, "weight must be float32", {"weight": torch.zeros(9, 6, dtype=torch.int64)}),
        (ValueError, r"weight must be \[V, D\]", {"weight": torch.zeros(9)}),
        (ValueError, "weight must be contiguous", {"weight": torch.zeros(6, 9).t()}),
        (TypeError, "ids must be int32 or int64", {"ids": torch.zeros(12)}),
        (ValueError, r"gradients must be \[12, 6\]", {"gradients": torch.zeros(11, 6)}),
        (TypeError, "gradients must be float32", {"gradients": torch.zeros(12, 6).double()}),
        (ValueError, "first is needed with rule 'adam'", {"first": None}),
        (ValueError, "second is needed with rule 'adam'", {"second": None}),
        (ValueError, "second has no use with rule 'momentum'", {"rule": "momentum"}),
        (ValueError, r"first must be \[9\]", {"rule": "rowwise_adagrad", "second": None}),
        (ValueError, r"second must be \[9, 6\]", {"second": torch.zeros(9, 5)}),
        (TypeError, "touched must be uint8", {"touched": torch.zeros(9)}),
        (ValueError, r"touched must be \[9\]", {"touched": torch.zeros(8, dtype=torch.uint8)}),
        (ValueError, "lr must be finite", {"lr": float("nan")}),
        (ValueError, "weight_decay must be finite", {"weight_decay": -1.0}),
        (ValueError, r"decay\[1\] must be finite", {"decay": (0.9, float("inf"))}),
        (ValueError, r"fresh\[0\] must be finite", {"fresh": (float("nan"), 0.1)}),
        (ValueError, "eps must be finite and > 0", {"eps": 0.0}),
    ],
)
def test_errors(error, match, wrong, device):
    given = {**table("adam", 9, 6, device), **gradient(9, 6, 12, device), "rule": "adam"}
    moved = {n: x.to(device) if isinstance(x, torch.Tensor) else x for n, x in wrong.items()}
    with pytest.raises(error, match=f"row_update_: {match}"):
        row_update_(**{**SETTINGS, **given, **moved})


def test_state_in_common_is_refused(device):
    given = {**table("adam", 9, 6, device), **gradient(9, 6, 12, device), "rule": "adam"}
    with pytest.raises(ValueError, match="second must be another tensor than first"):
        row_update_(**{**SETTINGS, **given, "second": given["first"]})
