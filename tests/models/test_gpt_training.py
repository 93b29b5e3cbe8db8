"""Data and training of GPT: windows, resumes, refusals, answers."""

from __future__ import annotations

import json
import pickle

import numpy as np
import pytest
import torch

import lexforge.gpt as gpt
from lexforge.models.gpt.data import GPTData, read_texts, split_texts
from lexforge.models.gpt.pairs import Pairs, read_pairs
from lexforge.models.gpt.settings import RECIPES, GPTSettings
from lexforge.models.gpt.steps import Windows
from lexforge.models.gpt.template import Template
from lexforge.text.corpus import resolve_corpus
from lexforge.text.tokenizers.bpe import BPETokenizer
from lexforge.text.tokenizers.characters import CharacterTokenizer
from lexforge.training.checkpoint import CheckpointError
from lexforge.training.state import Amounts, TrainingDivergedError

TEXT = "the cat sat on the mat; the dog sat on the log. " * 40
SHAPE = {"n_layer": 1, "n_head": 2, "n_embd": 16, "block_size": 8}
SETTINGS = {"batch_size": 4, "steps": 12, "warmup_steps": 2, "learning_rate": 1e-2}
EVALUATION = {"eval_every": 4, "eval_iters": 2}


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return path


@pytest.fixture
def data(text, tmp_path):
    return gpt.prepare(text, tmp_path / "data")


def train(data, out=None, **others):
    given = {"shape": SHAPE, "settings": SETTINGS, "evaluation": EVALUATION, "workers": 1}
    return gpt.train(data, out=out, **{**given, **others})


def same_bits(x, y):
    return all(torch.equal(a, b) for a, b in zip(x.parameters(), y.parameters(), strict=True))


class StopAfter:
    """A request to stop once so many steps are done."""

    def __init__(self, looks):
        self.looks = looks

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    @property
    def requested(self):
        self.looks -= 1
        return self.looks <= 0


# ---- Data ----------------------------------------------------------------------------------------


def test_characters(data, tmp_path):
    assert data.vocab_size == len(set(TEXT)) and data.tokenizer.tokens == sorted(set(TEXT))
    assert (
        data.tokenizer.decode(data.train.tokens) + data.tokenizer.decode(data.held_out.tokens)
        == TEXT
    )
    assert len(data.train) == int(len(TEXT) * 0.9)
    assert data.train.tokens.dtype == np.uint16
    raw = np.fromfile(tmp_path / "data" / "train.bin", "<u2")
    assert np.array_equal(raw, data.train.tokens)
    assert json.loads((tmp_path / "data" / "meta.json").read_text()) == {
        "format_version": 1,
        "vocab_size": data.vocab_size,
        "dtype": "uint16",
        "train_tokens": len(data.train),
        "val_tokens": len(data.held_out),
        "end_id": None,
    }


def test_bytes_and_texts_with_an_end(tmp_path):
    (tmp_path / "a.txt").write_text("one<|endoftext|>two")
    (tmp_path / "b.txt").write_text("three four five")
    files = [tmp_path / "a.txt", tmp_path / "b.txt"]
    made = gpt.prepare(
        files, tmp_path / "o", tokenizer="bpe", vocab_size=259, eval_share=0.0,
        separator="<|endoftext|>",
    )  # fmt: skip
    assert made.tokenizer.decode(made.train.tokens) == (
        "one<|endoftext|>two<|endoftext|>three four five<|endoftext|>"
    )
    assert len(made.held_out) == 0
    again = gpt.prepare(files, tmp_path / "p", tokenizer=tmp_path / "o", eval_share=0.5)
    assert again.tokenizer.tokens == made.tokenizer.tokens
    # Without the separator it is text like any other, and no special token.
    whole = np.concatenate([again.train.tokens, again.held_out.tokens])
    assert (whole == again.tokenizer.index["<|endoftext|>"]).sum() == 3  # the cut text has two


def test_large_vocabularies_take_32_bits(tmp_path):
    (tmp_path / "t.txt").write_text("a\U00010000b")
    tokenizer = CharacterTokenizer(map(chr, [*range(0xD800), *range(0xE000, 0x10802)]))
    made = gpt.prepare(tmp_path / "t.txt", tmp_path / "o", tokenizer=tokenizer, eval_share=0.0)
    assert made.train.tokens.dtype == np.uint32
    assert made.train.tokens.tolist() == [ord("a"), 0x10000 - 0x800, ord("b")]
    assert made.tokenizer.decode(made.train.tokens) == "a\U00010000b"


def test_split_texts():
    assert split_texts(["abcd", "ef"], 0.5) == (["abc"], ["d", "ef"])
    assert split_texts(["abcd", "ef"], 0.0) == (["abcd", "ef"], [])
    assert split_texts(["abcd", "ef"], 1.0) == ([], ["abcd", "ef"])


def test_windows_are_a_function_of_their_place(data):
    stream = data.train
    windows = stream.windows(8, 5, 1, 2)
    assert windows.shape == (5, 9) and windows.dtype == np.int64
    assert np.array_equal(windows, stream.windows(8, 5, 1, 2))
    assert not np.array_equal(windows, stream.windows(8, 5, 1, 3))
    joined = "".join(map(chr, stream.tokens))
    assert all("".join(map(chr, row)) in joined for row in windows)


def test_folders_of_nanogpt(tmp_path):
    np.arange(200, dtype="<u2").tofile(tmp_path / "train.bin")
    np.arange(50, dtype="<u2").tofile(tmp_path / "val.bin")
    found = GPTData.open(tmp_path)
    assert (found.vocab_size, len(found.train), len(found.held_out)) == (50257, 200, 50)
    characters = sorted(map(chr, range(256)))
    meta = {"vocab_size": 256, "itos": dict(enumerate(characters)), "stoi": {}}
    (tmp_path / "meta.pkl").write_bytes(pickle.dumps(meta))
    with pytest.raises(ValueError, match="is a pickle, which can run anything"):
        GPTData.open(tmp_path)
    assert GPTData.open(tmp_path, pickled_meta=True).tokenizer.tokens == characters


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda d: (d / "train.bin").write_bytes(b"abc"), "whole uint16 numbers"),
        (
            lambda d: (d / "train.bin").write_bytes(b"ab"),
            "must hold 1728 tokens, as meta.json says",
        ),
        (lambda d: (d / "meta.json").write_text('{"dtype": "int8"}'), "dtype must be uint16"),
        (lambda d: (d / "meta.json").write_text('{"dtype": "uint16"}'), "vocab_size must be"),
        (lambda d: (d / "meta.json").write_text("{"), "meta.json"),
        (lambda d: (d / "train.bin").unlink(), "must hold train.bin"),
    ],
)
def test_damaged_data(change, told, data):
    change(data.folder)
    with pytest.raises((ValueError, FileNotFoundError), match=told):
        GPTData.open(data.folder)


def test_numbers_beyond_the_vocabulary(tmp_path):
    np.full(100, 60_000, "<u2").tofile(tmp_path / "train.bin")
    with pytest.raises(ValueError, match="numbers below vocab_size = 50257, got 60000"):
        train(tmp_path, evaluation=None)


def test_what_a_later_step_lacks_is_told_when_it_comes():
    """Steps are drawn ahead."""

    class Late:
        def windows(self, block_size, count, seed, step, part):
            if step == 3:
                raise ValueError("numbers below 5")
            return np.zeros((count, block_size + 1), np.int64)

    steps = Windows(Late(), 4, 2, 1, torch.device("cpu")).steps(GPTSettings(**SETTINGS), 0.0, 1)
    assert [next(steps).batch for _ in range(2)] == [2, 3]
    with pytest.raises(ValueError, match="numbers below 5"):
        next(steps)


def test_texts_that_are_none(tmp_path):
    (tmp_path / "empty.txt").write_text("")
    with pytest.raises(ValueError, match="must have text, got none"):
        gpt.prepare(tmp_path / "empty.txt", tmp_path / "o")
    (tmp_path / "t.txt").write_text("abç")
    with pytest.raises(ValueError, match=r"got 'ç' \(U\+00E7\)"):
        gpt.prepare(tmp_path / "t.txt", tmp_path / "o", tokenizer=CharacterTokenizer("ab"))
    assert not (tmp_path / "o" / "train.bin").exists()
    with pytest.raises(ValueError, match="corpus must be files"):
        read_texts(resolve_corpus([["a", "b"]]))


def test_data_are_not_overwritten(text, data):
    with pytest.raises(FileExistsError, match="holds data"):
        gpt.prepare(text, data.folder)
    gpt.prepare(text, data.folder, overwrite=True, tokenizer="bpe", vocab_size=260)
    assert isinstance(GPTData.open(data.folder).tokenizer, BPETokenizer)


# ---- Training ------------------------------------------------------------------------------------


def test_it_learns(data):
    result = train(data, settings={**SETTINGS, "steps": 150}, evaluation={"eval_iters": 4})
    assert result.evaluations[-1]["loss"] < 1.0 < result.history[0]["loss"]
    assert result.state.tokens == 150 * 4 * 8
    assert "held out at step" in repr(result)


@pytest.mark.parametrize("changes", [{}, {"gradient_accumulation_steps": 2}])
def test_a_resumed_run_ends_with_the_same_bits(changes, data, tmp_path):
    given = {"shape": {**SHAPE, "dropout": 0.1}, "settings": {**SETTINGS, **changes}}
    whole = train(data, tmp_path / "whole", **given)
    part = train(data, tmp_path / "part", stop=StopAfter(5), **given)
    assert 0 < part.state.done < 12
    rest = train(data, tmp_path / "part", init_from="resume", shape=None, settings=None,
                 evaluation=None)  # fmt: skip
    assert rest.state.done == 12 and same_bits(whole.model, rest.model)
    assert [e["loss"] for e in whole.evaluations] == [e["loss"] for e in rest.evaluations]
    best = gpt.GPT.from_pretrained(tmp_path / "whole" / "best")
    assert best.tokenizer.tokens == data.tokenizer.tokens


def test_resumes_with_something_else_are_refused(data, text, tmp_path):
    out = tmp_path / "run"
    train(data, out, stop=StopAfter(3))
    with pytest.raises(FileExistsError):
        train(data, out)
    resume = {"init_from": "resume", "shape": None, "settings": None, "evaluation": None}
    for name, value, text_of_it in (
        ("settings", {"learning_rate": 0.5}, "learning_rate is 0.5, 0.01 in the run"),
        ("settings", {"steps": 20}, "steps is 20, 12 in the run"),
        ("shape", {"n_layer": 2}, "n_layer is 2, 1 in the run"),
        ("evaluation", {"eval_iters": 3}, "eval_iters is 3, 2 in the run"),
    ):
        with pytest.raises(ValueError, match=text_of_it):
            train(data, out, **{**resume, name: value})
    text.write_text(TEXT[::-1])
    other = gpt.prepare(text, tmp_path / "other")
    with pytest.raises(ValueError, match="cannot resume on other data"):
        train(other, out, **resume)
    with pytest.raises(ValueError, match="out must be the folder"):
        train(data, **resume)


def test_training_goes_on_from_a_model(data, tmp_path):
    train(data, tmp_path / "a")
    start = gpt.GPT.from_pretrained(tmp_path / "a")
    result = train(data, init_from=tmp_path / "a", shape={"block_size": 4, "dropout": 0.2},
                   settings={**SETTINGS, "steps": 1})  # fmt: skip
    assert result.model.config.block_size == 4 and result.model.config.dropout == 0.2
    assert not same_bits(start, result.model)
    with pytest.raises(ValueError, match="shape must be that of the model: n_layer 1, got 2"):
        train(data, init_from=tmp_path / "a", shape={"n_layer": 2})
    start.tokenizer = CharacterTokenizer("abc")
    with pytest.raises(ValueError, match="the tokenizer of the model"):
        train(data, init_from=start, shape=None)


def test_a_text_shorter_than_a_window(text, tmp_path):
    text.write_text("abc" * 10)
    short = gpt.prepare(text, tmp_path / "o")
    with pytest.raises(ValueError, match="more than block_size = 64 tokens, got 27"):
        train(short, shape={**SHAPE, "block_size": 64})
    with pytest.raises(ValueError, match=r"val.bin must hold more than block_size = 8 tokens"):
        train(short)


def test_a_loss_that_is_no_number_keeps_the_last_checkpoint(data, tmp_path):
    out = tmp_path / "run"
    train(data, out, stop=StopAfter(3))
    before = {path: path.read_bytes() for path in out.iterdir() if path.is_file()}
    model = gpt.GPT.from_pretrained(out)
    with torch.no_grad():
        model.final_norm.weight.fill_(float("nan"))
    with pytest.raises(TrainingDivergedError, match="the loss became nan"):
        train(data, out, init_from=model, shape=None, overwrite=True)
    assert {path: path.read_bytes() for path in out.iterdir() if path.is_file()} == before


def test_an_empty_stretch_tells_of_the_run(data):
    state = train(data).state
    told = state.reading(Amounts(0.0, 0, {}))
    assert told.values["loss"] == state.measures(state.amounts())["loss"]
    assert "nan" not in told.detail and told.values["tokens_per_second"] > 0


def test_other_settings_are_named(data):
    for given, text in (
        ({"settings": {"max_iters": 3}}, "settings must be of .*steps.*, got 'max_iters'"),
        ({"shape": {"layers": 3}}, "shape must be of n_layer"),
        ({"evaluation": {"every": 3}}, "evaluation must be of eval_every"),
    ):
        with pytest.raises(ValueError, match=text):
            train(data, **given)
    with pytest.raises(ValueError, match="batch_size must be >= 1, got 0"):
        train(data, settings={"batch_size": 0})


def test_save_after_each_evaluation(data, tmp_path):
    steps = []

    class Look:
        def on_evaluate(self, result):
            steps.append(json.loads((tmp_path / "o" / "trainer_state.json").read_text())["state"])

    train(data, tmp_path / "o", always_save_checkpoint=True, callbacks=[Look()])
    assert [state["done"] for state in steps] == [4, 8, 12]


# ---- Answers -------------------------------------------------------------------------------------

PAIRS = [{"prompt": f"{a} plus {b}?", "answer": str(a + b)} for a in range(5) for b in range(5)]


@pytest.fixture
def told(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(pair) + "\n" for pair in PAIRS))
    return path


def talker(block_size=64):
    config = gpt.GPTConfig(block_size, 128, n_layer=1, n_head=2, n_embd=32, bias=False)
    model = gpt.GPT(config, seed=1)
    model.tokenizer = CharacterTokenizer(map(chr, range(128)))
    return model


def test_only_answers_count():
    template = Template()
    pairs = Pairs.encode(
        read_pairs(PAIRS[:2]), tokenizer=talker().tokenizer, template=template, longest=64
    )
    part = pairs.part(np.array([1]))
    text = "User: 0 plus 1?\nAssistant: 1\n\n"
    assert "".join(map(chr, part.tokens)) == text[:-1]
    counted = part.labels != -100
    assert "".join(map(chr, part.labels[counted])) == " 1\n\n"
    assert "".join(map(chr, part.tokens[counted])) == ": 1\n"
    both = pairs.part(np.array([1, 0]))
    assert both.cu_seqlens.tolist() == [0, len(text) - 1, 2 * (len(text) - 1)]
    assert both.positions[len(text) - 1] == 0


def test_answers_end_with_the_end_token(tmp_path):
    bpe = BPETokenizer.train_from_iterator(
        ["User Assistant"], 258, special_tokens=["<|endoftext|>"]
    )
    pairs = Pairs.encode(
        read_pairs([("a", "b")] and PAIRS[:1]), tokenizer=bpe, template=Template(), longest=64
    )
    assert pairs.labels[-1] == bpe.index["<|endoftext|>"]


def test_fine_tuning_learns_and_resumes(told, tmp_path):
    given = {
        "model": talker(),
        "epochs": 2,
        "eval_share": 0.2,
        "settings": {"batch_size": 5, "learning_rate": 1e-2},
        "workers": 1,
    }
    whole = gpt.finetune(told, out=tmp_path / "whole", **given)
    assert whole.state.total == 2 * 4 and whole.state.epoch == 1
    assert whole.evaluations[-1]["loss"] < whole.evaluations[0]["loss"]
    given["model"] = talker()
    part = gpt.finetune(told, out=tmp_path / "part", stop=StopAfter(3), **given)
    assert part.state.done < 8
    rest = gpt.finetune(
        told, model="", out=tmp_path / "part", resume=True, epochs=2, eval_share=0.2, workers=1
    )
    assert same_bits(whole.model, rest.model)
    assert Template.load(tmp_path / "whole") == Template()


def test_pairs_that_are_none(tmp_path, told):
    for line, text in (
        ("{", "line 1 must be JSON"),
        ('{"prompt": "a"}', "line 1 must be an object with the texts prompt and answer"),
        ("[1]", "line 1 must be an object"),
        ("", "must hold pairs of prompt and answer, got none"),
    ):
        (tmp_path / "x.jsonl").write_text(line)
        with pytest.raises(ValueError, match=text):
            gpt.finetune(tmp_path / "x.jsonl", model=talker())
    with pytest.raises(ValueError, match="at most block_size = 16 tokens, and none has"):
        gpt.finetune(told, model=talker(block_size=16))
    model = talker()
    model.tokenizer = None
    with pytest.raises(ValueError, match="model must have a tokenizer"):
        gpt.finetune(told, model=model)


def test_long_pairs_are_left_out_and_told():
    pairs = read_pairs([*PAIRS, {"prompt": "x" * 99, "answer": "y"}])
    found = Pairs.encode(pairs, tokenizer=talker().tokenizer, template=Template(), longest=64)
    assert len(found) == 25
    assert found.notes == ["1 of 26 pairs have more than 64 tokens: left out"]


# ---- Templates -----------------------------------------------------------------------------------


def test_templates(tmp_path):
    path = tmp_path / "t.toml"
    path.write_text('user = "<{text}>"\nassistant = ""\nend = ";"\nsystem = "S "\n')
    template = Template.load(path)
    assert template.prompt([("a", "b")], "c") == "S <a>b;<c>"
    assert template.prompt([("a", "b")], "c", end="|") == "S <a>b|<c>"
    assert Template.load(tmp_path) == Template()
    for line, text in (
        ('usr = "{text}"', "there is no 'usr' in a template; did you mean user"),
        ('user = "text"', r"user must hold \{text\} once"),
        ("user = 1", "user must be a text, got 1"),
        ('end = ""', "end must not be empty"),
        ("user", "must be TOML"),
    ):
        path.write_text(line)
        with pytest.raises(ValueError, match=text):
            Template.load(path)


def test_damaged_runs_are_refused(data, tmp_path):
    out = tmp_path / "run"
    train(data, out, stop=StopAfter(3))
    state = json.loads((out / "trainer_state.json").read_text())
    state["settings"].pop("batch_size")
    (out / "trainer_state.json").write_text(json.dumps(state))
    with pytest.raises(CheckpointError, match="batch_size must be given"):
        train(data, out, init_from="resume", shape=None, settings=None, evaluation=None)


def test_the_rate_ends_at_a_tenth():
    assert GPTSettings().min_learning_rate == pytest.approx(3e-4)
    assert GPTSettings(learning_rate=0.02).rates(10**6) == pytest.approx(0.002)
    assert GPTSettings(min_learning_rate=0).min_learning_rate == 0
    assert {name: r.get("learning_rate") for name, r in RECIPES.items()} == {
        "small": None, "char": 1e-3, "gpt2": 6e-4
    }  # fmt: skip
