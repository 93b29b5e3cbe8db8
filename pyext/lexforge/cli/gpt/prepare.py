"""``lexforge gpt prepare``: the tokens of a text as numbers, to train on."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import typer

from lexforge._display import shell_command
from lexforge.cli._corpus import reading, refuse_overwriting
from lexforge.cli._options import check_folder, options, output, quietly
from lexforge.models import settings as common
from lexforge.models.settings import corpus as of_corpus
from lexforge.models.settings import evaluation

TOKENIZER_HELP = "characters, bpe (trained on CORPUS), or a folder with a tokenizer."
SHARE_HELP = "Of the text, at its end: held out."
SEPARATOR_HELP = "Between the texts of a file; each file is one without it."


@dataclass(frozen=True)
class TextOptions:
    """How the text is read and cut."""

    tokenizer: str = of_corpus("characters", TOKENIZER_HELP, metavar="NAME|FOLDER")
    vocab_size: int | None = of_corpus(None, "Tokens of bpe; 8,000 by default.", low=1)
    separator: str | None = of_corpus(None, SEPARATOR_HELP)
    encoding: str = common.encoding()
    errors: str | None = common.errors()
    eval_share: float = evaluation(0.1, SHARE_HELP, low=0, high=1, names="-- --dev-share")


@dataclass(frozen=True)
class PlaceOptions:
    """Where the result goes."""

    out: Path | None = output(None, "Folder for the numbers and the tokenizer.")
    overwrite: bool = output(False, "Replace the data there.")
    quiet: bool = quietly()


@options
def prepare(
    text: TextOptions,
    place: PlaceOptions,
    corpus: str = typer.Argument(
        help="Text file (compressed, too), folder of such files, data set name, or - for "
        "standard input.",
        show_default=False,
    ),
) -> None:
    """Number the tokens of a text, and hold its end out.

    --out then holds train.bin and val.bin, numbers of 16 bits (32 for more than 65,536 tokens) as
    nanoGPT has them, meta.json, and the tokenizer. Byte pairs and published tokenizers with an end
    token, such as `<|endoftext|>`, put it after every text.

    Examples:

    - `lexforge gpt prepare shakespeare.txt --out data/`
    - `lexforge gpt prepare books/ --out data/ --tokenizer bpe --vocab-size 8000`
    - `lexforge gpt prepare stories.txt --out data/ --tokenizer gpt2/ --separator "<|endoftext|>"`
    """
    from lexforge.models.gpt.data import BPE
    from lexforge.models.gpt.data import prepare as number
    from lexforge.training.progress import Progress, clock, count

    if place.out is None:
        raise typer.BadParameter("say where the numbers go: --out FOLDER")
    if text.vocab_size is not None and text.tokenizer != BPE:
        raise typer.BadParameter("--vocab-size is for --tokenizer bpe")
    check_folder("--out", place.out)
    if (place.out / "train.bin").exists() and not place.overwrite:
        raise typer.BadParameter(f"{place.out} holds data: --overwrite it")
    refuse_overwriting(corpus, (place.out,))
    given = {name: value for name, value in vars(text).items() if value is not None}
    start = time.perf_counter()
    with (
        Progress(not place.quiet) as progress,
        reading(corpus, (place.out,), progress.say) as source,
    ):
        data = number(source, place.out, overwrite=place.overwrite, **given)
        progress.say(
            f"{data.vocab_size:,} tokens in the vocabulary, {count(len(data.train))} to train on, "
            f"{count(len(data.held_out))} held out, in {clock(time.perf_counter() - start)}"
        )
        progress.say(f"  {place.out}")
        again = shell_command("lexforge", "gpt", "train", place.out, "--out", "model")
        progress.say(f"try: {again}")
