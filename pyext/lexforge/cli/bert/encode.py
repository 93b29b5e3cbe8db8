"""``lexforge bert encode``: vectors of the lines of a file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from lexforge._arguments import MAX_THREADS
from lexforge.cli._corpus import STANDARD_INPUT, reading_file, refuse_overwriting
from lexforge.cli._options import check_files
from lexforge.cli.bert._models import Device, Ids, Model, load, parse_ids


class What(str, Enum):
    """Which vectors."""

    POOLED = "pooled"
    CLS = "cls"
    MEAN = "mean"
    TOKENS = "tokens"


class Pairs(str, Enum):
    """How the two texts of a pair are separated."""

    TAB = "tab"


class Precision(str, Enum):
    """Of products and activations."""

    FLOAT32 = "float32"
    BF16 = "bf16"


def encode(
    model: Model,
    source: Annotated[
        str,
        typer.Argument(
            metavar="INPUT",
            help="File with a text a line (compressed ones too), or - for standard input.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", help="File: .npy or .safetensors.", show_default=False)
    ],
    what: Annotated[
        What | None,
        typer.Option(
            help="Vector of `<cls>` through the pooler (the default) or as it is, mean of all "
            "tokens, or all."
        ),
    ] = None,
    normalize: Annotated[
        bool | None,
        typer.Option("--normalize/--no-normalize", help="Divide each vector by its length."),
    ] = None,
    layers: Annotated[
        str,
        typer.Option(
            help="Layer (0 is the embedding, -1 the last), or several, separated by commas."
        ),
    ] = "-1",
    pairs: Annotated[
        Pairs | None, typer.Option(help="Lines are pairs A and B, separated by a tab.")
    ] = None,
    ids: Ids = False,
    max_len: Annotated[
        int | None,
        typer.Option(
            min=3, help="Most tokens, `<cls>` and `<sep>` included; all that the model has."
        ),
    ] = None,
    truncate: Annotated[
        bool, typer.Option("--truncate", help="Cut longer texts, which else are errors.")
    ] = False,
    batch_size: Annotated[
        int | None,
        typer.Option(min=1, help="Most texts computed together; some thousand tokens of them."),
    ] = None,
    precision: Annotated[
        Precision, typer.Option(help="bf16 is faster where the processor has it.")
    ] = Precision.FLOAT32,
    device: Device = "auto",
    workers: Annotated[
        int | None, typer.Option(min=1, max=MAX_THREADS, help="Threads; all cores.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing.")] = False,
) -> None:
    """Turn each line of a file into vectors, in the order of the lines.

    A .npy file is one array: a row for each line (and with several --layers an axis for them).
    A .safetensors file has it as `vectors`. With --what tokens, for .safetensors, the rows are
    tokens, `offsets` tells where each line begins, and `token_ids` what the tokens are.

    Lines are text for every model whose folder has a tokenizer: tokenizer.json, or vocab.txt. A
    folder of sentence-transformers says itself what the vectors are, through which layers they go
    and whether they are normalized: that is the default there.

    Examples:

    - `lexforge bert encode model/ reviews.txt --out reviews.npy`
    - `lexforge bert encode model/ pairs.tsv --pairs tab --out pairs.safetensors`
    - `lexforge bert encode model/ text.txt --what tokens --layers -1,-2 --out text.safetensors`
    - `lexforge bert encode bert-base-uncased/ reviews.txt --what mean --normalize --out v.npy`
    - `lexforge bert encode bert-base-uncased/ ids.txt --ids --out vectors.npy`
    """
    wanted = _layers(layers)
    check_files(out)
    refuse_overwriting(source, [out])
    if source != STANDARD_INPUT and Path(source).is_dir():
        raise typer.BadParameter(f"{source} must be a file of texts, and is a folder")

    import time

    import torch

    from lexforge._library import kernel_threads
    from lexforge.models.bert.encoding import EncodingCounts, encode_stream
    from lexforge.models.bert.encoding_files import check_vector_file, vector_file
    from lexforge.models.bert.pooling import read_pooling
    from lexforge.text.files import open_text
    from lexforge.training.progress import Progress, clock, count

    if not model.is_dir():
        raise typer.BadParameter(f"MODEL must be a folder, and {model} is none")
    pooling = read_pooling(model) if what is None else None
    wish = pooling.what if pooling else (what.value if what else "pooled",)
    if normalize is None:
        normalize = pooling is not None and pooling.normalize
    check_vector_file(out, wish[0])
    if workers is not None:
        torch.set_num_threads(kernel_threads(workers))
    encoder = model if pooling is None else pooling.folder
    bert, tokenizer = load(encoder, device, ids)
    if max_len is None and pooling is not None and pooling.max_len is not None:
        max_len = min(pooling.max_len, bert.config.max_positions)
    metadata = {"what": "+".join(wish), "layers": layers, "model": model.resolve().name}
    counts = EncodingCounts()
    with (
        Progress(not quiet) as progress,
        reading_file(source, progress.say) as path,
        open_text(path, errors="strict") as (file, _),
    ):
        report = progress.phase("encoding", "texts")
        total = None
        if report:
            with open_text(path, errors="strict") as (lines, _):
                total = sum(1 for _ in lines)
        start = time.perf_counter()
        windows = encode_stream(
            bert,
            tokenizer,
            _texts(
                file,
                split=pairs is not None,
                ids=ids,
                lowercase=pooling is not None and pooling.lowercase,
            ),
            what=wish,
            layers=wanted,
            batch_size=batch_size,
            max_len=max_len,
            truncate=truncate,
            precision=precision.value,
            normalize=normalize,
            dense=None if pooling is None else pooling.dense,
            name=_line,
        )
        with vector_file(out, metadata) as vectors:
            if report:
                report(0, total)
            for window in windows:
                vectors.append(window)
                counts.add(window.counts)
                if report:
                    report(counts.texts, total)
        seconds = max(time.perf_counter() - start, 1e-9)
        progress.say(
            f"{out}: {counts.texts:,} texts, {counts.tokens:,} tokens in {clock(seconds)}: "
            f"{count(counts.texts / seconds)} texts/s, {count(counts.tokens / seconds)} tokens/s"
        )
        if counts.unknown:
            progress.say(
                f"{counts.unknown:,} of {counts.words:,} words ({counts.unknown_share:.1%}) are "
                f"not in the vocabulary"
            )
        if counts.truncated:
            progress.say(f"{counts.truncated:,} of {counts.texts:,} texts were cut")
        reader = "numpy.load" if out.suffix == ".npy" else "safetensors.numpy.load_file"
        progress.say(f"read it in Python: {reader}({str(out)!r})")


def _layers(text: str) -> int | list[int]:
    try:
        numbers = [int(number) for number in text.split(",")]
    except ValueError:
        raise typer.BadParameter(
            f"--layers must be numbers, separated by commas, got {text!r}"
        ) from None
    return numbers[0] if len(numbers) == 1 else numbers


def _line(number: int) -> str:
    return f"line {number + 1}"


def _texts(
    file: Iterable[bytes], *, split: bool, ids: bool, lowercase: bool = False
) -> Iterator[Any]:
    """The texts of the lines, as :func:`lexforge.bert.encode` takes them."""
    for number, line in enumerate(file):
        try:
            text = line.decode("utf-8" if number else "utf-8-sig").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise ValueError(
                f"encode: {_line(number)} must be UTF-8, got byte {line[error.start]:#x} "
                f"at {error.start + 1}"
            ) from None
        if lowercase:
            text = text.lower()
        parts = text.split("\t") if split else [text]
        if split and len(parts) != 2:
            raise ValueError(
                f"encode: {_line(number)} must be two texts with a tab between, got {len(parts)}"
            )
        texts: list[Any] = list(parts)
        if ids:
            texts = [parse_ids(part, f"encode: {_line(number)}") for part in parts]
        yield tuple(texts) if split else texts[0]
