"""``lexforge bert pretrain``: BERT on masked words and next sentences."""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lexforge.cli._corpus import STANDARD_INPUT, reading, refuse_overwriting
from lexforge.cli._network import NetworkRunOptions, displayed, tell_end, train_network
from lexforge.cli._options import Given, Recipe, options, resources
from lexforge.models import settings as common
from lexforge.models.bert.settings import STANDARD, PretrainingSettings
from lexforge.models.network_settings import EvaluationSettings
from lexforge.models.settings import corpus as of_corpus
from lexforge.models.settings import evaluation, model

if TYPE_CHECKING:
    from lexforge.models.bert.trainer import PretrainingResult
    from lexforge.training.progress import Progress

CONFIG_HELP = "reference (2 layers of 128; the default), standard (BERT-base), or a model's folder."
TOKENIZER_HELP = "words (between spaces; the default), wordpiece or bpe (of CORPUS), or a folder."
SIZE_HELP = "Tokens of wordpiece or bpe; 16,000 by default."
EVAL_HELP = "Text not trained on, measured in between; the best model stays in `--out/best`."
GRAPHS_HELP = "On a GPU, start the kernels of a step together rather than one by one."
GRAPHS = "--cuda-graphs/--no-cuda-graphs"


@dataclass(frozen=True)
class ShapeOptions:
    """What is changed of the model's shape."""

    num_layers: int | None = model(None, "Blocks.", low=0, names="--layers --")
    hidden_size: int | None = model(None, "Numbers per token.", low=1)
    num_heads: int | None = model(
        None, "Attention heads; they divide the hidden size.", low=1, names="--heads --"
    )
    intermediate_size: int | None = model(
        None, "Width of the feed-forward layers.", low=1, names="--ffn-size --"
    )
    dropout: float | None = model(None, "Share dropped, of attention too.", low=0, high=1)


@dataclass(frozen=True)
class PretrainingOptions:
    """What else there is to say."""

    config: str | None = model(None, CONFIG_HELP, metavar="NAME|FOLDER")
    tokenizer: str | None = of_corpus(None, TOKENIZER_HELP, metavar="NAME|FOLDER")
    vocab_size: int | None = of_corpus(None, SIZE_HELP, low=1)
    min_count: int = common.min_count(help="Rarer words become `<unk>`.", low=1)
    epochs: int | None = common.epochs(None, "Instead of --steps.")
    eval_file: str | None = evaluation(None, EVAL_HELP, metavar="CORPUS", names="-- --dev")
    cuda_graphs: bool = resources(True, GRAPHS_HELP, names=GRAPHS)


@options
def pretrain(
    corpus: Annotated[
        str,
        typer.Argument(
            help="Text file, folder of such, data set name (wikitext-2), or - for standard input.",
            show_default=False,
        ),
    ],
    shape: Annotated[Given, ShapeOptions],
    given: Annotated[Given, PretrainingSettings, Recipe(STANDARD, "with another model")],
    others: PretrainingOptions,
    evaluated: Annotated[Given, EvaluationSettings],
    run: NetworkRunOptions,
) -> None:
    """Pretrain BERT: masked words and next sentences (Devlin et al. 2019).

    CORPUS is text with a paragraph a line; lines of one sentence are left out. Sentences end at
    " . ", as in WikiText, or, where more lines are prose, at . ! ? before a capital or a digit (but
    not behind initials and Mr, Dr, ...). Words are taken as they stand between spaces, in lower
    case; --tokenizer wordpiece makes pieces of them, as published BERT has, and is for prose; bpe
    makes byte pairs, as GPT-2 has. A folder may be of `lexforge bpe train`, GPT-2's vocab.json and
    merges.txt, or of any tokenizer.json; special tokens that it lacks are added behind its tokens.

    With nothing else a small model trains for 50 steps: minutes, in which it learns how frequent
    words are and little else. The masked-word loss (MLM) begins near 10 and soon stays near 7; a
    longer run goes on from there with a lower rate, say --lr 0.001. The next-sentence loss (NSP)
    of guessing is 0.69. Accuracies are shown too, and the share of padding that is never computed.

    --out holds the model in Hugging Face's layout with its tokenizer, and all that --resume needs;
    a run that is interrupted and resumed ends as if it had not been, to the last bit. transformers
    loads both, but no model of the reference kind, which has no norm of its embeddings: it loads
    --config standard of any size, and --config FOLDER goes on with a published model.

    Examples:

    - `lexforge bert pretrain wikitext-2 --out bert/`
    - `lexforge bert pretrain wiki.txt --out bert/ --steps 20000 --lr 0.001 --precision bf16`
    - `lexforge bert pretrain wiki.txt --out bert/ --resume`
    - `lexforge bert pretrain wiki.txt --out bert/ --eval-file held-out.txt --early-stopping 3`
    - `lexforge bert pretrain wiki.txt --out bert/ --eval-share 0.01 --tokenizer bpe`
    - `lexforge bert pretrain wiki.txt --out base/ --config standard --epochs 10 --accumulation 8`
    - `lexforge bert pretrain news.txt --out news/ --config bert-base-uncased/ --epochs 1`
    - `lexforge bert pretrain prose.txt --out bert/ --config standard --layers 4 --hidden-size 256
      --heads 4 --ffn-size 1024 --tokenizer wordpiece --vocab-size 16000 --whole-words`
    """
    if "steps" in given and others.epochs is not None:
        raise typer.BadParameter("give either --steps or --epochs")
    shared = given.get("eval_share", 0)
    if others.eval_file is not None and shared:
        raise typer.BadParameter("give either --eval-file or --eval-share")
    if evaluated and others.eval_file is None and not shared and not run.resume:
        raise typer.BadParameter(
            "--eval-every and --early-stopping need --eval-file or --eval-share"
        )
    if corpus == others.eval_file == STANDARD_INPUT:
        raise typer.BadParameter("standard input is CORPUS or --eval-file, not both")
    run.check()
    for read in (corpus, others.eval_file):
        refuse_overwriting(read, run.outputs)
    if "dropout" in shape:
        shape["attention_dropout"] = shape["dropout"]
    held_out = others.eval_file
    with (
        displayed(run) as progress,
        reading(corpus, run.outputs, progress.say) as source,
        nullcontext()
        if held_out is None
        else reading(held_out, run.outputs, progress.say) as unseen,
    ):
        from lexforge.models.bert.trainer import pretrain as train

        result = train_network(
            train,
            source,
            run,
            progress,
            ("bert", "pretrain", corpus),
            () if held_out is None else ("--eval-file", held_out),
            config=others.config,
            shape=shape,
            tokenizer=others.tokenizer,
            vocab_size=others.vocab_size,
            min_count=others.min_count,
            resume=run.resume,
            epochs=others.epochs,
            eval_file=unseen,
            cuda_graphs=others.cuda_graphs,
            **given,
            **evaluated,
        )
        _tell_result(result, run.out, progress)


def _tell_result(result: PretrainingResult, out: Path | None, progress: Progress) -> None:
    from lexforge.training.progress import count

    state = result.state
    end, whole = state.history[-1], state.totals
    done = (
        f"{count(state.sequences)} pairs, {count(state.tokens)} tokens, "
        f"{state.sequences_per_second:.0f} pairs/s, {count(state.tokens_per_second)} tokens/s, "
        f"padding saved {state.padding_saved:.0%}"
    )
    told = [
        f"MLM loss {end['mlm_loss']:.3f} at the end, {whole.mlm_loss:.3f} over the run; accuracy "
        f"{end['mlm_accuracy']:.1%}",
        f"NSP loss {end['nsp_loss']:.3f} at the end, {whole.nsp_loss:.3f} over the run; accuracy "
        f"{end['nsp_accuracy']:.1%}",
    ]
    if (best := state.best_evaluation) is not None:
        told.append(
            f"best on held-out text at step {best['step']}: MLM loss {best['mlm_loss']:.3f}, NSP "
            f"loss {best['nsp_loss']:.3f}" + ("" if out is None else f"  {out / 'best'}")
        )
    note = (
        "transformers loads it: AutoTokenizer, AutoModelForPreTraining"
        if result.model.config.published
        else "transformers loads its tokenizer only: its BERT has a norm of the embeddings "
        "(--config standard)"
    )
    then = ("bert", "encode", out, "LINES.txt", "--out", "vectors.npy")
    tell_end(progress, state, out, done, told, [note], then)
