"""BERT pretraining: learns planted structure, resumes to the last bit, refuses what it must."""

import contextlib
import errno
import fcntl
import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import lexforge.bert
from lexforge._library import cpu_has_bf16
from lexforge.models.bert import files as bert_files
from lexforge.models.bert.config import BertConfig
from lexforge.models.bert.examples import BertExamples, tokenize_paragraphs
from lexforge.models.bert.model import BertModel
from lexforge.models.bert.settings import PretrainingSettings
from lexforge.models.bert.trainer import STANDARD, pretrain
from lexforge.text.tokenizers.bpe import BPETokenizer
from lexforge.text.tokenizers.published import PublishedTokenizer
from lexforge.text.tokenizers.words import WordTokenizer
from lexforge.training import network_checkpoint, network_run
from lexforge.training.checkpoint import CheckpointError, is_checkpoint
from lexforge.training.progress import Progress
from lexforge.training.state import TrainingDivergedError
from planted_paragraphs import planted_paragraphs

SHAPE = {"hidden_size": 32, "intermediate_size": 48, "max_positions": 20}
SMALL = {
    "shape": SHAPE,
    "min_count": 1,
    "max_len": 16,
    "batch_size": 32,
    "steps": 12,
    "threads": 1,
    "device": "cpu",
}
FILES = {"config.json", "vocab.txt", "model.safetensors", "optimizer.safetensors"}
FILES |= {"trainer_state.json"}

needs_bf16 = pytest.mark.skipif(not cpu_has_bf16(), reason="this CPU has no AVX512_BF16")


@pytest.fixture(scope="module")
def paragraphs():
    return planted_paragraphs(topics=6)


@pytest.fixture(scope="module")
def whole(paragraphs):
    """An undisturbed run by precision."""
    runs = {}

    def run(precision):
        if precision not in runs:
            runs[precision] = pretrain(paragraphs, **SMALL, precision=precision)
        return runs[precision]

    return run


class StopAfter(contextlib.nullcontext):
    """A stop request that comes after some steps."""

    def __init__(self, steps):
        super().__init__()
        self.left = steps

    @property
    def requested(self):
        self.left -= 1
        return self.left <= 0


def same(first, second):
    """Whether two runs ended in the same bits."""
    tensors = zip(first.model.state_dict().items(), second.model.state_dict().items(), strict=True)
    assert all(a[0] == b[0] and torch.equal(a[1], b[1]) for a, b in tensors)
    states = [{**run.state.to_json(), "seconds": 0.0} for run in (first, second)]
    assert states[0] == states[1]
    return True


# -- learning


def test_learns_planted_structure():
    """A masked word follows from its neighbours; 7 of 8 pairs can be told by their topics."""
    result = pretrain(
        planted_paragraphs(topics=4),
        shape={**SHAPE, "hidden_size": 64, "dropout": 0.0, "attention_dropout": 0.0},
        min_count=1,
        max_len=16,
        batch_size=128,
        steps=200,
        learning_rate=0.005,
        schedule="linear",
        warmup_steps=10,
        clip=1.0,
        threads=1,
        device="cpu",
    )
    assert [point["step"] for point in result.history] == list(range(1, 201))
    last = result.history[-20:]
    mean = {name: sum(point[name] for point in last) / 20 for name in last[0]}
    assert mean["mlm_accuracy"] > 0.9 and mean["mlm_loss"] < 0.5
    assert mean["nsp_accuracy"] > 0.8 and mean["nsp_loss"] < 0.45
    first = result.history[0]
    assert first["mlm_loss"] > 3 and first["nsp_loss"] > 0.6


def test_what_a_run_tells(whole, paragraphs):
    result = whole("float32")
    state, totals = result.state, result.state.totals
    assert state.finished and state.step == 12 and state.share == 1.0
    per_epoch = BertExamples(
        tokenize_paragraphs(paragraphs, result.tokenizer), result.tokenizer, max_len=16
    ).num_batches(0, 32)
    assert (state.epoch, state.batch) == divmod(12, per_epoch)
    assert totals.nsp_count == state.sequences > 12 * 16
    assert totals.mlm_count >= state.sequences and totals.mlm_hits <= totals.mlm_count
    assert 0 < state.padding_saved < 1
    assert state.tokens == round((1 - state.padding_saved) * state.sequences * 16)
    assert state.sequences_per_second == pytest.approx(state.sequences / state.seconds)
    weights = [point["mlm_loss"] for point in result.history]
    assert min(weights) <= totals.mlm_loss <= max(weights)
    assert result.model.training and result.tokenizer.tokens == result.model.vocabulary


def test_bf16_is_close(whole):
    """A step in bfloat16 rounds differently, and learns the same."""
    if not cpu_has_bf16():
        with pytest.raises(ValueError, match="AVX512_BF16"):
            whole("bf16")
        return
    half, full = whole("bf16"), whole("float32")
    assert all(p.dtype == torch.float32 for p in half.model.parameters())
    assert half.history[0]["mlm_loss"] == pytest.approx(full.history[0]["mlm_loss"], rel=0.02)
    assert half.history[0]["mlm_loss"] != full.history[0]["mlm_loss"]
    assert half.state.totals.mlm_loss == pytest.approx(full.state.totals.mlm_loss, rel=0.05)


def test_bf16_needs_the_instructions(paragraphs, monkeypatch):
    monkeypatch.setattr("lexforge.training.network_run.cpu_has_bf16", lambda: False)
    with pytest.raises(ValueError, match="precision must be float32 on a CPU without AVX512_BF16"):
        pretrain(paragraphs, **SMALL, precision="bf16")


def test_published_recipe(paragraphs):
    """Another model takes another recipe; an epoch is its length, a tenth of it warm-up."""
    tokenizer = WordTokenizer.build(paragraphs, min_freq=1)
    config = replace(
        BertConfig.standard(len(tokenizer), 32, 1, 2, 48, 20), dropout=0.0, attention_dropout=0.0
    )
    options = {"threads": 1, "device": "cpu", "max_len": 16, "batch_size": 16}
    result = pretrain(paragraphs, config=config, tokenizer=tokenizer, **options)
    settings, steps = result.settings, result.state.steps
    assert settings == replace(
        STANDARD, max_len=16, batch_size=16, steps=steps, warmup_steps=steps // 10
    )
    assert steps > 10 and (result.state.epoch, result.state.batch) == (0, steps)
    assert result.history[0]["lr"] == pytest.approx(1e-4 / (steps // 10))
    named = pretrain(
        paragraphs,
        config="standard",
        shape={"hidden_size": 32, "num_layers": 1, "num_heads": 2, "intermediate_size": 48}
        | {"max_positions": 20, "dropout": 0.0, "attention_dropout": 0.0, "pad_token_id": 0},
        tokenizer=tokenizer,
        **options,
    )
    assert same(result, named)


def test_going_on_from_a_model(paragraphs, tmp_path):
    first = pretrain(paragraphs, **SMALL, out=tmp_path / "first")
    options = {key: value for key, value in SMALL.items() if key not in ("shape", "min_count")}
    second = pretrain(
        paragraphs, config=tmp_path / "first", **{**options, "learning_rate": 1e-3}, seed=2
    )
    assert second.tokenizer.tokens == first.tokenizer.tokens
    assert second.model.config == first.model.config
    assert second.history[0]["mlm_loss"] < first.history[0]["mlm_loss"]
    assert second.settings.optimizer == "adamw"


PIECES = {**SMALL, "config": "standard", "tokenizer": "wordpiece", "vocab_size": 60}
PIECES["shape"] = {**SHAPE, "num_layers": 1, "num_heads": 2}
del PIECES["min_count"]


def test_word_pieces(paragraphs, tmp_path):
    """A vocabulary of the corpus, whole words; stopped and resumed, bit for bit."""
    options = {**PIECES, "whole_words": True, "steps": 6}
    whole = pretrain(paragraphs, **options)
    assert isinstance(whole.tokenizer, PublishedTokenizer) and len(whole.tokenizer) <= 60
    assert whole.model.config.vocab_size == len(whole.tokenizer)
    first = pretrain(paragraphs, **options, out=tmp_path, stop=StopAfter(3))
    assert not first.state.finished
    resumed = pretrain(paragraphs, **options, out=tmp_path, resume=True)
    assert same(resumed, whole)
    assert resumed.tokenizer.tokens == whole.tokenizer.tokens
    plain = pretrain(paragraphs, **{**options, "whole_words": False})
    assert plain.history != whole.history
    for changes, message in (
        ({"tokenizer": "words", "vocab_size": None}, "tokenizer must be that of the run"),
        ({"vocab_size": 20}, "vocab_size is 20, and the run's tokenizer has"),
        ({"whole_words": False}, "whole_words is False, True in the run"),
    ):
        with pytest.raises(ValueError, match=message):
            pretrain(paragraphs, **{**options, **changes}, out=tmp_path, resume=True)


@pytest.mark.interop
@pytest.mark.parametrize("kind", ["own pieces", "BertForPreTraining", "BertForMaskedLM"])
def test_transformers_loads_what_was_pretrained(kind, paragraphs, tmp_path):
    """Tokenizer and model: the same logits of the same text."""
    transformers = pytest.importorskip("transformers")
    out, options = tmp_path / "run", {**PIECES, "steps": 3}
    if kind != "own pieces":
        torch.manual_seed(0)
        tokenizer = PublishedTokenizer.train_wordpiece(
            [" ".join(paragraph) for paragraph in paragraphs], vocab_size=60
        )
        config = transformers.BertConfig(
            vocab_size=len(tokenizer) + 2, hidden_size=32, num_hidden_layers=1,
            num_attention_heads=2, intermediate_size=48, max_position_embeddings=20,
        )  # fmt: skip
        getattr(transformers, kind)(config).save_pretrained(tmp_path / "published")
        tokenizer.save(tmp_path / "published")
        options |= {"config": tmp_path / "published"}
        for name in ("shape", "tokenizer", "vocab_size"):
            del options[name]
    result = pretrain(paragraphs, **options, out=out)
    tokenizer = transformers.AutoTokenizer.from_pretrained(out)
    theirs = transformers.AutoModelForMaskedLM.from_pretrained(out).eval()
    text = paragraphs[0][0] + " [MASK]"
    inputs = tokenizer(text, return_tensors="pt")
    assert inputs["input_ids"][0].tolist()[1:-1] == result.tokenizer.encode(text)
    with torch.no_grad():
        positions = torch.arange(inputs["input_ids"].shape[1])[None]
        _, logits, nsp = result.model.eval()(inputs["input_ids"], pred_positions=positions)
        assert torch.allclose(theirs(**inputs).logits, logits, atol=1e-5)
        other = transformers.AutoModelForPreTraining.from_pretrained(out).eval()
        assert torch.allclose(other(**inputs).seq_relationship_logits, nsp, atol=1e-5)
    assert BertModel.from_pretrained(out).tokenizer.tokens == result.tokenizer.tokens


def test_tokenizers_to_choose(paragraphs, tmp_path):
    words = WordTokenizer.build(paragraphs, min_freq=1)
    words.save(tmp_path)
    named = pretrain(paragraphs, **{**SMALL, "steps": 1}, tokenizer="words")
    folder = pretrain(paragraphs, **{**SMALL, "steps": 1}, tokenizer=tmp_path)
    assert named.tokenizer.tokens == folder.tokenizer.tokens == words.tokens
    assert same(named, folder)
    for options, message in (
        ({"tokenizer": "bytes"}, "tokenizer must be 'words', 'wordpiece', 'bpe', a folder with"),
        (
            {"tokenizer": "words", "vocab_size": 9},
            'vocab_size must come with tokenizer "wordpiece"',
        ),
        ({"vocab_size": 0, "tokenizer": "wordpiece"}, "vocab_size must be >= 1"),
        ({"vocab_size": 7, "tokenizer": "wordpiece"}, "vocab_size must be at least"),
    ):
        with pytest.raises(ValueError, match=message):
            pretrain(paragraphs, **SMALL, **options)


@pytest.mark.interop
@pytest.mark.parametrize("kind", ["bpe", "BPETokenizer", "GPT-2's files", "another's file"])
def test_byte_pairs(kind, paragraphs, tmp_path):
    """Special tokens are added; stopped, resumed, read by transformers, encoded."""
    transformers = pytest.importorskip("transformers")
    texts = [" ".join(paragraph) for paragraph in paragraphs]
    own = BPETokenizer.train_from_iterator(texts, 280)
    options = {**PIECES, "max_len": 60, "steps": 4, "whole_words": True, "vocab_size": None}
    options["shape"] = {**PIECES["shape"], "max_positions": 60}
    if kind == "bpe":
        options |= {"tokenizer": "bpe", "vocab_size": 290}
    elif kind == "BPETokenizer":
        options["tokenizer"] = own
    elif kind == "GPT-2's files":
        own.save_gpt2(tmp_path / "files")
        options["tokenizer"] = tmp_path / "files"
    else:
        own.save(tmp_path / "files")
        options["tokenizer"] = tmp_path / "files"
    out = tmp_path / "run"
    whole = pretrain(paragraphs, **options)
    assert not pretrain(paragraphs, **options, out=out, stop=StopAfter(2)).state.finished
    result = pretrain(paragraphs, **options, out=out, resume=True)
    assert same(result, whole)
    tokens = result.tokenizer.tokens
    if kind == "bpe":
        assert tokens[:4] == ["[PAD]", "[CLS]", "[SEP]", "[MASK]"] and len(tokens) <= 290
        with pytest.raises(ValueError, match="tokenizer must be that of the run"):
            pretrain(paragraphs, **{**options, "tokenizer": "wordpiece"}, out=out, resume=True)
    else:
        assert tokens == [*own.tokens, "[PAD]", "[CLS]", "[SEP]", "[MASK]"]
    assert result.model.config.pad_token_id == tokens.index("[PAD]")

    text = f"{texts[0]} [MASK]"
    theirs = transformers.AutoTokenizer.from_pretrained(out)
    inputs = theirs(text, return_tensors="pt")
    cls, sep = result.tokenizer.cls_id, result.tokenizer.sep_id
    assert inputs["input_ids"][0].tolist() == [cls, *result.tokenizer.encode(text), sep]
    if kind != "bpe":
        assert result.tokenizer.encode(texts[0]) == own.encode(texts[0])
        assert result.tokenizer.encode(text)[-1] == len(own) + 3
    positions = torch.arange(inputs["input_ids"].shape[1])[None, :60]
    inputs = {"input_ids": inputs["input_ids"][:, :60]}
    model = transformers.AutoModelForMaskedLM.from_pretrained(out).eval()
    with torch.no_grad():
        encoded, logits, _ = result.model.eval()(inputs["input_ids"], pred_positions=positions)
        assert torch.allclose(model(**inputs).logits, logits, atol=1e-5)
    read = lexforge.bert.load_tokenizer(out)
    found = lexforge.bert.encode(result.model, read, [texts[0][:20]], what="cls")
    ids = torch.tensor([[cls, *own.encode(texts[0][:20]), sep]]) if kind != "bpe" else None
    if ids is not None:
        with torch.no_grad():
            encoded, _, _ = result.model(ids)
        torch.testing.assert_close(torch.from_numpy(found), encoded[:, 0], atol=1e-5, rtol=0)


def test_epochs(paragraphs):
    result = pretrain(paragraphs, **{**SMALL, "steps": None, "batch_size": 100}, epochs=2)
    state = result.state
    examples = BertExamples(
        tokenize_paragraphs(paragraphs, result.tokenizer), result.tokenizer, max_len=16
    )
    assert state.sequences == examples.count(0) + examples.count(1)
    assert state.steps == examples.num_batches(0, 100) + examples.num_batches(1, 100)


def test_static_masks(paragraphs):
    """The pairs of the first epoch come again, in another order."""
    batch = {**SMALL, "batch_size": 1000, "steps": 2}
    static = pretrain(paragraphs, **batch, static_masks=True)
    drawn = pretrain(paragraphs, **batch)
    sizes = [static.state.tokens, drawn.state.tokens]
    assert static.state.tokens % 2 == 0 and sizes[0] != sizes[1]


# -- stopping and going on


@pytest.fixture(scope="module")
def stopped_run(paragraphs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("stopped")
    pretrain(paragraphs, **SMALL, schedule="linear", out=folder, stop=StopAfter(2))
    return folder


@pytest.fixture
def stopped(stopped_run, tmp_path):
    """The folder of a run that was stopped after two steps."""
    return shutil.copytree(stopped_run, tmp_path / "stopped")


@pytest.mark.parametrize(
    "options",
    [
        {"precision": "float32"},
        pytest.param({"precision": "bf16"}, marks=needs_bf16),
        {"accumulation": 2, "optimizer": "adamw", "weight_decay": 0.1, "clip": 0.5},
        {"schedule": "linear", "warmup_steps": 5, "static_masks": True, "seed": 7},
    ],
    ids=["float32", "bf16", "accumulated", "scheduled"],
)
def test_resume_is_exact(paragraphs, tmp_path, options):
    """Stopped twice, within an epoch and beyond its end: the run is that without a stop."""
    undisturbed = pretrain(paragraphs, **SMALL, **options)
    folder = tmp_path / "run"
    stopped = pretrain(paragraphs, **SMALL, **options, out=folder, stop=StopAfter(3))
    assert stopped.state.step == 3 and not stopped.state.finished
    machine = {"threads": 1, "device": "cpu", "out": folder, "resume": True}
    again = pretrain(paragraphs, **machine, stop=StopAfter(8))
    assert again.state.step == 11
    finished = pretrain(paragraphs, **machine)
    assert same(finished, undisturbed)
    assert {path.name for path in folder.iterdir()} >= FILES
    read = BertModel.from_pretrained(folder)
    assert all(map(torch.equal, read.state_dict().values(), finished.model.state_dict().values()))


def test_resume_of_a_finished_run(paragraphs, whole, tmp_path):
    """Nothing is left to do; with a constant rate it may be made longer."""
    pretrain(paragraphs, **SMALL, out=tmp_path)
    again = pretrain(paragraphs, out=tmp_path, resume=True, threads=1)
    assert same(again, whole("float32"))
    longer = pretrain(paragraphs, out=tmp_path, resume=True, steps=15, threads=1)
    assert same(longer, pretrain(paragraphs, **{**SMALL, "steps": 15}))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"learning_rate": 0.02, "clip": 1.0}, "learning_rate is 0.02, 0.01 in the run; clip is"),
        ({"batch_size": 64}, "batch_size is 64, 32 in the run"),
        ({"seed": 2}, "seed is 2"),
        ({"precision": "bf16"}, "precision is bf16"),
        ({"steps": 13}, "steps is 13, 12 in the run"),
        ({"config": "standard"}, "config must be that of the run"),
        ({"shape": {"num_layers": 3}}, "config must be that of the run"),
        ({"tokenizer": "other"}, "tokenizer must be that of the run"),
        ({"corpus": planted_paragraphs(topics=5)}, "cannot resume on another corpus: got"),
    ],
)
def test_resume_of_something_else(paragraphs, stopped, changes, message):
    if "tokenizer" in changes:
        changes = {"tokenizer": WordTokenizer.build([["a b"]], min_freq=1)}
    with pytest.raises(ValueError, match=message):
        pretrain(**{"corpus": paragraphs, **changes}, out=stopped, resume=True)


def test_resume_with_the_same_settings(paragraphs, stopped):
    again = {**SMALL, "schedule": "linear", "learning_rate": 0.01, "config": "reference"}
    assert pretrain(paragraphs, **again, out=stopped, resume=True).state.finished


def test_a_run_is_not_overwritten(paragraphs, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    first = pretrain(paragraphs, **SMALL, out=tmp_path)
    before = (tmp_path / "model.safetensors").read_bytes()
    with pytest.raises(FileExistsError, match="holds a run or a model"):
        pretrain(paragraphs, **SMALL, out=tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == before
    second = pretrain(paragraphs, **SMALL, out=tmp_path, overwrite=True, seed=5)
    assert (tmp_path / "model.safetensors").read_bytes() != before
    assert second.state.step == first.state.step
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_nothing_to_resume(paragraphs, tmp_path):
    with pytest.raises(FileNotFoundError, match="holds no checkpoint"):
        pretrain(paragraphs, out=tmp_path / "absent", resume=True)
    with pytest.raises(ValueError, match="out must be the folder of the run to resume"):
        pretrain(paragraphs, resume=True)
    BertModel(BertConfig.reference(30, 8, 8, 1, 1)).save_pretrained(tmp_path)  # a model alone
    with pytest.raises(CheckpointError, match=r"not a complete checkpoint: .* is missing"):
        pretrain(paragraphs, out=tmp_path, resume=True)


def test_earlier_checkpoints_stay(paragraphs, tmp_path):
    """--keep: the last ones, each of which can be resumed itself."""
    run = pretrain(paragraphs, **SMALL, out=tmp_path, checkpoint_every=0, keep=3)
    kept = sorted(path.name for path in tmp_path.glob("step-*"))
    assert kept == ["step-00000010", "step-00000011", "step-00000012"]
    assert all({file.name for file in (tmp_path / name).iterdir()} >= FILES for name in kept)
    record = json.loads((tmp_path / kept[1] / "trainer_state.json").read_text())
    assert record["state"]["step"] == 11
    resumed = pretrain(paragraphs, out=tmp_path / kept[0], resume=True, threads=1)
    assert same(resumed, run)
    # Those of a run that is overwritten do not stand in the way of its successor's.
    pretrain(paragraphs, **{**SMALL, "steps": 3}, out=tmp_path / kept[1], overwrite=True, keep=1)
    pretrain(paragraphs, **{**SMALL, "steps": 2}, out=tmp_path / kept[1], overwrite=True, keep=1)
    assert [path.name for path in (tmp_path / kept[1]).glob("step-*")] == ["step-00000002"]


# -- evaluation and callbacks

EVALUATED = {"eval_file": planted_paragraphs(topics=6, paragraphs=20, seed=1), "eval_every": 4}


@pytest.fixture(scope="module")
def evaluated(paragraphs, tmp_path_factory):
    """An undisturbed run with evaluations, and its folder."""
    folder = tmp_path_factory.mktemp("evaluated")
    return pretrain(paragraphs, **SMALL, **EVALUATED, early_stopping=9, out=folder), folder


def test_evaluation(evaluated, whole):
    """It measures what is held out, in between and at the end, and changes nothing."""
    result, folder = evaluated
    assert [point["step"] for point in result.evaluations] == [4, 8, 12]
    for point in result.evaluations:
        assert point["loss"] == pytest.approx(point["mlm_loss"] + point["nsp_loss"], abs=2e-6)
        assert 2 < point["mlm_loss"] < 5 and 0.4 < point["nsp_loss"] < 1.5
        assert 0 <= point["mlm_accuracy"] <= 1 and 0 <= point["nsp_accuracy"] <= 1
    plain = whole("float32")
    weights = result.model.state_dict().values(), plain.model.state_dict().values()
    assert all(map(torch.equal, *weights)) and result.model.training
    assert result.state.sums == plain.state.sums and result.history == plain.history
    record = json.loads((folder / "trainer_state.json").read_text())
    assert record["evaluation"].keys() == {"eval_every", "early_stopping", "corpus"}


@pytest.mark.parametrize("follows", [1, 0])
def test_evaluation_is_the_model_s_own_loss(evaluated, paragraphs, follows):
    """By hand: in evaluation mode, over all pairs at once, by the classes that the model learns."""
    result, _ = evaluated
    if follows == 0:
        tokenizer = WordTokenizer.build(paragraphs, min_freq=1)
        config = BertConfig.standard(len(tokenizer), 32, 1, 2, 48, 20)
        options = {**SMALL, **EVALUATED, "steps": 1, "tokenizer": tokenizer, "shape": None}
        result = pretrain(paragraphs, **options, config=config)
    assert result.model.config.follows == follows
    numbers = tokenize_paragraphs(EVALUATED["eval_file"], result.tokenizer)
    examples = BertExamples(numbers, result.tokenizer, max_len=16)
    (batch,) = examples.batches(0, 1000)
    if follows == 0:
        batch = batch._replace(next_labels=1 - batch.next_labels)
    result.model.eval()
    with torch.no_grad():
        losses = result.model.losses(batch)
    result.model.train()
    measured = result.evaluations[-1]
    assert measured["mlm_loss"] == pytest.approx(float(losses.mlm_loss), rel=1e-5)
    assert measured["nsp_loss"] == pytest.approx(float(losses.nsp_loss), rel=1e-5)


def test_best_checkpoint(evaluated, paragraphs):
    """It is a checkpoint of its own: the model after the best evaluation, which can go on."""
    result, folder = evaluated
    assert {path.name for path in (folder / "best").iterdir()} >= FILES
    record = json.loads((folder / "best/trainer_state.json").read_text())
    step = result.state.best_evaluation["step"]
    assert record["state"]["step"] == step
    shorter = pretrain(paragraphs, **{**SMALL, "steps": step})
    best = BertModel.from_pretrained(folder / "best")
    assert all(map(torch.equal, best.state_dict().values(), shorter.model.state_dict().values()))


@pytest.mark.parametrize("steps", [3, 4, 7])
def test_resume_with_evaluation_is_exact(evaluated, paragraphs, tmp_path, steps):
    undisturbed, folder = evaluated
    options = {**SMALL, **EVALUATED, "early_stopping": 9, "out": tmp_path}
    pretrain(paragraphs, **options, stop=StopAfter(steps))
    machine = {"threads": 1, "device": "cpu", "out": tmp_path, "resume": True}
    assert same(pretrain(paragraphs, eval_file=EVALUATED["eval_file"], **machine), undisturbed)
    for name in ("model.safetensors", "best/model.safetensors", "best/optimizer.safetensors"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_early_stopping(paragraphs, tmp_path):
    """A rate that is far too high: the first evaluation stays the best."""
    options = {**SMALL, "steps": 300, "learning_rate": 0.5, "out": tmp_path}
    evaluation = {**EVALUATED, "eval_every": 2, "early_stopping": 2}
    result = pretrain(paragraphs, **options, **evaluation)
    state = result.state
    assert state.finished and state.stopped_early and state.step < 300
    assert state.evaluations_since_best == 2
    assert state.best_evaluation["step"] == state.step - 4
    assert result.history[-1]["step"] == state.step
    again = pretrain(paragraphs, eval_file=evaluation["eval_file"], out=tmp_path, resume=True)
    assert again.state.step == state.step  # it is complete


@pytest.mark.parametrize(
    "changes, message",
    [
        ({}, "cannot resume without the eval_file that the run began with"),
        ({**EVALUATED, "eval_every": 5}, "eval_every is 5, 4 in the run"),
        ({**EVALUATED, "early_stopping": 1}, "early_stopping is 1, 9 in the run"),
        ({"eval_file": planted_paragraphs(topics=6)}, "cannot resume with another eval_file"),
    ],
)
def test_resume_with_another_evaluation(evaluated, paragraphs, tmp_path, changes, message):
    folder = shutil.copytree(evaluated[1], tmp_path / "run")
    with pytest.raises(ValueError, match=message):
        pretrain(paragraphs, **changes, out=folder, resume=True)


def test_a_share_is_held_out(paragraphs, tmp_path):
    """The last paragraphs, as if they were another file; the words are those of the others."""
    share = 20 / len(paragraphs)
    apart = {"eval_file": paragraphs[-20:], "eval_every": 4}
    expected = pretrain(paragraphs[:-20], **SMALL, **apart)
    options = {**SMALL, "eval_share": share, "eval_every": 4}
    result = pretrain(paragraphs, **options)
    assert result.tokenizer.tokens == expected.tokenizer.tokens
    assert same(result, expected) and len(result.evaluations) == 3
    pretrain(paragraphs, **options, out=tmp_path, stop=StopAfter(5))
    machine = {"threads": 1, "device": "cpu", "out": tmp_path, "resume": True}
    for changes, message in (
        ({"eval_share": 0.2}, f"eval_share is 0.2, {share} in the run"),
        ({"eval_share": 0.0}, f"eval_share is 0.0, {share} in the run"),
        ({"eval_file": paragraphs}, "cannot resume with eval_file: the run has an eval_share"),
        ({"eval_every": 3}, "eval_every is 3, 4 in the run"),
    ):
        with pytest.raises(ValueError, match=message):
            pretrain(paragraphs, **changes, **machine)
    assert same(pretrain(paragraphs, **machine), result)
    for options, message in (
        ({"eval_share": 0.1, "eval_file": paragraphs}, "give eval_file or eval_share, got both"),
        ({"eval_share": 0.95}, "eval_share must be 0 to 0.9, got 0.95"),
        ({"eval_share": 1e-9}, "must leave a paragraph of two sentences on either side"),
    ):
        with pytest.raises(ValueError, match=message):
            pretrain(paragraphs, **SMALL, **options)


def test_evaluation_is_refused(paragraphs, stopped, tmp_path, evaluated):
    with pytest.raises(ValueError, match="cannot resume with eval_file: the run began without it"):
        pretrain(paragraphs, **EVALUATED, out=stopped, resume=True)
    with pytest.raises(ValueError, match="eval_every, early_stopping must come with eval_file"):
        pretrain(paragraphs, eval_every=3, early_stopping=2, **SMALL)
    with pytest.raises(ValueError, match="eval_every must be >= 1, got 0"):
        pretrain(paragraphs, **{**EVALUATED, "eval_every": 0}, **SMALL)
    with pytest.raises(ValueError, match="a paragraph of two sentences"):
        pretrain(paragraphs, eval_file=[["one sentence"]], **SMALL)
    shutil.copytree(evaluated[1] / "best", tmp_path / "best")
    with pytest.raises(FileExistsError, match="best holds a run or a model"):
        pretrain(paragraphs, **EVALUATED, **SMALL, out=tmp_path)


def test_callbacks(paragraphs):
    """The events of every trainer, each with the run as it stands."""

    class Recorder:
        events = []  # noqa: RUF012

        def __getattr__(self, name):
            if not name.startswith("on_"):
                raise AttributeError(name)
            return lambda run: self.events.append((name[3:], run.state.step, run.state.epoch))

    result = pretrain(paragraphs, **{**SMALL, "steps": 20}, **EVALUATED, callbacks=[Recorder()])
    examples = BertExamples(
        tokenize_paragraphs(paragraphs, result.tokenizer), result.tokenizer, max_len=16
    )
    end = examples.num_batches(0, 32)
    assert 8 < end < 20
    events = [event for event in Recorder.events if event[0] != "evaluate"]
    assert events == [
        ("train_begin", 0, 0),
        ("epoch_begin", 0, 0),
        ("epoch_end", end, 0),
        ("epoch_begin", end, 1),
        ("train_end", 20, 1),
    ]
    steps = [event[1] for event in Recorder.events if event[0] == "evaluate"]
    assert steps == [4, 8, 12, 16, 20]


# -- killed


# -- what goes wrong


@pytest.mark.parametrize("name", sorted(FILES))
def test_truncated_checkpoint(paragraphs, tmp_path, name):
    pretrain(paragraphs, **{**SMALL, "steps": 2}, out=tmp_path)
    content = (tmp_path / name).read_bytes()
    for size in (0, len(content) // 3, len(content) - 2):
        (tmp_path / name).write_bytes(content[:size])
        with pytest.raises((CheckpointError, ValueError)):
            pretrain(paragraphs, out=tmp_path, resume=True)
    (tmp_path / name).unlink()
    (tmp_path / "vocab.json").unlink()  # tells the words too
    with pytest.raises((CheckpointError, FileNotFoundError), match=name.replace(".", r"\.")):
        pretrain(paragraphs, out=tmp_path, resume=True)


def test_foreign_optimizer_state(paragraphs, tmp_path):
    """Of a model of another size; what is wrong is listed."""
    pretrain(paragraphs, **{**SMALL, "steps": 2}, out=tmp_path / "a")
    other = {**SMALL, "steps": 2, "shape": {**SHAPE, "num_layers": 1, "intermediate_size": 50}}
    pretrain(paragraphs, **other, out=tmp_path / "b")
    shutil.copy(tmp_path / "b/optimizer.safetensors", tmp_path / "a")
    with pytest.raises(CheckpointError, match=r"blocks\.1\.\S+ is missing; .* must be "):
        pretrain(paragraphs, out=tmp_path / "a", resume=True)


@pytest.fixture(scope="module")
def two_steps(paragraphs, tmp_path_factory):
    """The folder of a run."""
    folder = tmp_path_factory.mktemp("two_steps")
    pretrain(paragraphs, **{**SMALL, "steps": 2}, out=folder)
    return folder


@pytest.mark.parametrize(
    "part, field, value, message",
    [
        ("state", "step", "2", "step must be a whole number >= 0, got '2'"),
        ("state", "step", 3, "step must be at most steps = 2, got 3"),
        ("state", "sums", [1.0], "sums must be 6 numbers"),
        ("state", "sums", {}, "sums must be an array, got {}"),
        ("state", "history_sums", ["x"] * 6, r"history_sums\[0\] must be a finite number"),
        ("state", "tokens", None, r"sums\['tokens'\] must be a finite number, got None"),
        ("state", "history", [{"lr": 1}], "history must be objects with a number step"),
        (
            *("state", "history", [{"step": 1, "lr": "\ud800"}]),
            "history must be objects with a number lr",
        ),
        ("state", "corpus", "x", "corpus must be an object, got 'x'"),
        ("settings", "batch_size", "many", "batch_size must be an integer, got 'many'"),
        (None, "state", [], r"state must be an object, got \[\]"),
        (None, "evaluation", {"corpus": 1}, r"evaluation\['corpus'\] must be an object, got 1"),
        (
            None,
            "evaluation",
            {"corpus": {}, "eval_every": 0, "early_stopping": 0},
            "eval_every must be >= 1, got 0",
        ),
    ],
)
def test_damaged_state(paragraphs, two_steps, tmp_path, part, field, value, message):
    folder = shutil.copytree(two_steps, tmp_path / "run")
    path = folder / "trainer_state.json"
    record = json.loads(path.read_text())
    (record if part is None else record[part])[field] = value
    path.write_text(json.dumps(record))
    with pytest.raises(CheckpointError, match=rf"the trainer state in .* is damaged: .*{message}"):
        pretrain(paragraphs, out=folder, resume=True)


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors"])
def test_numbers_that_are_not_finite(paragraphs, two_steps, tmp_path, name):
    folder = shutil.copytree(two_steps, tmp_path / "run")
    tensors = load_file(folder / name)
    key = max(tensors, key=lambda each: tensors[each].numel())
    tensors[key].view(-1)[-1] = float("nan")
    save_file(tensors, folder / name)
    with pytest.raises(CheckpointError, match=rf"{name} is damaged: \S+ holds nan or infinity"):
        pretrain(paragraphs, out=folder, resume=True)


def test_two_runs_of_one_folder(paragraphs, two_steps, tmp_path):
    """The second one is refused before it changes anything, the best model of the first too."""
    folder = shutil.copytree(two_steps, tmp_path / "run")
    shutil.copytree(two_steps, folder / "best")
    before = {path: path.read_bytes() for path in folder.rglob("*.*") if path.is_file()}
    options = {**SMALL, "steps": 2, "out": folder, "overwrite": True, "eval_file": paragraphs}
    with open(folder / ".lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(RuntimeError, match="another process is training there"):
            pretrain(paragraphs, **options)
    (folder / ".lock").unlink()
    assert before == {path: path.read_bytes() for path in folder.rglob("*.*") if path.is_file()}


def test_the_best_model_of_a_run_before(paragraphs, two_steps, tmp_path):
    """A new run, also one without evaluation, is refused beside it, or leaves nothing of it."""
    shutil.copytree(two_steps, tmp_path / "best")
    options = {**SMALL, "steps": 1, "out": tmp_path}
    with pytest.raises(FileExistsError, match="best holds a run or a model"):
        pretrain(paragraphs, **options)
    pretrain(paragraphs, **options, overwrite=True)
    assert not (tmp_path / "best").exists()


def test_models_larger_than_the_memory(paragraphs):
    for shape in ({"num_layers": 10**8}, {"hidden_size": 10**8, "num_heads": 10**6}):
        (name, size), *_ = shape.items()
        with pytest.raises(MemoryError, match=f"{name}={size}.* need .* are free"):
            pretrain("there is no such corpus, and it is not looked for", shape=shape)


@pytest.mark.parametrize("module", [network_checkpoint, bert_files])
def test_disk_full_keeps_the_old_one(paragraphs, tmp_path, monkeypatch, module):
    pretrain(paragraphs, **SMALL, out=tmp_path, stop=StopAfter(2))

    def refuse(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module, "write_tensors", refuse)
    with pytest.raises(CheckpointError, match=r"no space left on the disk; the previous .* intact"):
        pretrain(paragraphs, out=tmp_path, resume=True, threads=1)
    monkeypatch.undo()
    assert pretrain(paragraphs, out=tmp_path, resume=True, threads=1).state.finished


def test_the_best_model_may_not_be_kept(paragraphs, tmp_path, monkeypatch, caplog):
    """It is told, and the run goes on to its end."""
    real = network_run.save_run

    def save_run(folder, **parts):
        if Path(folder).name == "best":
            raise CheckpointError("best was not written: disk full")
        real(folder, **parts)

    monkeypatch.setattr(network_run, "save_run", save_run)
    result = pretrain(paragraphs, **SMALL, out=tmp_path, eval_file=paragraphs, eval_every=12)
    assert result.state.finished and is_checkpoint(tmp_path) and not (tmp_path / "best").exists()
    assert "not written: disk full; training goes on, and the next better one" in caplog.text


def test_really_full_disk(paragraphs, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(disk)], capture_output=True
    )
    if mount.returncode:
        pytest.skip("mounting a small disk needs more rights")
    try:
        with pytest.raises(CheckpointError, match="no space left on the disk"):
            pretrain(paragraphs, **SMALL, out=disk / "run")
        assert not list(disk.iterdir())
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_divergence_saves_nothing(paragraphs, tmp_path):
    with pytest.raises(TrainingDivergedError, match=r"the loss became (nan|inf) by step \d+"):
        pretrain(
            paragraphs,
            **{**SMALL, "steps": 30},
            learning_rate=1e30,
            out=tmp_path / "run",
            checkpoint_every=0,
        )
    folder = tmp_path / "run"
    assert not is_checkpoint(folder) or json.loads((folder / "trainer_state.json").read_text())


@pytest.mark.parametrize(
    "options, message",
    [
        ({"steps": 0}, "steps must be >= 1, got 0"),
        ({"steps": 5, "epochs": 1}, "give steps or epochs, got 5 and 1"),
        ({"steps": None, "epochs": 0}, "epochs must be >= 1"),
        ({"batch_size": 0}, "batch_size must be >= 1"),
        ({"batch_size": 10, "accumulation": 4}, "accumulation must divide batch_size 10, got 4"),
        ({"max_len": 4}, "max_len must be >= 5"),
        ({"max_len": 21}, "max_len must be at most max_positions = 20, got 21"),
        ({"max_len": 8}, "max_len"),  # no pair of sentences fits
        ({"learning_rate": -1}, "learning_rate must be finite and >= 0"),
        ({"learning_rate": float("nan")}, "learning_rate must be finite"),
        ({"clip": -1.0}, "clip must be finite and >= 0"),
        ({"optimizer": "sgd"}, "optimizer must be one of adam, adamw, got 'sgd'"),
        ({"schedule": "step"}, "schedule must be one of constant, linear, cosine"),
        ({"precision": "fp16"}, "precision must be one of float32, bf16"),
        ({"config": "refrence"}, "config must be 'reference', 'standard', a BertConfig or a"),
        ({"shape": {"layers": 3}}, "shape must have fields of vocab_size"),
        ({"config": BertConfig.reference(7), "shape": None}, "vocab_size must be at least the"),
        ({"device": "tpu"}, "device must be auto, cpu or cuda"),
        ({"threads": 0}, "workers must be 1 to 1024"),
        ({"keep": -1}, "keep must be >= 0"),
        ({"min_count": 10**6}, "no word has min_freq=1000000"),
        ({"corpus": [["one sentence only"]]}, "must have a paragraph of two sentences"),
        ({"corpus": []}, "must have a paragraph of two sentences"),
    ],
)
def test_bad_arguments(paragraphs, options, message):
    options = {**SMALL, "corpus": paragraphs, **options}
    with pytest.raises(ValueError, match=message):
        pretrain(options.pop("corpus"), **options)


def test_wrong_kinds(paragraphs):
    for options in ({"steps": 1.5}, {"learning_rate": "fast"}, {"batch_size": "many"}):
        with pytest.raises(TypeError, match=rf"pretrain: {next(iter(options))} must be"):
            pretrain(paragraphs, **{**SMALL, **options})


def test_threads_are_put_back(paragraphs):
    before = torch.get_num_threads()
    pretrain(paragraphs, **{**SMALL, "steps": 1, "threads": before + 1})
    assert torch.get_num_threads() == before


def test_progress_and_log(paragraphs, tmp_path, capfd):
    with Progress(log_json=tmp_path / "log") as progress:
        result = pretrain(paragraphs, **SMALL, progress=progress)
    assert capfd.readouterr() == ("", "")
    record = json.loads((tmp_path / "log").read_text().splitlines()[-1])
    assert record["step"] == 12 and record["sequences"] == result.state.sequences
    assert record["tokens"] == result.state.tokens and record["lr"] == 0.01
    for name in ("mlm_loss", "nsp_loss", "mlm_accuracy", "nsp_accuracy", "padding_saved"):
        assert 0 <= record[name] < 10
    assert record["sequences_per_second"] > 0 and record["tokens_per_second"] > 0
    lexforge.bert.pretrain(paragraphs, **SMALL, progress=True)
    out, err = capfd.readouterr()
    assert out == "" and "step 12/12" in err and "100%" in err
    assert all(word in err for word in ("MLM", "NSP", "pairs/s", "tokens/s", "padding saved", "lr"))


# -- real text


@pytest.mark.real_data
def test_the_run_of_the_text():
    """WikiText-2, the text's model and settings, in the fastest precision there is.

    Minibatches have a quarter of the pairs: losses are means over them, and come out the same. All
    of them are in the test of the text's figures (tests/d2l/test_train_bert.py).

    The text prints 5.389 for words and 0.773 for sentences. Its mean over words also has the empty
    slots of short pairs, three of ten, which cost next to nothing (d2l.train_bert's `compat`).
    """
    precision = "bf16" if cpu_has_bf16() else "float32"
    assert PretrainingSettings().batch_size == 512
    state = pretrain("wikitext-2", precision=precision, device="cpu", batch_size=128).state
    totals = state.totals
    assert state.step == 50 and state.sequences == 6400
    assert 6.9 < totals.mlm_loss < 7.8 and 0.68 < totals.nsp_loss < 0.85
    slots = 10 * state.sequences
    assert 4.8 < totals.mlm_loss * totals.mlm_count / slots < 6.2
    assert state.history[-1]["mlm_loss"] < 7.2 and state.history[0]["mlm_loss"] > 9.5
    assert 0.25 < state.padding_saved < 0.3
