"""Loads the op libraries and tells what was built."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import warnings
from pathlib import Path

import torch

from lexforge._arguments import MAX_THREADS

_FOLDER = Path(__file__).parent
_CPU_NAMES = ("baseline", "avx2", "avx512")


def _find(stem: str) -> Path | None:
    found = sorted(_FOLDER.glob(f"{stem}*.so"))
    return found[0] if found else None


def _build_record() -> dict[str, object]:
    record = _FOLDER / "_build.json"
    return json.loads(record.read_text()) if record.exists() else {}


def _first_line(error: BaseException | str) -> str:
    return str(getattr(error, "__cause__", None) or error).partition("\n")[0]


def _missing_gpu() -> str | None:
    """None where a GPU is visible; else that none is, and what torch has to say about it."""
    if not torch.version.cuda:
        return f"this torch, {torch.__version__}, has no CUDA"
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        if torch.cuda.is_available():
            return None
    return ": ".join(["no GPU is visible", *(_first_line(warning.message) for warning in said)])


def _runs_on(targets: str, capability: tuple[int, int]) -> bool:
    """Whether code for ``targets``, as in TORCH_CUDA_ARCH_LIST, runs on such a GPU.

    Machine code runs on its own generation from its own minor version on, that of 9.0a on 9.0
    alone, and PTX on whatever came later. Targets by name are not judged: True.
    """
    listed = re.findall(r"(\d+)\.(\d+)(a?)(\+PTX)?", targets)
    for major, minor, alone, ptx in listed:
        version = int(major), int(minor)
        if version == capability or (
            not alone and version < capability and (ptx or version[0] == capability[0])
        ):
            return True
    return not listed


def _open_cuda(library: Path) -> None:
    """Load the CUDA kernels into the process.

    Raises:
        OSError: The dynamic linker's reason.
    """
    try:
        torch.ops.load_library(str(library))
    except OSError:
        # They need libtorch, which brings libtorch_cuda. Should this torch's not do so: torch has
        # opened libtorch_cuda for itself alone, and its symbols are found once all may see them.
        with contextlib.suppress(OSError):
            ctypes.CDLL("libtorch_cuda.so", ctypes.RTLD_GLOBAL)
        torch.ops.load_library(str(library))


def _load_cuda() -> tuple[bool, str]:
    """Load the CUDA kernels where they are built and torch has CUDA.

    Whatever is in the way, the CPU stays usable: the reason is returned, not raised.

    Returns:
        Whether they are usable here; the state of things in one line.
    """
    library, missing = _find("_ops_cuda"), _missing_gpu()
    built = _build_record()
    if library is None:
        reason = built.get("cuda_reason", "no record of the build")
        return False, f"not built: {reason}; {missing or 'build again to use this GPU'}"
    if not torch.version.cuda:
        return False, f"built, not loaded: {missing}"
    try:
        _open_cuda(library)
    except OSError as error:
        return False, f"built, not loaded: {_first_line(error)}"
    if missing:
        return False, f"loaded; {missing}"
    try:
        name, capability = torch.cuda.get_device_name(), torch.cuda.get_device_capability()
    except RuntimeError as error:
        return False, f"loaded; the GPU cannot be used: {_first_line(error)}"
    gpu = f"{name}, compute capability {capability[0]}.{capability[1]}"
    targets = str(built.get("cuda_arch_list") or "")
    if not _runs_on(targets, capability):
        return False, f"built for {targets}, not for this GPU: {gpu}"
    return True, gpu


def _load() -> tuple[bool, str]:
    """Load the ops; returns whether CUDA kernels are usable here and why (not)."""
    limit = os.environ.get("LEXFORGE_CPU")
    if limit is not None and limit not in _CPU_NAMES:
        raise ImportError(f"LEXFORGE_CPU must be one of {', '.join(_CPU_NAMES)}, got {limit!r}")
    if emulated := os.environ.get("LEXFORGE_OPS_LIBRARY"):
        torch.ops.load_library(emulated)
        return False, f"emulated device from {emulated}"
    cpu = _find("_ops_cpu")
    if cpu is None:
        raise ImportError(
            "lexforge's op library is not built: run `pip install --no-build-isolation .` "
            "(or `-e .`) in the source folder"
        )
    torch.ops.load_library(str(cpu))
    return _load_cuda()


cuda_usable, cuda_state = _load()


_forked = _warned = False  # the latter: of what the former means


def _run_alone() -> None:
    """Have one thread in a child of fork(): torch's others are not there, and it waits for them."""
    global _forked
    _forked = True
    torch.set_num_threads(1)


os.register_at_fork(after_in_child=_run_alone)


def kernel_threads(wanted: int | None = None) -> int:
    """How many threads kernels may run on: so many, by default torch's number.

    After fork() it is one, and the first time that more are wanted there is a RuntimeWarning.
    """
    global _warned
    count = min(torch.get_num_threads(), MAX_THREADS) if wanted is None else wanted
    if not _forked or count == 1:
        return count
    if not _warned:
        _warned = True
        warnings.warn(
            f"kernels run on one thread, not {count}, in a process made by fork(), which copies no "
            'threads; multiprocessing\'s "spawn" and "forkserver" start processes that have all',
            RuntimeWarning,
            stacklevel=3,
        )
    return 1


def emulated() -> bool:
    """Whether the ops in this process are the CUDA kernels, as PTX on the CPU (tests/ptx)."""
    return bool(os.environ.get("LEXFORGE_OPS_LIBRARY"))


def resolve_device(caller: str, device: str | torch.device) -> torch.device:
    """The device meant by ``"auto"`` (the GPU when it is usable), ``"cpu"`` or ``"cuda"``.

    Raises:
        ValueError: Anything else, or a GPU that is not usable here; begins with ``caller``.
    """
    if str(device) == "auto":
        return torch.device("cuda" if cuda_usable else "cpu")
    try:
        resolved = torch.device(device)
    except (RuntimeError, TypeError):
        resolved = None
    if resolved is None or resolved.type not in ("cpu", "cuda"):
        raise ValueError(f"{caller}: device must be auto, cpu or cuda, got {device!r}")
    if resolved.type == "cuda" and not cuda_usable:
        raise ValueError(f"{caller}: device 'cuda' is not usable here: {cuda_state}")
    return resolved


def cpu_capability() -> str:
    """The instruction set of the CPU kernels in use: ``baseline``, ``avx2`` or ``avx512``."""
    return _CPU_NAMES[torch.ops.lexforge.cpu_capability.default()]


def cpu_has_bf16() -> bool:
    """Whether the CPU kernels in use multiply bfloat16 by instructions of the processor."""
    return torch.ops.lexforge.cpu_has_bf16.default()


def cpu_has_tiles() -> bool:
    """Whether they multiply tiles of bfloat16 too (AMX)."""
    return not emulated() and torch.ops.lexforge.cpu_has_tiles.default()


def build_info() -> dict[str, object]:
    """What was built, with what, and what of it is in use here.

    Returns:
        A dict with ``cuda`` (bool, the kernels are there), ``cuda_usable`` and ``cuda_state``
        (now, in this process), ``cpu_capability``, ``cpu_has_bf16``; and from the build, where it
        left a record: ``cuda_reason``, ``cuda_arch_list``, ``torch_at_build``, ``compiler``.
    """
    return {
        **_build_record(),
        "cuda": _find("_ops_cuda") is not None,
        "cpu_capability": cpu_capability(),
        "cpu_has_bf16": cpu_has_bf16(),
        "cuda_usable": cuda_usable,
        "cuda_state": cuda_state,
    }
