"""lexforge convert: vectors from one file format to another."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lexforge.cli import _vectors
from lexforge.cli._messages import similar_hint, tell
from lexforge.cli._options import check_files, check_folder

if TYPE_CHECKING:
    from lexforge.vectors import KeyedVectors

FROM_HELP = (
    "Format of IN; auto recognises it from the content, but for gensim, whose own files can run "
    "code when they are loaded."
)


def convert(
    source: Annotated[str, typer.Argument(metavar="IN", help="Vector file, or checkpoint folder.")],
    target: Annotated[str, typer.Argument(metavar="OUT", help="File to write.")],
    from_format: Annotated[str, typer.Option("--from", help=FROM_HELP)] = "auto",
    to_format: Annotated[
        str | None, typer.Option("--to", help="Format of OUT; by its suffix when not given.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=0, help="Convert the first rows only.")] = None,
    dtype: Annotated[
        str | None,
        typer.Option(help="float32, float16, float64 (safetensors, npy), bfloat16 (safetensors)."),
    ] = None,
    errors: Annotated[
        str,
        typer.Option(help="Tokens that are not in the encoding: strict, replace, ignore or skip."),
    ] = "strict",
    encoding: _vectors.Encoding = "utf-8",
) -> None:
    """Convert word vectors between formats, and tell what the new file does not hold.

    Formats and their suffixes: text (.txt, .vec: word2vec and fastText text), binary (.bin:
    word2vec), glove (.glove: text without a header), safetensors, npy (words in NAME.vocab.txt
    beside it), projector (.tsv: TensorBoard, words in metadata.tsv beside it), and, read only,
    checkpoint (a folder), stanford (.bin of GloVe, words in vocab.txt beside it) and fasttext (.bin
    and .ftz of fastText).
    Text and binary files may be compressed: .gz, .bz2, .xz.

    What gensim's save() wrote is loaded by gensim, where it is installed, with --from gensim; do
    that with files you trust. A Word2Vec model of its becomes one of ours with --to checkpoint.

    Examples:

    - `lexforge convert glove.6B.50d.txt glove.bin`
    - `lexforge convert vectors.bin vectors.vec.gz --limit 100000`
    - `lexforge convert vectors.txt small.safetensors --dtype float16`
    - `lexforge convert vectors.bin tensors.tsv`
    - `lexforge convert word2vec.model model/ --from gensim --to checkpoint`
    """
    theirs = from_format == "gensim"
    if theirs and (errors != "strict" or encoding != "utf-8"):
        raise typer.BadParameter("--errors and --encoding are for text and binary files")
    if theirs and to_format == "checkpoint":
        if limit is not None or dtype is not None:
            raise typer.BadParameter("--limit and --dtype are for files, not for --to checkpoint")
        return _convert_model(source, Path(target))
    check_files(Path(target))

    from lexforge.vectors import save_vectors
    from lexforge.vectors.formats.files import format_by_suffix

    start, output_table = time.perf_counter(), False
    to_format = to_format or format_by_suffix(target)
    if theirs:
        kv, output_table = _gensim_vectors(source, limit)
    else:
        read = {"format": from_format, "limit": limit, "errors": errors, "encoding": encoding}
        kv = _vectors.load(source, **read)
    save_vectors(kv, target, to_format, dtype=dtype)
    seconds = time.perf_counter() - start
    size = f"{len(kv):,} words, {kv.vector_size} dimensions"
    tell(f"{target}: {size}, {seconds:.1f} s")
    for loss in _losses(kv, source, to_format, dtype, output_table=output_table):
        tell(f"not in the new file: {loss}")
    if to_format == "projector":
        tell("look at it: tensorboard, or Load at https://projector.tensorflow.org")
    elif len(kv):
        tell(similar_hint(target, kv.index_to_key))


def _convert_model(source: str, folder: Path) -> None:
    """A model of gensim's as one of ours, to be trained on."""
    from lexforge.models.word2vec.model import Word2Vec
    from lexforge.training.checkpoint import is_checkpoint

    check_folder("OUT", folder)
    if is_checkpoint(folder):
        raise typer.BadParameter(f"{folder} holds a run or a model: give another folder")
    model = Word2Vec.from_gensim(_gensim_object(source))
    model.save(folder)
    words = [] if model.wv is None else model.wv.index_to_key
    tell(f"{folder}: {len(words):,} words, {model.vector_size} dimensions, all tables")
    tell(similar_hint(folder, words))


def _gensim_vectors(source: str, limit: int | None) -> tuple[KeyedVectors, bool]:
    """Of a file that gensim wrote: a model of any kind with word vectors, or these alone.

    Returns:
        The vectors, and whether the model has an output table besides.
    """
    from lexforge.vectors import KeyedVectors

    found = _gensim_object(source)
    kv = getattr(found, "wv", found)
    if not hasattr(kv, "index_to_key"):
        raise ValueError(f"{source} holds no word vectors, but a {type(found).__name__}")
    counts = kv.expandos.get("count")
    vectors = KeyedVectors(
        kv.index_to_key[:limit], kv.vectors[:limit], None if counts is None else counts[:limit]
    )
    return vectors, any(hasattr(found, table) for table in ("syn1neg", "syn1"))


def _gensim_object(source: str) -> Any:
    """What gensim's ``load`` makes of it."""
    try:
        from gensim.utils import SaveLoad
    except ModuleNotFoundError:
        raise ModuleNotFoundError("--from gensim needs gensim: pip install gensim") from None
    with open(source, "rb"):
        pass  # an error of ours for a file that is not there
    try:
        return SaveLoad.load(source)
    except Exception as error:
        raise ValueError(f"{source}: gensim cannot load it: {error}") from error


def _losses(
    kv: KeyedVectors, source: str, format: str, dtype: str | None, *, output_table: bool
) -> list[str]:
    """What a file of that format leaves out of `source`, in words.

    Args:
        output_table: whether `source` holds one besides the vectors; a folder always does.
    """
    losses = []
    if output_table:
        losses.append("the output table (syn1neg, syn1): --to checkpoint keeps that of a Word2Vec")
    if kv.ngrams is not None and format != "safetensors":
        losses.append("the n-grams, so that words it does not hold have no vectors there")
    if Path(source).is_dir():
        losses.append("the output table and the training state, so training cannot go on from it")
    if "count" in kv.expandos and format in ("text", "binary", "glove"):
        losses.append("word counts (safetensors and npy keep them)")
    if (others := kv.expandos.keys() - {"count"}) and format != "safetensors":
        losses.append(f"attributes of words (safetensors keeps them): {', '.join(sorted(others))}")
    if dtype in ("float16", "bfloat16"):
        losses.append(f"precision beyond {dtype}")
    if Path(source).suffix == ".vec":
        losses.append("sub-word vectors, if this is a fastText file: already absent from a .vec")
    return losses
