"""``lexforge fasttext CORPUS``: word vectors with sub-words from a corpus."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lexforge.cli._options import Corpus, Given, RunOptions, counting, options, output
from lexforge.cli._training import FILE_NAMES, Format, write_vectors
from lexforge.cli._word_training import StartFromOptions, train_words
from lexforge.models.fasttext.settings import FastTextSettings

if TYPE_CHECKING:
    from lexforge.models.fasttext.model import FastText


@dataclass(frozen=True)
class FileOptions:
    """What is read and written beside the run's own folder."""

    bin: Path | None = output(None, "Also write the model as fastText's own file.")
    vec: Path | None = output(None, "Also write the vectors of words as text, as fastText does.")
    format: Format | None = output(None, "Also write the vectors as a file for other programs.")
    cache: Path | None = counting(None, "Keep the encoded corpus in this folder, for further runs.")
    save_vocab: Path | None = counting(None, "Write words and counts here.", names="-- -")
    read_vocab: Path | None = counting(None, "Take words and counts from here.", names="-- -")


@options
def train(
    given: Annotated[Given, FastTextSettings],
    run: RunOptions,
    start: StartFromOptions,
    files: FileOptions,
    corpus: Corpus = None,
) -> None:
    """Train word vectors with sub-words (fastText; CBOW or skip-gram) on a text corpus.

    A word's vector is the mean of a row of its own and those of its character n-grams (--min-n to
    --max-n, of the word between < and >). So words that are rare learn from words that look like
    them, and words that never occurred have vectors too: `lexforge similar vectors/ anyword`. In
    all else this is `lexforge word2vec`, with its options.

    The word `train` may be left out. N-grams share --bucket rows by their hashes; rows are made
    for those only that the words of the corpus use. With --workers 1 or --deterministic a run is
    the same to the last bit every time.

    Examples:

    - `lexforge fasttext corpus.txt --out vectors/`
    - `lexforge fasttext train corpus.txt --out vectors/ --sg 1 --bin model.bin`
    - `lexforge fasttext wiki/ --out wiki-300/ --sg 1 --vector-size 300 --epochs 3`
    - `lexforge fasttext wiki/ --out wiki-300/ --resume`
    - `lexforge fasttext worte.txt --out de/ --min-n 2 --max-n 5 --vec de.vec`
    """
    if run.out is None and files.bin is None and files.vec is None:
        raise typer.BadParameter("say where the result goes: --out FOLDER (or --bin FILE)")
    train_words(
        _kind,
        given,
        run,
        start,
        corpus=corpus,
        cache=files.cache,
        save_vocab=files.save_vocab,
        read_vocab=files.read_vocab,
        files=(files.bin, files.vec),
        write=lambda model: _write_files(model, run.out, files),
    )


def _kind() -> type[FastText]:
    from lexforge.models.fasttext.model import FastText

    return FastText


def _write_files(model: FastText, out: Path | None, files: FileOptions) -> list[Path]:
    """The files that were asked for."""
    written = []
    if files.bin is not None:
        from lexforge.models.fasttext.files import save_facebook_model

        save_facebook_model(model, files.bin)
        written.append(files.bin)
    if files.vec is not None:
        write_vectors(model.wv, files.vec, Format.TEXT)
        written.append(files.vec)
    if out is not None and files.format is not None:
        written.append(out / FILE_NAMES[files.format])
        write_vectors(model.wv, written[-1], files.format)
    return written
