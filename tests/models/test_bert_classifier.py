"""BERT as a classifier: inputs, files of transformers both ways, training, refusals."""

from __future__ import annotations

import json
import os
import random
import warnings

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from lexforge import KeyedVectors
from lexforge.bert import BertClassifier, BertConfig, BertModel
from lexforge.classification import LabelledTexts, TextClassifier, train_classifier
from lexforge.models.bert.sequences import filled, joined
from lexforge.text.classification.batches import RaggedTexts
from lexforge.text.tokenizers.published import PublishedTokenizer
from lexforge.text.tokenizers.words import WordTokenizer
from lexforge.training.checkpoint import CheckpointError
from lexforge.training.signals import StopRequest

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # nothing is to be asked of the network

WORDS = [f"w{i}" for i in range(20)]
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
CLASSES = ("follows", "contradicts", "neither")
SINGLE = ["w1 w2 w3", "w4", "w5 w6 unknown w8 w9 w10", "w1 " * 40]
PAIRS = [("w1 w2", "w3"), ("w4", "w5 w6 w7"), ("w9 " * 3, "w1 " * 40), ("w2 " * 40, "w3 w4")]


def standard(**changes):
    options = {"type_vocab_size": 2, **changes}
    bert = BertModel(BertConfig.standard(len(PIECES), 24, 2, 3, 40, 16, **options), seed=1)
    bert.tokenizer = PublishedTokenizer.from_pieces(PIECES)
    return bert


def of_the_text():
    words = [*WordTokenizer.SPECIAL_TOKENS, *WORDS]
    bert = BertModel(BertConfig.reference(len(words), 24, 40, 3, 2, max_len=16), seed=1)
    bert.tokenizer = WordTokenizer(words)
    return bert


def shaken(network):
    """So that no parameter stands at its first value."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return network


def ragged(lists):
    bounds = np.concatenate([[0], np.cumsum([len(each) for each in lists])])
    tokens = torch.tensor([token for each in lists for token in each], dtype=torch.int64)
    return RaggedTexts(tokens, torch.from_numpy(bounds).int(), max(map(len, lists)))


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def transformers():
    library = pytest.importorskip("transformers")
    library.utils.logging.disable_progress_bar()
    library.utils.logging.set_verbosity_error()
    return library


def reconfigure(folder, **changes):
    path = folder / "config.json"
    config = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({k: v for k, v in config.items() if v is not None}))


# -- inputs ---------------------------------------------------------------------------------------


def plainly_joined(firsts, seconds):
    found = []
    for number, first in enumerate(firsts):
        tokens = [101, *first, 102] + ([] if seconds is None else [*seconds[number], 102])
        split = len(first) + 2
        found.append((tokens, [int(i >= split) for i in range(len(tokens))]))
    return found


@pytest.mark.parametrize("pairs", [False, True])
def test_sequences_have_their_special_tokens(pairs):
    rng = random.Random(3)
    draw = lambda: [[rng.randrange(50) for _ in range(rng.choice([0, 1, 2, 9]))] for _ in range(7)]  # noqa: E731
    firsts, seconds = draw(), draw() if pairs else None
    second = ragged(seconds) if seconds else None
    found = joined(ragged(firsts), second, cls_id=101, sep_id=102)
    assert all(x.dtype == torch.int32 for x in found[:4])
    bounds = found.cu_seqlens.tolist()
    expected = plainly_joined(firsts, seconds)
    assert len(bounds) == len(expected) + 1 and bounds[-1] == len(found.tokens)
    for (tokens, segments), a, b in zip(expected, bounds, bounds[1:], strict=False):
        assert found.tokens[a:b].tolist() == tokens
        assert found.segments[a:b].tolist() == segments
        assert found.positions[a:b].tolist() == list(range(len(tokens)))
        assert len(tokens) <= found.max_seqlen


def test_sequences_of_empty_texts_and_of_none():
    nothing = ragged([[], []])
    assert joined(nothing, nothing, cls_id=7, sep_id=8).tokens.tolist() == [7, 8, 8] * 2
    none = RaggedTexts(torch.zeros(0, dtype=torch.int64), torch.zeros(1, dtype=torch.int32), 0)
    assert joined(none, None, cls_id=7, sep_id=8).tokens.tolist() == []
    with pytest.raises(ValueError, match="second must be 2 texts like first, got 1"):
        joined(nothing, ragged([[1]]), cls_id=7, sep_id=8)


@pytest.mark.parametrize("sizes", [[1], [3] * 5, [7, 9] * 40, [16] * 64, [1, 2, 5, 9] * 33])
def test_batches_are_of_few_sizes(sizes):
    packed = joined(ragged([[5] * size for size in sizes]), None, cls_id=2, sep_id=3)
    found, total = filled(packed), len(packed.tokens)
    for ours, theirs in zip(found[:4], packed[:4], strict=True):
        assert torch.equal(ours[: len(theirs)], theirs) and ours.dtype == theirs.dtype
    assert total <= len(found.tokens) <= total * 17 / 16
    assert len(f"{len(found.tokens):b}".rstrip("0")) <= 5  # 16 of them from one power to the next
    lengths = found.cu_seqlens.diff()
    assert found.cu_seqlens[-1] == len(found.tokens) and (lengths > 0).all()
    assert lengths.max() <= found.max_seqlen == packed.max_seqlen
    assert found.positions.max() < found.max_seqlen


def test_long_texts_lose_their_end_and_of_pairs_the_longer_one():
    net = BertClassifier(standard(), CLASSES)
    texts = LabelledTexts([a for a, _ in PAIRS], [b for _, b in PAIRS])
    assert net.encode(texts, net.tokenizer, None).lengths.max() == 13  # 16 with three more
    found = net.encode(texts, net.tokenizer, 10)
    lengths = np.diff(found.offsets).tolist(), np.diff(found.second.offsets).tolist()
    assert lengths == ([2, 1, 3, 5], [1, 3, 4, 2]) and found.cut == 2
    found = net.encode(LabelledTexts(SINGLE), net.tokenizer, 10)
    assert np.diff(found.offsets).tolist() == [3, 1, 6, 8] and found.cut == 1
    with pytest.raises(ValueError, match="max_len must be 5 to 16, got 17"):
        net.encode(texts, net.tokenizer, 17)
    with pytest.raises(ValueError, match="max_len must be 3 to 16, got 2"):
        net.encode(LabelledTexts(SINGLE), net.tokenizer, 2)


def test_logits_are_those_of_the_first_tokens_of_all_layers():
    """What is left out of the last block changes nothing: every gradient is the same."""
    for bert in (standard(), of_the_text()):
        net = shaken(BertClassifier(bert, CLASSES)).double().eval()
        batch = ragged([[5, 6, 7], [9], [8] * 5] * 5), ragged([[7], [6, 6], [9, 9, 9]] * 5)
        ids = {"cls_id": net.tokenizer.cls_id, "sep_id": net.tokenizer.sep_id}
        packed = joined(*batch, **ids)
        net(*batch).square().sum().backward()
        found = {name: x.grad for name, x in net.named_parameters()}
        net.zero_grad()
        encoded = net.encoder.encode_packed(*packed)[packed.cu_seqlens[:-1].long()]
        expected = net.output(net.hidden(encoded))
        torch.testing.assert_close(net(*batch), expected, atol=1e-12, rtol=0)
        expected.square().sum().backward()
        for name, x in net.named_parameters():
            torch.testing.assert_close(found[name], x.grad, atol=1e-10, rtol=1e-10, msg=name)


def test_rows_without_a_block_and_with_all_layers():
    encoder = BertModel(BertConfig.standard(20, 8, 0, 2, 8, 8), seed=1).encoder.eval()
    packed = joined(ragged([[5], [6, 7]]), None, cls_id=2, sep_id=3)
    rows = torch.tensor([3, 0])
    assert torch.equal(
        encoder.encode_packed(*packed, rows=rows), encoder.encode_packed(*packed)[rows]
    )
    with pytest.raises(ValueError, match="rows must be None with all_layers"):
        encoder.encode_packed(*packed, rows=rows, all_layers=True)


def test_dropout_is_of_torchs_generator():
    net = BertClassifier(standard(), CLASSES, dropout=0.5, seed=1).train()
    batch = ragged([[5, 6, 7], [9]])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        one = net(batch)
        torch.manual_seed(3)
        assert torch.equal(net(batch), one)
        assert not torch.equal(net(batch), one)
    assert torch.equal(net.eval()(batch), net(batch))


# -- files ----------------------------------------------------------------------------------------


def theirs_of(transformers, folder, **options):
    """A classifier of transformers in which no parameter is at its first value."""
    config = transformers.BertConfig(
        vocab_size=len(PIECES),
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=40,
        max_position_embeddings=16,
        **options,
    )
    torch.manual_seed(1)
    model = shaken(transformers.BertForSequenceClassification(config)).eval()
    model.save_pretrained(folder)
    (folder / "vocab.txt").write_text("".join(f"{piece}\n" for piece in PIECES))
    return model


@torch.no_grad()
def probabilities(model, tokenizer, texts):
    rows = []
    for text in texts:
        parts = [text] if isinstance(text, str) else list(text)
        inputs = tokenizer(*parts, truncation=True, max_length=16, return_tensors="pt")
        rows.append(model(**inputs).logits.softmax(1))
    return torch.cat(rows).numpy()


@pytest.mark.interop
@pytest.mark.parametrize("size", [2, 3, 7])
def test_transformers_both_ways(size, transformers, tmp_path):
    options = {"num_labels": size}
    if size == 3:
        options = {"id2label": dict(enumerate(CLASSES)), "classifier_dropout": 0.3}
        options["label2id"] = {name: number for number, name in enumerate(CLASSES)}
        options["problem_type"] = "single_label_classification"
    theirs = theirs_of(transformers, tmp_path, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # all is there: nothing is from first values
        net = BertClassifier.from_pretrained(tmp_path)
    names = CLASSES if size == 3 else tuple(f"LABEL_{i}" for i in range(size))
    assert net.names == names and not net.training
    assert net.dropout == (0.3 if size == 3 else None)
    ours = TextClassifier.load(tmp_path, "cpu")
    # A tie between the texts of a pair is cut otherwise there.
    for texts in (SINGLE, PAIRS):
        tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path)
        expected = probabilities(theirs, tokenizer, texts)
        assert expected.std() > 0.02
        np.testing.assert_allclose(ours.predict(texts).probabilities, expected, atol=1e-5)
    for number, save in enumerate((net.save_pretrained, ours.save)):
        folder = tmp_path / str(number)
        save(folder)
        again, info = transformers.AutoModelForSequenceClassification.from_pretrained(
            folder, output_loading_info=True
        )
        assert not any(info.values()), info
        assert again.config.id2label == dict(enumerate(names))
        assert again.config.label2id == {name: i for i, name in enumerate(names)}
        assert again.config.num_labels == size
        assert again.config.classifier_dropout == net.dropout
        for (name, x), y in zip(
            again.state_dict().items(), theirs.state_dict().values(), strict=True
        ):
            assert torch.equal(x, y), name
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        assert tokenizer("w3", "w4")["input_ids"] == [2, 8, 3, 9, 3]
        assert TextClassifier.load(folder, "cpu").names == names


@pytest.mark.parametrize("make", [standard, of_the_text])
def test_round_trip(make, tmp_path):
    net = shaken(BertClassifier(make(), CLASSES, dropout=0.25))
    net.save_pretrained(tmp_path)
    back = BertClassifier.from_pretrained(tmp_path)
    assert (back.config, back.names, back.dropout) == (net.config, CLASSES, 0.25)
    assert list(back.tokenizer.tokens) == list(net.tokenizer.tokens) and back.fresh == []
    for (name, x), y in zip(net.state_dict().items(), back.state_dict().values(), strict=True):
        assert torch.equal(x, y), name
    with pytest.warns(UserWarning, match="another task are left out"):
        bert = BertModel.from_pretrained(tmp_path)  # the encoder of it
    assert torch.equal(bert.hidden.weight, net.hidden.weight)
    kind = json.loads((tmp_path / "config.json").read_text())["model_type"]
    assert kind == ("bert" if make is standard else "lexforge_bert")


@pytest.mark.interop
def test_transformers_refuses_what_it_would_misread(transformers, tmp_path):
    BertClassifier(of_the_text(), CLASSES).save_pretrained(tmp_path)
    with pytest.raises((KeyError, ValueError), match="lexforge_bert"):
        transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert transformers.AutoTokenizer.from_pretrained(tmp_path)("w3")["input_ids"] == [3, 8, 4]


@pytest.mark.parametrize("make", [standard, of_the_text])
def test_a_pretrained_folder_gets_a_new_output_layer(make, tmp_path):
    bert = make()
    bert.save_pretrained(tmp_path)
    message = f"{tmp_path}: no output layer of a classifier there: from first values"
    with pytest.warns(UserWarning, match=message):
        net = BertClassifier.from_pretrained(tmp_path, CLASSES, seed=5)
    assert torch.equal(net.hidden.weight, bert.hidden.weight)
    own = BertClassifier(bert, CLASSES, seed=5)
    assert torch.equal(net.output.weight, own.output.weight)
    assert own.encoder is bert.encoder  # taken, not copied
    with pytest.raises(CheckpointError, match="must hold a classifier of texts, and holds"):
        BertClassifier.from_pretrained(tmp_path)


@pytest.mark.interop
def test_an_encoder_without_pooler_gets_one(transformers, tmp_path):
    theirs_of(transformers, tmp_path)
    config = transformers.BertConfig.from_pretrained(tmp_path)
    transformers.BertForMaskedLM(config).save_pretrained(tmp_path)
    with pytest.warns(UserWarning, match="no pooler and no output layer"):
        net = BertClassifier.from_pretrained(tmp_path, CLASSES, seed=5)
    assert net.hidden.weight.std() > 0
    # Classifiers of tokens have a layer of the same name.
    transformers.BertForTokenClassification(config).save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="and holds BertForTokenClassification"):
        TextClassifier.load(tmp_path)
    with pytest.warns(UserWarning, match="no pooler and no output layer"):
        BertClassifier.from_pretrained(tmp_path, CLASSES)


DAMAGED = {
    "too few names": ({"id2label": {"0": "a", "1": "b"}}, "id2label must name 3 classes"),
    "names alike": ({"id2label": dict(zip("012", "aab", strict=True))}, "id2label must name 3"),
    "no names": ({"id2label": ["a", "b", "c"]}, "id2label must name 3 classes"),
    "other numbers": ({"label2id": {"a": 0}}, "label2id must be id2label turned round"),
    "other count": ({"id2label": None, "label2id": None, "num_labels": 2}, "num_labels must be 3"),
    "regression": ({"problem_type": "regression"}, "must tell one of two or more classes"),
    "dropout": ({"classifier_dropout": 2}, "classifier_dropout must be 0 to 1"),
    "larger vocabulary": ({"vocab_size": 9}, "must have at most 9 tokens"),
    "other width": ({"hidden_size": 12}, "must be"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_files_that_disagree(case, tmp_path):
    changes, message = DAMAGED[case]
    BertClassifier(standard(), CLASSES).save_pretrained(tmp_path)
    reconfigure(tmp_path, **changes)
    for load in (BertClassifier.from_pretrained, TextClassifier.load):
        with pytest.raises(CheckpointError, match=message):
            load(tmp_path)


def test_labels_that_were_named_later(tmp_path):
    """Published files name their classes and keep the usual numbers beside."""
    BertClassifier(standard(), CLASSES).save_pretrained(tmp_path)
    reconfigure(tmp_path, label2id={"LABEL_0": 0, "LABEL_1": 1, "LABEL_2": 2})
    assert BertClassifier.from_pretrained(tmp_path).names == CLASSES


def test_an_output_layer_of_another_shape(tmp_path):
    BertClassifier(standard(), CLASSES).save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    tensors = load_file(path)
    del tensors["classifier.bias"]
    save_file({**tensors, "classifier.weight": torch.zeros(3, 9)}, path)
    with pytest.raises(CheckpointError) as error:
        BertClassifier.from_pretrained(tmp_path)
    assert "missing: classifier.bias" in str(error.value)
    assert "unsuitable: classifier.weight must be [3, 24], got [3, 9]" in str(error.value)


def test_names_of_others(tmp_path):
    BertClassifier(standard(), CLASSES).save_pretrained(tmp_path)
    turned = BertClassifier.from_pretrained(tmp_path, CLASSES[::-1])
    assert turned.names == CLASSES  # its own order
    with pytest.raises(ValueError, match="names must be those of the classifier in"):
        BertClassifier.from_pretrained(tmp_path, ["good", "bad", "neither"])


def test_arguments():
    bert = standard()
    for names in ((), ["one"], ["a", "a"], "ab"):
        with pytest.raises(ValueError, match="names must be of two or more classes"):
            BertClassifier(bert, names)
    with pytest.raises(TypeError, match="names must be texts, got 0"):
        BertClassifier(bert, [0, 1])
    with pytest.raises(ValueError, match="dropout must be 0 to 1"):
        BertClassifier(bert, CLASSES, dropout=2)
    larger = PublishedTokenizer.from_pieces([*PIECES, "more"])
    with pytest.raises(ValueError, match="tokenizer must have at most the 25 tokens"):
        BertClassifier(bert, CLASSES, tokenizer=larger)
    bert.tokenizer = None
    with pytest.raises(ValueError, match="it has no tokenizer"):
        BertClassifier(bert, CLASSES)(ragged([[5]]))


# -- training -------------------------------------------------------------------------------------


def planted(size=96, pairs=True):
    """Pairs whose class tells in which text w0 is, if in any; or texts, whether it is there."""
    rng = random.Random(1)
    firsts, seconds, labels = [], [], []
    for _ in range(size):
        label = rng.randrange(3 if pairs else 2)
        texts = [rng.choices(WORDS[1:], k=rng.randint(1, 3)) for _ in range(2)]
        if label < 2:
            texts[label if pairs else 0][0:0] = [WORDS[0]] * (1 if pairs or label else 0)
        firsts.append(" ".join(texts[0]))
        seconds.append(" ".join(texts[1]))
        labels.append(CLASSES[label])
    return LabelledTexts.of(firsts, seconds if pairs else None, labels=labels)


def pretrained(folder, make=standard):
    make().save_pretrained(folder)
    return folder


@pytest.mark.parametrize(("pairs", "make"), [(True, standard), (False, of_the_text)])
def test_it_learns_planted_texts(pairs, make, tmp_path):
    """Of pairs two classes of three: which text w0 is in may take longer than this."""
    data = planted(pairs=pairs)
    folder = pretrained(tmp_path / "bert", make)
    options = {"epochs": 12, "learning_rate": 0.01, "dev": data, "seed": 1, "batch_size": 16}
    result = train_classifier(data, model=folder, out=tmp_path / "out", **options)
    best = result.state.best_evaluation
    assert best["accuracy"] > (0.6 if pairs else 0.95), best
    assert result.settings.max_len == 16  # all positions, where that is less than usual
    classifier = TextClassifier.load(tmp_path / "out", "cpu")
    assert classifier.network.KIND == "bert" and classifier.names == data.names
    assert classifier.evaluate(data).accuracy == pytest.approx(best["accuracy"], abs=1e-6)
    if not pairs:
        assert classifier.predict(["w3 w4 w5"]).labels == [CLASSES[0]]


@pytest.mark.parametrize("sorting", [{}, {"sort_batches": 2}])
def test_stopped_and_resumed_it_ends_with_the_same_bits(sorting, tmp_path):
    data, folder = planted(48), pretrained(tmp_path / "bert")
    options = {"epochs": 2, "batch_size": 8, "dev_share": 0.2, "eval_every": 3, **sorting}
    train_classifier(data, model=folder, out=tmp_path / "whole", **options)

    class Stopping:
        def __init__(self, stop):
            self.stop = stop

        def on_evaluate(self, subject):
            self.stop.signum = 15

    stop = StopRequest()
    part = train_classifier(
        data, model=folder, out=tmp_path / "part", stop=stop, callbacks=[Stopping(stop)], **options
    )
    assert 0 < part.state.done < part.state.total
    assert part.settings.sort_batches == sorting.get("sort_batches", 1)
    again = train_classifier(data, out=tmp_path / "part", resume=True)
    assert again.state.finished
    for name in ("model.safetensors", "optimizer.safetensors", "best/model.safetensors"):
        one, two = (load_file(tmp_path / folder / name) for folder in ("whole", "part"))
        assert one.keys() == two.keys()
        for key, x in one.items():
            assert torch.equal(x, two[key]), key


def test_a_classifier_goes_on_with_its_own_classes(tmp_path):
    data = planted(48)
    BertClassifier(standard(), ["neither", "contradicts", "follows"]).save_pretrained(tmp_path)
    result = train_classifier(data, model=tmp_path, steps=1, dev_share=0)
    assert result.classifier.names == ("neither", "contradicts", "follows")
    BertClassifier(standard(), ["good", "bad"]).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="names must be those of the classifier in"):
        train_classifier(data, model=tmp_path, steps=1)


def test_refusals_of_training(tmp_path):
    data, folder = planted(48), pretrained(tmp_path / "bert")
    train = lambda **options: train_classifier(data, **options)  # noqa: E731
    with pytest.raises(ValueError, match="max_len must be 5 to 16, got 17"):
        train(model=folder, max_len=17)
    with pytest.raises(ValueError, match=r"model must be one of .* got 'nowhere'"):
        train(model="nowhere")
    with pytest.raises(FileNotFoundError):
        train(model=tmp_path)
    with pytest.raises(ValueError, match="shape must be that of the network"):
        train(model=folder, shape={"hidden_size": 3})
    with pytest.raises(ValueError, match="tokenizer must be that of"):
        train(model=folder, tokenizer="words")
    with pytest.raises(ValueError, match="vectors must be None for bert"):
        train(model=folder, vectors=KeyedVectors(WORDS, np.ones((len(WORDS), 4), np.float32)))
    bert = standard()
    bert.tokenizer, bert.vocabulary = None, None
    bert.save_pretrained(tmp_path / "bare")
    with pytest.raises(ValueError, match="tokenizer must be given"):
        train(model=tmp_path / "bare")
