"""What no kernel can beat here: copy bandwidth and the bfloat16 product, as one JSON object.

python benchmarks/gpu/ceilings.py [--device cpu] [--bytes N] [--size N]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch

REPEATS = 10


def median_seconds(work: Callable[[], object], device: str) -> float:
    """Of one call after three that are not counted; by events on a GPU."""
    for _ in range(3):
        work()
    times = []
    for _ in range(REPEATS):
        if device == "cuda":
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            work()
            end.record()
            end.synchronize()
            times.append(begin.elapsed_time(end) / 1e3)
        else:
            start = time.perf_counter()
            work()
            times.append(time.perf_counter() - start)
    return statistics.median(times)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
    parser.add_argument("--bytes", type=int, default=1 << 32, help="of the buffer that is copied")
    parser.add_argument("--size", type=int, default=8192, help="of the square matrices")
    options = parser.parse_args()
    # Random numbers: both, and the product above all, are faster on zeros.
    source = torch.randint(2**31, (options.bytes // 4,), dtype=torch.int32, device=options.device)
    target = torch.empty_like(source)
    copy = median_seconds(lambda: target.copy_(source), options.device)
    a, b = (
        torch.randn(options.size, options.size, device=options.device, dtype=torch.bfloat16)
        for _ in range(2)
    )
    product = median_seconds(lambda: a @ b, options.device)
    print(
        json.dumps(
            {
                "copy_bytes": options.bytes,
                "copy_bytes_per_s": 2 * options.bytes / copy,  # read and written
                "product_size": options.size,
                "product_flops_per_s": 2 * options.size**3 / product,
            }
        )
    )


if __name__ == "__main__":
    main()
