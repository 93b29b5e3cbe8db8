"""Speed of what a step of generation is made of, beside plain torch.

    python benchmarks/decode_attention.py --threads 1 2 --json results.json

`attention`: one query per sequence over a cache of keys and values, with the new ones put in,
beside torch's scaled dot-product attention over the same cache (which all sequences fill equally
far: it knows no lengths). `linear`: a layer of as few rows as there are sequences, beside torch's;
the weights are on huge pages for both. `GB/s` is what must be read, the keys and values or the
weights, over the time.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable

import torch
from torch.nn import functional

from harness import Report, add_report_options, alternate
from lexforge.ops._tables import own_pages
from lexforge.ops.attention.decode_attention import decode_attention_
from lexforge.ops.transformer.few_rows_linear import few_rows_linear

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def attention(batch: int, heads: int, length: int, dim: int, dtype, device) -> dict[str, Callable]:
    """What each program does: a step of one layer."""
    caches = torch.randn(2, batch, heads, length, dim).to(device, dtype)
    q, k, v = torch.randn(3, batch, heads, dim).to(device, dtype)
    lengths = torch.full((batch,), length - 1, dtype=torch.int32, device=device)

    def plain():
        caches[0][:, :, length - 1], caches[1][:, :, length - 1] = k, v
        return functional.scaled_dot_product_attention(q[:, :, None], *caches)

    return {
        "lexforge": lambda: decode_attention_(q, *caches, lengths, k, v),
        "torch": plain,
    }


def linear(batch: int, outputs: int, inputs: int, dtype, device) -> dict[str, Callable]:
    """The same of a linear layer."""
    weight = torch.randn(outputs, inputs).to(device, dtype)
    if device == "cpu":
        weight = own_pages(dtype, outputs, inputs).copy_(weight)
    x, bias = torch.randn(batch, inputs).to(device, dtype), torch.randn(outputs).to(device, dtype)
    return {
        "lexforge": lambda: few_rows_linear(x, weight, bias),
        "torch": lambda: functional.linear(x, weight, bias),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--heads", type=int, default=12)
    parser.add_argument("--dim", type=int, default=64)
    parser.add_argument("--lengths", type=int, nargs="+", default=[128, 1024, 16384])
    parser.add_argument("--outputs", type=int, nargs="+", default=[2304, 50257])
    parser.add_argument("--inputs", type=int, default=768)
    parser.add_argument("--dtype", choices=DTYPES, nargs="+", default=[*DTYPES])
    parser.add_argument("--repeats", type=int, default=15)
    add_report_options(parser)
    options = parser.parse_args()

    report = Report(options, options.device)
    print("| program | what | dtype | batch | size | threads | us | GB/s |")
    print("|---|---|---|---|---|---|---|---|")
    for dtype in options.dtype:
        of = DTYPES[dtype], options.device
        for batch in options.batch:
            cases = [
                ("attention", length, 2 * batch * options.heads * length * options.dim)
                for length in options.lengths
            ]
            cases += [("linear", outputs, outputs * options.inputs) for outputs in options.outputs]
            for what, size, elements in cases:
                if what == "attention":
                    works = attention(batch, options.heads, size, options.dim, *of)
                else:
                    works = linear(batch, size, options.inputs, *of)
                for threads in options.threads if options.device == "cpu" else [1]:
                    torch.set_num_threads(threads)
                    for name, seconds in alternate(works, options.repeats, options.device).items():
                        median = statistics.median(seconds)
                        rate = elements * DTYPES[dtype].itemsize / median / 1e9
                        cells = [name, what, dtype, str(batch), str(size), str(threads)]
                        cells += [f"{median * 1e6:,.0f}", f"{rate:.1f}"]
                        print("|", " | ".join(cells), "|", flush=True)
                        report.add(
                            {
                                **{"case": name, "what": what, "dtype": dtype, "batch": batch},
                                **{"size": size, "threads": threads, "median_s": median},
                                **{"best_s": min(seconds), "bytes_per_s": rate * 1e9},
                            }
                        )
    report.close()


if __name__ == "__main__":
    main()
