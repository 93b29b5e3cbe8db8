"""``lexforge info``: what was built, and what of it is in use here."""

from __future__ import annotations

from typing import Annotated

import typer


def info(
    as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False,
) -> None:
    """Show versions, build switches, the instruction set in use, and the state of CUDA.

    Put its output into bug reports.

    Examples:

    - `lexforge info`
    - `lexforge info --json`
    """
    import json
    import platform

    import numpy
    import torch

    from lexforge import __version__, build_info

    built = build_info()
    facts = {
        "lexforge": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "platform": platform.platform(),
        "threads": torch.get_num_threads(),
        **built,
    }
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    bf16 = " with bfloat16" if built["cpu_has_bf16"] else ""
    rows = [
        ("lexforge", facts["lexforge"]),
        ("python", f"{facts['python']} on {facts['platform']}"),
        ("torch", f"{facts['torch']} (built against {built.get('torch_at_build', 'unknown')})"),
        ("numpy", facts["numpy"]),
        ("compiler", built.get("compiler", "unknown")),
        ("CPU kernels", f"{built['cpu_capability']}{bf16}, {facts['threads']} threads"),
        ("CUDA kernels", built["cuda_state"]),
    ]
    if built["cuda"] and built.get("cuda_arch_list"):
        rows.append(("CUDA targets", built["cuda_arch_list"]))
    for name, value in rows:
        typer.echo(f"{name:<13} {value}")
