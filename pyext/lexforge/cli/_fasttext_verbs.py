"""The verbs of fastText's own program, with its spellings and its output, behind `fasttext`.

Text is bytes here: what comes in on standard input goes out as it came.
"""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import numpy as np
import typer

from lexforge._arguments import MAX_THREADS
from lexforge.cli._options import Given, check_files, options
from lexforge.training.settings import setting

if TYPE_CHECKING:
    from lexforge.models.fasttext.original import Model

_BYTES = 1 << 16  # read at a time
_NOTHING = "--------"  # what a share of nothing is

ModelFile = Annotated[
    Path, typer.Argument(metavar="MODEL", help="Model file of fastText: .bin or .ftz.")
]
Data = Annotated[
    str, typer.Argument(metavar="DATA", help="File of lines with labels, or - for standard input.")
]
K = Annotated[int, typer.Argument(metavar="K", min=1, help="Labels of a line at most.")]
Threshold = Annotated[float, typer.Argument(metavar="TH", help="The least probability of a label.")]
Neighbours = Annotated[int, typer.Argument(metavar="K", min=1, help="Words at most.")]

_files, _dictionary, _training, _quantising = (
    partial(setting, names="-", panel=panel)
    for panel in ("Files", "Dictionary", "Training", "Quantisation")
)
_autotune = partial(setting, None, "Not here.", hidden=True)


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


@options
def skipgram(given: Annotated[Given, WordOptions]) -> None:
    """Word vectors with sub-words, by skip-gram.

    Writes NAME.bin, from which training can continue, and NAME.vec, the words' vectors as text.
    `lexforge fasttext CORPUS --out FOLDER` trains the same model with more to choose: checkpoints,
    --resume, devices.

    Example:

    - `lexforge fasttext skipgram -input wiki.txt -output wiki -dim 100 -minn 3 -maxn 6`
    """
    _train("skipgram", given)


@options
def cbow(given: Annotated[Given, WordOptions]) -> None:
    """Word vectors with sub-words, by CBOW.

    Writes NAME.bin, from which training can continue, and NAME.vec, the words' vectors as text.

    Example:

    - `lexforge fasttext cbow -input wiki.txt -output wiki`
    """
    _train("cbow", given)


@options
def supervised(given: Annotated[Given, LabelOptions]) -> None:
    """A classifier of lines.

    Each line of the text has words and, between them or before, one or more labels, words that
    begin with __label__. Writes NAME.bin and NAME.vec.

    Examples:

    - `lexforge fasttext supervised -input train.txt -output model -wordNgrams 2 -epoch 10`
    - `lexforge fasttext test model.bin test.txt`
    """
    _train("supervised", given)


def _train(kind: str, given: Given) -> None:
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
    check_files(*(_with_end(base, end) for end in ends))
    if given.get("loss") == "one-vs-all":
        given["loss"] = "ova"

    from lexforge.models.fasttext.original_training import train_supervised, train_unsupervised

    if kind == "supervised":
        model = train_supervised(source, **given)
    else:
        model = train_unsupervised(source, model=kind, **given)
    model.save_model(_with_end(base, "bin"))
    _write_vectors(_with_end(base, "vec"), model.file.words, model.word_vectors(), model)
    if keep_output:
        file = model.file
        words = file.labels if file.supervised else file.words
        _write_vectors(_with_end(base, "output"), words, [np.asarray(file.output)], model)


def _with_end(base: Path, end: str) -> Path:
    return Path(f"{base}.{end}")


def _write_vectors(path: Path, words: Any, blocks: Iterable[np.ndarray], model: Model) -> None:
    from lexforge._files import replacing

    with replacing(path) as file:
        file.write(b"%d %d\n" % (len(words), model.get_dimension()))
        for row, vector in enumerate(vector for some in blocks for vector in some):
            file.write(words[row] + b" " + _numbers(vector) + b"\n")


@options
def quantize(given: Annotated[Given, QuantizeOptions]) -> None:
    """Make NAME.ftz, a small model, of NAME.bin, that of a classifier.

    Examples:

    - `lexforge fasttext quantize -output model -qnorm -cutoff 100000`
    - `lexforge fasttext quantize -output model -input train.txt -retrain -cutoff 10000`
    """
    given = dict(given)
    base, source = given.pop("output", None), given.get("input")
    if base is None:
        raise typer.BadParameter("give -output NAME: NAME.bin is read, NAME.ftz written")
    if given.get("retrain") and source is None:
        raise typer.BadParameter("-retrain needs the training text: -input FILE")
    check_files(_with_end(base, "ftz"))
    model = _load(_with_end(base, "bin"))
    if given.get("retrain"):
        given = {"epoch": 5, "lr": 0.05, **given}
    model.quantize(**given)
    model.save_model(_with_end(base, "ftz"))


def test(model: ModelFile, data: Data, k: K = 1, th: Threshold = 0.0) -> None:
    """Number of lines, precision and recall of a classifier.

    Example:

    - `lexforge fasttext test model.bin test.txt`
    """
    with _opened(data) as stream:
        meter = _load(model).meter(stream, k, th)
    _say(f"N\t{meter.examples}", f"P@{k}\t{meter.precision():.3g}", f"R@{k}\t{meter.recall():.3g}")


def test_label(model: ModelFile, data: Data, k: K = 1, th: Threshold = 0.0) -> None:
    """Precision and recall of each label.

    Example:

    - `lexforge fasttext test-label model.bin test.txt`
    """
    loaded = _load(model)
    with _opened(data) as stream:
        meter = loaded.meter(stream, k, th)
    for number, label in enumerate(loaded.get_labels(on_unicode_error="surrogateescape")):
        shares = {
            "F1-Score": meter.f1(number),
            "Precision": meter.precision(number),
            "Recall": meter.recall(number),
        }
        told = (
            f"{name} : {_NOTHING if math.isnan(value) else f'{value:.6f}'}  "
            for name, value in shares.items()
        )
        _say("".join(told) + f" {label}")
    _say(f"N\t{meter.examples}", f"P@{k}\t{meter.precision():.3f}", f"R@{k}\t{meter.recall():.3f}")


def predict(model: ModelFile, data: Data, k: K = 1, th: Threshold = 0.0) -> None:
    """The most probable labels of each line.

    Example:

    - `echo "a film without a plot" | lexforge fasttext predict model.bin - 2`
    """
    _predict(model, data, k, th, probabilities=False)


def predict_prob(model: ModelFile, data: Data, k: K = 1, th: Threshold = 0.0) -> None:
    """The most probable labels with their probabilities.

    Example:

    - `lexforge fasttext predict-prob model.bin lines.txt 3 0.1`
    """
    _predict(model, data, k, th, probabilities=True)


def _predict(model: Path, data: str, k: int, threshold: float, *, probabilities: bool) -> None:
    loaded = _load(model)
    labels = [loaded.file.labels[number] for number in range(len(loaded.file.labels))]
    with _opened(data) as stream:
        for block in _blocks(stream, b"\n"):
            found = loaded.predictions(block, k, threshold)
            words = [labels[number] for number in found.labels.tolist()]
            if probabilities:
                scores = found.probabilities.tolist()
                words = [word + b" %.6g" % score for word, score in zip(words, scores, strict=True)]
            ends = found.offsets.tolist()
            _write(b"".join(b" ".join(words[begin:end]) + b"\n" for begin, end in pairwise(ends)))


def print_word_vectors(model: ModelFile) -> None:
    """The vector of each word on standard input.

    Words that the model does not have get the mean of their n-grams.

    Example:

    - `echo "where whereever" | lexforge fasttext print-word-vectors model.bin`
    """
    loaded = _load(model)
    for block in _blocks(_standard_input(), b" \n\t\r\v\f"):
        for word in block.split():
            _write(word + b" " + _numbers(loaded.file.word_vector(word)) + b"\n")


def print_sentence_vectors(model: ModelFile) -> None:
    """A vector for each line on standard input.

    Example:

    - `lexforge fasttext print-sentence-vectors model.bin < lines.txt > vectors.txt`
    """
    loaded = _load(model)
    for block in _blocks(_standard_input(), b"\n"):
        for vector in loaded.sentence_vectors(block):
            _write(_numbers(vector) + b"\n")


def print_ngrams(
    model: ModelFile, word: Annotated[str, typer.Argument(metavar="WORD", help="Any word.")]
) -> None:
    """A word's own vector and those of its n-grams.

    Example:

    - `lexforge fasttext print-ngrams model.bin where`
    """
    for ngram, vector in _load(model).ngram_vectors(word):
        _write(ngram.encode(errors="surrogateescape") + b" " + _numbers(vector) + b"\n")


def nn(model: ModelFile, k: Neighbours = 10) -> None:
    """The nearest words to those on standard input.

    Example:

    - `echo where | lexforge fasttext nn model.bin 5`
    """
    loaded = _load(model)
    _prompt("Query word? ")
    for word in _words():
        _tell_neighbours(loaded.get_nearest_neighbors(word, k, "surrogateescape"))
        _prompt("Query word? ")


def analogies(model: ModelFile, k: Neighbours = 10) -> None:
    """The words nearest to A - B + C, of three on standard input.

    Example:

    - `echo "king man woman" | lexforge fasttext analogies model.bin`
    """
    _say(f"Loading model {model}")
    loaded = _load(model)
    _prompt(question := "Query triplet (A - B + C)? ")
    words = _words()
    for first, second, third in zip(words, words, words, strict=False):
        _tell_neighbours(loaded.get_analogies(first, second, third, k, "surrogateescape"))
        _prompt(question)


def dump(
    model: ModelFile,
    what: Annotated[str, typer.Argument(metavar="WHAT", help="args, dict, input or output.")],
) -> None:
    """What a model file is made of, as text.

    Example:

    - `lexforge fasttext dump model.bin args`
    """
    parts: dict[str, Callable[[Model], None]] = {
        "args": _dump_args,
        "dict": _dump_words,
        "input": lambda loaded: _dump_matrix(loaded.file.input),
        "output": lambda loaded: _dump_matrix(loaded.file.output),
    }
    if what not in parts:
        raise typer.BadParameter(f"WHAT must be one of {', '.join(parts)}, got {what!r}")
    parts[what](_load(model))


def _dump_args(model: Model) -> None:
    told = {"ova": "one-vs-all"}.get(model.loss, model.loss)
    kind = ("cbow", "sg", "sup")[model.file.model - 1]
    for name in ("dim", "ws", "epoch", "minCount", "neg", "wordNgrams"):
        _say(f"{name} {getattr(model, name)}")
    _say(f"loss {told}", f"model {kind}")
    for name in ("bucket", "minn", "maxn", "lrUpdateRate"):
        _say(f"{name} {getattr(model, name)}")
    _say(f"t {model.t:.6g}")


def _dump_words(model: Model) -> None:
    file = model.file
    _say(str(len(file.words) + len(file.labels)))
    for words, counts, kind in (
        (file.words, file.counts, b"word"),
        (file.labels, file.label_counts, b"label"),
    ):
        for number, count in enumerate(counts.tolist()):
            _write(b"%b %d %b\n" % (words[number], count, kind))


def _dump_matrix(matrix: Any) -> None:
    if not isinstance(matrix, np.ndarray):
        raise ValueError("dump: a quantized model's matrices are codes, not numbers")
    _say(f"{matrix.shape[0]} {matrix.shape[1]}")
    row_format = " ".join(["%.6g"] * matrix.shape[1]) + "\n"
    for row in matrix:
        _write((row_format % tuple(row.tolist())).encode())


_ALL = (
    *(skipgram, cbow, supervised, test, test_label, predict, predict_prob, quantize),
    *(print_word_vectors, print_sentence_vectors, print_ngrams, nn, analogies, dump),
)
VERBS = {verb.__name__.replace("_", "-"): verb for verb in _ALL}


def _load(path: Path) -> Model:
    from lexforge.models.fasttext.original import load_model

    return load_model(path)


@contextlib.contextmanager
def _opened(data: str) -> Iterator[BinaryIO]:
    if data == "-":
        yield _standard_input()
    else:
        with open(data, "rb") as stream:
            yield stream


def _standard_input() -> BinaryIO:
    return sys.stdin.buffer


def _blocks(stream: BinaryIO, ends: bytes) -> Iterator[bytes]:
    """What has come so far, up to the last of these bytes; at last what is left."""
    pending, read = b"", getattr(stream, "read1", stream.read)
    while block := read(_BYTES):
        pending += block
        end = max(pending.rfind(ends[i : i + 1]) for i in range(len(ends))) + 1
        if end:
            yield pending[:end]
            pending = pending[end:]
    if pending:
        yield pending


def _words() -> Iterator[str]:
    for block in _blocks(_standard_input(), b" \n\t\r\v\f"):
        for word in block.split():
            yield word.decode(errors="surrogateescape")


def _numbers(vector: np.ndarray) -> bytes:
    """Five digits of each, and a space behind it."""
    return b"%.5g " * len(vector) % tuple(vector.tolist())


def _tell_neighbours(found: Iterable[tuple[float, str]]) -> None:
    for score, word in found:
        _write(word.encode(errors="surrogateescape") + b" %.6g\n" % score)


def _prompt(text: str) -> None:
    _write(text.encode())
    sys.stdout.buffer.flush()


def _say(*lines: str) -> None:
    for line in lines:
        _write(line.encode(errors="surrogateescape") + b"\n")


def _write(text: bytes) -> None:
    sys.stdout.buffer.write(text)
