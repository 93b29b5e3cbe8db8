"""``lexforge gpt finetune``: a GPT that answers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from lexforge.cli._options import Given, options
from lexforge.cli._settings_file import add_settings, split_sources
from lexforge.cli.gpt._run import GPTRunOptions, run_training
from lexforge.models import settings as common
from lexforge.models.gpt.settings import TuningSettings
from lexforge.models.network_settings import EvaluationSettings
from lexforge.models.settings import corpus as of_corpus
from lexforge.models.settings import evaluation
from lexforge.models.settings import model as of_model

SHARE_HELP = "Or the share of PAIRS that is held out."
TEMPLATE_HELP = "TOML file of user, assistant, end, system: the text around prompts and answers."
SOURCES_HELP = "JSON lines of prompt and answer; a file of settings, `.toml`, may go before it."
Sources = Annotated[
    list[str] | None,
    typer.Argument(help=SOURCES_HELP, metavar="PAIRS", show_default=False),
]


@dataclass(frozen=True)
class TuneOptions:
    """What else there is to say."""

    model: Path | None = of_model(None, "Folder of the model to begin with, and its tokenizer.")
    dropout: float | None = of_model(
        None, "Share of numbers dropped while training.", low=0, high=1
    )
    template: Path | None = of_corpus(None, TEMPLATE_HELP)
    epochs: int = common.epochs(3, "Passes over the pairs; or say --max-iters.")
    eval_file: Path | None = evaluation(None, "Pairs that are not trained on.", names="-- --dev")
    eval_share: float = evaluation(0.0, SHARE_HELP, low=0, high=1, names="-- --dev-share")


@options
def finetune(
    given: Annotated[Given, TuningSettings],
    other: Annotated[Given, TuneOptions],
    evaluated: Annotated[Given, EvaluationSettings],
    running: Annotated[Given, GPTRunOptions],
    sources: Sources = None,
) -> None:
    """Teach a GPT to answer, by prompts with their answers, of which only these count.

    Each line of PAIRS is an object with the texts prompt and answer. They are packed without
    padding; what is longer than the model's block is left out, which is told. --out holds the
    model, its tokenizer and the template, from which `lexforge gpt chat` takes it.

    Examples:

    - `lexforge gpt finetune pairs.jsonl --model model/best --out chat/`
    - `lexforge gpt finetune pairs.jsonl --model model/best --out chat/ --eval-share 0.05`
    - `lexforge gpt finetune pairs.jsonl --model model/best --out chat/ --template mine.toml`
    """
    file, pairs = split_sources(sources or ())
    groups: dict[type, Given] = {
        TuningSettings: given,
        TuneOptions: other,
        EvaluationSettings: evaluated,
        GPTRunOptions: running,
    }
    add_settings(file, groups)
    others, run = TuneOptions(**other), GPTRunOptions(**running)
    run.check()
    if pairs is None:
        raise typer.BadParameter("give PAIRS, a file of JSON lines with prompt and answer")
    if others.model is None and not run.resume:
        raise typer.BadParameter("say which model learns to answer: --model FOLDER")

    from lexforge.models.gpt.trainer import finetune as tune

    run_training(
        tune,
        "finetune",
        pairs,
        run,
        model=others.model or "",
        resume=run.resume,
        epochs=others.epochs,
        template=others.template,
        eval_file=others.eval_file,
        eval_share=others.eval_share,
        shape=None if others.dropout is None else {"dropout": others.dropout},
        settings=given,
        evaluation=evaluated,
    )
