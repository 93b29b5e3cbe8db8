"""``lexforge gpt train``: a GPT from scratch, or further."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from lexforge.cli._options import Given, options, output, resources
from lexforge.cli._settings_file import add_settings, split_sources
from lexforge.cli.gpt._run import GPTRunOptions, run_training
from lexforge.models.gpt.settings import RECIPES, GPTEvaluation, GPTSettings, ShapeSettings
from lexforge.models.settings import corpus as of_corpus
from lexforge.models.settings import model

INIT_HELP = "scratch, resume (the run in --out), or a model's folder or ckpt.pt."
RECIPE_HELP = "Other defaults: small (a CPU's), char (10 M parameters), gpt2 (124 M)."
GRAPHS_HELP = "On a GPU, start the kernels of a step together rather than one by one."
META_HELP = "Unpickle nanoGPT's meta.pkl in DATA, which can run anything."
SAVE_HELP = "Save the run after each evaluation, better or not."
SOURCES_HELP = "Folder of `lexforge gpt prepare`; a file of settings, `.toml`, may go before it."
Sources = Annotated[
    list[str] | None,
    typer.Argument(help=SOURCES_HELP, metavar="DATA", show_default=False),
]


@dataclass(frozen=True)
class TrainOptions:
    """What else there is to say."""

    data: str | None = of_corpus(
        None, "DATA, where a file of settings says it.", names="-- --dataset"
    )
    recipe: str = model("small", RECIPE_HELP, choices=tuple(RECIPES))
    init_from: str = model("scratch", INIT_HELP, metavar="NAME|FOLDER")
    pickled_meta: bool = of_corpus(False, META_HELP)
    always_save_checkpoint: bool = output(False, SAVE_HELP)
    cuda_graphs: bool = resources(True, GRAPHS_HELP, names="--cuda-graphs/--no-cuda-graphs")


@options
def train(
    shape: Annotated[Given, ShapeSettings],
    given: Annotated[Given, GPTSettings],
    other: Annotated[Given, TrainOptions],
    evaluated: Annotated[Given, GPTEvaluation],
    running: Annotated[Given, GPTRunOptions],
    sources: Sources = None,
) -> None:
    """Train a GPT to predict the next token (Radford et al. 2019), in nanoGPT's habits.

    Options have nanoGPT's names, with dashes or underscores, and stand on the command line or in a
    file of settings, over which the command line goes. The defaults train nanoGPT's small model of
    characters in minutes on a CPU; what is held out is measured in between, and the best model
    stays in `--out/best`.

    --out holds the model in the layout of GPT-2 with its tokenizer, and all that --resume needs; a
    run that is interrupted and resumed ends as if it had not been, to the last bit. transformers
    loads models with --bias.

    Examples:

    - `lexforge gpt train data/ --out model/`
    - `lexforge gpt train data/ --out model/ --recipe char --device cuda --dtype bf16`
    - `lexforge gpt train recipe.toml data/ --out model/ --max_iters 5000`
    - `lexforge gpt train data/ --out model/ --init_from resume`
    - `lexforge gpt train data/ --out tuned/ --init_from gpt2/ --max_iters 200 --lr 3e-5`
    """
    file, data = split_sources(sources or ())
    groups: dict[type, Given] = {
        ShapeSettings: shape,
        GPTSettings: given,
        TrainOptions: other,
        GPTEvaluation: evaluated,
        GPTRunOptions: running,
    }
    add_settings(file, groups)
    others = TrainOptions(**other)
    resumed = others.init_from == "resume" or bool(running.get("resume"))
    if others.init_from == "scratch" and not resumed:
        add_settings(None, groups, RECIPES[others.recipe])
    elif "recipe" in other:
        raise typer.BadParameter("--recipe is for models from scratch")
    if others.init_from not in ("scratch", "resume") and resumed:
        raise typer.BadParameter("--init-from starts a run, and --resume continues one")
    run = GPTRunOptions(**{**running, "resume": resumed})
    place = others.data if data is None else data
    if place is None:
        raise typer.BadParameter("give DATA, a folder of `lexforge gpt prepare`")
    run.check()

    from lexforge.models.gpt.trainer import RESUME
    from lexforge.models.gpt.trainer import train as train_it

    run_training(
        train_it,
        "train",
        place,
        run,
        init_from=RESUME if resumed else others.init_from,
        shape=shape,
        settings=given,
        evaluation=evaluated,
        always_save_checkpoint=others.always_save_checkpoint,
        pickled_meta=others.pickled_meta,
        cuda_graphs=others.cuda_graphs,
    )
