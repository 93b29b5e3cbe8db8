"""What the device refuses and reports: planted faults, limits, the modes of its settings.

The interpreter is called with PTX texts, except where the CUDA runtime's entry points are tested.
"""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
import build
from interpreter import PtxError, evaluate, file_bytes, kernel, launch

OWN_WORD = """
    mov.u32 %r1, dynamic;
    shl.b32 %r2, %r0, 2;
    add.u32 %r3, %r1, %r2;
"""  # %r3: the address of the thread's own word of shared memory


def fails(text: str, *arguments, match: str | None, **options) -> str:
    with pytest.raises(PtxError, match=match) as error:
        launch(text, *(arguments or (0,)), **options)
    return str(error.value)


# ---- races


@pytest.fixture
def races(monkeypatch):
    monkeypatch.setenv("LEXFORGE_PTX_RACES", "1")


# Threads write their words and read a neighbour's of another warp; {} is what stands between.
EXCHANGE = (
    OWN_WORD
    + """
    10: st.shared.u32 [%r3], %r0;
    {}
    xor.b32 %r2, %r2, 128;
    add.u32 %r3, %r1, %r2;
    20: ld.shared.u32 %r4, [%r3];
"""
)


@pytest.mark.parametrize("order", [None, "1", "2", "3"])
def test_a_missing_barrier(races, order, monkeypatch):
    if order is not None:
        monkeypatch.setenv("LEXFORGE_PTX_ORDER", order)
    message = fails(kernel(EXCHANGE.format("")), match="race", block=64, shared=256)
    assert "kernel k," in message
    assert "kernels.cu:10" in message
    assert "kernels.cu:20" in message
    launch(kernel(EXCHANGE.format("bar.sync 0;")), 0, block=64, shared=256)


def test_without_the_check_a_race_is_not_looked_for(monkeypatch):
    monkeypatch.delenv("LEXFORGE_PTX_RACES", raising=False)
    launch(kernel(EXCHANGE.format("")), 0, block=64, shared=256)


def test_a_missing_barrier_of_a_warp(races):
    """Lanes of a warp run in lockstep here, and nothing of the PTX says that they do."""
    body = EXCHANGE.replace("128", "4")
    message = fails(kernel(body.format("")), match="race", shared=128)
    assert "kernels.cu:10" in message
    launch(kernel(body.format("bar.warp.sync -1;")), 0, shared=128)
    # It orders the lanes of the warp alone.
    fails(kernel(EXCHANGE.format("bar.warp.sync -1;")), match="race", block=64, shared=256)


def test_a_write_over_what_others_still_read(races):
    body = (
        OWN_WORD
        + """
        st.shared.u32 [%r3], %r0;
        bar.sync 0;
        10: ld.shared.u32 %r4, [%r1];
        {}
        20: st.shared.u32 [%r3], %r4;
    """
    )
    message = fails(kernel(body.format("")), match="race", block=64, shared=256)
    assert "kernels.cu:10" in message
    assert "kernels.cu:20" in message
    launch(kernel(body.format("bar.sync 0;")), 0, block=64, shared=256)


def test_two_writes(races):
    body = "mov.u32 %r1, dynamic; st.shared.u32 [%r1], {};"
    fails(kernel(body.format("%r0")), match="race: a write .* after the write", shared=4)
    launch(kernel("setp.eq.u32 %p1, %r0, 3; mov.u32 %r1, dynamic; @%p1 st.shared.u32 [%r1], 1;"),
           0, shared=4)  # fmt: skip


def test_atomics_do_not_race_with_each_other(races):
    body = "mov.u32 %r1, dynamic; {} atom.shared.add.u32 %r2, [%r1], 1;"
    setup = "setp.eq.u32 %p1, %r0, 0; @%p1 st.shared.u32 [%r1], 0; bar.sync 0;"
    launch(kernel(body.format(setup)), 0, block=64, shared=4)
    plain = "setp.eq.u32 %p1, %r0, 0; @%p1 st.shared.u32 [%r1], 0;"
    fails(kernel(body.format(plain)), match="race", block=64, shared=4)


def test_halves_of_a_word_are_two_threads(races):
    body = """
        mov.u32 %r1, dynamic;
        shl.b32 %r2, %r0, 1;
        add.u32 %r3, %r1, %r2;
        st.shared.u16 [%r3], %h1;
    """
    launch(kernel(body), 0, shared=64)


@pytest.mark.parametrize("early", ["0", "1"])
def test_a_copy_into_a_tile_that_is_still_read(races, early, monkeypatch):
    monkeypatch.setenv("LEXFORGE_PTX_EARLY_COPIES", early)
    body = (
        OWN_WORD
        + """
        add.s64 %rd2, %rd1, %rd0;
        10: cp.async.ca.shared.global [%r3], [%rd2], 4;
        cp.async.wait_all;
        bar.sync 0;
        20: ld.shared.u32 %r4, [%r1];
        {}
        30: cp.async.ca.shared.global [%r3], [%rd2], 4;
        cp.async.wait_all;
    """
    )
    source = np.zeros(64, np.uint32)
    message = fails(kernel(body.format("")), source, match="race", block=64, shared=256)
    assert "kernels.cu:20" in message
    assert "kernels.cu:30" in message
    launch(kernel(body.format("bar.sync 0;")), source, block=64, shared=256)


def test_a_barrier_before_the_wait_for_copies(races):
    """A barrier does not wait for copies: others may read the tile when all have waited."""
    body = (
        OWN_WORD
        + """
        add.s64 %rd2, %rd1, %rd0;
        10: cp.async.ca.shared.global [%r3], [%rd2], 4;
        {}
        xor.b32 %r2, %r2, 128;
        add.u32 %r3, %r1, %r2;
        20: ld.shared.u32 %r4, [%r3];
    """
    )
    source = np.zeros(64, np.uint32)
    wrong, right = "bar.sync 0; cp.async.wait_all;", "cp.async.wait_all; bar.sync 0;"
    message = fails(kernel(body.format(wrong)), source, match="race", block=64, shared=256)
    assert "kernels.cu:10" in message
    launch(kernel(body.format(right)), source, block=64, shared=256)


# ---- faults of lanes and barriers


def test_deadlock():
    body = """
        setp.ge.u32 %p1, %r0, 32;
        @%p1 bra other;
        10: bar.sync 0;
        bra end;
        other: 20: bar.sync 1;
        end:
    """.replace("other: 20:", "other:\n20:")
    message = fails(kernel(body), match="deadlock", block=64)
    assert "32 threads at 'bar.sync 0', some/kernels.cu:10" in message
    assert "32 threads at 'bar.sync 1', some/kernels.cu:20" in message


def test_lanes_of_a_warp_at_different_barriers():
    body = """
        setp.ge.u32 %p1, %r0, 7;
        @%p1 bra other;
        bar.sync 0;
        bra end;
        other: bar.sync 0;
        end:
    """
    fails(kernel(body), match="lanes of a warp are at different barriers")


def test_kinds_of_barriers_that_meet():
    body = """
        setp.ge.u32 %p1, %r0, 32;
        @%p1 bra other;
        bar.sync 0;
        bra end;
        other: bar.red.popc.u32 %r1, 0, %p1;
        end:
    """
    fails(kernel(body), match="different kinds of barrier", block=64)


def test_a_shuffle_from_a_lane_that_takes_no_part():
    body = """
        setp.ge.u32 %p1, %r0, 16;
        @%p1 bra end;
        shfl.sync.idx.b32 %r1, %r0, 20, 31, 0xffff;
        end:
    """
    fails(kernel(body), match="a shuffle reads lane 20, which takes no part")


def test_a_lane_outside_its_mask():
    fails(kernel("shfl.sync.idx.b32 %r1, %r0, 0, 31, 0xffff;"), match="not in its mask")


def test_a_whole_warp_s_instruction_without_some_lanes():
    body = """
        setp.eq.u32 %p1, %r0, 9;
        @%p1 ret;
        mov.u32 %r1, dynamic;
        ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r2}, [%r1];
    """
    fails(kernel(body), match="not all lanes of the warp are there", shared=128)


def test_copies_left_at_the_end():
    body = """
        mov.u32 %r1, dynamic;
        cp.async.ca.shared.global [%r1], [%rd1], 4;
        cp.async.commit_group;
    """
    source = np.zeros(1, np.uint32)
    fails(kernel(body), source, match="ends before its asynchronous copies", block=1, shared=4)


def test_no_end(monkeypatch):
    monkeypatch.setenv("LEXFORGE_PTX_LIMIT", "3000000")
    fails(kernel("again: bra again;"), match="no end after")


def test_trap():
    body = "setp.eq.u32 %p1, %r0, 9; @%p1 trap;"
    message = fails(kernel(body), match="trap")
    assert "block (0, 0, 0), thread (9, 0, 0)" in message


# ---- memory


@pytest.mark.parametrize("instruction", [
    "ld.shared.u32 %r2, [%r1+64]",
    "st.shared.v4.u32 [%r1+64], {%r2, %r2, %r2, %r2}",
    "atom.shared.add.u32 %r2, [%r1+64], 1",
    "cp.async.ca.shared.global [%r1+64], [%rd1], 4",
    "ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r2}, [%r1+64]",
    "ld.shared.u32 %r2, [%r1+-16]",
])  # fmt: skip
def test_shared_memory_out_of_bounds(instruction):
    source = np.zeros(4, np.uint32)
    text = kernel(f"mov.u32 %r1, dynamic; {instruction};")
    fails(text, source, match="beyond the 64 bytes", shared=64)


def test_misaligned_accesses():
    memory = np.zeros(8, np.uint64)
    for body in (
        "ld.global.u32 %r1, [%rd1+2];",
        "st.global.v4.u32 [%rd1+4], {%r1, %r1, %r1, %r1};",
        "mov.u32 %r1, dynamic; ld.shared.v2.u32 {%r2, %r3}, [%r1+4];",
        "mov.u32 %r1, dynamic; ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r2}, [%r1+8];",
        "mov.u32 %r1, dynamic; cp.async.cg.shared.global [%r1], [%rd1+0], 16;",
    ):
        start = memory if "cp" not in body else memory.ctypes.data + 4
        fails(kernel(body), start, match="is no multiple of", shared=128)


def test_null_pointers_and_local_memory_out_of_bounds():
    fails(kernel("ld.global.u32 %r1, [%rd1];"), match="null pointer")
    body = ".local .align 16 .b8 depot[16]; mov.u64 %rd2, depot; ld.local.u32 %r1, [%rd2+16];"
    fails(kernel(body), match="local address 16 . 4 is beyond the 16 bytes")


@pytest.mark.parametrize("operation", ["div.s32", "rem.u32", "div.u64"])
def test_division_by_zero(operation):
    kind = "b" + operation[-2:]
    with pytest.raises(PtxError, match="of an integer by zero"):
        evaluate(operation + " {d}, {a}, {b}", kind, (kind, [3]), (kind, [0]))


def test_memory_is_poisoned():
    """Shared and local memory of every block, whatever one before it left there."""
    out = np.zeros((5, 2), np.uint32)
    body = """
        .local .align 4 .b8 depot[4];
        mov.u64 %rd2, depot;
        mov.u32 %r1, dynamic;
        ld.shared.u32 %r2, [%r1];
        ld.local.u32 %r3, [%rd2];
        mov.u32 %r4, %ctaid.x;
        mul.wide.u32 %rd3, %r4, 8;
        add.s64 %rd4, %rd1, %rd3;
        st.global.v2.u32 [%rd4], {%r2, %r3};
        st.shared.u32 [%r1], 1;
        st.local.u32 [%rd2], 1;
    """
    launch(kernel(body), out, grid=5, block=1, shared=4)
    assert (out == 0xFFFFFFFF).all()


# ---- limits of a launch


def test_launch_bounds():
    text = kernel("", attributes=".maxntid 8, 4, 1\n.minnctapersm 2")
    launch(text, 0, block=32)
    fails(text, match="33 threads are more than the 32 of the kernel's launch bounds", block=33)
    fails(kernel(""), match="at most 1024 threads", block=1025)
    fails(kernel(""), match="at most 1024 threads, 64 in z", block=(1, 1, 65))


def test_shared_memory():
    static = kernel(".shared .align 16 .b8 tile[32768];")
    launch(static, 0, shared=16 << 10)
    fails(static, match="more than 48 KB", shared=(16 << 10) + 16)
    launch(static, 0, shared=100 << 10, allowed=100 << 10)
    fails(static, match="more than 48 KB", shared=101 << 10, allowed=100 << 10)
    launch(static, 0, shared=195 << 10, allowed=195 << 10)
    fails(static, match="232464 bytes, a block has at most 232448",
          shared=(195 << 10) + 16, allowed=227 << 10)  # fmt: skip


def test_registers():
    launch(kernel(""), 0, block=512, registers=128)
    fails(kernel(""), match="128 registers are too many", block=544, registers=128)
    fails(kernel(""), match="65 registers are too many", block=1024, registers=65)


def test_grids():
    fails(kernel(""), match="nothing to launch", grid=0)
    fails(kernel(""), match="nothing to launch", block=(32, 0))
    fails(kernel(""), match="the grid is larger", grid=(1, 65536))


# ---- refusals by name


@pytest.mark.parametrize("instruction", [
    "wgmma.fence.sync.aligned",
    "mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16 {%r1, %r2}, {%r1, %r2, %r3, %r4}, "
    "{%r1, %r2}, {%r1, %r2}",
    "cp.async.bulk.commit_group",
    "ldmatrix.sync.aligned.m8n8.x4.shared.b8 {%r1, %r2, %r3, %r4}, [%r1]",
    "call.uni foo, ()",
    "brx.idx %r1, targets",
    "setp.lt.and.s32 %p1, %r1, %r2, %p2",
    "add.sat.s32 %r1, %r1, %r2",
    "mul.ftz.f32 %f1, %f1, %f2",
    "ld.global.v8.f32 {%f1, %f2, %f3, %f4, %f5, %f6, %f7, %f8}, [%rd1]",
    "atom.global.add.f16 %h1, [%rd1], %h2",
    "cvta.to.shared.u64 %rd1, %rd2",
    "bar.arrive 1, 64",
    "vote.any.pred.sync %p1, %p2, -1",
])  # fmt: skip
def test_unknown_instructions(instruction):
    message = fails(kernel(f"17: {instruction};"), match=None)
    assert f"the instruction '{instruction.split()[0]}'" in message
    assert "of k, some/kernels.cu:17" in message


@pytest.mark.parametrize(("body", "what"), [
    ("mov.u32 %r1, %clock;", "the register '%clock'"),
    ("mov.u32 %r1, %q1;", "the register '%q1'"),
    ("mov.u32 %r1, nowhere;", "the operand 'nowhere'"),
    ("mov.u32 nowhere, 1;", "the result 'nowhere'"),
    ("add.u32 %r1, %rd1, 1;", "the width of '%rd1'"),
    ("add.u32 %r1, %r2;", "2 operands of add.u32"),
    ("bra nowhere;", "no label nowhere in k"),
    (".reg .b128 %q;", "registers of type b128"),
    (".branchtargets a, b;", "the directive '.branchtargets'"),
    ("bar.sync 16;", "there is no barrier 16"),
])  # fmt: skip
def test_what_else_is_refused(body, what):
    assert what in fails(kernel(body), match=None)


def test_other_directives():
    fails(kernel("", attributes=".reqnctapercluster 2"), match="the directive '.reqnctapercluster'")
    fails(kernel("") + ".alias a, b;", match="the directive '.alias'")


# ---- jitter, order


APPROXIMATIONS = {
    "ex2.approx.f32": (np.exp2, np.linspace(-20, 20, 900), 2),
    "ex2.approx.ftz.f32": (np.exp2, np.linspace(-20, 20, 900), 2),
    "rcp.approx.ftz.f32": (np.reciprocal, np.linspace(0.1, 9, 900), 1),
    "sqrt.approx.f32": (np.sqrt, np.linspace(0.1, 9, 900), 1),
    "rsqrt.approx.f32": (lambda x: 1 / np.sqrt(x), np.linspace(0.1, 9, 900), 1),
}


@pytest.mark.parametrize("name", APPROXIMATIONS)
def test_jitter_stays_within_the_units_of_the_isa(name, monkeypatch):
    function, values, units = APPROXIMATIONS[name]
    values = values.astype(np.float32)
    exact = function(values.astype(np.float64)).astype(np.float32)
    assert (evaluate(name + " {d}, {a}", "f32", ("f32", values)) == exact).all()
    seen = set()
    for seed in ("1", "2"):
        monkeypatch.setenv("LEXFORGE_PTX_JITTER", seed)
        got = evaluate(name + " {d}, {a}", "f32", ("f32", values))
        apart = got.view(np.int32).astype(np.int64) - exact.view(np.int32)
        assert set(apart) == set(range(-units, units + 1))
        seen.add(got.tobytes())
    assert len(seen) == 2


def test_jitter_of_logarithms_and_quotients(monkeypatch):
    monkeypatch.setenv("LEXFORGE_PTX_JITTER", "1")
    near = np.linspace(0.51, 1.99, 900).astype(np.float32)
    got = evaluate("lg2.approx.f32 {d}, {a}", "f32", ("f32", near)).astype(np.float64)
    error = np.abs(got - np.log2(near.astype(np.float64)))
    assert 2**-23 < error.max() <= 2**-22 + 2**-24
    a, b = near, near[::-1].copy()
    got = evaluate("div.approx.f32 {d}, {a}, {b}", "f32", ("f32", a), ("f32", b))
    apart = np.abs(got.view(np.int32) - (a / b).view(np.int32))
    assert set(apart) == {0, 1, 2}
    # What the ISA gives exactly stays exact.
    special = evaluate("ex2.approx.f32 {d}, {a}", "f32", ("f32", [-np.inf, np.inf, -3, 0, 5]))
    assert special.tolist() == [0, np.inf, 0.125, 1, 32]  # whole powers: expm1f counts on them


def test_quotients_by_very_large_numbers():
    a, b = [1.0, -1.0, np.inf], [2.0**127] * 3
    got = evaluate("div.approx.f32 {d}, {a}, {b}", "f32", ("f32", a), ("f32", b))
    assert got[:2].tolist() == [0, 0]
    assert np.signbit(got[:2]).tolist() == [False, True]
    assert np.isnan(got[2])


@pytest.mark.parametrize("resident", ["1", "3", "8"])
def test_blocks_take_turns_in_an_order_of_the_seed(resident, monkeypatch):
    """Every block notes when it ran: interleaved if several are resident, one by one if not."""
    text = kernel("""
        mov.u32 %r1, %ctaid.x;
        mov.u32 %r5, 0;
        again:
        atom.global.add.u32 %r2, [%rd1], 1;
        mul.wide.u32 %rd2, %r2, 4;
        add.s64 %rd3, %rd1, %rd2;
        st.global.u32 [%rd3+4], %r1;
        add.u32 %r5, %r5, 1;
        setp.lt.u32 %p1, %r5, 200;
        @%p1 bra again;
    """)
    monkeypatch.setenv("LEXFORGE_PTX_RESIDENT", resident)
    runs = []
    for seed in ("1", "1", "2"):
        monkeypatch.setenv("LEXFORGE_PTX_ORDER", seed)
        out = np.zeros(1 + 8 * 200, np.uint32)
        launch(text, out, grid=8, block=1)
        assert (np.bincount(out[1:]) == 200).all()
        runs.append(out[1:].tolist())
    assert runs[0] == runs[1]
    changes = sum(x != y for x, y in zip(runs[0], runs[0][1:], strict=False))
    if resident == "1":
        assert changes == 7
    else:
        assert changes > 20
        assert runs[0] != runs[2]


# ---- places of registers


def test_registers_share_places():
    """A chain of five hundred sums needs two registers, not five hundred."""
    names = ", ".join(f"%x{n}" for n in range(500))
    chain = "\n".join(f"add.u32 %x{n}, %x{n - 1}, {n};" for n in range(1, 500))
    out = np.zeros(32, np.uint32)
    text = kernel(f"""
        .reg .b32 {names};
        mov.u32 %x0, %r0;
        {chain}
        add.s64 %rd2, %rd1, %rd0;
        st.global.u32 [%rd2], %x499;
    """)
    launch(text, out)
    assert out.tolist() == [n + 499 * 500 // 2 for n in range(32)]
    assert file_bytes(text) <= 2048


def test_what_lives_through_a_loop_keeps_its_place():
    """A value from before the loop, one that is written behind its reading, one of odd lanes."""
    out = np.zeros(32, np.uint32)
    text = kernel("""
        mov.u32 %r1, 1000;
        mov.u32 %r2, 0;
        mov.u32 %r3, 0;
        again:
        add.u32 %r4, %r2, 1;
        and.b32 %r5, %r0, 1;
        setp.eq.u32 %p1, %r5, 1;
        @%p1 add.u32 %r3, %r3, %r4;
        mov.u32 %r2, %r4;
        setp.lt.u32 %p2, %r2, %r0;
        @%p2 bra again;
        add.u32 %r6, %r1, %r3;
        add.s64 %rd2, %rd1, %rd0;
        st.global.u32 [%rd2], %r6;
    """)
    launch(text, out)
    assert out.tolist() == [1000 + (n * (n + 1) // 2 if n % 2 else 0) for n in range(32)]


# ---- the CUDA runtime's entry points


@pytest.fixture(scope="module")
def runtime(toolkit):
    """The interpreter with the runtime in front of it."""
    sources = build.interpreter_sources()
    objects = build.in_parallel(build.compile_object, sources, [build.interpreter()] * len(sources))
    loaded = ctypes.CDLL(str(build.link([x.path for x in objects], build.OUTPUT / "runtime.so")))
    loaded.cudaGetErrorString.restype = ctypes.c_char_p
    return loaded


def test_what_a_capture_refuses(runtime):
    memory = np.arange(4, dtype=np.uint32)
    other = np.zeros_like(memory)
    address = ctypes.c_void_p()
    to, of = ctypes.c_void_p(other.ctypes.data), ctypes.c_void_p(memory.ctypes.data)
    calls = {
        "cudaStreamSynchronize": lambda: runtime.cudaStreamSynchronize(None),
        "cudaDeviceSynchronize": runtime.cudaDeviceSynchronize,
        "cudaMalloc": lambda: runtime.cudaMalloc(ctypes.byref(address), ctypes.c_size_t(64)),
        "pageable": lambda: runtime.cudaMemcpyAsync(to, of, ctypes.c_size_t(16), 2, None),
    }
    runtime.lexforge_ptx_set_capturing(1)
    try:
        for name, call in calls.items():
            error = call()
            assert error == 900  # cudaErrorStreamCaptureUnsupported
            words = runtime.cudaGetErrorString(error).decode()
            assert "operation not permitted when stream is capturing" in words
            assert name in words
            assert runtime.cudaGetLastError() == error
            assert runtime.cudaGetLastError() == 0
        assert (other == 0).all()
        # From device to device, and setting memory, is work like a kernel's.
        assert runtime.cudaMemcpyAsync(to, of, ctypes.c_size_t(16), 3, None) == 0
    finally:
        runtime.lexforge_ptx_set_capturing(0)
    assert (other == memory).all()
    assert all(call() == 0 for call in calls.values())
    assert runtime.cudaFree(address) == 0


def test_multiprocessors(runtime, monkeypatch):
    count = ctypes.c_int()
    attribute = 16  # cudaDevAttrMultiProcessorCount
    for number in ("1", "2", "132"):
        monkeypatch.setenv("LEXFORGE_PTX_MULTIPROCESSORS", number)
        assert runtime.cudaDeviceGetAttribute(ctypes.byref(count), attribute, 0) == 0
        assert count.value == int(number)
