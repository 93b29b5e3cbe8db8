"""``lexforge bert pretrain``: runs, tells how it went, refuses nonsense, stops and resumes."""

import json
import shlex
import signal
import sys
import time

import pytest

from lexforge.models.bert.model import BertModel
from planted_paragraphs import planted_paragraphs

SIZE = ("--layers", 1, "--hidden-size", 32, "--heads", 2, "--ffn-size", 48, "--max-len", 16)
RUN = ("--batch-size", 32, "--min-count", 1, "--workers", 1, "--device", "cpu")
SMALL = (*SIZE, *RUN)
FILES = {"config.json", "vocab.txt", "vocab.json", "tokenizer.json"}
FILES |= {
    "tokenizer_config.json",
    "model.safetensors",
    "optimizer.safetensors",
    "trainer_state.json",
}


@pytest.fixture(scope="module")
def paragraphs_file(tmp_path_factory):
    """The planted paragraphs as text, one a line."""
    path = tmp_path_factory.mktemp("paragraphs") / "planted.txt"
    lines = (" . ".join(paragraph) for paragraph in planted_paragraphs())
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_run(invoke, paragraphs_file, tmp_path):
    out, log = tmp_path / "bert", tmp_path / "log.jsonl"
    options = ("--steps", 8, "--optimizer", "adamw", "--lr", 0.002, "--clip", 1)
    options += ("--schedule", "linear", "--warmup-steps", 2, "--weight-decay", 0.1, "--seed", 3)
    options += ("--accumulation", 2, "--dropout", 0, "--static-masks", "--checkpoint-every", 0)
    result = invoke(
        "bert", "pretrain", paragraphs_file, "--out", out, "--log-json", log, *SMALL, *options
    )
    assert result.exit_code == 0 and result.stdout == "", result.output
    assert "53 words in the vocabulary" in result.stderr and "step 8/8" in result.stderr
    done, mlm, nsp, folder, other, hint = result.stderr.splitlines()[-6:]
    assert done.startswith("done in 0:") and "pairs/s" in done and "padding saved" in done
    assert mlm.startswith("MLM loss ") and nsp.startswith("NSP loss ") and "over the run" in nsp
    assert folder == f"  {out}" and hint.startswith(f"try: lexforge bert encode {out} ")
    assert other.startswith("transformers loads its tokenizer only")
    assert {path.name for path in out.iterdir()} == FILES
    settings = json.loads((out / "trainer_state.json").read_text())["settings"]
    assert settings == {
        "max_len": 16,
        "batch_size": 32,
        "steps": 8,
        "optimizer": "adamw",
        "learning_rate": 0.002,
        "weight_decay": 0.1,
        "beta1": 0.9,
        "beta2": 0.999,
        "warmup_steps": 2,
        "schedule": "linear",
        "min_learning_rate": 0.0,
        "decay_steps": None,
        "clip": 1.0,
        "accumulation": 2,
        "precision": "float32",
        "static_masks": True,
        "whole_words": False,
        "sentences": "auto",
        "seed": 3,
        "encoding": "utf-8",
        "errors": None,
        "eval_share": 0.0,
    }
    config = BertModel.from_pretrained(out).config
    assert (config.num_layers, config.hidden_size, config.num_heads) == (1, 32, 2)
    assert config.intermediate_size == 48 and config.dropout == config.attention_dropout == 0
    records = [json.loads(line) for line in log.read_text().splitlines()]
    assert records[-1]["step"] == 8 and records[-1]["lr"] == pytest.approx(0.002 / 6)


def test_word_pieces_of_prose(invoke, tmp_path):
    text, out = tmp_path / "prose.txt", tmp_path / "bert"
    text.write_text("The cat ran. A dog came! Was it late?\nIt was (so he said). They left.\n" * 20)
    options = ("--config", "standard", "--tokenizer", "wordpiece", "--vocab-size", 50)
    options += ("--whole-words", "--steps", 2, "--max-len", 32, "--batch-size", 4)
    options += ("--layers", 1, "--hidden-size", 16, "--heads", 2, "--ffn-size", 16)
    result = invoke("bert", "pretrain", text, "--out", out, *options)
    assert result.exit_code == 0, result.output
    assert "transformers loads it: AutoTokenizer, AutoModelForPreTraining" in result.stderr
    lines, vectors = tmp_path / "lines", tmp_path / "v.npy"
    lines.write_text("A cat left!\n")
    assert invoke("bert", "encode", out, lines, "--out", vectors).exit_code == 0
    result = invoke("bert", "pretrain", text, "--out", tmp_path / "x", "--vocab-size", 50)
    assert result.exit_code == 1 and 'must come with tokenizer "wordpiece"' in result.stderr
    result = invoke("bert", "pretrain", text, "--sentences", "spaced", "--out", tmp_path / "y")
    assert result.exit_code == 1 and "must have a paragraph of two sentences" in result.stderr


def test_defaults_are_the_text_s(invoke, paragraphs_file, tmp_path):
    """Only the words are few and the machine is told; the rest is as the text has it."""
    result = invoke(
        "bert", "pretrain", paragraphs_file, "--out", tmp_path / "bert", "--steps", 1, "--quiet"
    )
    assert result.exit_code == 0 and result.output == ""
    settings = json.loads((tmp_path / "bert/trainer_state.json").read_text())["settings"]
    expected = {"max_len": 64, "batch_size": 512, "optimizer": "adam", "learning_rate": 0.01}
    expected |= {"schedule": "constant", "clip": 0.0, "weight_decay": 0.0, "warmup_steps": 0}
    assert expected.items() <= settings.items()
    config = BertModel.from_pretrained(tmp_path / "bert").config
    shape = (config.num_layers, config.hidden_size, config.intermediate_size, config.num_heads)
    assert shape == (2, 128, 256, 2) and config.dropout == 0.2 and config.activation == "relu"


def test_going_on_from_a_model(invoke, paragraphs_file, tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    train = ("bert", "pretrain", paragraphs_file)
    assert invoke(*train, "--out", first, "--steps", 2, *SMALL).exit_code == 0
    go_on = (*RUN, "--max-len", 16, "--epochs", 1, "--keep", 1, "--checkpoint-every", 1e-6)
    result = invoke(*train, "--out", second, "--config", first, *go_on)
    assert result.exit_code == 0, result.output
    record = json.loads((second / "trainer_state.json").read_text())
    steps = record["state"]["step"]
    assert record["settings"]["optimizer"] == "adamw" and steps > 2
    assert [path.name for path in second.glob("step-*")] == [f"step-{steps:08}"]


@pytest.mark.parametrize(
    "arguments, code, message",
    [
        (["{corpus}", "--resume"], 2, "--resume needs --out"),
        (["{corpus}", "--out", "{out}", "--resume", "--overwrite"], 2, "excludes --overwrite"),
        (["{corpus}", "--steps", "3", "--epochs", "1"], 2, "either --steps or --epochs"),
        (["{corpus}", "--steps", "0"], 2, "got '0'"),
        (["{corpus}", "--precision", "fp8"], 2, "'fp8'"),
        (["{corpus}", "--out", "{corpus}"], 2, "must be a folder"),
        (["{corpus}", "--log-json", "/nowhere/log"], 2, "there is no folder /nowhere"),
        (["/nowhere/corpus.txt"], 1, "/nowhere/corpus.txt"),
        (["{corpus}", "--out", "{out}", "--resume"], 1, "holds no checkpoint"),
        (["{corpus}", "--config", "refrence"], 1, "config must be 'reference', 'standard'"),
        (["{corpus}", "--heads", "3"], 1, "--heads must divide --hidden-size 128, got 3"),
        (["{corpus}", "--batch-size", "9", "--accumulation", "2"], 1, "must divide --batch-size 9"),
        (["{corpus}", "--max-len", "2000"], 1, "--max-len must be at most max_positions = 1000"),
        (["{corpus}", "--eval-every", "3"], 2, "need --eval-file or --eval-share"),
        (["{corpus}", "--eval-share", "0.1", "--eval-file", "{corpus}"], 2, "give either --eval-f"),
        (["{corpus}", "--eval-share", "1e-9"], 1, "--eval-share must leave a paragraph of two"),
        (["{corpus}", "--eval-file", "/nowhere/eval.txt"], 1, "/nowhere/eval.txt"),
        (["{corpus}", "--tensorboard", "{corpus}"], 2, "--tensorboard must be a folder"),
        (["{one}"], 1, "must have a paragraph of two sentences"),
        (["{corpus}", "--min-count", "100000"], 1, "no word has min_freq=100000"),
    ],
)
def test_errors_are_one_line(invoke, paragraphs_file, tmp_path, arguments, code, message):
    one = tmp_path / "one.txt"
    one.write_text("a line with one sentence\n" * 3)
    places = {"corpus": paragraphs_file, "out": tmp_path / "out", "one": one}
    result = invoke("bert", "pretrain", *(text.format(**places) for text in arguments))
    assert result.exit_code == code, result.output
    assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1
    assert message in result.stderr and result.stdout == ""
    assert not (tmp_path / "out").exists()


def test_a_run_is_not_overwritten(invoke, paragraphs_file, tmp_path):
    out = tmp_path / "bert"
    train = ("bert", "pretrain", paragraphs_file, "--out", out, "--steps", 2, *SMALL)
    assert invoke(*train).exit_code == 0
    before = (out / "model.safetensors").read_bytes()
    result = invoke(*train, "--seed", 2)
    assert result.exit_code == 2 and "--resume" in result.stderr and "--overwrite" in result.stderr
    assert (out / "model.safetensors").read_bytes() == before
    assert invoke(*train, "--seed", 2, "--overwrite").exit_code == 0
    assert (out / "model.safetensors").read_bytes() != before


def test_evaluation(invoke, paragraphs_file, tmp_path):
    """Held-out losses are told and logged, the best model is kept, and a bad run ends early."""
    held_out, out, log = tmp_path / "held-out.txt", tmp_path / "bert", tmp_path / "log.jsonl"
    held_out.write_text("".join(paragraphs_file.read_text().splitlines(keepends=True)[:20]))
    train = ("bert", "pretrain", paragraphs_file, "--out", out, *SMALL)
    evaluation = ("--eval-file", held_out, "--eval-every", 2, "--early-stopping", 2)
    result = invoke(*train, "--steps", 200, "--lr", 0.5, "--log-json", log, *evaluation)
    assert result.exit_code == 0, result.output
    lines = result.stderr.splitlines()
    told = [line for line in lines if line.startswith("evaluation at step")]
    assert told[0].startswith("evaluation at step 2: MLM ") and told[0].endswith(
        ", the best so far"
    )
    assert any(line.startswith("stopped at step ") and "no evaluation" in line for line in lines)
    assert any(line.startswith("best on held-out text at step ") for line in lines)
    records = [json.loads(line) for line in log.read_text().splitlines()]
    steps = [record["step"] for record in records if "eval_loss" in record]
    assert steps == list(range(2, 2 * len(told) + 1, 2)) and steps[-1] < 200
    best = json.loads((out / "best/trainer_state.json").read_text())["state"]
    assert best["step"] == steps[-3]
    assert BertModel.from_pretrained(out / "best").config.hidden_size == 32


def test_a_share_is_held_out(invoke, paragraphs_file, tmp_path):
    """With byte pairs of the rest; what to resume with need not be said again."""
    out = tmp_path / "bert"
    options = ("--eval-share", 0.05, "--eval-every", 2, "--steps", 4, *SIZE, *RUN[:2])
    options += ("--tokenizer", "bpe", "--vocab-size", 300, "--max-len", 60)
    result = invoke("bert", "pretrain", paragraphs_file, "--out", out, *options)
    assert result.exit_code == 0, result.output
    assert "best on held-out text at step " in result.stderr
    assert (out / "best/model.safetensors").exists()
    before = (out / "model.safetensors").read_bytes()
    result = invoke("bert", "pretrain", paragraphs_file, "--out", out, "--resume")
    assert result.exit_code == 0 and (out / "model.safetensors").read_bytes() == before


def test_tensorboard_is_missing(invoke, paragraphs_file, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    result = invoke("bert", "pretrain", paragraphs_file, "--tensorboard", tmp_path / "board")
    assert result.exit_code == 1
    assert result.stderr == (
        "error: writing for TensorBoard needs its package: pip install tensorboard\n"
    )


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_stopped_and_resumed(invoke, spawn, paragraphs_file, tmp_path, number, code):
    """A stopped run says how to go on, and the resumed one ends as if nothing had happened."""
    whole, out, log = tmp_path / "whole", tmp_path / "out", tmp_path / "log.jsonl"
    evaluation = ("--eval-file", paragraphs_file, "--eval-every", 150)
    train = ("bert", "pretrain", paragraphs_file, *SMALL, "--steps", 150, *evaluation)
    assert invoke(*train, "--out", whole).exit_code == 0

    often = ("--checkpoint-every", 1e-6)
    process = spawn(*train, "--out", out, "--log-json", log, *often)
    deadline = time.monotonic() + 120
    while not (out / "trainer_state.json").exists():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    _, err = process.communicate(timeout=120)
    assert process.returncode == code, err
    command = f"lexforge bert pretrain {paragraphs_file} --out {out} --resume"
    command += f" --eval-file {paragraphs_file}"
    assert err.splitlines()[-1] == f"stopped and saved; continue with: {command}"
    state = json.loads((out / "trainer_state.json").read_text())["state"]
    assert 0 < state["step"] < state["steps"] == 150
    assert {path.name for path in out.iterdir()} == FILES

    for changes, message in (
        (("--lr", 0.02), "--lr is 0.02, 0.01 in the run"),
        (("--layers", 2), "config must be that of the run to resume"),
    ):
        result = invoke(*shlex.split(command)[1:], *changes)
        assert result.exit_code == 1 and message in result.stderr
    other = tmp_path / "other.txt"
    other.write_text(paragraphs_file.read_text() + "t1w1 t1w2 . t1w3 t1w4\n")
    evaluated = ("--eval-file", paragraphs_file)
    result = invoke("bert", "pretrain", other, "--out", out, "--resume", *evaluated)
    assert result.exit_code == 1 and "cannot resume on another corpus" in result.stderr

    # As printed: options that are not repeated are those of the run.
    result = invoke(*shlex.split(command)[1:], "--workers", 1, "--log-json", log)
    assert result.exit_code == 0, result.output
    for name in FILES - {"trainer_state.json"}:
        assert (out / name).read_bytes() == (whole / name).read_bytes()
    steps = [json.loads(line)["step"] for line in log.read_text().splitlines()]
    assert steps == sorted(steps) and steps[-1] == 150
    result = invoke(*shlex.split(command)[1:])
    assert result.exit_code == 0 and "done in" in result.stderr
