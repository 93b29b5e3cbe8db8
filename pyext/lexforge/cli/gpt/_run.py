"""What the commands that train a GPT share: options, the run, and how it went."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lexforge.cli._network import NetworkRunOptions, displayed, tell_end, train_network
from lexforge.cli._options import output

if TYPE_CHECKING:
    from lexforge.models.gpt.trainer import GPTResult

USED_BY = {"train": "sample", "finetune": "chat"}  # the commands for what these make


@dataclass(frozen=True)
class GPTRunOptions(NetworkRunOptions):
    """What every training has, and nanoGPT's names."""

    out: Path | None = output(
        None, "Folder for the model, its tokenizer, and the run.", names="-- --out-dir"
    )
    # What nanoGPT's command lines have besides, and nothing here depends on.
    compile: bool = output(
        False, "Accepted; as in nanoGPT.", names="--compile/--no-compile", hidden=True
    )
    log_interval: int = output(10, "Accepted; as in nanoGPT.", low=1, hidden=True)


def run_training(
    train: Callable[..., GPTResult], command: str, source: str, run: GPTRunOptions, **arguments: Any
) -> None:
    """Train, and tell how it went.

    Args:
        train: of `source` and `arguments`, and of what `run` says.
        command: its name after ``lexforge gpt``, of :data:`USED_BY`.
    """
    from lexforge.training.progress import count

    with displayed(run) as progress:
        result = train_network(train, source, run, progress, ("gpt", command, source), **arguments)
        state, best = result.state, result.state.best_evaluation
        place, told = run.out, []
        if best is not None:
            place = None if run.out is None else run.out / "best"
            told.append(
                f"best on what is held out: loss {best['loss']:.4f} at step {best['step']}"
                + ("" if place is None else f"  {place}")
            )
        done = (
            f"{count(state.tokens)} tokens, {count(state.tokens_per_second)} tokens/s, "
            f"loss {state.history[-1]['loss']:.4f}"
        )
        tell_end(progress, state, run.out, done, told, (), ("gpt", USED_BY[command], place))
