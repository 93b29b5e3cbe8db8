"""GPT training beside plain PyTorch: seconds of a step, losses, peak memory.

    python benchmarks/gpt.py [--only small large memory] [--precision float32 bf16]
        [--no-compile] [--threads 2] [--rounds 5] [--large-batch 64] [--corpus FILE] [--json F]
    python benchmarks/gpt.py --only run --corpus FILE [--steps 2000] [--own-steps 1400]
        [--precision float32]

Plain PyTorch is nanoGPT's model and recipe (lexforge/reference/gpt.py): SDPA, fused AdamW,
clipping, windows drawn and stacked one by one; as it is, and compiled. Sides take turns, some steps
each, in one process; a step is the making of its batch, forward, backward and update. What is
compiled is compiled before, and that takes no part in the times.

small   nanoGPT's configuration for a CPU: 4 layers of 128, 4 heads, 12 windows of 64 characters.
large   its model of characters, 10.6 M parameters: 6 layers of 384, 6 heads, 64 windows of 256
        (--large-batch for fewer).
run     The small one for 2000 steps (--steps), the sides in turns of 50: seconds of the steps, and
        the loss on the same windows of the held-out tenth at the end. All at nanoGPT's learning
        rates; "own" is lexforge at its own default rates, in fewer steps (--own-steps).
memory  Peak of a process that does three steps of 2 layers of 256, 8 windows of 256, at a
        vocabulary of 50,257, everything in it counted but what it had before the first step.

Without --corpus the text is random characters: times are the same, losses mean nothing.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

import lexforge.gpt as gpt
from harness import Report, add_report_options, process_bytes
from lexforge._library import cpu_has_bf16
from lexforge.models.gpt.data import GPTData
from lexforge.models.gpt.settings import GPTSettings
from lexforge.models.gpt.steps import Part, Windows, make_stepper
from lexforge.reference.gpt import NanoGPT
from lexforge.training.optimizer import NetworkOptimizer
from lexforge.training.schedules import Schedule

SMALL = {"n_layer": 4, "n_head": 4, "n_embd": 128, "block_size": 64}
LARGE = {"n_layer": 6, "n_head": 6, "n_embd": 384, "block_size": 256}
WIDE = {"n_layer": 2, "n_head": 4, "n_embd": 256, "block_size": 256}
GPT2_VOCABULARY = 50_257
STEPS, OWN_STEPS, EVAL_BATCHES = 2000, 1400, 200
TURNS = {"small": 20, "large": 1, "run": 50}  # steps of a turn
MEMORY_STEPS = 3
SEED = 1


def plain_steps(
    data: GPTData,
    shape: dict[str, int],
    batch: int,
    precision: str,
    *,
    compiled: bool = False,
    rate: Callable[[int], float] = lambda step: 1e-3,
) -> Iterator[NanoGPT]:
    """nanoGPT's recipe, a step at a time."""
    torch.manual_seed(SEED)
    model = NanoGPT(vocab_size=data.vocab_size, bias=False, **shape)
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() <= 1]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99), fused=True)
    call: Any = torch.compile(model) if compiled else model
    tokens, length = np.array(data.train.tokens), shape["block_size"]
    for step in itertools.count():
        starts = torch.randint(len(tokens) - length, (batch,)).tolist()
        windows = [torch.from_numpy(tokens[i : i + length + 1].astype(np.int64)) for i in starts]
        x = torch.stack([window[:-1] for window in windows])
        y = torch.stack([window[1:] for window in windows])
        for group in optimizer.param_groups:
            group["lr"] = rate(step)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = call(x, y)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        yield model


def our_steps(
    data: GPTData,
    shape: dict[str, int],
    batch: int,
    precision: str,
    *,
    rate: Callable[[int], float] = lambda step: 1e-3,
) -> Iterator[gpt.GPT]:
    """Steps as :func:`lexforge.gpt.train` does them."""
    settings = GPTSettings(batch_size=batch, precision=precision)
    model = gpt.GPT(gpt.GPTConfig(vocab_size=data.vocab_size, bias=False, **shape), seed=SEED)
    optimizer = NetworkOptimizer(model, "adamw", weight_decay=0.1, betas=(0.9, 0.99), clip=1.0)
    stepper = make_stepper(model, optimizer, precision)
    windows = Windows(data.train, shape["block_size"], batch, SEED, torch.device("cpu"))
    for step, each in enumerate(windows.steps(settings, 0.0, 0)):
        stepper(each, rate(step))
        yield model


def sides_of(
    data: GPTData,
    shape: dict[str, int],
    batch: int,
    precision: str,
    compiled: bool,
    **rate: Callable[[int], float],
) -> dict[str, Iterator[Any]]:
    """The steps of each side, by its name."""
    arguments = (data, shape, batch, precision)
    sides: dict[str, Iterator[Any]] = {
        "plain": plain_steps(*arguments, **rate),
        "lexforge": our_steps(*arguments, **rate),
    }
    if compiled:
        sides["compiled"] = plain_steps(*arguments, compiled=True, **rate)
    return sides


def turns(
    report: Report,
    name: str,
    data: GPTData,
    shape: dict[str, int],
    batch: int,
    options: argparse.Namespace,
) -> None:
    """Median seconds of a step on each side."""
    for precision in options.precision:
        sides = sides_of(data, shape, batch, precision, options.compile)
        times: dict[str, list[float]] = {side: [] for side in sides}
        for steps in sides.values():
            next(steps)
            next(steps)
        for _ in range(options.rounds):
            for side, steps in sides.items():
                for _ in range(TURNS[name]):
                    begin = time.perf_counter()
                    next(steps)
                    times[side].append(time.perf_counter() - begin)
        case: dict[str, Any] = {"what": name, "precision": precision, "threads": options.threads}
        case["batch"] = batch
        case |= {f"{side}_s": statistics.median(each) for side, each in times.items()}
        add_ratios(case)
        tokens = batch * shape["block_size"]
        for side in sides:
            seconds = case[f"{side}_s"]
            print(f"{name} {precision} {side:16} {seconds * 1e3:8.2f} ms "
                  f"{tokens / seconds:10.0f} tokens/s", flush=True)  # fmt: skip
        report.add(case)


def add_ratios(case: dict[str, Any]) -> None:
    """Our time as a share of each other side's; says so."""
    for name, side in (("ratio", "plain"), ("compiled_ratio", "compiled")):
        if f"{side}_s" in case:
            case[name] = case["lexforge_s"] / case[f"{side}_s"]
            print(f"{case['what']} {case['precision']} lexforge / {side} {case[name]:.2f}",
                  flush=True)  # fmt: skip


def whole_runs(report: Report, data: GPTData, options: argparse.Namespace) -> None:
    """All steps on every side, and what the held-out text costs at the end."""
    windows = Windows(data.held_out, SMALL["block_size"], 12, SEED, torch.device("cpu"))
    held_out = list(windows.evaluation(EVAL_BATCHES))
    length, own_steps = options.steps, options.own_steps
    rate = Schedule("cosine", 1e-3, length, min(100, length // 2), 1e-4)
    own = GPTSettings(steps=own_steps, warmup_steps=min(100, own_steps // 2)).rates
    for precision in options.precision:
        case: dict[str, Any] = {"what": "run", "precision": precision, "threads": options.threads}
        case |= {"batch": 12, "steps": length, "own_steps": own_steps}
        if options.compile:  # a process compiles a model's code once
            next(plain_steps(data, SMALL, 12, precision, compiled=True))
        sides = sides_of(data, SMALL, 12, precision, options.compile, rate=rate)
        at_own = our_steps(data, SMALL, 12, precision, rate=own)
        sides["own"] = itertools.islice(at_own, own_steps)
        times, models = dict.fromkeys(sides, 0.0), dict[str, Any]()
        for first in range(0, length, TURNS["run"]):
            for side, steps in sides.items():
                begin = time.perf_counter()
                for model in itertools.islice(steps, min(TURNS["run"], length - first)):
                    models[side] = model
                times[side] += time.perf_counter() - begin
        for side, model in models.items():
            case[f"{side}_s"], case[f"{side}_loss"] = times[side], held_out_loss(model, held_out)
            print(f"run {precision} {side:9} {times[side]:7.1f} s, held-out loss "
                  f"{case[f'{side}_loss']:.4f}", flush=True)  # fmt: skip
        add_ratios(case)
        case["own_ratio"] = case["own_s"] / case["plain_s"]
        print(f"run {precision} own / plain {case['own_ratio']:.2f}", flush=True)
        report.add(case)


@torch.no_grad()
def held_out_loss(model: Any, parts: list[Part]) -> float:
    """The mean over windows, of either side's model, in float32."""
    if isinstance(model, gpt.GPT):
        losses = [model.loss(*part[:5]).loss.item() for part in parts]
    else:
        shape = (12, SMALL["block_size"])
        losses = [model(p.tokens.view(shape), p.labels.view(shape)).item() for p in parts]
    return statistics.fmean(losses)


def memory(report: Report, options: argparse.Namespace) -> None:
    """Each side in a process of its own."""
    for precision in options.precision:
        case: dict[str, Any] = {"what": "memory", "precision": precision}
        for side in ("plain", "lexforge"):
            command = [sys.executable, __file__, "--one-side", side, "--precision", precision]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            case[f"{side}_bytes"] = json.loads(done.stdout)["bytes"]
        case["ratio"] = case["lexforge_bytes"] / case["plain_bytes"]
        print(f"memory {precision} plain {case['plain_bytes'] / 2**20:.0f} MiB, "
              f"lexforge {case['lexforge_bytes'] / 2**20:.0f} MiB: {case['ratio']:.2f}",
              flush=True)  # fmt: skip
        report.add(case)


def one_side(side: str, precision: str) -> None:
    """Prints the peak of three steps beyond what was there before them."""
    with tempfile.TemporaryDirectory() as folder:
        data = random_data(Path(folder), GPT2_VOCABULARY)
        steps = plain_steps if side == "plain" else our_steps
        before = process_bytes("VmRSS")
        for _ in itertools.islice(steps(data, WIDE, 8, precision), MEMORY_STEPS):
            pass
        print(json.dumps({"bytes": process_bytes("VmHWM") - before}))


def random_data(folder: Path, vocab_size: int) -> GPTData:
    """Numbers without a meaning."""
    generator = np.random.default_rng(SEED)
    for name, count in (("train.bin", 1_000_000), ("val.bin", 100_000)):
        generator.integers(0, vocab_size, count).astype("<u2").tofile(folder / name)
    meta = {"vocab_size": vocab_size, "dtype": "uint16"}
    (folder / "meta.json").write_text(json.dumps(
        meta | {"train_tokens": 1_000_000, "val_tokens": 100_000}
    ))  # fmt: skip
    return GPTData.open(folder)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    kinds = ("small", "large", "memory", "run")
    parser.add_argument("--only", nargs="+", choices=kinds, default=kinds[:3])
    precisions = ("float32", "bf16") if cpu_has_bf16() else ("float32",)
    parser.add_argument("--precision", nargs="+", choices=("float32", "bf16"), default=precisions)
    parser.add_argument("--compile", action=argparse.BooleanOptionalAction, default=True,
                        help="plain PyTorch compiled, too")  # fmt: skip
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--large-batch", type=int, default=64)
    parser.add_argument("--steps", type=int, default=STEPS, help="of a whole run")
    parser.add_argument("--own-steps", type=int, default=OWN_STEPS, help="at our own rates")
    parser.add_argument("--corpus", type=Path, help="text whose characters are the tokens")
    parser.add_argument("--one-side", choices=("plain", "lexforge"), help=argparse.SUPPRESS)
    add_report_options(parser)
    options = parser.parse_args()
    if options.one_side:
        return one_side(options.one_side, options.precision[0])
    torch.set_num_threads(options.threads)
    report = Report(options, "cpu")
    with tempfile.TemporaryDirectory() as folder:
        if options.corpus is None:
            data = random_data(Path(folder), 65)
        else:
            data = gpt.prepare(options.corpus, folder)
        if "small" in options.only:
            turns(report, "small", data, SMALL, 12, options)
        if "large" in options.only:
            turns(report, "large", data, LARGE, options.large_batch, options)
        if "memory" in options.only:
            memory(report, options)
        if "run" in options.only:
            whole_runs(report, data, options)
    report.close()
    return None


if __name__ == "__main__":
    main()
