"""Prints, as one JSON object, where this runs and which of the native libraries load."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from pathlib import Path


def first_line(*command: str) -> str | None:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip().split("\n")[0] or None


def loaded() -> dict[str, object]:
    """What came of loading each library; None where it loads."""
    problems: dict[str, str | None] = {"_ops_cpu": None, "_ops_cuda": None, "_text_native": None}
    try:
        from lexforge import _library
    except (ImportError, OSError) as error:
        at = "_ops_cuda" if "_ops_cuda" in str(error) else "_ops_cpu"
        problems[at] = str(error)
        return {"problems": problems, "cuda_state": str(error)}
    if not (_library.cuda_usable or _library.emulated()):
        problems["_ops_cuda"] = _library.cuda_state
    try:
        from lexforge import _text  # noqa: F401
    except (ImportError, OSError) as error:
        problems["_text_native"] = str(error)
    return {"problems": problems, "cuda_state": _library.cuda_state}


def gpu() -> dict[str, object]:
    """Of the first one; empty where torch sees none."""
    import torch

    if not torch.cuda.is_available():
        return {}
    properties = torch.cuda.get_device_properties(0)
    query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    return {
        "gpu": torch.cuda.get_device_name(0),
        "capability": "{}.{}".format(*torch.cuda.get_device_capability(0)),
        "multiprocessors": properties.multi_processor_count,
        "memory_bytes": properties.total_memory,
        "driver": first_line(*query),
    }


def main() -> None:
    import torch

    root = Path(__file__).resolve().parents[2]
    git = ("git", "-C", str(root))
    found = {
        # A copy of the tree that has no history is told the commit.
        "commit": first_line(*git, "rev-parse", "HEAD") or os.environ.get("LEXFORGE_COMMIT"),
        "uncommitted_changes": bool(first_line(*git, "status", "--porcelain")),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "cores": len(os.sched_getaffinity(0)),
        **gpu(),
    }
    print(json.dumps(found | loaded()), flush=True)


if __name__ == "__main__":
    main()
