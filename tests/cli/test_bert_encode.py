"""``lexforge bert encode``: both file formats, what lines may be, and what is refused."""

from __future__ import annotations

import bz2
import gzip
import itertools
import json
import lzma
import os
import shutil
import signal
import subprocess
import sys
import time
from threading import Thread

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from lexforge.bert import BertConfig, BertModel, encode
from lexforge.models.bert import encoding as bert_encoding
from lexforge.text.tokenizers.words import WordTokenizer

WORDS = [f"w{i}" for i in range(30)]
LINES = ["w1 w2 W3", "", "w4 unheard w5", "w6 " * 12, "w7", "w8 w9"]


@pytest.fixture(scope="module")
def tokenizer():
    return WordTokenizer([*WordTokenizer.SPECIAL_TOKENS, *WORDS])


@pytest.fixture(scope="module")
def model(tokenizer):
    config = BertConfig.reference(len(tokenizer), num_hiddens=16, ffn_num_hiddens=24, max_len=20)
    return BertModel(config, seed=3)


@pytest.fixture(scope="module")
def folder(model, tokenizer, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    model.save_pretrained(folder)
    tokenizer.save(folder)
    return folder


@pytest.fixture
def texts(tmp_path):
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "texts.txt"
    path.write_text("".join(f"{line}\n" for line in LINES))
    return path


def test_pooled_vectors_in_a_numpy_file(invoke, folder, texts, tmp_path, model, tokenizer):
    out = tmp_path / "vectors.npy"
    result = invoke("bert", "encode", folder, texts, "--out", out)
    assert result.exit_code == 0, result.output
    vectors = np.load(out, allow_pickle=False)
    assert vectors.dtype == np.float32 and np.load(out, mmap_mode="r").shape == (6, 16)
    np.testing.assert_array_equal(vectors, encode(model, tokenizer, LINES))
    assert f"{out}: 6 texts, 33 tokens in 0:0" in result.stderr
    assert "texts/s" in result.stderr and "tokens/s" in result.stderr
    assert "1 of 21 words (4.8%) are not in the vocabulary" in result.stderr
    assert f"read it in Python: numpy.load({str(out)!r})" in result.stderr.splitlines()[-1]


def test_layers_and_means_in_a_safetensors_file(invoke, folder, texts, tmp_path, model, tokenizer):
    out = tmp_path / "vectors.safetensors"
    options = ("--what", "mean", "--layers", "-1,0", "--batch-size", 4, "--quiet")
    result = invoke("bert", "encode", folder, texts, "--out", out, *options)
    assert result.exit_code == 0 and result.output == ""
    expected = encode(model, tokenizer, LINES, what="mean", layers=(-1, 0), batch_size=4)
    assert expected.shape == (6, 2, 16)
    np.testing.assert_array_equal(load_file(out)["vectors"], expected)
    with safe_open(out, "pt") as file:
        assert file.keys() == ["vectors"]
        assert file.metadata() == {
            "format": "pt", "what": "mean", "layers": "-1,0", "model": folder.name
        }  # fmt: skip


def test_vectors_of_tokens(invoke, folder, texts, tmp_path, model, tokenizer, monkeypatch):
    """Across windows; torch maps the file, and so minds where arrays begin."""
    from safetensors.torch import load_file as load_into_torch

    monkeypatch.setattr(bert_encoding, "WINDOW_TOKENS", 100)
    texts.write_text(texts.read_text() * 20)
    out = tmp_path / "vectors.safetensors"
    options = ("--what", "tokens", "--batch-size", 2)
    result = invoke("bert", "encode", folder, texts, "--out", out, *options)
    assert result.exit_code == 0, result.output
    expected = encode(model, tokenizer, LINES * 20, what="tokens", batch_size=2)
    for found in (load_file(out), load_into_torch(out)):
        assert sorted(found) == ["offsets", "token_ids", "vectors"]
        for name, array in found.items():
            np.testing.assert_array_equal(array, getattr(expected, name))


def test_pairs(invoke, folder, texts, tmp_path, model, tokenizer):
    texts.write_bytes(b"w1 w2\tw3\r\nw4\t\nw5 w6\tw7 w8")
    out = tmp_path / "vectors.npy"
    result = invoke("bert", "encode", folder, texts, "--pairs", "tab", "--out", out)
    assert result.exit_code == 0, result.output
    expected = encode(model, tokenizer, [("w1 w2", "w3"), ("w4", ""), ("w5 w6", "w7 w8")])
    np.testing.assert_array_equal(np.load(out), expected)


@pytest.mark.parametrize("pairs", [False, True])
def test_ids(invoke, folder, texts, tmp_path, model, tokenizer, pairs):
    texts.write_text("5 6\t7\n8 9\t10 \n" if pairs else "5 6 7\n\n 8 9 10 \n")
    out = tmp_path / "vectors.npy"
    options = ("--pairs", "tab") if pairs else ()
    result = invoke("bert", "encode", folder, texts, "--ids", *options, "--out", out)
    assert result.exit_code == 0, result.output
    lists = [([5, 6], [7]), ([8, 9], [10])] if pairs else [[5, 6, 7], [], [8, 9, 10]]
    np.testing.assert_array_equal(np.load(out), encode(model, tokenizer, lists))


@pytest.mark.parametrize("source", ["file", "standard input", "pipe"])
def test_every_source_is_unpacked_and_decoded(
    invoke, folder, texts, tmp_path, model, tokenizer, source
):
    content, expected = texts.read_text(), encode(model, tokenizer, LINES)
    out, pipe = tmp_path / "vectors.npy", tmp_path / "pipe"
    os.mkfifo(pipe)
    for data in (
        content.encode(), content.encode("utf-8-sig"), content.encode("utf-16"),
        content.encode("utf-32"), gzip.compress(content.encode()),
        bz2.compress(content.encode("utf-16")), lzma.compress(content.encode()),
    ):  # fmt: skip
        texts.write_bytes(data)
        name = {"file": texts, "standard input": "-", "pipe": pipe}[source]
        writer = Thread(target=pipe.write_bytes, args=(data,), daemon=True)
        if source == "pipe":
            writer.start()
        result = invoke("bert", "encode", folder, name, "--out", out, input=data)
        assert result.exit_code == 0, result.output
        np.testing.assert_array_equal(np.load(out), expected)
    assert (f"{source}: " in result.stderr) == (source != "file")


def test_what_is_read_is_not_written_to(invoke, folder, texts):
    source = texts.rename(texts.with_suffix(".npy"))
    result = invoke("bert", "encode", folder, source, "--out", source)
    assert result.exit_code == 2 and "is read, and cannot be written to" in result.output
    assert source.read_text().splitlines() == LINES


def test_a_model_without_pooler(invoke, folder, texts, tmp_path, model, tokenizer):
    """As masked-language models are: for everything but pooled vectors."""
    copy = shutil.copytree(folder, tmp_path / "model")
    tensors = load_file(copy / "model.safetensors")
    kept = {name: x for name, x in tensors.items() if "pooler" not in name}
    save_file(kept, copy / "model.safetensors")
    out = tmp_path / "vectors.npy"
    result = invoke("bert", "encode", copy, texts, "--out", out)
    assert result.exit_code == 1 and not out.exists()
    assert "the model has no pooler, its file lacks bert.pooler.dense" in result.stderr
    result = invoke("bert", "encode", copy, texts, "--out", out, "--what", "mean")
    assert result.exit_code == 0, result.output
    np.testing.assert_array_equal(np.load(out), encode(model, tokenizer, LINES, what="mean"))


def test_no_lines(invoke, folder, texts, tmp_path):
    texts.write_text("")
    result = invoke("bert", "encode", folder, texts, "--out", tmp_path / "v.npy")
    assert result.exit_code == 0 and np.load(tmp_path / "v.npy").shape == (0, 16)
    out = tmp_path / "v.safetensors"
    result = invoke("bert", "encode", folder, texts, "--what", "tokens", "--out", out)
    assert result.exit_code == 0 and load_file(out)["offsets"].tolist() == [0]


def test_truncation(invoke, folder, texts, tmp_path, model, tokenizer):
    out = tmp_path / "vectors.npy"
    options = ("--max-len", 8, "--truncate")
    result = invoke("bert", "encode", folder, texts, *options, "--out", out)
    assert result.exit_code == 0, result.output
    assert "1 of 6 texts were cut" in result.stderr
    cut = [" ".join(line.split()[:6]) for line in LINES]
    np.testing.assert_array_equal(np.load(out), encode(model, tokenizer, cut))


@pytest.mark.parametrize(
    ("lines", "options", "message"),
    [
        (b"w1\nw2\n" + b"w3 " * 19, (), "line 3 must be at most 20 tokens with <cls> and <sep>"),
        (b"w1\nw2\xff\n", (), "line 2 must be UTF-8, got byte 0xff at 3"),
        (b"w1\tw2\nw3\n", ("--pairs", "tab"), "line 2 must be two texts with a tab between, got 1"),
        (b"w1\tw2\tw3\n", ("--pairs", "tab"), "line 1 must be two texts with a tab between, got 3"),
        (b"5 6\n5 six\n", ("--ids",), "line 2 must be token ids, got '5 six'"),
        (b"5 6\n35\n", ("--ids",), "line 2 must hold ids from 0 to 34, got 35"),
        (b"5\n3 6 4\n", ("--ids",), "line 2 must come without <cls> and <sep>"),
        (b"w1\n", ("--layers", "3", "--what", "cls"), "--layers must be -3 to 2, got 3"),
        (b"w1\n", ("--layers", "0"), "--layers must be -1 for pooled vectors"),
        (b"w1\n", ("--max-len", "21"), "--max-len must be 3 to 20, got 21"),
    ],
)  # fmt: skip
def test_errors_leave_no_file(invoke, folder, texts, tmp_path, lines, options, message):
    texts.write_bytes(lines)
    for suffix in (".npy", ".safetensors"):
        out = tmp_path / f"vectors{suffix}"
        result = invoke("bert", "encode", folder, texts, *options, "--out", out, "--batch-size", 1)
        assert result.exit_code == 1 and f"error: {message}" in result.stderr
        assert len(result.stderr.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--out", "vectors.txt"), "out must end in .npy or .safetensors, got vectors.txt"),
        (("--out", "v.npy", "--what", "tokens"), "out must end in .safetensors for the vectors of"),
        (("--out", "none/v.npy"), "there is no folder none"),
        (("--out", "v.npy", "--layers", "last"), "--layers must be numbers"),
        (("--out", "v.npy", "--device", "tpu"), "device must be auto, cpu or cuda, got 'tpu'"),
    ],
)
def test_arguments(invoke, folder, texts, arguments, message):
    result = invoke("bert", "encode", folder, texts, *arguments)
    assert result.exit_code in (1, 2) and message in result.stderr


def test_wrong_places(invoke, folder, texts, tmp_path):
    out = ("--out", tmp_path / "v.npy")
    result = invoke("bert", "encode", folder, tmp_path / "in", *out)
    assert result.exit_code == 2 and "must be a file of texts, and is a folder" in result.stderr
    result = invoke("bert", "encode", folder, tmp_path / "no.txt", *out)
    assert result.exit_code == 1 and "no.txt: No such file" in result.stderr
    result = invoke("bert", "encode", texts, texts, *out)
    assert result.exit_code == 2 and "MODEL must be a folder" in result.stderr
    result = invoke("bert", "encode", tmp_path / "in", texts, *out)
    assert result.exit_code == 1 and "holds" in result.stderr


def pieces_folder(model, folder):
    model.save_pretrained(folder)
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "ru", *(f"##{i}" for i in range(29))]
    for path in folder.glob("tokenizer*"):
        path.unlink()
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n")
    return folder


def test_word_pieces(invoke, model, texts, tmp_path):
    """Text and ids give the same vectors."""
    folder, out = pieces_folder(model, tmp_path / "pieces"), tmp_path / "v.npy"
    texts.write_text("Ru12 ru3\n")
    result = invoke("bert", "encode", folder, texts, "--out", out)
    assert result.exit_code == 0, result.output
    found = np.load(out)
    texts.write_text("5 18 5 9\n")
    result = invoke("bert", "encode", folder, texts, "--ids", "--out", out)
    assert result.exit_code == 0
    np.testing.assert_array_equal(np.load(out), found)


def test_ids_without_a_vocabulary(invoke, model, texts, tmp_path):
    folder, out = pieces_folder(model, tmp_path / "pieces"), tmp_path / "v.npy"
    texts.write_text("5 7\n")
    assert invoke("bert", "encode", folder, texts, "--ids", "--out", out).exit_code == 0
    found = np.load(out)
    (folder / "vocab.txt").unlink()
    texts.write_text("2 5 7 3\n")
    assert invoke("bert", "encode", folder, texts, "--ids", "--out", out).exit_code == 0
    np.testing.assert_array_equal(np.load(out), found)
    result = invoke("bert", "encode", folder, texts, "--out", out)
    assert result.exit_code == 1 and "give token ids (--ids)" in result.stderr


def test_folders_of_sentence_transformers(invoke, model, texts, tmp_path):
    """modules.json says what the vectors are, unless they are asked for."""
    folder, out = tmp_path / "st", tmp_path / "v.npy"
    pieces_folder(model, folder)
    texts.write_text("ru1 ru2\nru\n")
    kinds = {"Transformer": "", "Pooling": "1_Pooling", "Normalize": "2_Normalize"}
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (kind, path) in enumerate(kinds.items())
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    config = folder / "1_Pooling" / "config.json"

    def run(*options):
        result = invoke("bert", "encode", folder, texts, "--out", out, *options)
        return np.load(out) if result.exit_code == 0 else result.stderr

    expected = {what: run("--what", what) for what in ("mean", "cls")}
    for what, name in (("mean", "mean_tokens"), ("cls", "cls_token")):
        config.write_text(
            json.dumps({f"pooling_mode_{name}": True, "pooling_mode_max_tokens": False})
        )
        lengths = np.linalg.norm(expected[what], axis=1, keepdims=True)
        np.testing.assert_allclose(run(), expected[what] / lengths, atol=1e-6)
        np.testing.assert_array_equal(run("--no-normalize"), expected[what])
    config.write_text(json.dumps({"pooling_mode_cls_token": False}))
    assert "pooling_mode must be one of cls, max, mean, mean_sqrt_len_tokens, weigh" in run()
    config.write_text(json.dumps({"pooling_mode": ["cls", "max"]}))
    assert "got ['cls', 'max']: give what is wanted of the encoder alone (--what)" in run()
    config.write_text(json.dumps({"pooling_mode": "cls"}))
    modules[2]["type"] = "sentence_transformers.models.LSTM"
    (folder / "modules.json").write_text(json.dumps(modules))
    assert "modules must be Transformer, Pooling, Dense and Normalize, got LSTM" in run()
    modules.pop()
    (folder / "modules.json").write_text(json.dumps(modules))
    prompts = folder / "config_sentence_transformers.json"
    prompts.write_text(json.dumps({"prompts": {"query": "q: "}, "default_prompt_name": "query"}))
    assert "default_prompt_name must be null, got 'query': write the prompt" in run()
    prompts.write_text(json.dumps({"prompts": {"query": "q: "}, "default_prompt_name": None}))
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 4}')
    assert "must be at most 4 tokens" in run()
    assert len(run("--truncate")) == 2


def test_poolings_of_sentence_transformers(invoke, model, texts, tmp_path):
    """All of its modes, several end to end, then a layer of their own, computed by hand."""
    folder, out = tmp_path / "st", tmp_path / "v.npy"
    pieces_folder(model, folder)
    texts.write_text("RU1 ru2\nRU\n")
    tokens = tmp_path / "tokens.safetensors"
    options = ("--what", "tokens", "--out", tokens)
    assert invoke("bert", "encode", folder, texts, *options).exit_code == 0
    found = load_file(tokens)
    bounds = found["offsets"].tolist()
    parts = [found["vectors"][begin:end] for begin, end in itertools.pairwise(bounds)]
    weights = [np.arange(1, len(x) + 1)[:, None] / np.arange(1, len(x) + 1).sum() for x in parts]
    expected = {
        "cls_token": [x[0] for x in parts],
        "max_tokens": [x.max(0) for x in parts],
        "mean_tokens": [x.mean(0) for x in parts],
        "mean_sqrt_len_tokens": [x.sum(0) / len(x) ** 0.5 for x in parts],
        "weightedmean_tokens": [(w * x).sum(0) for w, x in zip(weights, parts, strict=True)],
        "lasttoken": [x[-1] for x in parts],
    }
    modules = [("Transformer", ""), ("Pooling", "1_Pooling")]

    def run(*more, **modes):
        written = [
            {"type": f"sentence_transformers.models.{kind}", "path": path}
            for kind, path in (*modules, *more)
        ]
        (folder / "modules.json").write_text(json.dumps(written))
        (folder / "1_Pooling").mkdir(exist_ok=True)
        (folder / "1_Pooling/config.json").write_text(json.dumps(modes))
        result = invoke("bert", "encode", folder, texts, "--out", out)
        return np.load(out) if result.exit_code == 0 else result.stderr

    names = {name: f"pooling_mode_{name}" for name in expected}
    for name, vectors in expected.items():
        np.testing.assert_allclose(run(**{names[name]: True}), vectors, atol=1e-6)
    every = np.concatenate([np.stack(vectors) for vectors in expected.values()], axis=1)
    np.testing.assert_allclose(run(**dict.fromkeys(names.values(), True)), every, atol=1e-6)

    width, generator = every.shape[1], np.random.default_rng(1)
    layer = generator.normal(size=(5, width)).astype(np.float32), np.ones(5, np.float32)
    dense = folder / "2_Dense"
    dense.mkdir()
    config = {"in_features": width, "out_features": 5, "bias": True}
    config |= {"activation_function": "torch.nn.modules.activation.Tanh"}
    (dense / "config.json").write_text(json.dumps(config))
    save_file({"linear.weight": layer[0], "linear.bias": layer[1]}, dense / "model.safetensors")
    through = np.tanh(every @ layer[0].T + layer[1])
    whole = dict.fromkeys(names.values(), True)
    more = (("Dense", "2_Dense"), ("Normalize", "3_Normalize"))
    through /= np.linalg.norm(through, axis=1, keepdims=True)
    np.testing.assert_allclose(run(*more, **whole), through, atol=1e-5)
    assert f"must take vectors of {width // 6} numbers, got {width}" in run(
        *more, pooling_mode_lasttoken=True
    )
    assert "nothing may follow Normalize, got Dense" in run(*more[::-1], **whole)
    for changes, message in (
        ({"out_features": 6}, "does not hold the layer of its configuration"),
        ({"in_features": 0}, "in_features must be >= 1, got 0"),
        ({"activation_function": "my.Own"}, "must be one of Identity, Tanh, ReLU, GELU, Sigmoid"),
        ({"module_input_name": "token_embeddings"}, "module_input_name must be sentence_embedd"),
    ):
        (dense / "config.json").write_text(json.dumps(config | changes))
        assert message in run(*more, **whole)


@pytest.mark.interop
@pytest.mark.parametrize("lowercase", [True, False])
def test_raw_text_beside_transformers(invoke, texts, tmp_path, lowercase):
    """Text goes through a vocab.txt of pieces as it does there, to the same vectors."""
    transformers = pytest.importorskip("transformers")
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = [*special, *"abcdeéfghilnorstuwxyz,.!?-'東京1", "The", "the", "cafe", "run"]
    pieces += [f"##{piece}" for piece in (*"abcdefghilnorstuwxyz", "ning", "ner")]
    folder, out = tmp_path / "published", tmp_path / "v.npy"
    config = transformers.BertConfig(
        vocab_size=len(pieces), hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=24, max_position_embeddings=40,
    )  # fmt: skip
    torch.manual_seed(1)
    theirs = transformers.BertModel(config).eval()
    theirs.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(pieces) + "\n")
    (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": lowercase}))
    lines = ["The café, running!", "東京 isn't  far\x00 away", "", "[MASK] the runner-1?", "q ß"]
    texts.write_text("\n".join(lines) + "\n")
    tokenizer = transformers.BertTokenizer.from_pretrained(folder, do_lower_case=lowercase)
    inputs = tokenizer(lines, padding=True, return_tensors="pt")
    with torch.no_grad():
        expected = theirs(**inputs)
    hidden, mask = expected.last_hidden_state, inputs["attention_mask"][..., None]
    wanted = {
        "cls": hidden[:, 0],
        "mean": (hidden * mask).sum(1) / mask.sum(1),
        "pooled": expected.pooler_output,
    }
    for what, vectors in wanted.items():
        result = invoke("bert", "encode", folder, texts, "--what", what, "--out", out)
        assert result.exit_code == 0, result.output
        np.testing.assert_allclose(np.load(out), vectors, atol=1e-5)


@pytest.mark.interop
def test_folder_of_transformers(invoke, texts, tmp_path):
    """An encoder without heads, as transformers writes it, gives the vectors it gives there."""
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=2,
        intermediate_size=24, max_position_embeddings=20,
    )  # fmt: skip
    other = transformers.BertModel(config).eval()
    other.save_pretrained(tmp_path / "other")
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"##{i}" for i in range(35))]
    (tmp_path / "other" / "vocab.txt").write_text("\n".join(pieces) + "\n")
    texts.write_text("7 8 9\t10 11\n12\t13\n")
    out = tmp_path / "v.npy"
    options = ("--ids", "--pairs", "tab", "--quiet")
    result = invoke("bert", "encode", tmp_path / "other", texts, *options, "--out", out)
    assert result.exit_code == 0 and result.output == ""
    for found, ids, second in zip(
        np.load(out), ([2, 7, 8, 9, 3, 10, 11, 3], [2, 12, 3, 13, 3]), (5, 3), strict=True
    ):
        segments = [0] * second + [1] * (len(ids) - second)
        with torch.no_grad():
            expected = other(torch.tensor([ids]), token_type_ids=torch.tensor([segments]))
        np.testing.assert_allclose(found, expected.pooler_output[0], atol=1e-5)


@pytest.mark.parametrize("name", ["vectors.npy", "vectors.safetensors"])
def test_interrupted_runs_leave_nothing(folder, texts, tmp_path, name):
    """What was there before stays; nothing half-written is left beside it."""
    texts.write_text("w1 w2 w3\n" * 1_000_000)  # more than it comes to
    out = tmp_path / name
    out.write_text("before")
    process = subprocess.Popen(
        [sys.executable, "-m", "lexforge.cli.main", "bert", "encode", str(folder), str(texts),
         "--out", str(out)],
        stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 60
        while not any(file.stat().st_size > 4096 for file in tmp_path.glob(".*.tmp")):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 128 + signal.SIGTERM
    finally:
        process.kill()
        process.communicate()
    assert {file.name for file in tmp_path.iterdir()} == {name, texts.parent.name}
    assert out.read_text() == "before"
