"""What single instructions do, by the PTX ISA: values, fragments, lanes.

The interpreter is called with PTX texts; nothing of nvcc or torch's ops takes part.
"""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent))
import interpreter
from interpreter import PtxError, evaluate, kernel, launch

INFINITY, NAN = float("inf"), float("nan")


def signed(values) -> np.ndarray:
    return np.asarray(values).astype({4: np.int32, 8: np.int64, 2: np.int16}[values.itemsize])


def bits(values) -> np.ndarray:
    values = np.asarray(values)
    return values.view({4: np.uint32, 8: np.uint64}[values.itemsize])


# ---- integers


@pytest.mark.parametrize("width", [32, 64])
def test_shifts_beyond_the_width(width):
    kind = f"b{width}"
    value = (1 << (width - 1)) | 5
    by = [0, 1, width - 1, width, width + 1, 255, 2**32 - 1]
    values = [value] * len(by)
    mask = (1 << width) - 1
    left = evaluate(f"shl.b{width} {{d}}, {{a}}, {{b}}", kind, (kind, values), ("b32", by))
    right = evaluate(f"shr.u{width} {{d}}, {{a}}, {{b}}", kind, (kind, values), ("b32", by))
    arithmetic = evaluate(f"shr.s{width} {{d}}, {{a}}, {{b}}", kind, (kind, values), ("b32", by))
    assert [int(x) for x in left] == [(value << n) & mask if n < width else 0 for n in by]
    assert [int(x) for x in right] == [value >> n if n < width else 0 for n in by]
    expected = [(value - (1 << width)) >> min(n, width - 1) for n in by]
    assert signed(arithmetic).tolist() == expected


def extracted(a: int, start: int, length: int, width: int, sign: bool) -> int:
    """bfe as the ISA writes it, bit by bit."""
    top = width - 1
    fill = sign and length > 0 and a >> min(start + length - 1, top) & 1
    result = 0
    for i in range(width):
        inside = i < length and start + i <= top
        result |= (a >> (start + i) & 1 if inside else int(fill)) << i
    return result


def inserted(a: int, b: int, start: int, length: int, width: int) -> int:
    """bfi as the ISA writes it, bit by bit."""
    for i in range(length):
        if start + i < width:
            b = b & ~(1 << (start + i)) | (a >> i & 1) << (start + i)
    return b


@pytest.mark.parametrize("width", [32, 64])
def test_bit_fields(width):
    generator = np.random.default_rng(0)
    cases = [(start, length) for start in (0, 1, 7, width - 1, width, 255, 260)
             for length in (0, 1, 9, width - 1, width, 200, 257)]  # fmt: skip
    a = [int(x) for x in generator.integers(0, 2**width - 1, len(cases), np.uint64, True)]
    b = [x ^ (2**width - 1) for x in reversed(a)]
    start, length = ([case[n] for case in cases] for n in (0, 1))
    kind = f"b{width}"
    fields = ("b32", start), ("b32", length)
    for sign in ("u", "s"):
        got = evaluate(f"bfe.{sign}{width} {{d}}, {{a}}, {{b}}, {{c}}", kind, (kind, a), *fields)
        assert [int(x) for x in got] == [
            extracted(x, p & 255, n & 255, width, sign == "s")
            for x, (p, n) in zip(a, cases, strict=True)
        ]
    got = evaluate(
        f"bfi.b{width} {{d}}, {{a}}, {{b}}, {{c}}, {{e}}", kind, (kind, a), (kind, b), *fields
    )
    assert [int(x) for x in got] == [
        inserted(x, y, p & 255, n & 255, width) for x, y, (p, n) in zip(a, b, cases, strict=True)
    ]


def test_division_truncates_and_high_products():
    a = [7, -7 & 0xFFFFFFFF, 7, 0x80000000, 0xFFFFFFFF]
    b = [2, 2, -2 & 0xFFFFFFFF, 0xFFFFFFFF, 3]
    two = ("b32", a), ("b32", b)
    quotient = signed(evaluate("div.s32 {d}, {a}, {b}", "b32", *two))
    assert quotient.tolist() == [3, -3, -3, -(2**31), 0]
    assert signed(evaluate("rem.s32 {d}, {a}, {b}", "b32", *two)).tolist() == [1, -1, 1, 0, -1]
    high = evaluate("mul.hi.u32 {d}, {a}, {b}", "b32", *two)
    assert high.tolist() == [x * y >> 32 for x, y in zip(a, b, strict=True)]
    wide = evaluate("mul.wide.s32 {d}, {a}, {b}", "b64", *two)
    assert signed(wide).tolist() == [
        int(np.int32(np.uint32(x))) * int(np.int32(np.uint32(y))) for x, y in zip(a, b, strict=True)
    ]


def test_counts_of_bits():
    a = [0, 1, 0x80000000, 0xFFFFFFFF, 0x00F0]
    assert evaluate("popc.b32 {d}, {a}", "b32", ("b32", a)).tolist() == [0, 1, 1, 32, 4]
    assert evaluate("clz.b32 {d}, {a}", "b32", ("b32", a)).tolist() == [32, 31, 0, 0, 24]
    reversed_bits = [int(f"{x:032b}"[::-1], 2) for x in a]
    assert evaluate("brev.b32 {d}, {a}", "b32", ("b32", a)).tolist() == reversed_bits
    got = evaluate("bmsk.clamp.b32 {d}, {a}, {b}", "b32", ("b32", [0, 4, 31, 32]),
                   ("b32", [32, 8, 9, 1]))  # fmt: skip
    assert got.tolist() == [0xFFFFFFFF, 0xFF0, 0x80000000, 0]


# ---- floats


def rounded(exact: Fraction, mode: str) -> np.float32:
    """A number in single precision, normal or subnormal, in a rounding mode of PTX."""
    if exact == 0:
        return np.float32(0)
    exponent = -149
    magnitude = abs(exact)
    while magnitude >= Fraction(2) ** (exponent + 24):
        exponent += 1
    scaled = magnitude / Fraction(2) ** exponent
    whole, rest = divmod(scaled, 1)
    up = {
        "rn": rest > Fraction(1, 2) or (rest == Fraction(1, 2) and whole % 2 == 1),
        "rz": False,
        "rm": exact < 0 and rest > 0,
        "rp": exact > 0 and rest > 0,
    }[mode]
    value = float((whole + up) * Fraction(2) ** exponent)
    return np.float32(-value if exact < 0 else value)


@pytest.mark.parametrize("mode", ["rn", "rz", "rm", "rp"])
def test_rounding_modes(mode):
    generator = np.random.default_rng(1)
    a, b, c = (
        (generator.standard_normal(200) * 2.0 ** generator.integers(-20, 20, 200)).astype(
            np.float32
        )
        for _ in range(3)
    )
    a[:3], b[:3], c[:3] = [1, 2**-100, -(2**-140)], [2**-24, 2**-40, 3], [0, 2**-149, 2**-149]
    x, y, z = ([Fraction(float(v)) for v in values] for values in (a, b, c))
    three = ("f32", a), ("f32", b), ("f32", c)
    for name, exact in {
        "add": [p + q for p, q in zip(x, y, strict=True)],
        "sub": [p - q for p, q in zip(x, y, strict=True)],
        "mul": [p * q for p, q in zip(x, y, strict=True)],
        "div": [p / q for p, q in zip(x, y, strict=True)],
    }.items():
        got = evaluate(f"{name}.{mode}.f32 {{d}}, {{a}}, {{b}}", "f32", *three[:2])
        assert got.tolist() == [rounded(value, mode) for value in exact], name
    got = evaluate(f"fma.{mode}.f32 {{d}}, {{a}}, {{b}}, {{c}}", "f32", *three)
    assert got.tolist() == [rounded(p * q + r, mode) for p, q, r in zip(x, y, z, strict=True)]


def test_fma_rounds_once():
    tiny = 2.0**-23
    got = evaluate("fma.rn.f32 {d}, {a}, {b}, {c}", "f32", ("f32", [1 + tiny]),
                   ("f32", [1 - tiny]), ("f32", [-1]))  # fmt: skip
    assert got.tolist() == [-(tiny**2)]


def test_minimum_and_maximum_of_nan_and_zeros():
    a = np.array([NAN, 1, NAN, -0.0, 0.0, -INFINITY], np.float32)
    b = np.array([1, NAN, NAN, 0.0, -0.0, 3], np.float32)
    least = evaluate("min.f32 {d}, {a}, {b}", "f32", ("f32", a), ("f32", b))
    most = evaluate("max.f32 {d}, {a}, {b}", "f32", ("f32", a), ("f32", b))
    assert least[:2].tolist() == most[:2].tolist() == [1, 1]
    assert np.isnan([least[2], most[2]]).all()
    assert np.signbit(least[3:5]).all()
    assert not np.signbit(most[3:5]).any()
    assert (least[5], most[5]) == (-INFINITY, 3)


def test_comparisons_with_nan():
    a, b = [1.0, NAN, NAN], [2.0, 2.0, NAN]
    for name, expected in {
        "lt": [1, 0, 0], "ltu": [1, 1, 1], "ge": [0, 0, 0], "geu": [0, 1, 1],
        "eq": [0, 0, 0], "equ": [0, 1, 1], "ne": [1, 0, 0], "neu": [1, 1, 1],
        "num": [1, 0, 0], "nan": [0, 1, 1],
    }.items():  # fmt: skip
        text = f"setp.{name}.f32 %p1, {{a}}, {{b}}; selp.b32 {{d}}, 1, 0, %p1"
        assert evaluate(text, "b32", ("f32", a), ("f32", b)).tolist() == expected, name


def test_a_comparison_and_its_opposite():
    text = "setp.lt.s32 %p1|%p2, {a}, {b}; selp.b32 %r1, 1, 0, %p1; selp.b32 {d}, 2, %r1, %p2"
    assert evaluate(text, "b32", ("b32", [1, 2]), ("b32", [2, 2])).tolist() == [1, 2]


def test_denormals_are_kept_unless_flushed():
    tiny = np.float32(2.0**-140)
    assert evaluate("add.f32 {d}, {a}, {b}", "f32", ("f32", [tiny]), ("f32", [0])) == tiny
    assert evaluate("ex2.approx.f32 {d}, {a}", "f32", ("f32", [-140])) == tiny
    assert evaluate("ex2.approx.ftz.f32 {d}, {a}", "f32", ("f32", [-140])) == 0
    assert evaluate("rcp.approx.ftz.f32 {d}, {a}", "f32", ("f32", [tiny])) == INFINITY
    half = evaluate("rcp.approx.ftz.f64 {d}, {a}", "f64", ("f64", [3.0]))
    assert bits(half)[0] == bits(np.float64(1 / 3)) & 0xFFFFFFFF00000000


@pytest.mark.parametrize("space", ["global", "shared"])
def test_float_atomics_flush_in_global_memory_alone(space):
    tiny = np.full(1, 2.0**-140, np.float32)
    memory = np.zeros(1, np.float32)
    body = """
        ld.global.f32 %f1, [%rd2];
        mov.u32 %r1, cell;
        st.shared.u32 [%r1], 0;
        {atomic}
        ld.shared.f32 %f2, [%r1];
        {result}
    """
    shared = space == "shared"
    text = kernel(
        ".shared .align 4 .b8 cell[4];"
        + body.format(
            atomic="atom.shared.add.f32 %f3, [%r1], %f1;"
            if shared
            else "red.global.add.f32 [%rd1], %f1;",
            result="st.global.f32 [%rd1], %f2;" if shared else "",
        ),
        parameters=2,
    )
    launch(text, memory, tiny, block=1)
    assert memory[0] == (tiny[0] if shared else 0)


# ---- conversions


def test_floats_to_integers_saturate():
    values = [0.5, 1.5, -1.5, 3e9, -3e9, 1e20, -1e20, NAN, INFINITY, -INFINITY]

    def converted(to: str, kind: str) -> list[int]:
        got = evaluate(f"cvt.rzi.{to}.f32 {{d}}, {{a}}", kind, ("f32", values))
        return (signed(got) if to[0] == "s" else got).tolist()

    low, high, top = -(2**31), 2**31 - 1, 2**32 - 1
    assert converted("s32", "b32") == [0, 1, -1, high, low, high, low, 0, high, low]
    assert converted("u32", "b32") == [0, 1, 0, 3 * 10**9, 0, top, 0, 0, top, 0]
    low, high = -(2**63), 2**63 - 1
    exact = int(np.float32(3e9))
    assert converted("s64", "b64") == [0, 1, -1, exact, -exact, high, low, low, high, low]
    nearest = evaluate("cvt.rni.s32.f32 {d}, {a}", "b32", ("f32", [0.5, 1.5, 2.5, -0.5]))
    assert signed(nearest).tolist() == [0, 2, 2, 0]
    wide = evaluate("cvt.rzi.s32.f64 {d}, {a}", "b32", ("f64", [NAN]))
    assert signed(wide).tolist() == [-(2**31)]
    one = evaluate("cvt.sat.f32.f32 {d}, {a}", "f32", ("f32", [-1, 0.25, 7, NAN]))
    assert one.tolist() == [0, 0.25, 1, 0]


def test_integers_are_extended_and_cut():
    text = "cvt.s16.s8 %h1, {a}; cvt.s32.s16 {d}, %h1"
    assert signed(evaluate(text, "b32", ("b32", [0x1FF, 0x7F]))).tolist() == [-1, 127]
    assert evaluate("cvt.u32.u16 {d}, {a}", "b32", ("b16", [0xFFFF])).tolist() == [0xFFFF]
    assert signed(evaluate("cvt.s64.s32 {d}, {a}", "b64", ("b32", [0x80000000]))) == -(2**31)
    assert evaluate("cvt.u32.u64 {d}, {a}", "b32", ("b64", [0x1234567890])) == 0x34567890


def test_bfloat16_as_torch_rounds_it():
    generator = np.random.default_rng(2)
    patterns = generator.integers(0, 2**32, 3000, dtype=np.uint64).astype(np.uint32)
    ties = (np.arange(40, dtype=np.uint32) << 16) + 0x3F808000
    special = bits(np.array([0.0, -0.0, INFINITY, 3.4e38, 2.0**-140], np.float32))
    values = np.concatenate([patterns, ties, special]).view(np.float32)
    values = values[~np.isnan(values)]
    expected = torch.from_numpy(values).bfloat16().view(torch.int16).numpy().view(np.uint16)
    pairs = evaluate("cvt.rn.bf16x2.f32 {d}, {a}, {b}", "b32", ("f32", values), ("f32", -values))
    assert (pairs >> 16 == expected).all()
    assert (pairs & 0xFFFF == expected ^ 0x8000).all()
    got = evaluate("cvt.rn.bf16x2.f32 {d}, {a}, {b}", "b32", ("f32", [NAN]), ("f32", [0]))
    assert got == 0x7FFF0000


# ---- fragments, as the tables of the ISA give them


def a_element(lane: int, i: int) -> tuple[int, int]:
    """ "Matrix Fragments for mma.m16n8k16 with floating point type": row and column of A."""
    group, t = lane >> 2, lane % 4
    row = group if 0 <= i < 2 or 4 <= i < 6 else group + 8
    return row, t * 2 + (i & 1) + (8 if i >= 4 else 0)


def b_element(lane: int, i: int) -> tuple[int, int]:
    return (lane % 4) * 2 + (i & 1) + (8 if i >= 2 else 0), lane >> 2


def c_element(lane: int, i: int) -> tuple[int, int]:
    return (lane >> 2) + (8 if i >= 2 else 0), (lane % 4) * 2 + (i & 1)


MULTIPLY = kernel(
    "\n".join(
        [
            *(f"mul.wide.u32 %rd{10 + n}, %r0, {size}; add.s64 %rd{10 + n}, %rd{10 + n}, %rd{n};"
              for n, size in ((1, 16), (2, 16), (3, 8), (4, 16))),
            "ld.global.v4.u32 {%r1, %r2, %r3, %r4}, [%rd12];",
            "ld.global.v2.u32 {%r5, %r6}, [%rd13];",
            "ld.global.v4.f32 {%f1, %f2, %f3, %f4}, [%rd14];",
            "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%f5, %f6, %f7, %f8}, "
            "{%r1, %r2, %r3, %r4}, {%r5, %r6}, {%f1, %f2, %f3, %f4};",
            "st.global.v4.f32 [%rd11], {%f5, %f6, %f7, %f8};",
        ]
    ),
    parameters=4,
)  # fmt: skip


def product(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """mma of a [16, 16], b [16, 8] and c [16, 8], float32 with values of bfloat16 in a and b."""

    def fragment(matrix, element, count, dtype):
        values = [[matrix[element(lane, i)] for i in range(count)] for lane in range(32)]
        values = np.array(values, np.float32)
        return (values.view(np.uint32) >> 16).astype(dtype) if dtype != np.float32 else values

    out = np.full((32, 4), np.nan, np.float32)
    launch(
        MULTIPLY, out, fragment(a, a_element, 8, np.uint16), fragment(b, b_element, 4, np.uint16),
        fragment(c, c_element, 4, np.float32),
    )  # fmt: skip
    result = np.full((16, 8), np.nan, np.float32)
    for lane in range(32):
        for i in range(4):
            result[c_element(lane, i)] = out[lane, i]
    return result


def test_matrix_product():
    generator = np.random.default_rng(3)
    a, b, c = (
        generator.integers(-9, 10, shape).astype(np.float32)
        for shape in ((16, 16), (16, 8), (16, 8))
    )
    assert (product(a, b, c) == a @ b + c).all()


def test_tensor_cores_cut_what_does_not_fit(monkeypatch):
    """With jitter a sum is cut to 24 bits at the largest term, without rounding."""
    monkeypatch.setenv("LEXFORGE_PTX_JITTER", "1")
    a, b, c = (
        np.zeros((16, 16), np.float32),
        np.zeros((16, 8), np.float32),
        np.zeros((16, 8), np.float32),
    )
    c[0, 0], c[1, 0], c[2, 0] = 2.0**24, -(2.0**24), 1
    a[0, :3], a[1, :3] = 0.5, -0.5  # each is below the last bit of c
    a[2, :] = 2.0**-30
    b[:, 0] = 1
    got = product(a, b, c)
    assert got[:3, 0].tolist() == [2.0**24, -(2.0**24), 1]
    small = np.random.default_rng(4).integers(-9, 10, (16, 16)).astype(np.float32)
    assert (product(small, b, c)[3:] == (small @ b + c)[3:]).all()  # exact ones stay exact


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("transposed", [False, True])
def test_load_matrix(count, transposed):
    """Lane 8 m + r brings row r of matrix m; lane l gets row l / 4, elements 2 (l % 4) and next."""
    matrices = np.arange(4 * 64, dtype=np.uint16).reshape(4, 8, 8)
    out = np.zeros((32, 4), np.uint32)
    registers = ", ".join(f"%r{10 + n}" for n in range(count))
    trans = ".trans" if transposed else ""
    text = kernel(
        f"""
        mul.lo.u32 %r1, %r0, 16;
        mov.u32 %r2, dynamic;
        add.u32 %r2, %r2, %r1;
        cvt.u64.u32 %rd3, %r1;
        add.s64 %rd4, %rd2, %rd3;
        ld.global.v4.u32 {{%r3, %r4, %r5, %r6}}, [%rd4];
        st.shared.v4.u32 [%r2], {{%r3, %r4, %r5, %r6}};
        bar.sync 0;
        ldmatrix.sync.aligned.m8n8.x{count}{trans}.shared.b16 {{{registers}}}, [%r2];
        add.s64 %rd5, %rd1, %rd3;
        """
        + "\n".join(f"st.global.u32 [%rd5+{4 * n}], %r{10 + n};" for n in range(count)),
        parameters=2,
    )
    launch(text, out, matrices, shared=512)
    for lane in range(32):
        row, column = lane // 4, 2 * (lane % 4)
        for m in range(count):
            matrix = matrices[m].T if transposed else matrices[m]
            assert out[lane, m] == int(matrix[row, column]) | int(matrix[row, column + 1]) << 16


# ---- lanes of a warp


def lanes_of(instruction: str, values, *, mask: str = "0xffffffff", where: str = "") -> np.ndarray:
    """What each of 32 lanes gets: %r1 is its value, %r2 its result, before it 9999."""
    out = np.zeros(32, np.uint32)
    values = np.asarray(values).astype(np.uint32)
    text = kernel(
        f"""
        add.s64 %rd3, %rd2, %rd0;
        add.s64 %rd4, %rd1, %rd0;
        ld.global.u32 %r1, [%rd3];
        mov.u32 %r2, 9999;
        {where}
        {instruction.format(mask=mask)};
        done: st.global.u32 [%rd4], %r2;
        """,
        parameters=2,
    )
    launch(text, out, values)
    return out


@pytest.mark.parametrize("width", [32, 16, 8])
def test_shuffles(width):
    """The results of __shfl_*_sync(value, 3, width) in CUDA's words."""
    values = np.arange(32) + 100
    segment = (32 - width) << 8
    lane = np.arange(32)
    first = lane // width * width
    up = lanes_of(f"shfl.sync.up.b32 %r2, %r1, 3, {segment}, {{mask}}", values)
    assert (up == values[np.where(lane - 3 >= first, lane - 3, lane)]).all()
    clamp = segment | 31
    down = lanes_of(f"shfl.sync.down.b32 %r2, %r1, 3, {clamp}, {{mask}}", values)
    assert (down == values[np.where(lane + 3 < first + width, lane + 3, lane)]).all()
    butterfly = lanes_of(f"shfl.sync.bfly.b32 %r2, %r1, 3, {clamp}, {{mask}}", values)
    assert (butterfly == values[lane ^ 3]).all()
    index = lanes_of(f"shfl.sync.idx.b32 %r2, %r1, 35, {clamp}, {{mask}}", values)
    assert (index == values[first + 3]).all()
    inside = lanes_of(
        f"shfl.sync.down.b32 %r2|%p1, %r1, 3, {clamp}, {{mask}}; selp.b32 %r2, 1, 0, %p1", values
    )
    assert (inside == (lane + 3 < first + width)).all()


def test_votes_matches_and_reductions():
    lane = np.arange(32)
    assert (lanes_of("setp.gt.u32 %p1, %r1, 29; vote.sync.ballot.b32 %r2, %p1, {mask}", lane)
            == 0xC0000000).all()  # fmt: skip
    for mode, values, expected in (
        ("any", lane, 1), ("any", lane % 20, 0), ("all", lane + 30, 1), ("all", lane, 0),
        ("uni", lane % 20, 1), ("uni", lane, 0),
    ):  # fmt: skip
        text = f"setp.ge.u32 %p1, %r1, 30; vote.sync.{mode}.pred %p2, %p1, {{mask}};"
        assert (lanes_of(text + "selp.b32 %r2, 1, 0, %p2", values) == expected).all(), mode
    groups = lanes_of("match.any.sync.b32 %r2, %r1, {mask}", lane % 3)
    assert groups.tolist() == [sum(1 << x for x in lane if x % 3 == n % 3) for n in lane]
    assert (lanes_of("match.all.sync.b32 %r2|%p1, %r1, {mask}", lane * 0) == 0xFFFFFFFF).all()
    assert (lanes_of("match.all.sync.b32 %r2|%p1, %r1, {mask}", lane) == 0).all()
    values = lane - 7
    for operation, expected in {
        "add.s32": values.sum(), "min.s32": -7, "max.s32": 24, "max.u32": 0xFFFFFFFF,
        "and.b32": np.bitwise_and.reduce(values), "xor.b32": np.bitwise_xor.reduce(values),
    }.items():  # fmt: skip
        got = lanes_of(f"redux.sync.{operation} %r2, %r1, {{mask}}", values)
        assert (got == np.int64(expected).astype(np.uint32)).all(), operation


def test_lanes_that_have_parted_meet_by_their_mask():
    """Odd lanes leave; the even ones exchange among themselves."""
    lane = np.arange(32)
    where = "and.b32 %r3, %r0, 1; setp.eq.u32 %p1, %r3, 1; @%p1 bra done;"
    got = lanes_of("redux.sync.add.s32 %r2, %r1, {mask}", lane, mask="0x55555555", where=where)
    assert got.tolist() == [9999 if n % 2 else 240 for n in lane]
    got = lanes_of("activemask.b32 %r2", lane, where=where)
    assert got.tolist() == [9999 if n % 2 else 0x55555555 for n in lane]


def test_both_sides_of_a_branch_reach_one_instruction():
    """The lanes of either side wait at the shuffle behind it, in whichever order they come."""
    where = """
        setp.lt.u32 %p1, %r0, 16;
        @%p1 bra low;
        add.u32 %r1, %r1, 1000;
        bra join;
        low: add.u32 %r1, %r1, 1;
        join:
    """
    lane = np.arange(32)
    got = lanes_of("shfl.sync.bfly.b32 %r2, %r1, 16, 31, {mask}", lane, where=where)
    assert got.tolist() == [(n ^ 16) + (1 if (n ^ 16) < 16 else 1000) for n in lane]


def test_a_guarded_write_leaves_the_other_lanes():
    where = "setp.lt.u32 %p1, %r0, 5; @%p1 mov.u32 %r2, 1; @!%p1 add.u32 %r2, %r2, 1"
    assert lanes_of(where, np.zeros(32)).tolist() == [1] * 5 + [10000] * 27


# ---- blocks


@pytest.mark.parametrize("order", [None, "1", "2"])
def test_barrier_reductions(order, monkeypatch):
    if order is not None:
        monkeypatch.setenv("LEXFORGE_PTX_ORDER", order)
    out = np.zeros((3, 70), np.uint32)
    text = kernel("""
        setp.lt.u32 %p1, %r0, 40;
        bar.red.popc.u32 %r1, 0, %p1;
        bar.red.or.pred %p2, 0, %p1;
        bar.red.and.pred %p3, 0, !%p1;
        selp.b32 %r2, 1, 0, %p2;
        selp.b32 %r3, 1, 0, %p3;
        add.s64 %rd2, %rd1, %rd0;
        st.global.u32 [%rd2], %r1;
        st.global.u32 [%rd2+280], %r2;
        st.global.u32 [%rd2+560], %r3;
    """)
    launch(text, out, block=70)
    assert (out[0] == 40).all()
    assert (out[1] == 1).all()
    assert (out[2] == 0).all()


def test_a_barrier_of_some_warps():
    """Two warps meet at barrier 1 while the third has left: what one wrote the other reads."""
    out = np.zeros(96, np.uint32)
    text = kernel("""
        setp.ge.u32 %p1, %r0, 64;
        @%p1 bra end;
        mov.u32 %r1, dynamic;
        shl.b32 %r2, %r0, 2;
        add.u32 %r3, %r1, %r2;
        st.shared.u32 [%r3], %r0;
        bar.sync 1, 64;
        xor.b32 %r2, %r2, 128;
        add.u32 %r3, %r1, %r2;
        ld.shared.u32 %r4, [%r3];
        add.s64 %rd2, %rd1, %rd0;
        st.global.u32 [%rd2], %r4;
        end:
    """)
    launch(text, out, block=96, shared=256)
    assert out.tolist() == [n ^ 32 for n in range(64)] + [0] * 32


def test_local_memory_is_a_thread_s_own():
    out = np.zeros(64, np.uint32)
    text = kernel("""
        .local .align 8 .b8 depot[16];
        mov.u64 %rd2, depot;
        cvta.local.u64 %rd3, %rd2;
        st.local.u32 [%rd2+4], %r0;
        st.u32 [%rd3+8], 7;
        bar.sync 0;
        ld.u32 %r1, [%rd3+4];
        ld.local.u32 %r2, [%rd2+8];
        mad.lo.u32 %r1, %r1, 100, %r2;
        add.s64 %rd4, %rd1, %rd0;
        st.global.u32 [%rd4], %r1;
    """)
    launch(text, out, block=64)
    assert out.tolist() == [100 * n + 7 for n in range(64)]


def test_copies_fill_with_zeros(monkeypatch):
    source = np.arange(1, 5, dtype=np.uint32)
    for early in ("0", "1"):
        monkeypatch.setenv("LEXFORGE_PTX_EARLY_COPIES", early)
        out = np.zeros(4, np.uint32)
        text = kernel("""
            mov.u32 %r1, dynamic;
            mov.u32 %r2, 8;
            cp.async.cg.shared.global [%r1], [%rd2], 16, %r2;
            cp.async.commit_group;
            cp.async.wait_group 0;
            ld.shared.v4.u32 {%r3, %r4, %r5, %r6}, [%r1];
            st.global.v4.u32 [%rd1], {%r3, %r4, %r5, %r6};
        """, parameters=2)  # fmt: skip
        launch(text, out, source, block=1, shared=16)
        assert out.tolist() == [1, 2, 0, 0]


def test_constants_with_initial_values():
    out = np.zeros(2, np.uint32)
    text = kernel("ld.const.v2.u32 {%r1, %r2}, [table+8]; st.global.v2.u32 [%rd1], {%r1, %r2};")
    table = ".const .align 8 .b32 table[4] = {3, 4, 0x10, 6};\n.visible .entry"
    launch(text.replace(".visible .entry", table), out, block=1)
    assert out.tolist() == [16, 6]


def test_parameters_lie_as_they_are_aligned():
    out = np.zeros(3, np.uint64)
    text = kernel("", parameters=1).replace(
        ".param .u64 k_1", ".param .u8 a, .param .align 8 .b8 b[12], .param .u16 c, .param .u64 k_1"
    )
    body = """
        ld.param.u8 %h1, [a];
        ld.param.u32 %r1, [b+8];
        ld.param.u16 %h2, [c];
        cvt.u64.u16 %rd2, %h1; cvt.u64.u32 %rd3, %r1; cvt.u64.u16 %rd4, %h2;
        st.global.u64 [%rd1], %rd2; st.global.u64 [%rd1+8], %rd3; st.global.u64 [%rd1+16], %rd4;
        ret;
    """
    b = np.array([7, 8, 9], np.uint32)
    values = [np.uint8([200]), b, np.uint16([60000]), np.uint64([out.ctypes.data])]
    pointers = (interpreter.ctypes.c_void_p * 4)(*(v.ctypes.data for v in values))
    settings = interpreter.Launch((1, 1, 1), (1, 1, 1), 0, 48 << 10, 0)
    message = interpreter.library().lexforge_ptx_run(
        text.replace("ret;", body).encode(), b"k", interpreter.ctypes.byref(settings), pointers
    )
    assert message == b""
    assert out.tolist() == [200, 9, 60000]


def test_an_undefined_register_is_poison():
    """Also where its place has been another's: what nobody wrote is all ones."""
    out = np.zeros(32, np.uint32)
    text = kernel("""
        mov.u32 %r1, 5;
        add.u32 %r2, %r1, 6;
        setp.eq.u32 %p1, %r2, 0;
        @%p1 mov.u32 %r3, 1;
        add.s64 %rd2, %rd1, %rd0;
        st.global.u32 [%rd2], %r3;
    """)
    launch(text, out)
    assert (out == 0xFFFFFFFF).all()


def test_a_text_without_the_kernel():
    with pytest.raises(PtxError, match="no kernel nobody"):
        launch(kernel(""), 0, name="nobody")
