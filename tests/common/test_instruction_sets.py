"""The three builds of the CPU kernels: equal results, no wide register outside its namespace."""

import functools
import re
import shutil
import subprocess

import pytest
import torch

from lexforge import _library

from .isa import ISAS, run_under

DIGEST = """
import hashlib, torch
from lexforge.ops.sampling.sampling import alias_sample, build_alias, sample_noise
digest = hashlib.sha256()
def add(tensor):
    digest.update(tensor.numpy().tobytes())
table = build_alias(1.0 / torch.arange(1, 5001, dtype=torch.float64))
add(table)
for offset in (0, 1, 2**35 - 77):
    for count in (1, 31, 32, 1001):
        add(alias_sample(table, count, seed=5, offset=offset))
        add(alias_sample(table, count, seed=5, offset=offset, dtype=torch.int64))
positives = alias_sample(table, 700, seed=6)
noise, _ = sample_noise(table, positives, torch.arange(0, 701, 7), 5, seed=7, epoch=3)
add(noise)
for along_slots in (False, True):
    add(torch.ops.lexforge._philox_run(torch.empty(0), 9, 1, 2**32 - 5, 1, 3, 100, along_slots))
print(digest.hexdigest())
"""


@pytest.mark.parametrize("isa", ISAS)
def test_random_ops_agree_bit_for_bit(isa, capsys):
    if _library.emulated():
        pytest.skip("the emulated device has no CPU kernels")
    exec(DIGEST, {})
    assert run_under(isa, DIGEST) == capsys.readouterr().out


@functools.cache
def wide_registers(library: str) -> dict[str, set[str]]:
    """Which of xmm, ymm, zmm each function of the library mentions, by mangled name."""
    listing = subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", library], capture_output=True, text=True, check=True
    ).stdout
    registers: dict[str, set[str]] = {}
    function = None
    for line in listing.splitlines():
        if header := re.match(r"[0-9a-f]+ <(.+)>:$", line):
            function = registers.setdefault(header[1], set())
        elif function is not None:
            function.update(re.findall(r"%([yz]mm)\d", line))
    return registers


@pytest.mark.skipif(shutil.which("objdump") is None, reason="objdump is not installed")
def test_wide_registers_stay_in_their_namespaces():
    """An inline function emitted with AVX-512 and kept by the linker would crash older machines."""
    library = _library._find("_ops_cpu")
    registers = wide_registers(str(library))
    assert any("zmm" in used for used in registers.values()), "no AVX-512 code was found at all"
    strays = [
        name
        for name, used in registers.items()
        if ("zmm" in used and "6avx512" not in name and "3amx" not in name)
        or ("ymm" in used and not any(isa in name for isa in ("6avx512", "3amx", "4avx2")))
    ]
    assert strays == []


def test_the_listing_shows_namespaces():
    """The check above reads mangled names; a stripped library would make it vacuous."""
    if shutil.which("objdump") is None:
        pytest.skip("objdump is not installed")
    names = wide_registers(str(_library._find("_ops_cpu")))
    for namespace in ("6avx512", "4avx2", "8baseline"):
        assert any(namespace in name for name in names), namespace


def test_parallel_for_uses_more_than_one_thread():
    if _library.emulated():
        pytest.skip("the emulated device has no CPU kernels")
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert torch.ops.lexforge._parallel_chunks(1000, 1) == 2
        torch.set_num_threads(1)
        assert torch.ops.lexforge._parallel_chunks(1000, 1) == 1
    finally:
        torch.set_num_threads(before)


def test_small_ranges_are_not_cut():
    if _library.emulated():
        pytest.skip("the emulated device has no CPU kernels")
    assert torch.ops.lexforge._parallel_chunks(100, 100) == 1


def test_a_script_that_fails_is_a_failure():
    """Whether it raises, gives a status, or takes its process along; the next one runs."""
    if _library.emulated():
        pytest.skip("the emulated device has no CPU kernels")
    for script, message in (
        ("print('before'); 1 / 0", r"(?s)ZeroDivisionError.*before"),
        ("raise SystemExit(3)", "exit status 3"),
        ("import os; os.write(2, b'last words'); os._exit(7)", r"(?s)status 7.*last words"),
    ):
        with pytest.raises((AssertionError, pytest.fail.Exception), match=message):
            run_under("baseline", script)
    assert run_under("baseline", "import lexforge; print(lexforge.cpu_capability())") == (
        "baseline\n"
    )
