"""Files of BERT models: both layouts, older names, and every way of not fitting."""

from __future__ import annotations

import errno
import io
import json
import os
import pickle
import zipfile

import pytest
import torch
from safetensors.torch import load_file, save_file

from lexforge._files import COMMIT
from lexforge.bert import BertConfig, BertEncoder, BertModel
from lexforge.models.bert import files as bert_files
from lexforge.reference import bert as reference
from lexforge.text.tokenizers.published import PublishedTokenizer
from lexforge.training.checkpoint import CheckpointError
from models.bert_batches import padded_batch

WORDS = ["<unk>", "<pad>", "é", "a b", "\u2028", "#x", "1.5", *(f"w{i}" for i in range(13))]


def standard(**changes):
    config = BertConfig.standard(len(WORDS), 12, 2, 3, 16, 10, **changes)
    return perturbed(BertModel(config, seed=1))


def of_the_text(**changes):
    config = BertConfig.reference(len(WORDS), 12, 16, 3, 2, max_len=10, **changes)
    return perturbed(BertModel(config, seed=1))


def perturbed(model):
    """So that no parameter stands at its first value."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    model.vocabulary = list(WORDS)
    return model


def assert_same(one, two):
    assert one.config == two.config
    assert one.vocabulary == two.vocabulary
    states = one.state_dict(), two.state_dict()
    assert states[0].keys() == states[1].keys()
    for name, tensor in states[0].items():
        assert torch.equal(tensor, states[1][name]), name


@pytest.fixture
def folder(tmp_path):
    """A folder with a standard model, and the model."""
    model = standard()
    model.save_pretrained(tmp_path / "model")
    return tmp_path / "model", model


def rewrite(folder, change):
    """Changes the tensors of a folder."""
    tensors = change(load_file(folder / "model.safetensors"))
    save_file({name: x.clone() for name, x in tensors.items()}, folder / "model.safetensors")


def reconfigure(folder, **changes):
    path = folder / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in config.items() if v is not None}))


@pytest.mark.parametrize(
    "make",
    [
        standard,
        of_the_text,
        lambda: standard(tied_head=False),
        lambda: standard(embedding_norm=False, pad_token_id=None),
        lambda: standard(activation="relu", initializer_range=0.5, norm_eps=1e-3),
    ],
)
def test_round_trip(make, tmp_path):
    model = make()
    model.save_pretrained(tmp_path / "new" / "folder")
    back = BertModel.from_pretrained(tmp_path / "new" / "folder")
    assert_same(back, model)
    assert not back.training
    model.save_pretrained(tmp_path / "new" / "folder")
    assert sorted(os.listdir(tmp_path / "new" / "folder")) == [
        "config.json",
        "model.safetensors",
        "vocab.txt",
    ]
    batch = padded_batch(model.config, [3, 10])[:4]
    for x, y in zip(model.eval()(*batch), back(*batch), strict=True):
        assert torch.equal(x, y)


def test_what_a_folder_holds(folder):
    path, model = folder
    config = json.loads((path / "config.json").read_text())
    assert config == {
        "model_type": "bert",
        "architectures": ["BertForPreTraining"],
        "vocab_size": 20,
        "hidden_size": 12,
        "num_hidden_layers": 2,
        "num_attention_heads": 3,
        "intermediate_size": 16,
        "max_position_embeddings": 10,
        "type_vocab_size": 2,
        "hidden_act": "gelu",
        "tie_word_embeddings": True,
        "layer_norm_eps": 1e-12,
        "hidden_dropout_prob": 0.1,
        "attention_probs_dropout_prob": 0.1,
        "initializer_range": 0.02,
        "pad_token_id": 0,
    }
    assert (path / "vocab.txt").read_bytes().decode().split("\n") == [*WORDS, ""]
    tensors = load_file(path / "model.safetensors")
    block = "bert.encoder.layer.{}."
    parts = ["attention.self.query", "attention.self.key", "attention.self.value"]
    parts += ["attention.output.dense", "attention.output.LayerNorm", "intermediate.dense"]
    parts += ["output.dense", "output.LayerNorm"]
    layers = ["bert.embeddings.LayerNorm", "bert.pooler.dense", "cls.predictions.transform.dense"]
    layers += ["cls.predictions.transform.LayerNorm", "cls.seq_relationship"]
    layers += [block.format(i) + part for i in range(2) for part in parts]
    names = {f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")}
    tables = ("word", "position", "token_type")
    names |= {f"bert.embeddings.{table}_embeddings.weight" for table in tables}
    assert tensors.keys() == names | {"cls.predictions.bias"}
    qkv = model.encoder.blocks[1].qkv.weight
    for i, part in enumerate(parts[:3]):
        name = f"{block.format(1)}{part}.weight"
        assert torch.equal(tensors[name], qkv[12 * i : 12 * i + 12])


def test_a_model_without_tokens(tmp_path):
    model = standard()
    model.vocabulary = None
    model.double().save_pretrained(tmp_path)
    assert not (tmp_path / "vocab.txt").exists()
    back = BertModel.from_pretrained(tmp_path)
    assert back.vocabulary is None and back.hidden.weight.dtype == torch.float32


@pytest.mark.real_data
def test_the_published_vocabulary(data_folder, tmp_path):
    """30,522 lines come back byte for byte."""
    published = (data_folder / "tokenizers" / "bert-base-uncased-vocab.txt").read_bytes()
    config = BertConfig.standard(30522, 2, 1, 1, 2, 4)
    BertModel(config, seed=1).save_pretrained(tmp_path)
    (tmp_path / "vocab.txt").write_bytes(published)
    model = BertModel.from_pretrained(tmp_path)
    assert len(model.vocabulary) == 30522 and model.vocabulary[103] == "[MASK]"
    model.save_pretrained(tmp_path / "again")
    assert (tmp_path / "again" / "vocab.txt").read_bytes() == published


def older(tensors, *prefixes):
    """Names as files have had them."""
    renamed = {}
    for name, tensor in tensors.items():
        name = name.replace("LayerNorm.weight", "LayerNorm.gamma")
        name = name.replace("LayerNorm.bias", "LayerNorm.beta")
        renamed["".join(prefixes) + name] = tensor
    renamed["".join(prefixes) + "bert.embeddings.position_ids"] = torch.arange(10)[None]
    return renamed


@pytest.mark.parametrize("prefixes", [(), ("module.",), ("_orig_mod.", "module.")])
def test_older_names_and_wrapped_models(folder, prefixes):
    path, model = folder
    rewrite(path, lambda tensors: older(tensors, *prefixes))
    assert_same(BertModel.from_pretrained(path), model)


def test_tied_weights_may_be_there_twice(folder):
    path, model = folder

    def tie(tensors):
        tensors["cls.predictions.decoder.weight"] = tensors[bert_files.HUGGING_FACE.token]
        tensors["cls.predictions.decoder.bias"] = tensors["cls.predictions.bias"]
        return tensors

    rewrite(path, tie)
    assert_same(BertModel.from_pretrained(path), model)
    rewrite(path, lambda tensors: {k: v for k, v in tensors.items() if k != "cls.predictions.bias"})
    assert_same(BertModel.from_pretrained(path), model)
    rewrite(path, lambda tensors: tensors | {"cls.predictions.decoder.weight": torch.zeros(20, 12)})
    with pytest.raises(
        CheckpointError,
        match=r"its head must be tied, but cls.predictions.decoder.weight differs from bert.emb",
    ):
        BertModel.from_pretrained(path)


def test_an_encoder_alone(folder):
    """Without the prefix and the heads, as BertModel of transformers is saved."""
    path, model = folder
    rewrite(
        path,
        lambda tensors: {
            name.removeprefix("bert."): tensor
            for name, tensor in tensors.items()
            if name.startswith("bert.")
        },
    )
    with pytest.raises(CheckpointError) as caught:
        BertModel.from_pretrained(path, heads=True)
    missing = [line for line in str(caught.value).splitlines() if "missing: cls." in line]
    assert len(missing) == 7 == len(str(caught.value).splitlines()) - 2
    alone = BertModel.from_pretrained(path)
    assert alone.missing_parts == ["masked-LM head", "next-sentence head"]
    tokens, segments, lengths = padded_batch(model.config, [3, 10])[:3]
    expected = model.eval().encoder(tokens, segments, lengths)
    encoded, mlm, nsp = alone(tokens, segments, lengths)
    assert torch.equal(encoded, expected) and mlm is None and nsp is None
    with pytest.raises(ValueError, match=r"has no masked-LM head, its file lacks cls.predictions"):
        alone(tokens, pred_positions=torch.tensor([[1], [1]]))
    alone.add_heads(seed=1)
    assert not alone.missing_parts and alone(tokens)[2].shape == (2, 2)
    assert torch.equal(alone.hidden.weight, model.hidden.weight)
    with pytest.warns(UserWarning, match=r"missing: cls.predictions.bias\n") as record:
        back = BertModel.from_pretrained(path, strict=False)
    assert record[0].filename == __file__
    for ours, theirs in ((back.encoder, model.encoder), (back.hidden, model.hidden)):
        for x, y in zip(ours.parameters(), theirs.parameters(), strict=True):
            assert torch.equal(x, y)
    assert not back.mlm.bias.any() and back.mlm.dense.weight.std() > 0.01


def test_everything_wrong_is_listed_at_once(folder):
    path, _ = folder

    def spoil(tensors):
        del tensors["bert.pooler.dense.bias"], tensors["cls.seq_relationship.weight"]
        tensors["classifier.weight"] = torch.zeros(3, 12)
        tensors["bert.embeddings.word_embeddings.weight"] = torch.zeros(20, 11)
        tensors["cls.predictions.bias"] = torch.zeros(20, dtype=torch.int64)
        return tensors

    rewrite(path, spoil)
    with pytest.raises(CheckpointError) as caught:
        BertModel.from_pretrained(path, heads=True)
    assert str(caught.value).splitlines() == [
        f"{path} does not hold the tensors of its configuration",
        "  missing: bert.pooler.dense.bias",
        "  missing: cls.seq_relationship.weight",
        "  unexpected: classifier.weight",
        "  unsuitable: bert.embeddings.word_embeddings.weight must be [20, 12], got [20, 11]",
        "  unsuitable: cls.predictions.bias must be floating-point, got torch.int64",
        "  strict=False leaves out what is unexpected and gives first values to what is missing; "
        "heads=False reads the encoder alone",
    ]
    with pytest.raises(CheckpointError, match="unsuitable"):  # nothing can stand in for these
        BertModel.from_pretrained(path, strict=False)


def test_unexpected_tensors(folder):
    path, model = folder
    rewrite(path, lambda tensors: tensors | {"classifier.bias": torch.zeros(3)})
    with pytest.raises(CheckpointError, match=r"unexpected: classifier.bias"):
        BertModel.from_pretrained(path, heads=True)
    with pytest.warns(UserWarning, match="classifier.bias of another task are left out"):
        assert_same(BertModel.from_pretrained(path), model)
    with pytest.warns(UserWarning, match=r"unexpected: classifier.bias"):
        assert_same(BertModel.from_pretrained(path, strict=False), model)


def test_two_names_of_one_tensor(folder):
    path, _ = folder
    name = "bert.embeddings.LayerNorm"
    rewrite(path, lambda tensors: tensors | {f"{name}.gamma": tensors[f"{name}.weight"]})
    with pytest.raises(CheckpointError, match=f"more than one tensor for {name}.weight"):
        BertModel.from_pretrained(path)


CONFIGS = [
    ({"model_type": "roberta"}, "model_type must be bert or lexforge_bert, got 'roberta'"),
    (
        {"hidden_size": None, "vocab_size": None},
        "vocab_size, hidden_size must be given: add .* vocab_size 30522",
    ),
    ({"hidden_act": "mish"}, "activation must be one of gelu, relu, gelu_tanh, silu, got 'mish'"),
    ({"position_embedding_type": "relative_key"}, "must be 'absolute', got 'relative_key'"),
    ({"is_decoder": True}, "is_decoder must be False, got True"),
    ({"num_attention_heads": 5}, "num_heads must divide hidden_size 12, got 5"),
    ({"hidden_dropout_prob": "a"}, "dropout must be a number, got 'a'"),
]


@pytest.mark.parametrize("changes, message", CONFIGS)
def test_other_configurations(folder, changes, message):
    path, _ = folder
    reconfigure(path, **changes)
    with pytest.raises(CheckpointError, match=f"{path}: config.json: BertConfig: .*{message}"):
        BertModel.from_pretrained(path)


def test_configurations_of_old(folder):
    """The keys of the first files, and transformers' defaults for the rest."""
    path, model = folder
    absent = ["model_type", "architectures", "tie_word_embeddings", "layer_norm_eps"]
    absent += ["initializer_range", "pad_token_id", "hidden_dropout_prob"]
    reconfigure(path, **dict.fromkeys(absent), gradient_checkpointing=False, use_cache=True)
    assert_same(BertModel.from_pretrained(path), model)


def damage(kind, path):
    tensors, config = path / "model.safetensors", path / "config.json"
    if kind == "no folder":
        return path / "absent", FileNotFoundError, "no config.json"
    if kind == "a file":
        return config, CheckpointError, "must be a folder"
    if kind == "no tensors":
        tensors.unlink()
        return path, CheckpointError, r"must hold model.safetensors or pytorch_model.bin"
    if kind == "truncated tensors":
        tensors.write_bytes(tensors.read_bytes()[:-7])
        return path, CheckpointError, r"model.safetensors is truncated or damaged"
    if kind == "truncated config":
        config.write_bytes(config.read_bytes()[:-7])
        return path, CheckpointError, r"config.json is truncated or damaged"
    if kind == "vocabulary":
        (path / "vocab.txt").write_bytes(b"\xff\xfe")
        return path, CheckpointError, r"vocab.txt must be UTF-8"
    if kind == "long vocabulary":
        (path / "vocab.txt").write_text("a\n" * 21)
        return path, CheckpointError, r"vocab.txt must have at most 20 tokens, got 21"
    raise ValueError(kind)


@pytest.mark.parametrize(
    "kind",
    [
        "no folder",
        "a file",
        "no tensors",
        "truncated tensors",
        "truncated config",
        "vocabulary",
        "long vocabulary",
    ],
)
def test_damaged_folders(folder, kind):
    path, error, message = damage(kind, folder[0])
    with pytest.raises(error, match=message):
        BertModel.from_pretrained(path)


class Exploit:
    def __reduce__(self):
        return os.mkdir, ("exploited",)


def test_pickles_hold_tensors_only(folder, tmp_path, monkeypatch):
    """pytorch_model.bin is read as tensors; nothing else in it is ever built."""
    path, model = folder
    monkeypatch.chdir(tmp_path)
    state = load_file(path / "model.safetensors")
    (path / "model.safetensors").unlink()
    torch.save(state, path / "pytorch_model.bin")
    assert_same(BertModel.from_pretrained(path), model)
    for content in (state | {"x": Exploit()}, [1, 2], {"a": 1}):
        torch.save(content, path / "pytorch_model.bin")
        with pytest.raises(CheckpointError, match=r"pytorch_model.bin must be a state dict"):
            BertModel.from_pretrained(path)
    (path / "pytorch_model.bin").write_bytes(pickle.dumps(Exploit(), protocol=2))
    with pytest.raises(CheckpointError, match=r"pytorch_model.bin must be a state dict"):
        BertModel.from_pretrained(path)
    assert not (tmp_path / "exploited").exists()


def test_a_full_disk_leaves_what_was_there(folder, monkeypatch):
    path, model = folder

    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(bert_files, "write_tensors", refuse)
    other = standard()
    with torch.no_grad():
        other.hidden.bias.add_(1)
    with pytest.raises(CheckpointError, match="no space left on the disk"):
        other.save_pretrained(path)
    assert_same(BertModel.from_pretrained(path), model)
    assert len(os.listdir(path)) == 3


def test_an_interrupted_save_counts(folder, tmp_path):
    """A process killed between the commit and the renames."""
    path, _ = folder
    other = standard()
    with torch.no_grad():
        other.hidden.bias.add_(1)
    other.save_pretrained(tmp_path / "other")
    os.rename(tmp_path / "other", path / COMMIT)
    (path / ".partial").mkdir()  # of somebody who is saving now
    assert_same(BertModel.from_pretrained(path), other)
    assert len(os.listdir(path / COMMIT)) == 3 and (path / ".partial").exists()
    other.save_pretrained(path)
    assert len(os.listdir(path)) == 3


# The text's archives


def archive_of(path, words=WORDS, state=None, prefix="", **config):
    """An archive as the text's own code would write it; returns the plain model in it."""
    torch.manual_seed(3)
    options = {"vocab": 20, "hidden": 12, "inner": 16, "heads": 3, "blocks": 2} | config
    plain = reference.BertModel(*options.values(), 0.2, max_len=10)
    buffer = io.BytesIO()
    torch.save(plain.state_dict() if state is None else state, buffer)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{prefix}vocab.json", json.dumps(words))
        archive.writestr(f"{prefix}pretrained.params", buffer.getvalue())
    return plain


@pytest.mark.parametrize("form", ["zip", "folder in a zip", "folder"])
def test_the_texts_archive(tmp_path, form):
    path = tmp_path / "bert.small.torch.zip"
    plain = archive_of(path, prefix="bert.small.torch/" if form == "folder in a zip" else "")
    if form == "folder":
        with zipfile.ZipFile(path) as archive:
            archive.extractall(tmp_path / "unpacked")
        path = tmp_path / "unpacked"
    model = BertModel.load_reference_archive(path, num_heads=3, num_blks=2, dropout=0.3)
    assert model.config == BertConfig.reference(20, 12, 16, 3, 2, 0.3, 10)
    assert model.vocabulary == WORDS and not model.training
    batch = padded_batch(model.config, [4, 10, 1])
    expected = plain.eval()(*batch[:4])
    found = model(*batch[:4])
    torch.testing.assert_close(found[0][batch.mask], expected[0][batch.mask])
    torch.testing.assert_close(found[1:], expected[1:])
    other = BertModel.load_reference_archive(path, num_heads=4)(*batch[:4])
    assert not torch.allclose(other[0], found[0])


@pytest.mark.parametrize("blocks", [0, 1, 3])
def test_archive_round_trip(tmp_path, blocks):
    config = BertConfig.reference(len(WORDS), 12, 16 if blocks else 1, 3, blocks, max_len=10)
    model = perturbed(BertModel(config, seed=1))
    model.save_reference_archive(tmp_path / "model.zip")
    back = BertModel.load_reference_archive(tmp_path / "model.zip", num_heads=3)
    assert_same(back, model)
    with zipfile.ZipFile(tmp_path / "model.zip") as archive:
        assert json.loads(archive.read("vocab.json")) == WORDS
        state = torch.load(io.BytesIO(archive.read("pretrained.params")), weights_only=True)
    plain = reference.BertModel(20, 12, config.intermediate_size, 3, blocks, 0.2, max_len=10)
    plain.load_state_dict(state)
    assert state["encoder.pos_embedding"].shape == (1, 10, 12)
    model.vocabulary = None
    model.save_reference_archive(tmp_path / "model.zip", WORDS)
    assert_same(BertModel.load_reference_archive(tmp_path / "model.zip", num_heads=3), back)


def test_archives_that_cannot_be(tmp_path):
    path = tmp_path / "x.zip"
    with pytest.raises(ValueError, match=r"must have the parts of BertConfig.reference, got"):
        standard().save_reference_archive(path)
    model = of_the_text()
    with pytest.raises(ValueError, match="vocabulary must be 20 tokens, got 2"):
        model.save_reference_archive(path, ["a", "b"])
    model.vocabulary = None
    with pytest.raises(ValueError, match="vocabulary must be 20 tokens, got none"):
        model.save_reference_archive(path)
    assert os.listdir(tmp_path) == []


def test_archives_that_do_not_fit(tmp_path):
    path = tmp_path / "x.zip"
    read = BertModel.load_reference_archive
    plain = archive_of(path)
    with pytest.raises(ValueError, match="num_heads must divide hidden_size 12, got 5"):
        read(path, num_heads=5)
    with pytest.raises(CheckpointError, match="num_blks must be 2, got 3"):
        read(path, num_heads=3, num_blks=3)
    archive_of(path, words=WORDS[:-1])
    with pytest.raises(CheckpointError, match=r"vocabulary must have 20 tokens, .* got 19"):
        read(path, num_heads=3)
    archive_of(path, words={"a": 1})
    with pytest.raises(CheckpointError, match=r"vocab.json .* must be a JSON array, got dict"):
        read(path, num_heads=3)
    state = plain.state_dict()
    archive_of(path, state={k: v for k, v in state.items() if k != "encoder.pos_embedding"})
    with pytest.raises(CheckpointError, match=r"must hold the matrices encoder.pos_embedding"):
        read(path, num_heads=3)
    del state["encoder.blks.0.attention.W_k.bias"], state["encoder.blks.0.ffn.dense2.weight"]
    state["hidden.0.bias"] = torch.zeros(11)
    archive_of(path, state=state)
    with pytest.raises(CheckpointError) as caught:
        read(path, num_heads=3)
    assert str(caught.value).splitlines()[1:] == [
        "  missing: encoder.blks.0.attention.W_k.bias",
        "  missing: encoder.blks.0.ffn.dense2.weight",
        "  unsuitable: hidden.0.bias must be [12], got [11]",
    ]
    archive_of(path, state=[1])
    with pytest.raises(CheckpointError, match=r"pretrained.params must be a state dict"):
        read(path, num_heads=3)


def test_damaged_archives(tmp_path):
    path = tmp_path / "x.zip"
    read = BertModel.load_reference_archive
    with pytest.raises(FileNotFoundError):
        read(path, num_heads=3)
    archive_of(path)
    whole = path.read_bytes()
    for content in (whole[:-30], whole[:100], b"", whole.replace(b"pretrained", b"prettained")):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"x.zip"):
            read(path, num_heads=3)
    with pytest.raises(CheckpointError, match=r"must hold one vocab.json, got 0"):
        read(tmp_path, num_heads=3)


def test_an_archive_with_a_damaged_byte(tmp_path):
    path = tmp_path / "x.zip"
    archive_of(path)
    with zipfile.ZipFile(path) as archive, zipfile.ZipFile(tmp_path / "y.zip", "w", 8) as packed:
        for name in archive.namelist():
            packed.writestr(name, archive.read(name))
        first = packed.infolist()[0]
    data = (tmp_path / "y.zip").read_bytes()
    begin = 30 + len(first.filename)
    for at in range(begin, begin + first.compress_size, 5):
        path.write_bytes(data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :])
        with pytest.raises(CheckpointError, match=r"x\.zip"):
            BertModel.load_reference_archive(path, num_heads=3)


# Vocabularies


def test_tokens_that_were_added_are_kept(tmp_path):
    """tokenizer.json has more than vocab.txt, and other settings than a vocab.txt alone."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    model = BertModel(BertConfig.standard(9, 8, 1, 2, 8, 10), seed=1)
    model.tokenizer = PublishedTokenizer.from_pieces([*special, "A", "a", "NEW"], lowercase=False)
    model.vocabulary = list(model.tokenizer.tokens)
    model.save_pretrained(tmp_path / "first")
    (tmp_path / "first/vocab.txt").write_text("\n".join([*special, "A", "a"]) + "\n")
    read = BertModel.from_pretrained(tmp_path / "first")
    assert read.vocabulary[-1] == "NEW"
    read.save_pretrained(tmp_path / "second")
    again = BertModel.from_pretrained(tmp_path / "second").tokenizer
    assert again.encode("A NEW a") == [5, 7, 6]
    (tmp_path / "first/vocab.txt").write_text("\n".join([*special, "A", "b"]) + "\n")
    with pytest.warns(UserWarning, match="vocab.txt has 'b' for 6, the tokenizer has 'a': the tok"):
        assert BertModel.from_pretrained(tmp_path / "first").vocabulary[6] == "a"


# Sizes, shards, poolers


@pytest.mark.parametrize(
    "changes, error, message",
    [
        ({"num_hidden_layers": 20_000}, CheckpointError, "num_hidden_layers must be at most 2,"),
        ({"num_hidden_layers": 10**9}, CheckpointError, "must be at most 2, .* got 1000000000"),
        (
            {"vocab_size": 10**6},
            CheckpointError,
            r"word_embeddings.weight must be \[1000000, 12\]",
        ),
        ({"vocab_size": 2**62}, MemoryError, f"vocab_size={2**62}.* are free"),
        (
            {"max_position_embeddings": 2**40},
            CheckpointError,
            rf"position_embeddings.weight must be \[{2**40}, 12\]",
        ),
    ],
)
@pytest.mark.parametrize("heads", [True, False])
def test_sizes_are_compared_before_anything_is_allocated(folder, changes, error, message, heads):
    path, _ = folder
    reconfigure(path, **changes)
    before = torch.get_rng_state()
    with pytest.raises(error, match=message):
        BertModel.from_pretrained(path, heads=heads)
    assert torch.equal(torch.get_rng_state(), before)  # nothing was filled


@pytest.mark.parametrize("make", [standard, of_the_text, lambda: standard(embedding_norm=False)])
def test_number_of_parameters(make):
    model = make()
    assert model.config.num_parameters == sum(p.numel() for p in model.parameters())


def test_models_larger_than_the_memory(monkeypatch):
    config = BertConfig.standard(100, 10**8, num_heads=10**6)
    with pytest.raises(MemoryError, match=r"hidden_size=100000000.* need .*B, and .* are free"):
        BertModel(config)
    with pytest.raises(MemoryError, match="num_layers=1000000000,"):
        BertEncoder(BertConfig.reference(100, num_blks=10**9))
    with torch.device("meta"):
        assert BertModel(BertConfig.standard(2**32, num_layers=1)).hidden.weight.is_meta


def sharded(path, name, save, places):
    """The tensors of a folder in files by the place of each, and the index of them."""
    tensors = load_file(path / "model.safetensors")
    (path / "model.safetensors").unlink()
    weight_map = {key: places(number) for number, key in enumerate(tensors)}
    for place in set(weight_map.values()):
        save({k: tensors[k] for k, file in weight_map.items() if file == place}, path / place)
    (path / f"{name}.index.json").write_text(json.dumps({"weight_map": weight_map}))
    return weight_map


@pytest.mark.parametrize(
    "name, save", [("model.safetensors", save_file), ("pytorch_model.bin", torch.save)]
)
def test_shards(folder, name, save):
    path, model = folder
    stem, suffix = name.split(".")
    sharded(path, name, save, lambda i: f"{stem}-{i % 3 + 1:05}-of-00003.{suffix}")
    assert_same(BertModel.from_pretrained(path), model)
    (path / f"{stem}-00002-of-00003.{suffix}").unlink()
    with pytest.raises(CheckpointError, match=f"the shard {stem}-00002-of-00003.{suffix} is mis"):
        BertModel.from_pretrained(path)


@pytest.mark.parametrize(
    "place", ["../a", "/etc/passwd", "..", ".", "", "a/b", "missing", "a" * 300, "\0", "\ud800"]
)
def test_shards_are_files_beside_their_index(folder, place):
    path, _ = folder
    weight_map = sharded(path, "model.safetensors", save_file, lambda i: "a")
    (path.parent / "a").write_bytes((path / "a").read_bytes())
    weight_map = dict.fromkeys(weight_map, place)
    (path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(CheckpointError, match=r"index\.json: (shards must be files|the shard )"):
        BertModel.from_pretrained(path)


@pytest.mark.parametrize("weight_map", [None, [], {"a": 1}, {"a": None}])
def test_damaged_index(folder, weight_map):
    path, _ = folder
    (path / "model.safetensors").unlink()
    index = path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(CheckpointError, match="weight_map must be an object of file names"):
        BertModel.from_pretrained(path)


def test_a_shard_without_its_tensor(folder):
    path, _ = folder
    weight_map = sharded(path, "model.safetensors", save_file, lambda i: "a")
    index = path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {**weight_map, "other": "a"}}))
    with pytest.raises(CheckpointError, match="a must hold other, as"):
        BertModel.from_pretrained(path)


def without_pooler(path, *kept):
    rewrite(
        path,
        lambda tensors: {
            name: x for name, x in tensors.items() if "pooler" not in name or name.endswith(kept)
        },
    )


def test_masked_language_models_have_no_pooler(folder, tmp_path):
    path, model = folder
    without_pooler(path)
    back = BertModel.from_pretrained(path, heads=False)
    tokens, segments, lengths = padded_batch(model.config, [3, 10])[:3]
    expected = model.eval().encoder(tokens, segments, lengths)
    assert torch.equal(back.encoder(tokens, segments, lengths), expected)
    with pytest.raises(ValueError, match=r"the model has no pooler, its file lacks bert\.pooler"):
        back.pooled(torch.zeros(1, 12))
    assert back(tokens)[2] is None
    with pytest.raises(CheckpointError, match=r"missing: bert\.pooler\.dense\.bias"):
        BertModel.from_pretrained(path, heads=True)
    back.save_pretrained(tmp_path / "again")
    names = load_file(tmp_path / "again" / "model.safetensors").keys()
    assert not any("pooler" in name for name in names)


def test_other_tensors_may_not_be_missing(folder):
    path, _ = folder
    without_pooler(path, "bias")
    with pytest.raises(CheckpointError, match=r"missing: bert\.pooler\.dense\.weight\n  strict"):
        BertModel.from_pretrained(path, heads=False)
    without_pooler(path)
    rewrite(path, lambda t: {k: x for k, x in t.items() if "layer.1.output.dense.bias" not in k})
    with pytest.raises(
        CheckpointError, match=r"tion\n  missing: [\w.]*1\.output\.dense\.bias\n  strict.*$"
    ):
        BertModel.from_pretrained(path, heads=False)


def test_archives_that_would_fill_the_memory(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("vocab.json", "w", force_zip64=True) as part:
            for _ in range(101):
                part.write(b" " * 10**6)
        archive.writestr("pretrained.params", "")
    with pytest.raises(CheckpointError, match=r"vocab.json would be 101MB unpacked, of .* in the"):
        BertModel.load_reference_archive(path, num_heads=3)


def test_archives_that_do_not_unpack(tmp_path):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("vocab.json", json.dumps(WORDS))
        archive.writestr("pretrained.params", b"abc" * 100)
    content = bytearray(path.read_bytes())
    content[30 + len("vocab.json")] = 0xFF  # the first byte of what is packed
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="no zip archive, or damaged"):
        BertModel.load_reference_archive(path, num_heads=3)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("vocab.json", "[" * 100_000)
        archive.writestr("pretrained.params", "")
    with pytest.raises(CheckpointError, match=r"vocab\.json is truncated or damaged"):
        BertModel.load_reference_archive(path, num_heads=3)
