"""Loads the op libraries and tells what was built."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch

_FOLDER = Path(__file__).parent
_CPU_NAMES = ("baseline", "avx2", "avx512")


def _find(stem: str) -> Path | None:
    found = sorted(_FOLDER.glob(f"{stem}*.so"))
    return found[0] if found else None


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
    cuda = _find("_ops_cuda")
    if cuda is None:
        return False, "built without CUDA kernels"
    if not torch.version.cuda:
        return False, "CUDA kernels are built, but this torch has no CUDA"
    torch.ops.load_library(str(cuda))
    if not torch.cuda.is_available():
        return False, "CUDA kernels are built, but no GPU is visible"
    return True, torch.cuda.get_device_name()


cuda_usable, cuda_state = _load()


def emulated() -> bool:
    """Whether the ops in this process are the CUDA kernels on the emulated device."""
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


def build_info() -> dict[str, object]:
    """What was built, with what, and what of it is in use here.

    Returns:
        A dict with ``cuda`` (bool, built), ``cuda_reason``, ``cuda_arch_list``,
        ``torch_at_build``, ``compiler``, ``cpu_capability``, ``cpu_has_bf16``, ``cuda_usable``,
        ``cuda_state``.
    """
    record = _FOLDER / "_build.json"
    built = json.loads(record.read_text()) if record.exists() else {}
    return {
        **built,
        "cpu_capability": cpu_capability(),
        "cpu_has_bf16": cpu_has_bf16(),
        "cuda_usable": cuda_usable,
        "cuda_state": cuda_state,
    }
