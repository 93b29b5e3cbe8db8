"""``lexforge bert pretrain``: BERT on masked words and next sentences."""

from __future__ import annotations

from enum import Enum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lexforge.cli._folders import check_folder
from lexforge.cli._training import check_files, folder_of_run, tell_of_stop

if TYPE_CHECKING:
    from lexforge.models.bert_pretraining import PretrainingResult
    from lexforge.training.progress import Progress

# Options by the panel of the help text that they stand in.
corpus_option, model_option, training_option, evaluation_option, output_option = (
    partial(typer.Option, rich_help_panel=panel)
    for panel in ("Corpus", "Model", "Training", "Evaluation", "Output")
)


class Optimizer(str, Enum):
    """How steps are sized."""

    ADAM = "adam"
    ADAMW = "adamw"


class RateSchedule(str, Enum):
    """What the learning rate does after its warm-up."""

    CONSTANT = "constant"
    LINEAR = "linear"


class Precision(str, Enum):
    """Of products and activations."""

    FLOAT32 = "float32"
    BF16 = "bf16"


def pretrain(
    corpus: Annotated[
        str,
        typer.Argument(
            help="Text file, folder of such, or data set name (wikitext-2).",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        output_option("--out", help="Folder for the model, which is also the checkpoint."),
    ] = None,
    overwrite: Annotated[
        bool,
        output_option("--overwrite", help="Replace the run in --out."),
    ] = False,
    resume: Annotated[
        bool,
        output_option("--resume", help="Continue the interrupted run in --out."),
    ] = False,
    checkpoint_every: Annotated[
        float,
        output_option(min=0.0, metavar="MINUTES", help="Save that often; 0 only at the end."),
    ] = 10.0,
    keep: Annotated[
        int,
        output_option(min=0, help="Keep so many of the last checkpoints, in `--out/step-<n>`."),
    ] = 0,
    log_json: Annotated[
        Path | None,
        output_option(
            help="Write losses, accuracies and speed to this file, one JSON object per second."
        ),
    ] = None,
    tensorboard: Annotated[
        Path | None,
        output_option(
            metavar="FOLDER",
            help="Write the same for TensorBoard (pip install tensorboard).",
            show_default=False,
        ),
    ] = None,
    quiet: Annotated[bool, output_option("--quiet", "-q", help="Print nothing.")] = False,
    config: Annotated[
        str | None,
        model_option(
            metavar="NAME|FOLDER",
            help="reference: a small model (2 layers of 128), the default. standard: published "
            "BERT, of base size. Or the folder of a model to go on from.",
            show_default=False,
        ),
    ] = None,
    layers: Annotated[int | None, model_option(min=0, help="Blocks.", show_default=False)] = None,
    hidden_size: Annotated[
        int | None, model_option(min=1, help="Numbers per token.", show_default=False)
    ] = None,
    heads: Annotated[
        int | None,
        model_option(min=1, help="Attention heads; they divide the hidden size."),
    ] = None,
    ffn_size: Annotated[
        int | None,
        model_option(min=1, help="Width of the feed-forward layers.", show_default=False),
    ] = None,
    dropout: Annotated[
        float | None,
        model_option(min=0.0, max=1.0, help="Share dropped, of attention too.", show_default=False),
    ] = None,
    min_count: Annotated[int, corpus_option(min=1, help="Rarer words become `<unk>`.")] = 5,
    max_len: Annotated[
        int | None,
        corpus_option(
            min=5,
            help="Longest pair in tokens, three special ones included; 64, or 128 with another "
            "model. Longer pairs are left out.",
            show_default=False,
        ),
    ] = None,
    static_masks: Annotated[
        bool | None,
        corpus_option(
            "--static-masks",
            help="Draw pairs and masked words once rather than in every epoch.",
            show_default=False,
        ),
    ] = None,
    steps: Annotated[
        int | None,
        training_option(min=1, help="Length of the run; 50 by default.", show_default=False),
    ] = None,
    epochs: Annotated[
        int | None,
        training_option(
            min=1, help="Or so; the default, with 1, of another model.", show_default=False
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        training_option(
            min=1, help="Pairs per step; 512, or 256 with another model.", show_default=False
        ),
    ] = None,
    accumulation: Annotated[
        int | None,
        training_option(
            min=1,
            help="Parts that a step is done in, to save memory; the step is the same up to "
            "rounding and the draws of dropout.",
            show_default=False,
        ),
    ] = None,
    optimizer: Annotated[
        Optimizer | None,
        training_option(help="adam, or adamw with another model.", show_default=False),
    ] = None,
    learning_rate: Annotated[
        float | None,
        training_option(
            "--learning-rate",
            "--lr",
            min=0.0,
            help="At its highest; 0.01, or 0.0001 with another model.",
            show_default=False,
        ),
    ] = None,
    weight_decay: Annotated[
        float | None,
        training_option(
            min=0.0,
            help="Of matrices, not of biases and norms; 0, or 0.01 with another model.",
            show_default=False,
        ),
    ] = None,
    warmup_steps: Annotated[
        int | None,
        training_option(
            min=0,
            help="Steps in which the rate rises; 0, or a tenth of all with another model.",
            show_default=False,
        ),
    ] = None,
    schedule: Annotated[
        RateSchedule | None,
        training_option(
            help="The rate after that: constant, or linear to 0 with another model.",
            show_default=False,
        ),
    ] = None,
    clip: Annotated[
        float | None,
        training_option(
            min=0.0,
            help="Largest norm of a step's gradients; 0 for no limit, or 1 with another model.",
            show_default=False,
        ),
    ] = None,
    precision: Annotated[
        Precision | None,
        training_option(
            help="bf16 is faster where processor or GPU have it; float32 by default.",
            show_default=False,
        ),
    ] = None,
    eval_file: Annotated[
        str | None,
        evaluation_option(
            metavar="CORPUS",
            help="Text that is not trained on, whose losses are measured in between. The best "
            "model so far stays in `--out/best`.",
            show_default=False,
        ),
    ] = None,
    eval_every: Annotated[
        int | None,
        evaluation_option(
            min=1,
            metavar="STEPS",
            help="Measure that often; 10 times by default.",
            show_default=False,
        ),
    ] = None,
    early_stopping: Annotated[
        int | None,
        evaluation_option(
            min=0,
            metavar="EVALUATIONS",
            help="End after so many without a smaller loss; never by default.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        int | None,
        training_option(help="Of all randomness; 1 by default.", show_default=False),
    ] = None,
    workers: Annotated[
        int | None,
        training_option(min=1, help="Threads; all cores by default.", show_default=False),
    ] = None,
    device: Annotated[str, training_option(help="auto, cpu or cuda.")] = "auto",
    cuda_graphs: Annotated[
        bool,
        training_option(
            "--cuda-graphs/--no-cuda-graphs",
            help="On a GPU, start the kernels of a step together rather than one by one.",
        ),
    ] = True,
) -> None:
    """Pretrain BERT: masked words and next sentences (Devlin et al. 2019).

    CORPUS is text with a paragraph a line and its sentences separated by " . ", as in WikiText;
    lines of one sentence are left out. Words are taken as they stand between spaces, in lower case.

    With nothing else a small model trains for 50 steps: minutes, in which it learns how frequent
    words are and little else. The masked-word loss (MLM) begins near 10 and soon stays near 7; a
    longer run goes on from there with a lower rate, say --lr 0.001. The next-sentence loss (NSP)
    of guessing is 0.69. Accuracies are shown too, and the share of padding that is never computed.

    --out holds the model in Hugging Face's layout with its vocabulary, and all that --resume needs;
    a run that is interrupted and resumed ends as if it had not been, to the last bit.

    Examples:

    - `lexforge bert pretrain wikitext-2 --out bert/`
    - `lexforge bert pretrain wiki.txt --out bert/ --steps 20000 --lr 0.001 --precision bf16`
    - `lexforge bert pretrain wiki.txt --out bert/ --resume`
    - `lexforge bert pretrain wiki.txt --out bert/ --eval-file held-out.txt --early-stopping 3`
    - `lexforge bert pretrain wiki.txt --out base/ --config standard --epochs 10 --accumulation 8`
    - `lexforge bert pretrain news.txt --out news/ --config bert/ --epochs 1`
    """
    from lexforge.training.checkpoint import is_checkpoint
    from lexforge.training.progress import Progress

    if resume and (out is None or overwrite):
        raise typer.BadParameter("--resume needs --out, and excludes --overwrite")
    if steps is not None and epochs is not None:
        raise typer.BadParameter("give either --steps or --epochs")
    if out is not None:
        if is_checkpoint(out) and not (resume or overwrite):
            raise typer.BadParameter(
                f"{out} holds a run or a model: continue it with --resume, or --overwrite it"
            )
        check_folder("--out", out)
    if eval_file is None and (eval_every is not None or early_stopping is not None):
        raise typer.BadParameter("--eval-every and --early-stopping need --eval-file")
    check_files(log_json)
    if tensorboard is not None:
        check_folder("--tensorboard", tensorboard)
    shape = {
        "num_layers": layers,
        "hidden_size": hidden_size,
        "num_heads": heads,
        "intermediate_size": ffn_size,
        "dropout": dropout,
        "attention_dropout": dropout,
    }
    settings: dict[str, Any] = {
        "max_len": max_len,
        "batch_size": batch_size,
        "steps": steps,
        "epochs": epochs,
        "optimizer": optimizer and optimizer.value,
        "learning_rate": learning_rate,
        "weight_decay": weight_decay,
        "warmup_steps": warmup_steps,
        "schedule": schedule and schedule.value,
        "clip": clip,
        "accumulation": accumulation,
        "precision": precision and precision.value,
        "static_masks": static_masks or None,
        "seed": seed,
        "eval_file": eval_file,
        "eval_every": eval_every,
        "early_stopping": early_stopping,
    }
    shown = Progress(not quiet, log_json=log_json, tensorboard=tensorboard, append=resume)
    with shown as progress, folder_of_run(out):
        from lexforge.models.bert_pretraining import pretrain as run
        from lexforge.training.signals import StopRequest

        stop = StopRequest()
        result = run(
            corpus,
            config=config,
            shape={name: value for name, value in shape.items() if value is not None},
            min_count=min_count,
            out=out,
            resume=resume,
            overwrite=overwrite,
            device=device,
            threads=workers,
            cuda_graphs=cuda_graphs,
            checkpoint_every=checkpoint_every or None,
            keep=keep,
            progress=progress,
            stop=stop,
            **settings,
        )
        if not result.state.finished:
            tell_of_stop(_resume_command(corpus, out, eval_file) if out else None)
            raise typer.Exit(stop.exit_code)
        _tell_result(result, out, progress)


def _resume_command(corpus: str, out: Path, eval_file: str | None) -> str:
    import shlex

    command = ["lexforge", "bert", "pretrain", corpus, "--out", str(out), "--resume"]
    return shlex.join(command if eval_file is None else [*command, "--eval-file", eval_file])


def _tell_result(result: PretrainingResult, out: Path | None, progress: Progress) -> None:
    """How it went, where the model is, and what to do with it."""
    from lexforge.training.progress import clock, count

    state = result.state
    end, whole = state.history[-1], state.totals
    progress.say(
        f"done in {clock(state.seconds)}: {count(state.sequences)} pairs, "
        f"{count(state.tokens)} tokens, {state.sequences_per_second:.0f} pairs/s, "
        f"{count(state.tokens_per_second)} tokens/s, padding saved {state.padding_saved:.0%}"
    )
    progress.say(
        f"MLM loss {end['mlm_loss']:.3f} at the end, {whole.mlm_loss:.3f} over the run; accuracy "
        f"{end['mlm_accuracy']:.1%}"
    )
    progress.say(
        f"NSP loss {end['nsp_loss']:.3f} at the end, {whole.nsp_loss:.3f} over the run; accuracy "
        f"{end['nsp_accuracy']:.1%}"
    )
    if state.evaluations:
        best = state.best_evaluation
        progress.say(
            f"best on held-out text at step {best['step']}: MLM loss {best['mlm_loss']:.3f}, NSP "
            f"loss {best['nsp_loss']:.3f}" + ("" if out is None else f"  {out / 'best'}")
        )
    if out is not None:
        progress.say(f"  {out}")
        progress.say(f"try: lexforge bert encode {out} LINES.txt --out vectors.npy")
