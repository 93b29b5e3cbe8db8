"""Options of the training commands: a help, limits and spellings for each of them."""

from __future__ import annotations

import ast
import functools
import inspect
from dataclasses import fields
from pathlib import Path

import pytest
import typer.main

from lexforge.cli import cooccurrence, glove, phrases, word2vec
from lexforge.cli._classification import ClassifierOptions, ColumnOptions, PairColumnOptions
from lexforge.cli._network import NetworkRunOptions
from lexforge.cli._options import (
    CountingOptions,
    RunOptions,
    StartOptions,
    WorkOptions,
    check_files,
    check_folder,
    merged,
)
from lexforge.cli._word_training import StartFromOptions
from lexforge.cli.bert import finetune, pretrain
from lexforge.cli.bpe import train as bpe
from lexforge.cli.fasttext import _verbs as verbs
from lexforge.cli.fasttext import train as fasttext
from lexforge.cli.gpt import finetune as gpt_finetune
from lexforge.cli.gpt import prepare
from lexforge.cli.gpt import train as gpt_train
from lexforge.cli.main import app
from lexforge.cli.sentiment import train as sentiment
from lexforge.models.bert.settings import PretrainingSettings
from lexforge.models.classification.settings import (
    BiRNNConfig,
    DecomposableConfig,
    FinetuningSettings,
    TextCNNConfig,
    TrainingSettings,
)
from lexforge.models.classification.settings import EvaluationSettings as ClassifierEvaluation
from lexforge.models.cooccurrence.settings import CooccurrenceSettings
from lexforge.models.fasttext.settings import FastTextSettings
from lexforge.models.glove.settings import GloVeSettings
from lexforge.models.gpt.settings import (
    GPTEvaluation,
    GPTSettings,
    ShapeSettings,
    TuningSettings,
)
from lexforge.models.network_settings import EvaluationSettings
from lexforge.models.word2vec.settings import Word2VecSettings
from lexforge.training.memory import parse_bytes
from lexforge.training.settings import knobs

GROUPS = {
    "word2vec": (Word2VecSettings, RunOptions, StartFromOptions, word2vec.FileOptions),
    "fasttext train": (FastTextSettings, RunOptions, StartFromOptions, fasttext.FileOptions),
    "glove": (GloVeSettings, CountingOptions, RunOptions, StartOptions, glove.FileOptions),
    "cooccurrence": (
        CooccurrenceSettings, CountingOptions, WorkOptions, cooccurrence.FileOptions,
    ),
    "gpt train": (
        ShapeSettings, GPTSettings, gpt_train.TrainOptions, GPTEvaluation, gpt_train.GPTRunOptions,
    ),
    "gpt finetune": (
        TuningSettings, gpt_finetune.TuneOptions, EvaluationSettings, gpt_train.GPTRunOptions,
    ),
    "bert pretrain": (
        pretrain.ShapeOptions, PretrainingSettings, pretrain.PretrainingOptions,
        EvaluationSettings, NetworkRunOptions,
    ),
    "bert finetune": (
        FinetuningSettings, PairColumnOptions, finetune.FinetuningOptions,
        ClassifierEvaluation, NetworkRunOptions,
    ),
    "sentiment train": (
        sentiment.KindOptions, merged(TextCNNConfig, BiRNNConfig), TrainingSettings, ColumnOptions,
        ClassifierOptions, ClassifierEvaluation, NetworkRunOptions,
    ),
    "nli train": (
        DecomposableConfig, TrainingSettings, PairColumnOptions, ClassifierOptions,
        ClassifierEvaluation, NetworkRunOptions,
    ),
    "gpt prepare": (prepare.TextOptions, prepare.PlaceOptions),
    "bpe train": (bpe.TokenOptions, bpe.TextOptions, bpe.PlaceOptions),
    "phrases": (phrases.PhraseOptions, phrases.TextOptions, phrases.FileOptions),
    "fasttext skipgram": (verbs.WordOptions, verbs.VerbRunOptions),
    "fasttext cbow": (verbs.WordOptions, verbs.VerbRunOptions),
    "fasttext supervised": (verbs.LabelOptions, verbs.VerbRunOptions),
    "fasttext quantize": (verbs.QuantizeOptions,),
}  # fmt: skip
# What must be known, however it is put together: ours in all of them, then by command.
EVERYWHERE = "--out --overwrite --quiet -q --workers -threads --device --min-count -min-count"
NETWORK = "--out --overwrite --quiet -q --workers -threads --device --resume --checkpoint-every "
NETWORK += "--log-json --seed --epochs --steps --batch-size --lr --clip --precision"
TRAINING = f"{EVERYWHERE} --resume --checkpoint-every --log-json --seed -seed --epochs -iter "
TRAINING += "--learning-rate --lr"
GPT = (
    "--out --out-dir --resume --overwrite --log-json --checkpoint-every --workers --device --seed "
)
CLASSIFIER = f"{NETWORK} --grad-clip --dev --eval-file --dev-share --eval-share --max-len --text "
CLASSIFIER += "--label --split --form --encoding --class-weights --eval-every --early-stopping "
CLASSIFIER += "--keep --tensorboard --vectors --unlabelled --tokenizer --embed-size --vector-size "
CLASSIFIER += "--hidden-size "
CLASSIFIER += "--dropout --tune --min-count --schedule --optimizer --weight-decay --sort-batches"
VERBS = "-input -output -verbose -lr -epoch -thread"
WORDS = f"{VERBS} -saveOutput -minCount -minCountLabel -wordNgrams -bucket -minn -maxn -t -label "
WORDS += "-lrUpdateRate -dim -ws -neg -loss -pretrainedVectors -seed --resume --overwrite "
WORDS += "-checkpoint-every --checkpoint-every --log-json"
GPT += "--batch-size --max-iters --steps --learning-rate --lr --min-lr --lr-decay-iters --beta1 "
GPT += "--beta2 --warmup-iters --weight-decay --grad-clip --gradient-accumulation-steps --dtype"
KNOWN = {
    "word2vec": f"{TRAINING} -train -output -size -vector-size -window -window-size -sample -hs "
    "-negative -alpha --alpha --min-alpha -debug -verbose -binary -save-vocab -cbow -max-vocab "
    "--sg -sg --hs --cbow-mean --shrink-windows --deterministic",
    "fasttext train": f"{TRAINING} -size -window -sample -hs --alpha --sg --min-n -minn --max-n "
    "-maxn --bucket -bucket --subwords --composition --bin --vec --format --save-vocab "
    "--read-vocab",
    "glove": f"{TRAINING} -window -window-size -symmetric -distance-weighting -max-vocab -memory "
    "-vocab-file -input-file -vector-size -size -x-max -alpha -eta --eta -grad-clip -save-file "
    "-binary -model -write-header -save-gradsq -gradsq-file -init-param-file -init-gradsq-file "
    "-load-init-param -load-init-gradsq -checkpoint-every -verbose",
    "cooccurrence": f"{EVERYWHERE} -window -window-size -symmetric -distance-weighting -memory "
    "-vocab-file -max-vocab -verbose --stanford --cross-sentences",
    "gpt train": f"{GPT} --n-layer --n-head --n-embd --block-size --dropout --bias --eval-interval "
    "--eval-iters --init-from --always-save-checkpoint --recipe --dataset --layers --heads "
    "--hidden-size --max-len --clip --precision",
    "gpt finetune": f"{GPT} --model --template --epochs --eval-file --dev --eval-share --dev-share "
    "--eval-every",
    "bert pretrain": f"{TRAINING} --layers --heads --ffn-size --hidden-size --dropout --config "
    "--max-len --eval-file --eval-every --early-stopping --keep --tensorboard",
    "bert finetune": f"{NETWORK} --model --dev --dev-share --max-len --text --second --label "
    "--split --form --encoding --class-weights --eval-every --early-stopping --keep "
    "--tensorboard --sort-batches",
    "sentiment train": f"{CLASSIFIER} --model --pool --layers --kernel-sizes --num-channels",
    "nli train": f"{CLASSIFIER} --second",
    "gpt prepare": "--out --overwrite --quiet --tokenizer --vocab-size --separator --encoding "
    "--errors --eval-share --dev-share",
    "bpe train": "--out --overwrite --quiet --workers -threads --vocab-size -vocab-size --mode "
    "--min-frequency --min-count --special-tokens --unk-token --end-of-word --tie-break",
    "phrases": "--out --quiet --workers -threads --min-count -min-count --threshold -threshold "
    "--scoring --delimiter --passes --model --save -train -output -debug",
    "fasttext skipgram": WORDS,
    "fasttext cbow": WORDS,
    "fasttext supervised": WORDS,
    "fasttext quantize": f"{VERBS} -cutoff -retrain -qnorm -qout -dsub",
}
OPTIONS = [
    pytest.param(name, knob, id=f"{name} {knob.name}")
    for name, groups in GROUPS.items()
    for group in groups
    for knob in knobs(group).values()
    if knob.help
]


@functools.cache
def command_of(name):
    command = typer.main.get_command(app)
    for part in name.split():
        command = command.commands[part]
    return command


def commands(group, *names):
    """All commands with their names, those of groups too."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, *names, name)
        else:
            yield " ".join([*names, name]), command


def parsed(name, *arguments):
    """The values of all parameters, without running the command."""
    command = command_of(name)
    takes = any(param.param_type_name == "argument" for param in command.params)
    return command.make_context(name, [*["corpus"][:takes], *arguments]).params


@pytest.mark.parametrize("name", GROUPS)
def test_options_are_the_fields(name):
    """Nothing is left out, and there is nothing else but what a command says for itself."""
    found = {param.name for param in command_of(name).params}
    told = {option.values[1].name for option in OPTIONS if option.values[0] == name}
    assert found - told <= {"corpus", "data", "sources", "help"} and told <= found
    for group in GROUPS[name]:
        assert {each.name for each in fields(group)} == set(knobs(group))


@pytest.mark.parametrize("name", GROUPS)
def test_known_spellings(name):
    spellings = [each for param in command_of(name).params for each in param.opts]
    assert set(KNOWN[name].split()) <= set(spellings)
    assert len(spellings) == len(set(spellings))  # none stands for two things


def test_every_command_tells_help_and_limits():
    """Also those that are not among the tables here, whose options are few."""
    for name, command in commands(typer.main.get_command(app)):
        options = [each for each in command.params if each.param_type_name == "option"]
        assert [each.name for each in options if not each.help] == [], name
        numbers = [each for each in options if each.bare_type in (int, float)]
        assert [each.name for each in numbers if each.min is None] == [], name
        spellings = [spelling for each in command.params for spelling in each.opts]
        assert len(spellings) == len(set(spellings)), name


def test_commands_tell_few_options_of_their_own():
    """The knobs of models and runs are told where these are; lines of options of four commands."""
    names = ("word2vec", "glove", "cooccurrence", "bert pretrain")
    told = {kind for name in names for group in GROUPS[name] for kind in group.__mro__}
    lines = 0
    for kind in (kind for kind in told if kind.__module__.startswith("lexforge.cli")):
        (tree,) = ast.parse(inspect.getsource(kind)).body
        fields = (each for each in tree.body if isinstance(each, ast.AnnAssign))
        lines += sum(each.end_lineno - each.lineno + 1 for each in fields)
    assert 50 < lines < 200


@pytest.mark.parametrize("name, knob", OPTIONS)
def test_help_and_limits(name, knob):
    assert len(knob.help) > 5 and knob.help.endswith((".", ")")) and (knob.panel or knob.hidden)
    if knob.kind in (int, float) and (name, knob.name) != ("phrases", "threshold"):  # any score
        assert knob.low is not None
    if knob.low is not None and knob.low > -(2**31):
        with pytest.raises(Exception, match=r"greater than or equal|not in the range"):
            parsed(name, knob.spellings[0], str(int(knob.low) - 1))
    if knob.high is not None and knob.high < 2**31:
        with pytest.raises(Exception, match=r"less than or equal|not in the range"):
            parsed(name, knob.spellings[0], str(int(knob.high) + 1))
    if knob.choices:
        with pytest.raises(Exception, match="nonsense"):
            parsed(name, knob.spellings[0], "nonsense")


@pytest.mark.parametrize("name, knob", OPTIONS)
def test_spellings(name, knob):
    """Each of them is parsed to the same field, with the same value."""
    for spelling in knob.spellings:
        if "/" in spelling:
            for number, each in enumerate(spelling.split("/")):
                assert parsed(name, each)[knob.name] is (number == 0)
            continue
        if knob.kind is bool and not knob.default:
            assert parsed(name)[knob.name] is False and parsed(name, spelling)[knob.name] is True
            continue
        others = [choice for choice in knob.choices if choice != knob.default]
        text = others[-1] if others else _another(knob)
        before, found = (parsed(name, *given)[knob.name] for given in ((), (spelling, text)))
        assert found != before
        assert str(getattr(found, "value", found)) == text


def _another(knob):
    """A value that is not the default, as the command line has it."""
    if knob.kind is bool:
        return "0"
    if knob.kind is int:
        high = 2**31 if knob.high is None else knob.high
        return str(
            next(n for n in range(int(knob.low or 0), 99) if n != knob.default and n <= high)
        )
    if knob.kind is float:
        return "0.625"
    return "text" if knob.kind in (str, Path) or knob.choices else knob.kind("text").value


def test_help_tells_both_recipes(invoke):
    """Of BERT's settings the defaults differ by model; the help has them from the recipes."""
    text = " ".join(invoke("bert", "pretrain", "--help").output.replace("\u2502", " ").split())
    for told in (
        "64, or 128 with another model", "adam, or adamw with another model",
        "0.01, or 0.0001 with another model", "constant, or linear with another model",
    ):  # fmt: skip
        assert told in text


# -- what is told before the corpus is read -------------------------------------------------------

NOWHERE = "/nowhere/corpus.txt"  # whoever opens it says so


@pytest.mark.parametrize(
    "name, arguments, message",
    [
        ("word2vec", ["--window", "2000"], "less than or equal to 1000, got '2000'"),
        ("word2vec", ["-negative", "1001"], "less than or equal to 1000"),
        ("word2vec", ["--sample", "1e308"], "error: --sample must be 0 to 1e+18, got 1e+308"),
        ("word2vec", ["--ns-exponent", "1000"], "less than or equal to 16, got '1000'"),
        ("word2vec", ["-size", "20000000"], "less than or equal to 16777216"),
        ("word2vec", ["--lr", "inf"], "error: --lr must be finite"),
        ("word2vec", ["--workers", "100000"], "1024"),
        ("glove", ["-threads", "1025"], "1024"),
        ("cooccurrence", ["--workers", "1025"], "1024"),
        ("bert pretrain", ["--workers", "1000000"], "1024"),
        ("glove", ["--window", "43"], "error: --window must be 1 to 42 with --distance-weighting"),
        ("glove", ["-window", "2000"], "less than or equal to 1000"),
        ("glove", ["--memory", "0"], "error: --memory must be above 0, got '0GB'"),
        (
            "cooccurrence",
            ["-window", "43"],
            "-window must be 1 to 42 with --distance-weighting",
        ),
        ("cooccurrence", ["-memory", "0.001"], "for any words, window 15"),
        (
            "bert pretrain",
            ["--max-len", "2000"],
            "error: --max-len must be at most max_positions =",
        ),
        ("bert pretrain", ["--heads", "3"], "error: --heads must divide --hidden-size 128, got 3"),
    ],
)
def test_limits_come_first(invoke, tmp_path, name, arguments, message):
    result = invoke(*name.split(), NOWHERE, "--out", tmp_path / "out", *arguments)
    assert result.exit_code in (1, 2) and not (tmp_path / "out").exists()
    assert message in result.stderr, result.stderr


@pytest.mark.parametrize("name", [name for name, groups in GROUPS.items() if RunOptions in groups])
def test_a_folder_that_cannot_be_made_comes_first(invoke, tmp_path, name):
    (tmp_path / "file").write_text("")
    result = invoke(*name.split(), NOWHERE, "--out", tmp_path / "file" / "out")
    assert result.exit_code == 2 and "--out must be a folder" in result.stderr


def test_files_that_may_not_be_written(monkeypatch, tmp_path):
    monkeypatch.setattr("lexforge.cli._options.os.access", lambda path, mode: False)
    with pytest.raises(typer.BadParameter, match="log must be a file to write, and may not be"):
        check_files(tmp_path / "log")
    with pytest.raises(typer.BadParameter, match="--out must be a folder to write to, and"):
        check_folder("--out", tmp_path / "out")


@pytest.mark.parametrize("memory", ["1", "1.0", "1GB", "1000MB"])
def test_memory_without_a_unit_is_in_gigabytes(memory):
    assert parse_bytes("memory", CountingOptions(memory=memory).cap) == 10**9


@pytest.mark.parametrize(
    "name, option, message",
    [
        ("word2vec", ("-size", 7), "-size is 7, 8 in the run"),
        ("word2vec", ("--learning-rate", 0.5), "--learning-rate is 0.5, 0.075 in the run"),
        ("glove", ("--vector-size", 7), "--vector-size is 7, 8 in the run"),
        ("glove", ("--lr", 0.5), "--lr is 0.5, 0.05 in the run"),
        ("glove", ("-symmetric", 0), "-symmetric is False, True in the run"),
    ],
)
def test_resume_refuses_other_settings(invoke, corpus_file, tmp_path, name, option, message):
    run = (name, corpus_file, "--out", tmp_path, "--min-count", 1)
    assert invoke(*run, "--vector-size", 8, "--epochs", 1).exit_code == 0
    result = invoke(*run, "--resume", *option)
    assert result.exit_code == 1
    assert f"cannot resume with other settings: {message}" in result.stderr
    assert invoke(*run, "--resume").exit_code == 0  # complete, and of these settings


@pytest.mark.parametrize(
    ("command", "text"),
    [
        (["demo", "--out", "{file}"], "--out must be a folder, and {file} is a file"),
        (["demo", "--out", "{file}/out"], "--out must be a folder, and {file} is a file"),
        (["convert", "{file}", "{folder}"], "{folder} must be a file, and is a folder"),
        (["convert", "{file}", "{folder}/none/v.txt"], "there is no folder {folder}/none"),
        (["convert", "{file}", "{folder}/v.xyz"], "format must be given for v.xyz"),
        (
            ["evaluate", "{file}", "--similarity", "{file}", "--json", "{folder}"],
            "{folder} must be a file, and is a folder",
        ),
    ],
)
def test_results_that_cannot_be_written_are_refused_before_the_work(
    invoke, tmp_path, monkeypatch, command, text
):
    """Nothing is trained, loaded or scored first."""

    def work(*args, **kwargs):
        raise AssertionError("this is the work")

    monkeypatch.setattr("lexforge.models.word2vec.model.Word2Vec.build_vocab", work)
    monkeypatch.setattr("lexforge.vectors.load_vectors", work)
    places = {"file": str(tmp_path / "file"), "folder": str(tmp_path / "folder")}
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    result = invoke(*(part.format(**places) for part in command))
    assert result.exit_code in (1, 2) and result.stdout == ""
    assert text.format(**places) in result.stderr
