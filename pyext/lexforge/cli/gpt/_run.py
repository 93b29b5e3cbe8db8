"""What the commands that train a GPT share: options, the run, and how it went."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from lexforge._display import shell_command
from lexforge.cli._options import RunOptions, output
from lexforge.cli._training import tell_of_stop

if TYPE_CHECKING:
    from lexforge.models.gpt.trainer import GPTResult
    from lexforge.training.progress import Progress

USED_BY = {"train": "sample", "finetune": "chat"}  # the commands for what these make


@dataclass(frozen=True)
class GPTRunOptions(RunOptions):
    """What every training has, and nanoGPT's names."""

    out: Path | None = output(
        None, "Folder for the model, its tokenizer, and the run.", names="-- --out-dir"
    )
    keep: int = output(0, "Keep so many of the last checkpoints, in `--out/step-<n>`.", low=0)
    tensorboard: Path | None = output(None, "Folder to log into (pip install tensorboard).")
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
    from lexforge.training.lock import folder_of_run
    from lexforge.training.progress import Progress
    from lexforge.training.signals import StopRequest

    with (
        folder_of_run(run.out),
        Progress(
            not run.quiet, log_json=run.log_json, tensorboard=run.tensorboard, append=run.resume
        ) as progress,
    ):
        stop = StopRequest()
        result = train(
            source,
            out=run.out,
            overwrite=run.overwrite,
            device=run.device,
            workers=run.workers,
            checkpoint_every=run.checkpoint_every or None,
            keep=run.keep,
            progress=progress,
            stop=stop,
            **arguments,
        )
        if not result.state.finished:
            words = ("lexforge", "gpt", command, source, "--out", run.out, "--resume")
            tell_of_stop(None if run.out is None else shell_command(*words))
            raise typer.Exit(stop.exit_code)
        _tell_result(result, run.out, USED_BY[command], progress)


def _tell_result(result: GPTResult, out: Path | None, used_by: str, progress: Progress) -> None:
    """How it went, where the model is, and what to do with it."""
    from lexforge.training.progress import clock, count

    state = result.state
    progress.say(
        f"done in {clock(state.seconds)}: {count(state.tokens)} tokens, "
        f"{count(state.tokens_per_second)} tokens/s, loss {state.history[-1]['loss']:.4f}"
    )
    place = out
    if (best := state.best_evaluation) is not None:
        place = None if out is None else out / "best"
        progress.say(
            f"best on what is held out: loss {best['loss']:.4f} at step {best['step']}"
            + ("" if place is None else f"  {place}")
        )
    if out is not None:
        progress.say(f"  {out}")
        told = shell_command("lexforge", "gpt", used_by, place)
        progress.say(f"try: {told}")
