"""What ``lexforge sentiment`` and ``lexforge nli`` share: training, predicting, evaluating."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lexforge._display import is_terminal, printable_json
from lexforge.cli._corpus import STANDARD_INPUT, refuse_overwriting
from lexforge.cli._messages import tell
from lexforge.cli._network import NetworkRunOptions, displayed, tell_end, train_network
from lexforge.cli._options import check_files, on_device, threads
from lexforge.cli._vectors import short_warnings
from lexforge.models.settings import corpus as of_corpus
from lexforge.models.settings import model
from lexforge.training.settings import setting

if TYPE_CHECKING:
    from lexforge.models.classification.classifier import Predictions, TextClassifier
    from lexforge.models.classification.network import Network
    from lexforge.models.classification.trainer import TrainingResult
    from lexforge.text.classification import LabelledTexts
    from lexforge.training.progress import Progress

VECTORS_HELP = "Word vectors to start from: a file of any known format, a model, a data set's name."
UNLABELLED_HELP = "Further texts without classes: word vectors are trained on these and on DATA."
TOKENIZER_HELP = (
    "words (between spaces; the default), split (words and marks apart), wordpiece (trained on "
    "DATA), or a folder."
)
FORM_HELP = "Of a file: by default what its name says, else its first line."
SPLIT_HELP = "Of a data set or folder: train, or test to evaluate, where nothing else is said."
COLUMN_HELP = "Column (or key) of the {}: its name, or its number from 0 where no names are."
DEV_HELP = "Texts to evaluate on, like DATA; else a share of DATA is held out."
WINDOW = 1024  # texts that are read before the first is classified
PAIR = ("premise", "hypothesis")  # keys of what nli reads and writes

Model = Annotated[
    Path,
    typer.Argument(metavar="MODEL", help="Folder that training made.", show_default=False),
]
Data = Annotated[
    str,
    typer.Argument(
        metavar="DATA",
        help="Name of a data set, folder with a folder per class, or file: .csv, .tsv, .jsonl.",
        show_default=False,
    ),
]
File = Annotated[
    str | None,
    typer.Option("--file", metavar="DATA", help="File or data set with the texts, or - for stdin."),
]
JsonFile = Annotated[
    Path | None, typer.Option("--json", help="Also write the figures to this JSON file.")
]
ConfusionPicture = Annotated[
    Path | None,
    typer.Option("--confusion", help="Draw which classes are taken for which: .png, .svg, .pdf."),
]


@dataclass(frozen=True)
class ColumnOptions:
    """Where texts and classes are in a file."""

    text: str | None = of_corpus(None, COLUMN_HELP.format("text"), metavar="COLUMN")
    label: str | None = of_corpus(None, COLUMN_HELP.format("class"), metavar="COLUMN")
    split: str | None = of_corpus(None, SPLIT_HELP, metavar="NAME")
    form: str | None = of_corpus(None, FORM_HELP, choices=("csv", "tsv", "jsonl"))
    encoding: str = of_corpus("utf-8", "Of the text.")

    def read(self, source: str, split: str | None = None) -> LabelledTexts:
        """Texts with their classes; `split` is taken where the options do not name one."""
        from lexforge.text.classification import read_labelled

        split = self.split if self.split is not None else split
        with short_warnings():
            return read_labelled(source, split, **self._given, label=_column(self.label))

    def read_texts(self, source: str) -> LabelledTexts:
        """Texts alone."""
        from lexforge.text.classification import read_texts

        with short_warnings():
            return read_texts(source, self.split, **self._given)

    def words(self) -> list[str]:
        """What of them stands on the command line."""
        given = [(each.name, getattr(self, each.name), each.default) for each in fields(self)]
        return [
            word
            for name, value, default in given
            if value != default
            for word in (f"--{name}", str(value))
        ]

    @property
    def _given(self) -> dict[str, Any]:
        return {"text": _column(self.text), "form": self.form, "encoding": self.encoding}


@dataclass(frozen=True)
class PairColumnOptions(ColumnOptions):
    """Where pairs of texts are."""

    second: str | None = of_corpus(None, COLUMN_HELP.format("second text"), metavar="COLUMN")

    @property
    def _given(self) -> dict[str, Any]:
        return {**super()._given, "second": _column(self.second)}


def _column(name: str | None) -> str | int | None:
    return int(name) if name is not None and name.isdecimal() else name


@dataclass(frozen=True)
class ClassifierOptions:
    """What a classifier is made from."""

    vectors: str | None = model(None, VECTORS_HELP, metavar="VECTORS")
    unlabelled: str | None = model(None, UNLABELLED_HELP, metavar="DATA")
    tokenizer: str | None = of_corpus(None, TOKENIZER_HELP, metavar="NAME|FOLDER")
    dev: str | None = of_corpus(None, DEV_HELP, metavar="DATA", names="-- --eval-file")


@dataclass(frozen=True)
class PredictionOptions:
    """How texts are classified."""

    batch_size: int = setting(64, "Texts that are classified together.", low=1)
    precision: str = setting(
        "float32", "bf16 is faster where the device has it.", choices=("float32", "bf16")
    )
    device: str = on_device()
    workers: int | None = threads()


def train(
    command: str,
    data: str,
    kind: str | os.PathLike | None,
    shape: Mapping[str, Any],
    given: Mapping[str, Any],
    columns: ColumnOptions,
    others: ClassifierOptions,
    evaluated: Mapping[str, Any],
    run: NetworkRunOptions,
) -> None:
    """Train, and tell how it went.

    Args:
        command: its name, for the one that resumes. kind: of the network, or its folder.
    """
    if "steps" in given and "epochs" in given:
        raise typer.BadParameter("give either --steps or --epochs")
    if others.dev is not None and "dev_share" in given:
        raise typer.BadParameter("give either --dev or --dev-share")
    more = others.unlabelled
    if more is not None and others.vectors is not None:
        raise typer.BadParameter("give either --vectors or --unlabelled")
    run.check()
    for read in (data, others.dev, more):
        refuse_overwriting(read, run.outputs)
    with displayed(run) as progress:
        from lexforge.models.classification.trainer import train_classifier

        progress.say(f"reading {data}")
        texts = columns.read(data)
        result = train_network(
            train_classifier,
            texts,
            run,
            progress,
            (*command.split(), data, *columns.words()),
            () if others.dev is None else ("--dev", others.dev),
            model=kind,
            dev=None if others.dev is None else replace(columns, split=None).read(others.dev),
            tokenizer=others.tokenizer,
            vectors=others.vectors,
            unlabelled=None if more is None else replace(columns, split=None).read_texts(more),
            shape=shape,
            resume=run.resume,
            **evaluated,
            **given,
        )
        _tell_result("sentiment" if texts.second is None else "nli", result, run.out, progress)


def _tell_result(task: str, result: TrainingResult, out: Path | None, progress: Progress) -> None:
    import numpy as np

    from lexforge.training.metrics import ClassScores
    from lexforge.training.progress import count

    state, told = result.state, []
    if (best := state.best_evaluation) is not None:
        confusion = np.array(state.confusions[state.evaluations.index(best)])
        table = ClassScores(confusion, result.classifier.names).table()
        told = [
            f"best on held-out texts, at step {best['step']}:",
            *(f"  {line}" for line in table.split("\n")),
        ]
    done = (
        f"{count(state.sums['examples'])} examples, {count(state.examples_per_second)} examples/s"
    )
    note = "" if out is None else _transformers_note(result.classifier.network, out)
    texts = ("A man eats.", "A man sleeps.") if task == "nli" else ("so great",)
    then = (task, "predict", out, *texts)
    tell_end(progress, state, out, done, told, [note] if note else [], then)


def _transformers_note(network: Network, out: Path) -> str:
    """Who else loads what training made."""
    config = getattr(network, "config", None)
    if network.KIND != "bert" or config is None:
        return ""
    if not config.published:
        return (
            "transformers loads its tokenizer only: its BERT has a norm of the embeddings "
            "(bert pretrain --config standard)"
        )
    from lexforge.models.classification.files import of_best

    names = "AutoTokenizer, AutoModelForSequenceClassification"
    return f"transformers loads {of_best(out)}: {names}"


def load(task: str, folder: Path, options: PredictionOptions) -> TextClassifier:
    """The classifier of a folder, of single texts or of pairs as the task is."""
    import torch

    from lexforge._library import kernel_threads
    from lexforge.models.classification.classifier import TextClassifier

    if not folder.is_dir():
        raise typer.BadParameter(f"MODEL must be a folder, and {folder} is none")
    if options.workers is not None:
        torch.set_num_threads(kernel_threads(options.workers))
    classifier = TextClassifier.load(folder, options.device)
    pairs, network = task == "nli", classifier.network
    if network.PAIRS is not None and pairs != network.PAIRS:
        wanted, other = ("pairs of texts", "sentiment") if pairs else ("single texts", "nli")
        raise ValueError(
            f"{folder} must hold a classifier of {wanted}, and holds {network.KIND}: it is for "
            f"lexforge {other}"
        )
    return classifier


def predict(
    task: str, model: Path, texts: list[Any], file: str | None, columns: Any, options: Any
) -> None:
    """Texts of the command line, of a file or of standard input, as JSON lines."""
    if texts and file is not None:
        raise typer.BadParameter("give either texts or --file")
    classifier = load(task, model, options)
    pairs = task == "nli"
    if texts:
        source: Iterable[Any] = texts
    elif file in (None, STANDARD_INPUT):
        source = _lines(pairs)
    else:
        read = columns.read_texts(str(file))
        source = zip(read.first, read.second, strict=True) if read.second else read.first
    live = not texts and file in (None, STANDARD_INPUT) and is_terminal(sys.stdin)
    began, done = time.perf_counter(), 0
    for some in _predicted(classifier, source, options, 1 if live else WINDOW):
        done += len(some)
        lines = [printable_json(json.dumps(each, ensure_ascii=False)) for each in some]
        typer.echo("\n".join(lines))
    seconds = time.perf_counter() - began
    _tell_speed(done, seconds)


def _predicted(
    classifier: TextClassifier, source: Iterable[Any], options: Any, window: int
) -> Iterator[list[dict[str, Any]]]:
    """What is printed of each text, some at a time."""
    kept: list[Any] = []

    def noted() -> Iterator[Any]:
        for text in source:
            kept.append(text)
            yield text

    stream = classifier.predict_stream(
        noted(),
        batch_size=options.batch_size,
        precision=options.precision,
        window=window,
        name=lambda number: f"text {number + 1}",
    )
    for some in stream:
        texts, kept[:] = list(kept), []
        yield list(_records(classifier.names, texts, some))


def _records(names: Any, texts: list[Any], found: Predictions) -> Iterator[dict[str, Any]]:
    for text, label, row in zip(texts, found.labels, found.probabilities.tolist(), strict=True):
        about = {"text": text} if isinstance(text, str) else dict(zip(PAIR, text, strict=True))
        shares = {name: round(share, 6) for name, share in zip(names, row, strict=True)}
        yield {**about, "label": label, "probabilities": shares}


def _lines(pairs: bool) -> Iterator[Any]:
    """Texts of standard input, one a line; pairs are separated by a tab. Or JSON lines."""
    from lexforge.text.lines import parse_json

    stream = sys.stdin
    for number, line in enumerate(stream, 1):
        line = line.rstrip("\r\n")
        if not line.lstrip().startswith("{"):
            parts = tuple(line.split("\t")) if pairs else (line,)
        else:
            found = parse_json(line, f"standard input: line {number}")
            keys = PAIR if pairs else ("text",)
            if missing := [key for key in keys if not isinstance(found.get(key), str)]:
                raise ValueError(
                    f"standard input: line {number} must have a text as {missing[0]}, got {found!r}"
                )
            parts = tuple(found[key] for key in keys)
        if len(parts) != 1 + pairs:
            raise ValueError(
                f"standard input: line {number} must be two texts with a tab between them, "
                f"got {line!r:.80}"
            )
        yield parts if pairs else parts[0]


def _tell_speed(done: int, seconds: float) -> None:
    tell(f"{done:,} texts in {seconds:.2f} s, {done / max(seconds, 1e-9):,.0f} texts/s")


def evaluate(
    task: str,
    model: Path,
    data: str,
    columns: ColumnOptions,
    options: PredictionOptions,
    json_file: Path | None,
    picture: Path | None,
) -> None:
    """Print accuracy, macro-F1 and the figures of each class."""
    from lexforge._files import replacing

    check_files(json_file, picture)
    if picture is not None:
        from lexforge._plot import picture_format

        picture_format(picture)
    classifier = load(task, model, options)
    texts = columns.read(data, "test" if _has_test(data) else None)
    began = time.perf_counter()
    scores = classifier.evaluate(texts, batch_size=options.batch_size, precision=options.precision)
    seconds = time.perf_counter() - began
    typer.echo(scores.table())
    _tell_speed(len(texts), seconds)
    if json_file is not None:
        with replacing(json_file) as file:
            file.write((json.dumps(scores.to_json(), ensure_ascii=False, indent=2) + "\n").encode())
        tell(f"{json_file}: the same figures")
    if picture is not None:
        from lexforge._plot import plot_confusion

        plot_confusion(scores, path=picture)
        tell(f"{picture}: the confusion matrix")


def _has_test(data: str) -> bool:
    """Whether a data set or folder has a test, which is meant where no split is named."""
    from lexforge.text import datasets

    if Path(data).exists():
        return Path(data, "test").is_dir()
    return data in datasets.names("classification") and "test" in datasets.REGISTRY[data].files
