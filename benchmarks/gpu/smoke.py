"""Every CUDA kernel once, at a small size, against the reference: the first minute on a GPU.

    python benchmarks/gpu/smoke.py [--device cpu] [--only WORD ...] [--list]

An item is one way through an op; a name that holds one of the words is chosen by --only. Each is
told with its figures, errors among them, as soon as it is done; as lines for a program that waits
for them (lines.py), where that asks for it. The process ends with 1 where an item failed, and at
once at a CUDA fault, after which nothing would work. There is no pytest in it, so that a sanitizer
has little to look at beside the kernels. On the CPU, the CPU's kernels run, or those of a stand-in
for the GPU that LEXFORGE_OPS_LIBRARY names.
"""

from __future__ import annotations

import argparse
import os
import time
import traceback

import smoke_convolution
import smoke_recurrent
import smoke_transformer
import smoke_words
import torch
from lines import FAULT, FILE, Writer, found_fault, is_fault, left_out
from smoke_items import Item

ITEMS: list[Item] = [
    *smoke_words.ITEMS,
    *smoke_transformer.ITEMS,
    *smoke_convolution.ITEMS,
    *smoke_recurrent.ITEMS,
]
_KEPT = 2000  # characters of a failure


def run(item: Item, device: torch.device) -> tuple[str, dict]:
    """Its outcome, and what is said of it."""
    begin = time.perf_counter()
    try:
        figures = item.function(device)
        outcome = "passed"
    except Exception:
        figures, outcome = {"message": traceback.format_exc()[-_KEPT:]}, "failed"
    fault = found_fault()
    if fault is None and outcome == "failed" and is_fault(figures["message"]):
        fault = ""
    if fault is not None:
        outcome = "failed"
        figures |= {"fault": True, "message": f"{figures.get('message', '')}\n{fault}"}
    return outcome, {"seconds": round(time.perf_counter() - begin, 3), **figures}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
    parser.add_argument("--only", nargs="+", metavar="WORD", default=[""])
    parser.add_argument("--list", action="store_true", help="name the items and their ops")
    options = parser.parse_args()
    chosen = [item for item in ITEMS if any(word in item.name for word in options.only)]
    if options.list:
        for item in chosen:
            print(f"{item.name}: {', '.join(item.ops)}")
        return 0
    writer = Writer.of_environment() if FILE in os.environ else None
    if writer:
        writer.write(None, "collected", total=len(chosen))
    done = left_out()
    failed = 0
    for item in chosen:
        if item.name in done:
            continue
        if writer:
            writer.write(item.name, "started")
        outcome, figures = run(item, torch.device(options.device))
        if writer:
            writer.write(item.name, outcome, **figures)
        told = ", ".join(f"{name} {value:.2g}" for name, value in figures.items() if name in SHOWN)
        print(f"{outcome} {item.name}: {told}", flush=True)
        if outcome == "failed":
            print(figures["message"], flush=True)
            failed += 1
        if "fault" in figures:
            os._exit(FAULT)  # a ruined context hangs or fails at the interpreter's end, too
    print(f"{len(chosen)} items, {failed} failed", flush=True)
    return 1 if failed else 0


SHOWN = ("error", "allowed", "seconds")

if __name__ == "__main__":
    raise SystemExit(main())
