"""The transformer's fused ops beside plain torch, alternated call by call.

    python benchmarks/transformer.py --json results.json
    python benchmarks/transformer.py --only head --dtypes float32 --repeats 9
    python benchmarks/transformer.py --device cuda --json results.json

Shapes are those of the text's small BERT and of base size: rows of 128 and of 768. Plain torch is
the same formula in torch's own ops; parameters are float32, also where activations are bfloat16
(the head's products are under autocast then). GB/s count what has to be moved at least: operands
and results once, and in the backward gradients and saved operands once more. GFLOP/s count 2 per
multiply-add, three times that with the backward. Errors are relative to float64, sqrt(sum of
squares), of the result, or of the worst gradient; without dropout, whose draws differ.

The head is the projection to a vocabulary and cross-entropy. Memory is what forward and backward
add to the peak of a process of its own that has called both once before, at a tiny size.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from harness import Report, add_report_options, alternate, process_bytes
from lexforge.ops.transformer.add_layer_norm import add_layer_norm
from lexforge.ops.transformer.bias_activation import bias_activation
from lexforge.ops.transformer.dropout import dropout as drop
from lexforge.ops.transformer.embedding_sum import embedding_sum
from lexforge.ops.transformer.linear import linear
from lexforge.ops.transformer.linear_cross_entropy import linear_cross_entropy

ROWS = {128: 20_000, 768: 4096}  # tokens of a batch, by hidden size
CUDA_ROWS = {128: 131_072, 768: 32_768}
VOCAB = {128: 20_256, 768: 30_522}
HEADS = [(20_256, 128), (30_522, 128), (30_522, 768)]  # vocabulary, hidden size
PREDICTIONS = 3300
MOST_SECONDS = 4.0  # of the turns of one case

Function = Callable[..., Tensor]


@dataclass
class Case:
    """One op at one size.

    Args:
        ours, plain: functions of the leaves and of a share that is dropped.
        leaves: what is differentiated.
        forward, both: least bytes moved, or flops, forward and with the backward.
        unit: "B" or "FLOP".
        dropout: share that is dropped while timing.
    """

    op: str
    shape: str
    dtype: torch.dtype
    ours: Function
    plain: Function
    leaves: list[Tensor]
    forward: float
    both: float
    unit: str = "B"
    dropout: float = 0.0

    def works(self, direction: str) -> dict[str, Callable[[], object]]:
        def run(function: Function) -> Callable[[], object]:
            if direction == "forward":
                return torch.no_grad()(lambda: function(*self.leaves, self.dropout))
            grad = torch.ones_like(function(*self.leaves, self.dropout))
            return lambda: torch.autograd.grad(
                function(*self.leaves, self.dropout), self.leaves, grad
            )

        return {"lexforge": run(self.ours), "torch": run(self.plain)}

    def errors(self) -> dict[str, dict[str, float]]:
        """Of the result, and of the worst gradient, by side."""
        exact_leaves = [x.detach().double().requires_grad_() for x in self.leaves]
        exact = self.plain(*exact_leaves, 0.0)
        generator = torch.Generator().manual_seed(1)
        grad = torch.randn(exact.shape, generator=generator, dtype=torch.float64)
        grad = grad.to(exact.device)
        # Both sides get the gradient that their dtype can express.
        grad = grad.to(self.ours(*self.leaves, 0.0).dtype).double()
        exact_grads = torch.autograd.grad(exact, exact_leaves, grad)
        found = {}
        for name, function in (("lexforge", self.ours), ("torch", self.plain)):
            result = function(*self.leaves, 0.0)
            grads = torch.autograd.grad(result, self.leaves, grad.to(result.dtype))
            found[name] = {
                "forward": relative(result, exact),
                "forward+backward": max(map(relative, grads, exact_grads)),
            }
        return found


def relative(found: Tensor, exact: Tensor) -> float:
    exact = exact.detach()
    return float((found.detach().double() - exact).norm() / exact.norm().clamp(min=1e-300))


class Draw:
    """Random tensors on a device; leaves of a graph."""

    def __init__(self, device: str, seed: int = 0):
        self.device, self.generator = device, torch.Generator().manual_seed(seed)

    def normal(self, *shape: int, dtype: torch.dtype = torch.float32, scale: float = 1.0) -> Tensor:
        drawn = torch.randn(shape, generator=self.generator) * scale
        return drawn.to(self.device, dtype).requires_grad_()

    def ids(self, count: int, bound: int) -> Tensor:
        """As words are: half of all ids are among a tenth of the numbers."""
        drawn = torch.rand(count, generator=self.generator).pow(math.log2(10)) * bound
        return drawn.long().to(self.device)


# -- the ops -----------------------------------------------------------------------------------


def norm_cases(draw: Draw, rows: dict[int, int], dtype: torch.dtype) -> Iterator[Case]:
    for width, count in rows.items():
        leaves = [draw.normal(count, width, dtype=dtype) for _ in range(2)]
        leaves += [draw.normal(width) for _ in range(3)]

        def ours(x, residual, weight, bias, x_bias, dropout):
            return add_layer_norm(
                x, residual, weight, bias, x_bias=x_bias, dropout_p=dropout, seed=1
            )

        def plain(x, residual, weight, bias, x_bias, dropout):
            x = functional.dropout(x + x_bias.to(x.dtype), dropout) + residual
            weight, bias = weight.to(x.dtype), bias.to(x.dtype)
            return functional.layer_norm(x, x.shape[-1:], weight, bias, 1e-5)

        part = count * width * dtype.itemsize
        for dropout in (0.0, 0.2):
            op = f"add_layer_norm, dropout {dropout}" if dropout else "add_layer_norm"
            shape = f"{count} x {width}"
            yield Case(op, shape, dtype, ours, plain, leaves, 3 * part, 8 * part, dropout=dropout)


def activation_cases(draw: Draw, rows: dict[int, int], dtype: torch.dtype) -> Iterator[Case]:
    for (hidden, count), activation in zip(rows.items(), cycle(("relu", "gelu")), strict=False):
        width = {128: 256, 768: 3072}.get(hidden, hidden)
        leaves = [draw.normal(count, width, dtype=dtype), draw.normal(width)]

        def ours(x, bias, dropout, activation=activation):
            return bias_activation(x, bias, activation=activation)

        def plain(x, bias, dropout, activation=activation):
            return getattr(functional, activation)(x + bias.to(x.dtype))

        part = count * width * dtype.itemsize
        op = f"bias_activation, {activation}"
        yield Case(op, f"{count} x {width}", dtype, ours, plain, leaves, 2 * part, 5 * part)


def dropout_cases(draw: Draw, rows: dict[int, int], dtype: torch.dtype) -> Iterator[Case]:
    for width, count in rows.items():

        def ours(x, dropout):
            return drop(x, dropout)

        part = count * width * dtype.itemsize
        leaves = [draw.normal(count, width, dtype=dtype)]
        plain, shape = functional.dropout, f"{count} x {width}"
        yield Case("dropout", shape, dtype, ours, plain, leaves, 2 * part, 4 * part, dropout=0.2)


def embedding_cases(draw: Draw, rows: dict[int, int], dtype: torch.dtype) -> Iterator[Case]:
    for (width, count), norm in zip(rows.items(), (False, True), strict=True):
        vocab_size, longest = VOCAB.get(width, 50), min(512, count)
        tokens = draw.ids(count, vocab_size)
        positions = torch.arange(count, device=draw.device) % longest
        segments = positions % 2
        leaves = [draw.normal(n, width) for n in (vocab_size, 2, longest)]
        leaves += [draw.normal(width) for _ in range(2 * norm)]
        ids = (tokens, segments, positions)

        def ours(*leaves, ids=ids, dtype=dtype):
            *tables, dropout = leaves
            weight, bias = tables[3:] if len(tables) > 3 else (None, None)
            return embedding_sum(
                *ids,
                *tables[:3],
                norm_weight=weight,
                norm_bias=bias,
                dropout_p=dropout,
                seed=1,
                dtype=dtype,
            )

        def plain(*leaves, ids=ids, dtype=dtype):
            *tables, dropout = leaves
            a, b, c = map(functional.embedding, ids, tables[:3])
            x = a + b + c
            if len(tables) > 3:
                x = functional.layer_norm(x, x.shape[-1:], *tables[3:], 1e-12)
            dtype = torch.float64 if x.dtype == torch.float64 else dtype
            return functional.dropout(x, dropout).to(dtype)

        row = count * width
        forward = row * (4 + dtype.itemsize)
        both = forward + row * dtype.itemsize + vocab_size * width * 4
        op = "embedding_sum, norm, dropout 0.1" if norm else "embedding_sum"
        yield Case(
            op,
            f"{count} x {width}",
            dtype,
            ours,
            plain,
            leaves,
            forward,
            both,
            dropout=0.1 * norm,
        )


def linear_cases(draw: Draw, rows: dict[int, int], dtype: torch.dtype) -> Iterator[Case]:
    for hidden, count in rows.items():
        inner = {128: 256, 768: 3072}.get(hidden, hidden)
        for inputs, outputs in (
            (hidden, 3 * hidden),
            (hidden, hidden),
            (hidden, inner),
            (inner, hidden),
        ):
            leaves = [draw.normal(count, inputs, dtype=dtype)]
            leaves += [draw.normal(outputs, inputs, dtype=dtype, scale=inputs**-0.5)]
            flops = 2 * count * inputs * outputs
            yield Case(
                "linear",
                f"{count} x {inputs} to {outputs}",
                dtype,
                lambda x, weight, dropout: linear(x, weight),
                lambda x, weight, dropout: functional.linear(x, weight),
                leaves,
                flops,
                3 * flops,
                "FLOP",
            )


def head_case(
    draw: Draw, dtype: torch.dtype, vocab_size: int, hidden: int, predictions: int
) -> Case:
    leaves = [
        draw.normal(predictions, hidden, dtype=dtype),
        draw.normal(vocab_size, hidden, scale=hidden**-0.5),
        draw.normal(vocab_size),
    ]
    labels = draw.ids(predictions, vocab_size)
    autocast = partial(torch.autocast, draw.device, torch.bfloat16, enabled=dtype == torch.bfloat16)

    def ours(rows, weight, bias, dropout):
        with autocast():
            return linear_cross_entropy(rows, weight, bias, labels)[0]

    def plain(rows, weight, bias, dropout):
        exact = rows.dtype == torch.float64
        with torch.autocast(draw.device, enabled=False) if exact else autocast():
            return functional.cross_entropy(functional.linear(rows, weight, bias), labels)

    flops = 2 * predictions * vocab_size * hidden
    shape = f"{predictions} x {hidden} to {vocab_size}"
    return Case("head", shape, dtype, ours, plain, leaves, flops, 3 * flops, "FLOP")


OPS = {
    "norm": norm_cases,
    "activation": activation_cases,
    "dropout": dropout_cases,
    "embedding": embedding_cases,
    "linear": linear_cases,
}


# -- memory ------------------------------------------------------------------------------------


def head_memory(
    side: str, device: str, dtype: str, vocab_size: int, hidden: int, predictions: int
) -> int:
    """Bytes that forward and backward add to this process's peak, or to that of the GPU."""

    def run(*size: int) -> Callable[[], object]:
        case = head_case(Draw(device), getattr(torch, dtype), *size)
        return case.works("forward+backward")[side]

    run(64, 32, 8)()
    case = head_case(Draw(device), getattr(torch, dtype), vocab_size, hidden, predictions)
    function = case.ours if side == "lexforge" else case.plain
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        torch.autograd.grad(function(*case.leaves, 0.0), case.leaves)
        return torch.cuda.max_memory_allocated() - before
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = process_bytes("VmRSS")
    torch.autograd.grad(function(*case.leaves, 0.0), case.leaves)
    return process_bytes("VmHWM") - before


def head_memories(options: argparse.Namespace, dtype: str, *size: int) -> dict[str, int]:
    """Of both sides; on the CPU each in a process of its own."""
    found = {}
    for side in ("lexforge", "torch"):
        job = [side, options.device, dtype, *size]
        if options.device == "cuda":
            found[side] = head_memory(*job)
            continue
        command = [sys.executable, __file__, "--threads", str(options.threads)]
        command += ["--job", json.dumps(job)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        found[side] = int(done.stdout.split()[-1])
    return found


# -- report ------------------------------------------------------------------------------------


def measure(case: Case, options: argparse.Namespace) -> Iterator[dict]:
    errors = case.errors()
    for direction, work in (("forward", case.forward), ("forward+backward", case.both)):
        works = case.works(direction)
        times = alternate(works, options.repeats, options.device, MOST_SECONDS)
        median = {name: statistics.median(x) for name, x in times.items()}
        record = {
            "case": case.op,
            "direction": direction,
            "shape": case.shape,
            "dtype": str(case.dtype).removeprefix("torch."),
            "threads": options.threads,
            "dropout": case.dropout,
            "lexforge_s": median["lexforge"],
            "torch_s": median["torch"],
            "ratio": median["torch"] / median["lexforge"],
            "unit": f"{case.unit}/s",
            "rate": work / median["lexforge"],
            "lexforge_error": errors["lexforge"][direction],
            "torch_error": errors["torch"][direction],
            "times_s": times,
        }
        print(
            f"| {case.op} | {case.shape} | {record['dtype']} | {direction} "
            f"| {1e3 * record['lexforge_s']:.2f} | {1e3 * record['torch_s']:.2f} "
            f"| {record['ratio']:.2f} | {record['rate'] / 1e9:.0f} G{case.unit}/s "
            f"| {record['lexforge_error']:.1e} | {record['torch_error']:.1e} |",
            flush=True,
        )
        yield record


def timings(options: argparse.Namespace, report: Report) -> None:
    print(
        "| op | shape | dtype | direction | lexforge ms | torch ms | ratio | rate "
        "| error | torch's |"
    )
    print("|" + "---|" * 10)
    for dtype in (getattr(torch, name) for name in options.dtypes):
        for name, cases in OPS.items():
            if name in options.only:
                for case in cases(Draw(options.device), options.rows, dtype):
                    for record in measure(case, options):
                        report.add(record)
        if "head" in options.only:
            for vocab_size, hidden in HEADS:
                draw = Draw(options.device)
                case = head_case(draw, dtype, vocab_size, hidden, options.predictions)
                for record in measure(case, options):
                    report.add(record)


def memories(options: argparse.Namespace, report: Report) -> None:
    print("\n| head's memory | dtype | lexforge MB | torch MB | share |\n|---|---|---|---|---|")
    for dtype in options.dtypes:
        for vocab_size, hidden in HEADS:
            size = (vocab_size, hidden, options.predictions)
            found = head_memories(options, dtype, *size)
            record = {
                "case": "head, memory",
                "shape": f"{options.predictions} x {hidden} to {vocab_size}",
                "dtype": dtype,
                "lexforge_bytes": found["lexforge"],
                "torch_bytes": found["torch"],
                "share": found["lexforge"] / max(found["torch"], 1),
            }
            print(
                f"| {record['shape']} | {dtype} | {found['lexforge'] / 1e6:.0f} "
                f"| {found['torch'] / 1e6:.0f} | {record['share']:.2f} |",
                flush=True,
            )
            report.add(record)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    choices = [*OPS, "head"]
    parser.add_argument("--only", nargs="+", choices=choices, default=choices)
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--rows", nargs="+", metavar="HIDDEN:ROWS", help="tokens by hidden size")
    parser.add_argument("--predictions", type=int, default=PREDICTIONS)
    parser.add_argument("--repeats", type=int, default=7)
    add_report_options(parser)
    parser.add_argument("--job", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.job:
        print(head_memory(*json.loads(options.job)))
        return
    rows = CUDA_ROWS if options.device == "cuda" else ROWS
    if options.rows:
        rows = {int(h): int(n) for h, n in (pair.split(":") for pair in options.rows)}
    options.rows = rows
    report = Report(options, options.device)
    timings(options, report)
    if "head" in options.only:
        memories(options, report)
    report.close()


if __name__ == "__main__":
    main()
