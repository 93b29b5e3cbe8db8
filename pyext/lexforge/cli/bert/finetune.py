"""``lexforge bert finetune``: a pretrained BERT learns to tell the classes of texts or of pairs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from lexforge.cli import _classification as common
from lexforge.cli._network import NetworkRunOptions
from lexforge.cli._options import Given, options
from lexforge.models.classification.settings import EvaluationSettings, FinetuningSettings
from lexforge.models.settings import model as of_model

MODEL_HELP = "Folder with a BERT and its tokenizer, from `bert pretrain` or published."


@dataclass(frozen=True)
class FinetuningOptions(common.ClassifierOptions):
    """What it begins with."""

    model: Path | None = of_model(None, MODEL_HELP, metavar="FOLDER")
    vectors: str | None = of_model(None)
    unlabelled: str | None = of_model(None)
    tokenizer: str | None = of_model(None)


@options
def finetune(
    data: common.Data,
    given: Annotated[Given, FinetuningSettings],
    columns: common.PairColumnOptions,
    others: FinetuningOptions,
    evaluated: Annotated[Given, EvaluationSettings],
    run: NetworkRunOptions,
) -> None:
    """Fine-tune BERT to tell the classes of texts, or of pairs of texts (Devlin et al. 2019).

    DATA is `imdb`, `snli` or `mnli`; a folder with a folder of text files per class; a table with a
    header (.csv, .tsv); or JSON lines. Columns of a usual name are found: text, sentence or review
    for single texts, sentence1 and sentence2 or premise and hypothesis for pairs, label,
    gold_label, sentiment or class. Others are named by --text, --second and --label.

    --model is a folder of `lexforge bert pretrain`, or of transformers: its encoder, its pooling
    layer and a new output layer are trained, at a rate that rises for a tenth of the run and then
    falls to 0. A BERT that was fine-tuned already goes on with the classes that it has. Nothing is
    ever padded, so short texts cost what they are.

    After every epoch it is evaluated on --dev, or on a share of DATA that it does not train on;
    --out keeps the best one in `best`, which is what `lexforge sentiment` (for single texts) and
    `lexforge nli` (for pairs) predict and evaluate with, and which transformers loads. A run that
    is interrupted and resumed ends as if it had not been, to the last bit.

    Examples:

    - `lexforge bert finetune snli --dev snli:dev --model bert/ --out nli/`
    - `lexforge bert finetune imdb --model bert/ --out sentiment/ --max-len 256 --precision bf16`
    - `lexforge bert finetune tickets.csv --text body --label team --model bert-base-uncased/
      --out team/ --lr 3e-5 --epochs 5 --early-stopping 2`
    - `lexforge bert finetune imdb --out sentiment/ --resume`
    """
    run.check()
    if others.model is None and not run.resume:
        raise typer.BadParameter("--model FOLDER is missing")
    if others.model is not None and not others.model.is_dir():
        raise typer.BadParameter(f"--model must be a folder, and {others.model} is none")
    common.train("bert finetune", data, others.model, {}, given, columns, others, evaluated, run)
