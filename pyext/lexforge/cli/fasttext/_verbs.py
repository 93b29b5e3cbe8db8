"""The verbs of fastText's own program, with its spellings and its output, behind `fasttext`.

Text is bytes here: what comes in on standard input goes out as it came.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from lexforge._arguments import MAX_THREADS
from lexforge.cli._corpus import STANDARD_INPUT, refuse_overwriting
from lexforge.cli._options import Given, check_files, check_folder
from lexforge.cli._training import leave_stopped
from lexforge.training.settings import setting

if TYPE_CHECKING:
    import numpy as np

    from lexforge.models.fasttext.original import Model

_BYTES = 1 << 16  # read at a time
NOTHING = "--------"  # what a share of nothing is


def _most(k: int) -> int:
    if k < 1 and k != -1:
        raise typer.BadParameter(f"K must be -1 or at least 1, got {k}")
    return k


ModelFile = Annotated[
    Path, typer.Argument(metavar="MODEL", help="Model file of fastText: .bin or .ftz.")
]
Data = Annotated[
    str, typer.Argument(metavar="DATA", help="File of lines with labels, or - for standard input.")
]
K = Annotated[
    int, typer.Argument(metavar="K", callback=_most, help="Labels of a line at most; -1: all.")
]
Threshold = Annotated[float, typer.Argument(metavar="TH", help="The least probability of a label.")]
Neighbours = Annotated[int, typer.Argument(metavar="K", min=1, help="Words at most.")]

_files, _dictionary, _training, _quantising = (
    partial(setting, names="-", panel=panel)
    for panel in ("Files", "Dictionary", "Training", "Quantisation")
)
_autotune = partial(setting, None, "Not here.", hidden=True)
_run = partial(setting, panel="Run")


@dataclass(frozen=True)
class _FileOptions:
    """What is read and written."""

    input: Path | None = _files(None, "Training text.")
    output: Path | None = _files(None, "Files to write, without .bin and .vec.")
    verbose: int = _files(2, "0: print nothing.", low=0)


@dataclass(frozen=True)
class WordOptions(_FileOptions):
    """Those of skipgram and cbow, by the original's names."""

    saveOutput: bool = _files(False, "Also write the output vectors, as .output.")  # noqa: N815
    minCount: int = _dictionary(5, "Leave out words that come less often.", low=0)  # noqa: N815
    minCountLabel: int = _dictionary(0, "The same for labels.", low=0)  # noqa: N815
    wordNgrams: int = _dictionary(1, "Longest sequence of words.", low=1)  # noqa: N815
    bucket: int = _dictionary(2_000_000, "Rows that n-grams share.", low=0)
    minn: int = _dictionary(3, "Shortest n-gram, in characters.", low=0)
    maxn: int = _dictionary(6, "Longest one; 0: none.", low=0)
    t: float = _dictionary(1e-4, "Thin out words above this share.", low=0)
    label: str = _dictionary("__label__", "With which labels begin.")
    lr: float = _training(0.05, "First learning rate.", low=0)
    lrUpdateRate: int = _training(100, "Accepted; the rate falls steadily.", low=1)  # noqa: N815
    dim: int = _training(100, "Numbers in a vector.", low=1)
    ws: int = _training(5, "Largest distance of context.", low=1)
    epoch: int = _training(5, "Passes over the text.", low=0)
    neg: int = _training(5, "Noise words.", low=1)
    loss: str = _training(
        "ns",
        "ns: noise words; hs: a tree.",
        choices=("ns", "hs"),
    )
    thread: int | None = _training(
        None, "Threads; all but one by default.", low=1, high=MAX_THREADS
    )
    pretrainedVectors: Path | None = _training(None, "Start from this .vec file.")  # noqa: N815
    seed: int = _training(0, "Of all that is drawn.", low=0)
    autotune_validation: str | None = _autotune(names="-")
    autotune_metric: str | None = _autotune(names="-")
    autotune_predictions: str | None = _autotune(names="-")
    autotune_duration: str | None = _autotune(names="-")
    autotune_modelsize: str | None = _autotune(names="-")


@dataclass(frozen=True)
class LabelOptions(WordOptions):
    """Those of supervised, with its defaults."""

    minCount: int = _dictionary(1, "Leave out words that come less often.", low=0)  # noqa: N815
    minn: int = _dictionary(0, "Shortest n-gram, in characters.", low=0)
    maxn: int = _dictionary(0, "Longest one; 0: none.", low=0)
    lr: float = _training(0.1, "First learning rate.", low=0)
    loss: str = _training(
        "softmax",
        "ova: labels on their own; ns: noise labels; hs: a tree.",
        choices=("softmax", "ova", "one-vs-all", "ns", "hs"),
    )


@dataclass(frozen=True)
class VerbRunOptions:
    """What a training has here that it lacks in the original."""

    resume: bool = _run(False, "Continue the interrupted run in NAME.checkpoint.")
    overwrite: bool = _run(False, "Begin anew, and drop that run.")
    checkpoint_every: float = _run(
        10.0, "Save the run that often; 0: when stopped.", low=0, metavar="MINUTES", names="-- -"
    )
    log_json: Path | None = _run(None, "Write losses and speed here, one JSON object per second.")

    def check(self, folder: Path) -> None:
        """BadParameter unless these go with what is in the folder of the run."""
        from lexforge.training.checkpoint import is_checkpoint

        if self.resume and self.overwrite:
            raise typer.BadParameter("--resume excludes --overwrite")
        if is_checkpoint(folder) and not (self.resume or self.overwrite):
            raise typer.BadParameter(
                f"{folder} holds an interrupted run: continue it with --resume, or --overwrite it"
            )
        check_files(self.log_json)
        check_folder(str(folder), folder)


@dataclass(frozen=True)
class QuantizeOptions(_FileOptions):
    """Those of quantize."""

    cutoff: int = _quantising(0, "Words and n-grams to keep; 0: all.", low=0)
    retrain: bool = _quantising(False, "Train what is kept once more, on -input.")
    qnorm: bool = _quantising(False, "Code lengths apart from directions.")
    qout: bool = _quantising(False, "Code the output, too.")
    dsub: int = _quantising(2, "Numbers that become a byte.", low=1)
    epoch: int = _training(5, "Passes of -retrain.", low=1)
    lr: float = _training(0.05, "First learning rate of -retrain.", low=0)
    thread: int | None = _training(None, "Threads of -retrain.", low=1, high=MAX_THREADS)


def train(kind: str, given: Given, run: VerbRunOptions) -> None:
    if tuning := [name for name in given if name.startswith("autotune")]:
        spelt = tuning[0].replace("_", "-")
        raise typer.BadParameter(
            f"-{spelt}: there is no autotuning here; give the options themselves"
        )
    given = dict(given)
    source, base = given.pop("input", None), given.pop("output", None)
    if source is None or base is None:
        raise typer.BadParameter("give both -input FILE and -output NAME")
    if str(source) == "-":
        raise typer.BadParameter("-input must be a file: it is read several times")
    keep_output = given.pop("saveOutput", False)
    ends = ["bin", "vec", *["output"] * keep_output]
    files, folder = [with_end(base, end) for end in ends], with_end(base, "checkpoint")
    refuse_overwriting(str(source), [*files, run.log_json])
    check_files(*files)
    run.check(folder)
    if given.get("loss") == "one-vs-all":
        given["loss"] = "ova"

    from lexforge.models.fasttext.original_training import drop_run
    from lexforge.training.lock import folder_of_run

    with folder_of_run(folder):
        model = _trained(kind, source, base, given, run, folder)
        model.save_model(with_end(base, "bin"))
        write_vectors(with_end(base, "vec"), model.file.words, model.word_vectors(), model)
        if keep_output:
            file = model.file
            words = file.labels if file.supervised else file.words
            write_vectors(with_end(base, "output"), words, [file.output], model)
        drop_run(folder)
    with contextlib.suppress(OSError):  # of a run that was resumed; there may be other files in it
        folder.rmdir()


def _trained(
    kind: str, source: Path, base: Path, given: Given, run: VerbRunOptions, folder: Path
) -> Model:
    """The model at the end of its run; a signal saves what there is and leaves by its exit code."""
    from lexforge.models.fasttext.original_training import (
        MAY_CHANGE,
        run_arguments,
        train_supervised,
        train_unsupervised,
    )
    from lexforge.training.progress import Progress
    from lexforge.training.settings import changes, refuse
    from lexforge.training.signals import StopRequest

    given = {"model": kind, **given}
    if "pretrainedVectors" in given:
        given["pretrainedVectors"] = str(given["pretrainedVectors"])
    if run.resume:
        known = run_arguments(folder)
        told = {name: value for name, value in given.items() if name not in MAY_CHANGE}
        refuse(changes({**told, **known}, told))
        given = {**known, **given}
    function: Any = train_unsupervised
    if kind == "supervised":
        function = train_supervised
        del given["model"]
    shown = given.get("verbose", 2) > 0
    with (
        Progress(shown, log_json=run.log_json, append=run.resume) as progress,
        StopRequest() as stop,
    ):
        model = function(
            source,
            **given,
            progress=progress,
            checkpoint_folder=folder,
            checkpoint_every=run.checkpoint_every or None,
            stop=stop,
            resume=run.resume,
        )
    if not model.state.finished:
        again = "fasttext", kind, "-input", source, "-output", base, "--resume"
        leave_stopped(stop, folder, *again)
    return model


def with_end(base: Path, end: str) -> Path:
    return Path(f"{base}.{end}")


def write_vectors(path: Path, words: Any, blocks: Iterable[Any], model: Model) -> None:
    from lexforge._files import replacing

    with replacing(path) as file:
        file.write(b"%d %d\n" % (len(words), model.get_dimension()))
        for row, vector in enumerate(vector for some in blocks for vector in some):
            file.write(words[row] + b" " + numbers(vector) + b"\n")


def predict_lines(model: Path, data: str, k: int, threshold: float, *, probabilities: bool) -> None:
    loaded = load(model)
    labels = [loaded.file.labels[number] for number in range(len(loaded.file.labels))]
    with opened(data) as stream:
        for block in blocks(stream, b"\n"):
            found = loaded.predictions(block, k, threshold)
            words = [labels[number] for number in found.labels.tolist()]
            if probabilities:
                scores = found.probabilities.tolist()
                words = [word + b" %.6g" % score for word, score in zip(words, scores, strict=True)]
            ends = found.offsets.tolist()
            write(b"".join(b" ".join(words[begin:end]) + b"\n" for begin, end in pairwise(ends)))


def load(path: Path) -> Model:
    from lexforge.models.fasttext.original import load_model

    return load_model(path)


@contextlib.contextmanager
def opened(data: str) -> Iterator[BinaryIO]:
    """The text of a file or of standard input, whose first lines do not wait for more."""
    from lexforge.text.files import BYTES, text_of

    if data == STANDARD_INPUT:
        with text_of(sys.stdin.buffer, "standard input", errors=BYTES) as stream:
            yield stream
    else:
        with open(data, "rb") as raw, text_of(raw, data, errors=BYTES) as stream:
            yield stream


def blocks(stream: BinaryIO, ends: bytes) -> Iterator[bytes]:
    """What has come so far, up to the last of these bytes; at last what is left."""
    pending, read = b"", getattr(stream, "read1", stream.read)
    while block := read(_BYTES):
        pending += block
        end = max(pending.rfind(ends[i : i + 1]) for i in range(len(ends))) + 1
        if end:
            yield pending[:end]
            sys.stdout.buffer.flush()  # whoever writes lines one by one waits for each answer
            pending = pending[end:]
    if pending:
        yield pending


def words() -> Iterator[str]:
    for word in word_bytes():
        yield word.decode(errors="surrogateescape")


def word_bytes() -> Iterator[bytes]:
    """Those on standard input."""
    with opened(STANDARD_INPUT) as stream:
        for block in blocks(stream, b" \n\t\r\v\f"):
            yield from block.split()


def numbers(vector: np.ndarray) -> bytes:
    """Five digits of each, and a space behind it."""
    return b"%.5g " * len(vector) % tuple(vector.tolist())


def tell_neighbours(found: Iterable[tuple[float, str]]) -> None:
    for score, word in found:
        write(word.encode(errors="surrogateescape") + b" %.6g\n" % score)


def prompt(text: str) -> None:
    write(text.encode())
    sys.stdout.buffer.flush()


def say(*lines: str) -> None:
    for line in lines:
        write(line.encode(errors="surrogateescape") + b"\n")


def write(text: bytes) -> None:
    sys.stdout.buffer.write(text)
