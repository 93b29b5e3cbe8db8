"""``lexforge word2vec``: word vectors from a corpus."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lexforge.cli._options import (
    Corpus,
    Given,
    RunOptions,
    counting,
    options,
    output,
    tool,
)
from lexforge.cli._training import FILE_NAMES, Format, write_vectors
from lexforge.cli._word_training import StartFromOptions, train_words
from lexforge.models.word2vec.settings import Word2VecSettings

if TYPE_CHECKING:
    from lexforge.models.word2vec.model import Word2Vec
    from lexforge.vectors import KeyedVectors


@dataclass(frozen=True)
class FileOptions:
    """What is read and written beside the run's own folder."""

    format: Format | None = output(None, "Also write the vectors as a file for other programs.")
    cache: Path | None = counting(None, "Keep the encoded corpus in this folder, for further runs.")
    train: str | None = tool(None, "Same as CORPUS.")
    output: Path | None = tool(None, "Write the vectors to this file.")
    binary: int = tool(0, "1: -output is a binary file.", low=0, high=1)
    save_vocab: Path | None = tool(None, "Write words and counts here.")
    read_vocab: Path | None = tool(None, "Take words and counts from here.")
    cbow: int | None = tool(None, "1: CBOW; 0: skip-gram, as --sg 1.", low=0, high=1)
    classes: int = tool(0, "0; see scikit-learn's KMeans.", low=0, hidden=True)


@options
def word2vec(
    given: Annotated[Given, Word2VecSettings],
    run: RunOptions,
    start: StartFromOptions,
    files: FileOptions,
    corpus: Corpus = None,
) -> None:
    """Train word vectors (CBOW or skip-gram) on a text corpus.

    CORPUS is plain text with words between spaces; prepare it as you like it (lower case, without
    punctuation), the words are taken as they stand. CBOW, the default, predicts a word from the
    words around it together; skip-gram (--sg 1) from each by itself, which is slower, and often
    better for rare words and small corpora. The prediction is tested against noise words
    (--negative) or goes through a tree of the vocabulary (--hs 1 --negative 0), or both.

    Speed is shown in corpus words per second, loss per word (of skip-gram per pair of word and
    context), noise included: it starts near 4.2 with 5 noise words and falls. With --workers 1 or
    --deterministic a run is the same to the last bit every time.

    A small corpus wants more epochs (10 to 30), a large one can do with 3; for large ones 300 is a
    common vector size.

    Examples:

    - `lexforge word2vec corpus.txt --out vectors/`
    - `lexforge word2vec wiki/ --out wiki-300/ --sg 1 --vector-size 300 --window 8 --epochs 3`
    - `lexforge word2vec wiki/ --out wiki-300/ --resume`
    - `lexforge word2vec -train text8 -output vec.txt -size 200 -threads 2 -cbow 0`
    """
    if corpus is not None and files.train is not None:
        raise typer.BadParameter("give the corpus once: as CORPUS or with -train")
    corpus = corpus or files.train
    if files.cbow is not None and given.setdefault("sg", 1 - files.cbow) == files.cbow:
        raise typer.BadParameter(
            f"-cbow {files.cbow} and --sg {files.cbow} are two models: give one of them"
        )
    if files.classes:
        raise typer.BadParameter(
            "-classes: words are not put into classes here; cluster the vectors, with "
            "scikit-learn's KMeans for one"
        )
    if run.out is None and files.output is None:
        raise typer.BadParameter("say where the result goes: --out FOLDER (or -output FILE)")
    train_words(
        _kind,
        given,
        run,
        start,
        corpus=corpus,
        cache=files.cache,
        save_vocab=files.save_vocab,
        read_vocab=files.read_vocab,
        files=(files.output,),
        write=lambda model: _write_files(model.wv, run.out, files),
    )


def _kind() -> type[Word2Vec]:
    from lexforge.models.word2vec.model import Word2Vec

    return Word2Vec


def _write_files(vectors: KeyedVectors, out: Path | None, files: FileOptions) -> list[Path]:
    """The vector files that were asked for."""
    written = []
    if files.output is not None:
        format = Format.BINARY if files.binary else files.format or Format.TEXT
        write_vectors(vectors, files.output, format)
        written.append(files.output)
    if out is not None and files.format is not None:
        written.append(out / FILE_NAMES[files.format])
        write_vectors(vectors, written[-1], files.format)
    return written
