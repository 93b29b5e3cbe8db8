"""The interpreter alone, called with PTX texts: no nvcc, no CUDA runtime, no torch ops."""

from __future__ import annotations

import ctypes
import functools
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import build  # noqa: E402

# What of the folder belongs to nvcc's objects and the CUDA runtime.
OF_THE_RUNTIME = ("runtime.cpp", "fat_binary.cpp")

HEADER = """\
.version 8.5
.target sm_90
.address_size 64
.file 1 "some/kernels.cu"
"""


class PtxError(Exception):
    """What the interpreter says of a launch that it refused or ended."""


class Launch(ctypes.Structure):
    """lexforge_ptx_launch of entry.cpp."""

    _fields_ = (
        ("grid", ctypes.c_uint32 * 3),
        ("block", ctypes.c_uint32 * 3),
        ("dynamic_shared", ctypes.c_uint32),
        ("dynamic_shared_allowed", ctypes.c_uint32),
        ("registers", ctypes.c_uint32),
    )


@functools.cache
def library() -> ctypes.CDLL:
    sources = [path for path in build.interpreter_sources() if path.name not in OF_THE_RUNTIME]
    objects = build.in_parallel(build.compile_object, sources, [build.interpreter()] * len(sources))
    target = build.OUTPUT / "interpreter.so"
    loaded = ctypes.CDLL(str(build.link([x.path for x in objects], target)))
    loaded.lexforge_ptx_run.restype = ctypes.c_char_p
    return loaded


def three(size: int | Sequence[int]) -> tuple[int, int, int]:
    sizes = (size,) if isinstance(size, int) else tuple(size)
    return (*sizes, *(1,) * (3 - len(sizes)))


def kernel(body: str, *, parameters: int = 1, name: str = "k", attributes: str = "") -> str:
    """A module of one kernel: its parameters are 64 bits wide and lie in %rd1, %rd2, ... .

    There are registers of every kind: predicates %p, 16 bits %h, 32 bits %r, 64 bits %rd, and
    their float views %f and %fd, 64 of each. %r0 is the thread's number, %rd0 four times that.
    Lines that begin with a number get it as their source line.
    """
    lines = []
    for line in body.strip().splitlines():
        numbered = re.match(r"\s*(\d+):\s*(.*)", line)
        lines += [f".loc 1 {numbered[1]} 0", numbered[2]] if numbered else [line]
    arguments = ",\n".join(f".param .u64 {name}_{n}" for n in range(1, parameters + 1))
    loads = "\n".join(f"ld.param.u64 %rd{n}, [{name}_{n}];" for n in range(1, parameters + 1))
    body = "\n".join(lines)
    return f"""{HEADER}
.extern .shared .align 16 .b8 dynamic[];
.visible .entry {name}({arguments})
{attributes}
{{
.reg .pred %p<64>; .reg .b16 %h<64>; .reg .b32 %r<64>; .reg .b64 %rd<64>;
.reg .f32 %f<64>; .reg .f64 %fd<64>;
mov.u32 %r0, %tid.x;
mul.wide.u32 %rd0, %r0, 4;
{loads}
{body}
ret;
}}
"""


def launch(
    text: str,
    *arguments: np.ndarray | int,
    name: str = "k",
    grid: int | Sequence[int] = 1,
    block: int | Sequence[int] = 32,
    shared: int = 0,
    allowed: int = 48 << 10,
    registers: int = 0,
) -> None:
    """Runs a kernel to its end.

    Args:
        text: a module.
        arguments: the values of its parameters: the addresses of arrays, or integers of 64 bits.
        name: the kernel's.
        grid, block: up to three sizes.
        shared: bytes of dynamic shared memory.
        allowed: the most of them that the kernel was opted in for.
        registers: of a thread, as far as the launch is checked for them; 0: unknown.

    Raises:
        PtxError: with the interpreter's words.
    """
    values = [ctypes.c_uint64(a.ctypes.data if isinstance(a, np.ndarray) else a) for a in arguments]
    pointers = (ctypes.c_void_p * max(1, len(values)))(*map(ctypes.addressof, values))
    settings = Launch(three(grid), three(block), shared, allowed, registers)
    message = library().lexforge_ptx_run(
        text.encode(), name.encode(), ctypes.byref(settings), pointers
    )
    if message:
        raise PtxError(message.decode())


def file_bytes(text: str, name: str = "k") -> int:
    """The bytes of a warp's registers in a kernel."""
    return library().lexforge_ptx_file_bytes(text.encode(), name.encode())


# ---- one instruction with its operands in every thread

REGISTERS = {"b16": "%h", "b32": "%r", "b64": "%rd", "f32": "%f", "f64": "%fd"}
DTYPES = {
    "b16": np.uint16,
    "b32": np.uint32,
    "b64": np.uint64,
    "f32": np.float32,
    "f64": np.float64,
}


def evaluate(instruction: str, result: str, *operands: tuple[str, Sequence]) -> np.ndarray:
    """The results of one instruction for each of several operands.

    Args:
        instruction: such as "fma.rn.f32 {d}, {a}, {b}, {c}".
        result: the kind of its result, of "b16", "b32", "b64", "f32", "f64".
        operands: the kind and the values of a, b, c, e.
    """
    arrays = [np.array(values, DTYPES[kind]) for kind, values in operands]
    count = len(arrays[0])
    out = np.zeros(count, DTYPES[result])
    names = {"d": f"{REGISTERS[result]}40"}
    body = []
    for n, (letter, (kind, _)) in enumerate(zip("abce", operands, strict=False)):
        size = np.dtype(DTYPES[kind]).itemsize
        names[letter] = f"{REGISTERS[kind]}{10 + n}"
        body.append(f"mad.wide.u32 %rd{20 + n}, %r0, {size}, %rd{n + 2};")
        body.append(f"ld.global.b{8 * size} {names[letter]}, [%rd{20 + n}];")
    size = out.itemsize
    body += [
        f"{instruction.format(**names)};",
        f"mad.wide.u32 %rd30, %r0, {size}, %rd1;",
        f"st.global.b{8 * size} [%rd30], {names['d']};",
    ]
    text = kernel("\n".join(body), parameters=1 + len(arrays))
    for start in range(0, count, 1024):
        part = [np.ascontiguousarray(x[start : start + 1024]) for x in arrays]
        some = np.zeros(len(part[0]), out.dtype)
        launch(text, some, *part, block=len(some))
        out[start : start + 1024] = some
    return out
