"""``lexforge gpt prepare``, ``train`` and ``finetune``: nanoGPT's names, settings files, runs."""

from __future__ import annotations

import json

import pytest
import torch

from lexforge.gpt import GPT, GPTData

TINY = [
    *("--n_layer=1", "--n_head=2", "--n_embd=16", "--block_size=8", "--batch_size=4"),
    *("--max_iters=6", "--eval_interval=3", "--eval_iters=2", "--workers=1"),
]


@pytest.fixture
def data(invoke, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("the cat sat on the mat; the dog sat on the log. " * 40)
    result = invoke("gpt", "prepare", "text.txt", "--out", "data")
    assert result.exit_code == 0, result.stderr
    assert "15 tokens in the vocabulary, 1.73 k to train on, 192 held out" in result.stderr
    return "data"


def test_prepare_bytes_of_standard_input(invoke, tmp_path):
    told = "one two three " * 50
    result = invoke(
        "gpt", "prepare", "-", "--out", tmp_path / "o", "--tokenizer", "bpe", "--vocab-size", "262",
        input=told,
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert GPTData.open(tmp_path / "o").vocab_size == 262


def test_train_and_resume(invoke, data, tmp_path):
    result = invoke("gpt", "train", data, "--out_dir", "model", "--log-json", "log.jsonl", *TINY)
    assert result.exit_code == 0, result.stderr
    for text in ("evaluation at step 3: loss", "best on what is held out: loss", "gpt sample"):
        assert text in result.stderr
    last = json.loads((tmp_path / "log.jsonl").read_text().splitlines()[-1])
    assert last["step"] == 6 and last["tokens"] == 6 * 4 * 8
    assert {"loss", "accuracy", "tokens_per_second", "mfu", "lr"} <= last.keys()
    model = GPT.from_pretrained("model")
    assert model.config.n_embd == 16 and not model.config.bias and len(model.tokenizer) == 15
    before = (tmp_path / "model" / "model.safetensors").read_bytes()
    for words in (["--resume"], ["--init_from=resume"]):
        assert invoke("gpt", "train", data, "--out", "model", *words).exit_code == 0
    assert (tmp_path / "model" / "model.safetensors").read_bytes() == before
    refused = invoke("gpt", "train", data, "--out", "model", "--resume", "--n-layer", "2")
    assert "--n-layer is 2, 1 in the run" in refused.stderr


def test_nanogpts_own_command_line(invoke, data):
    """The one of its README for a CPU, a little smaller."""
    line = (
        "--device=cpu --compile=False --eval_iters=2 --log_interval=1 --block_size=8 "
        "--batch_size=2 --n_layer=1 --n_head=4 --n_embd=16 --max_iters=2 --lr_decay_iters=2 "
        "--dropout=0.0"
    )
    result = invoke("gpt", "train", data, "--out_dir=model", *line.split())
    assert result.exit_code == 0, result.stderr
    assert GPT.from_pretrained("model").config.n_head == 4


def test_a_file_of_settings_goes_first_and_the_command_line_over_it(invoke, data, tmp_path):
    (tmp_path / "s.toml").write_text(
        'dataset = "data"\nn_layer = 2\nn-head = 2\nn_embd = 16\nblock_size = 8\nbatch_size = 4\n'
        "max_iters = 3\nbias = true\nworkers = 1\neval_iters = 1\nalways_save_checkpoint = true\n"
        'out_dir = "model"\n'
    )
    result = invoke("gpt", "train", "s.toml", "--max_iters", "2", "--bias=False")
    assert result.exit_code == 0, result.stderr
    config = GPT.from_pretrained("model").config
    assert config.n_layer == 2 and not config.bias
    state = json.loads((tmp_path / "model" / "trainer_state.json").read_text())
    assert state["state"]["total"] == 2


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("n_layers = 2", "there is no setting 'n_layers'; did you mean n_layer"),
        ("max_iters = 'many'", "max_iters must be a whole number, got 'many'"),
        ("max_iters = true", "max_iters must be a whole number, got True"),
        ("bias = 1", "bias must be true or false, got 1"),
        ("dropout = 2.0", "dropout must be 0 to 1"),
        ("n_layer = ", "must be TOML"),
    ],
)
def test_files_of_settings_that_are_wrong(line, text, invoke, data, tmp_path):
    (tmp_path / "s.toml").write_text(line)
    result = invoke("gpt", "train", "s.toml", data, "--out", "model", *TINY[:4])
    assert result.exit_code == 1
    assert "s.toml" in result.stderr and text in result.stderr
    assert not (tmp_path / "model").exists()


def test_training_goes_on_from_nanogpts_checkpoint(invoke, data, tmp_path):
    model = GPT.from_pretrained(_trained(invoke, data))
    from lexforge.models.gpt.files import named_tensors

    arguments = {name: getattr(model.config, name) for name in ("n_layer", "n_head", "n_embd")}
    arguments |= {"block_size": 8, "vocab_size": 15, "bias": False, "dropout": 0.0}
    tensors = {n: x.contiguous() for n, x in named_tensors(model, conv1d=False).items()}
    torch.save({"model": tensors, "model_args": arguments}, "ckpt.pt")
    words = ["--max_iters=1", "--batch_size=2", "--eval_iters=1", "--workers=1"]
    result = invoke("gpt", "train", data, "--out", "on", "--init_from", "ckpt.pt", *words)
    assert result.exit_code == 0, result.stderr


def test_finetune(invoke, data, tmp_path):
    _trained(invoke, data, "--block_size=64")
    lines = [json.dumps({"prompt": "the cat", "answer": "sat"})] * 8
    (tmp_path / "pairs.jsonl").write_text("\n".join(lines))
    (tmp_path / "t.toml").write_text('user = "{text}"\nassistant = "; "\nend = ". "\n')
    words = ["--model", "model", "--out", "chat", "--template", "t.toml", "--eval-share", "0.25"]
    result = invoke("gpt", "finetune", "pairs.jsonl", *words, "--epochs=2", "--workers=1")
    assert result.exit_code == 0, result.stderr
    assert json.loads((tmp_path / "chat" / "template.json").read_text())["end"] == ". "
    assert "best on what is held out" in result.stderr
    assert "try: lexforge gpt chat chat/best" in result.stderr
    other = invoke(
        "gpt", "finetune", "pairs.jsonl", "--model", "model", "--out", "x", "--workers=1"
    )
    assert other.exit_code == 1 and "'U' (U+0055)" in other.stderr
    assert not (tmp_path / "x" / "config.json").exists()


def _trained(invoke, data, *words):
    result = invoke("gpt", "train", data, "--out", "model", *TINY, "--max_iters=1", *words)
    assert result.exit_code == 0, result.stderr
    return "model"
