"""Every reader of the package: how to make a small valid input for it, and how to read it."""

from __future__ import annotations

import bz2
import contextlib
import copy
import gzip
import io
import json
import lzma
import tarfile
import warnings
import zipfile
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file, save_file

import fasttext_models
from lexforge import (
    BPETokenizer,
    Cooccurrence,
    GloVe,
    KeyedVectors,
    Phrases,
    Word2Vec,
    _plot,
    cooccurrence,
    load_vectors,
)
from lexforge._text import WordBytes
from lexforge.models.bert.config import BertConfig
from lexforge.models.bert.examples import read_paragraphs
from lexforge.models.bert.model import BertModel
from lexforge.models.bert.trainer import pretrain
from lexforge.models.classification.bert import BertClassifier
from lexforge.models.classification.classifier import TextClassifier
from lexforge.models.classification.trainer import train_classifier
from lexforge.models.fasttext import FastTextClassifier
from lexforge.models.fasttext.original import load_model as load_fasttext
from lexforge.text import EncodedCorpus, Vocabulary, build_vocabulary, encode_corpus
from lexforge.text.classification import read_labelled, read_texts
from lexforge.text.huffman import huffman_tree
from lexforge.text.tokenizers.published import load_tokenizer
from lexforge.text.tokenizers.words import WordTokenizer
from lexforge.vectors.formats.fasttext import FastTextFile, write_fasttext
from lexforge.vectors.formats.files import save_vectors
from planted import planted_corpus
from planted_paragraphs import planted_paragraphs
from planted_texts import planted_texts

VECTORS = KeyedVectors(
    ["the", "cat", "é", "東京", "a.b", "cats"],
    np.array([[0.5, -1.25, 3], [1e-3, 2, 0], [7, 8, 9.5], [0, 0, 1], [-1, -2, -3], [1, 2, 0.5]]),
    counts=[90, 40, 30, 20, 10, 1],
)
CORPUS = planted_corpus(pairs=2, sentences=40)
WORD2VEC = {"vector_size": 4, "min_count": 1, "hs": 1, "epochs": 6, "workers": 1}
GLOVE = {"vector_size": 4, "epochs": 6, "parts": 1, "workers": 1}
BERT = {
    "shape": {
        "hidden_size": 8,
        "num_heads": 2,
        "num_layers": 1,
        "intermediate_size": 8,
        "max_positions": 12,
    },
    "min_count": 1,
    "max_len": 12,
    "batch_size": 8,
    "steps": 6,
}
MACHINE = {"workers": 1, "device": "cpu"}
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "cat", "##s", "é"]


class Target(NamedTuple):
    """A reader.

    Attributes:
        make: puts the input into an empty folder.
        read: reads it from there.
        files: the endings of the names of those files that are damaged; "" for all.
    """

    make: Callable[[Path], object]
    read: Callable[[Path], object]
    files: Sequence[str] = ("",)


class StopAfter(contextlib.nullcontext):
    """A stop request that comes after some looks."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self.left = looks

    @property
    def requested(self) -> bool:
        self.left -= 1
        return self.left < 0


TARGETS: dict[str, Target] = {}


def target(name: str, make: Callable[[Path], object], *files: str) -> Callable:
    """Registers the function that reads."""

    def register(read: Callable[[Path], object]) -> Callable[[Path], object]:
        TARGETS[name] = Target(make, read, files or ("",))
        return read

    return register


# -- vectors


def _saved(name: str) -> Callable[[Path], object]:
    return lambda folder: save_vectors(VECTORS, folder / name)


def _load(name: str, **options: object) -> Callable[[Path], object]:
    def read(folder: Path) -> None:
        found = load_vectors(folder / name, **options)  # type: ignore[arg-type]
        if len(found):
            found.most_similar(found.index_to_key[0], topn=2)

    return read


def _packed(name: str, pack: Callable[[bytes], bytes]) -> Callable[[Path], object]:
    def make(folder: Path) -> None:
        plain = folder / "vectors.txt"
        save_vectors(VECTORS, plain)
        (folder / name).write_bytes(pack(plain.read_bytes()))
        plain.unlink()

    return make


def _zip(content: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("content.txt", content)
    return packed.getvalue()


def _fasttext(make: Callable[..., FastTextFile], **changed: Any) -> Callable[[Path], object]:
    words = WordBytes.of(word.encode() for word in VECTORS.index_to_key)
    return lambda folder: write_fasttext(folder / "v.bin", make(words=words, **changed))


_PRUNED = {"rows": 8, "pruneidx": np.array([[7, 0], [3, 1]], np.int32)}


def _subword_vectors(folder: Path) -> None:
    _fasttext(fasttext_models.model)(folder)
    load_vectors(folder / "v.bin").save(folder / "v.safetensors")
    (folder / "v.bin").unlink()


def _beside(folder: Path) -> None:
    """Words beside the array as JSON."""
    save_vectors(VECTORS, folder / "v.npy")
    (folder / "v.vocab.txt").unlink()
    (folder / "v.vocab.json").write_text(json.dumps(VECTORS.index_to_key))


def _words_beside_safetensors(folder: Path) -> None:
    save_file({"embeddings": torch.from_numpy(VECTORS.vectors)}, folder / "v.safetensors")
    (folder / "vocab.txt").write_text("".join(f"{word}\n" for word in VECTORS.index_to_key))


def _attributes(folder: Path) -> None:
    kv = copy.copy(VECTORS)
    kv.expandos = dict(kv.expandos)
    kv.set_vecattr("cat", "colour", "grey")
    kv.set_vecattr("cat", "weight", 4.5)
    kv.save(folder / "v.kv")


def _columns(folder: Path) -> None:
    """Of a projector: a column more than are written here."""
    save_vectors(VECTORS, folder / "tensors.tsv")
    lines = (folder / "metadata.tsv").read_text().splitlines()
    (folder / "metadata.tsv").write_text("".join(f"{line}\tkind\n" for line in lines))


def _binary_of_glove(folder: Path) -> None:
    np.random.default_rng(0).standard_normal((2, len(VECTORS), 4)).tofile(folder / "vectors.bin")
    (folder / "vocab.txt").write_text("".join(f"{word} 1\n" for word in VECTORS.index_to_key))


for _name, _make, _read in (
    ("text", _saved("v.txt"), _load("v.txt")),
    ("text_two_threads", _saved("v.txt"), _load("v.txt", threads=2)),
    ("text_skip", _saved("v.txt"), _load("v.txt", errors="skip")),
    ("text_ignore", _saved("v.txt"), _load("v.txt", errors="ignore")),
    ("text_float64", _saved("v.txt"), _load("v.txt", dtype="float64", errors="replace")),
    ("text_headerless", _saved("v.glove"), _load("v.glove")),
    ("text_nonfinite", _saved("v.txt"), _load("v.txt", format="text", allow_nonfinite=True)),
    ("glove_text", _saved("v.glove"), _load("v.glove", format="glove", errors="replace")),
    ("binary", _saved("v.bin"), _load("v.bin")),
    ("binary_named", _saved("v.bin"), _load("v.bin", format="binary", limit=5)),
    ("safetensors", _saved("v.safetensors"), _load("v.safetensors")),
    ("safetensors_mmap", _saved("v.safetensors"), _load("v.safetensors", mmap=True)),
    ("safetensors_attributes", _attributes, _load("v.kv")),
    ("safetensors_beside", _words_beside_safetensors, _load("v.safetensors")),
    ("npy", _saved("v.npy"), _load("v.npy")),
    ("npy_mmap", _saved("v.npy"), _load("v.npy", mmap=True)),
    ("npy_json", _beside, _load("v.npy")),
    ("projector", _saved("v.tsv"), _load("v.tsv")),
    ("projector_columns", _columns, _load("tensors.tsv", format="projector", errors="ignore")),
    ("binary_of_glove", _binary_of_glove, _load("vectors.bin")),
    ("binary_of_glove_named", _binary_of_glove, _load("vectors.bin", format="stanford")),
    ("fasttext", _fasttext(fasttext_models.model), _load("v.bin")),
    ("fasttext_mmap", _fasttext(fasttext_models.model), _load("v.bin", mmap=True, errors="skip")),
    ("fasttext_quantised", _fasttext(fasttext_models.quantised, **_PRUNED), _load("v.bin")),
    ("subword_vectors", _subword_vectors, _load("v.safetensors")),
    ("gzip", _packed("v.gz", gzip.compress), _load("v.gz")),
    ("bzip2", _packed("v.bz2", bz2.compress), _load("v.bz2")),
    ("xz", _packed("v.xz", lzma.compress), _load("v.xz")),
    ("zip", _packed("v.zip", _zip), _load("v.zip")),
):
    TARGETS[_name] = Target(_make, _read)


def _as_the_package(folder: Path) -> None:
    """All that its model is asked."""
    model = load_fasttext(folder / "v.bin")
    model.get_nearest_neighbors("cats", 2, "replace")
    model.get_subwords("the", "replace")
    model.get_sentence_vector("the cat")
    if model.file.supervised:
        model.predict(["the cat", ""], k=2, on_unicode_error="replace")
        model.get_line("the cat __label__a", "replace")
    model.save_model(folder / "again.bin")


for _name, _make in (
    ("fasttext_names", _fasttext(fasttext_models.model)),
    ("fasttext_names_supervised", _fasttext(fasttext_models.supervised)),
    ("fasttext_names_quantised", _fasttext(fasttext_models.quantised, **_PRUNED)),
):
    TARGETS[_name] = Target(_make, _as_the_package)


# -- word vector models


def _word2vec(folder: Path, looks: int = 10**6) -> None:
    model = Word2Vec(**WORD2VEC)
    model.build_vocab(CORPUS)
    model.train(CORPUS, checkpoint_folder=folder, stop=StopAfter(looks))


@cache
def _counts() -> Cooccurrence:
    return cooccurrence(CORPUS, min_count=1, window=3, workers=1, device="cpu")


def _glove(folder: Path, looks: int = 10**6) -> None:
    model = GloVe(**GLOVE)
    model.train(_counts(), checkpoint_folder=folder, stop=StopAfter(looks))


def _word2vec_with_tree(folder: Path) -> None:
    """One whose tree is not that of its counts, and is saved."""
    model = Word2Vec(**WORD2VEC)
    model.build_vocab(CORPUS)
    model._built = model._built_for(model.vocabulary, huffman_tree([1] * len(model.vocabulary)))
    model.save(folder)


TARGETS["checkpoint_word2vec"] = Target(_word2vec, _load("."))
TARGETS["checkpoint_glove"] = Target(_glove, _load("."))
TARGETS["word2vec"] = Target(_word2vec, Word2Vec.load)
TARGETS["word2vec_tree"] = Target(_word2vec_with_tree, Word2Vec.load)
TARGETS["glove"] = Target(_glove, GloVe.load)


@target("word2vec_resume", partial(_word2vec, looks=2), ".json", ".txt", ".safetensors")
def _(folder: Path) -> None:
    model = Word2Vec.load(folder, workers=1)
    model.train(CORPUS, resume=True, stop=StopAfter(2))


@target("glove_resume", partial(_glove, looks=2), ".json", ".txt", ".safetensors")
def _(folder: Path) -> None:
    model = GloVe.load(folder, workers=1, device="cpu")
    model.train(_counts(), resume=True, stop=StopAfter(2))


def _stanford(folder: Path) -> None:
    model = GloVe(_counts(), **{**GLOVE, "epochs": 1})
    model.save_stanford_binary(folder / "vectors.bin", folder / "gradsq.bin")
    _counts().vocab.save(folder / "vocab.txt")


@target("glove_stanford", _stanford)
def _(folder: Path) -> None:
    GloVe.load_stanford(folder / "vectors.bin", folder / "vocab.txt", folder / "gradsq.bin")


# -- counts


@target("counts", lambda folder: _counts().save(folder))
def _(folder: Path) -> None:
    GloVe(Cooccurrence.load(folder), **{**GLOVE, "epochs": 1})


def _triplets(folder: Path, shuffled: bool = False) -> None:
    _counts().save_stanford(folder / "cooccurrence.bin")
    _counts().vocab.save(folder / "vocab.txt")
    if shuffled:
        records = np.fromfile(folder / "cooccurrence.bin", "V16")
        np.random.default_rng(5).shuffle(records)
        records.tofile(folder / "cooccurrence.bin")


for _name, _shuffled in (("stanford_counts", False), ("stanford_counts_shuffled", True)):

    @target(_name, partial(_triplets, shuffled=_shuffled))
    def _(folder: Path) -> None:
        Cooccurrence.load_stanford(folder / "cooccurrence.bin", folder / "vocab.txt")


# -- corpora


def _corpus_file(name: str, encode: Callable[[str], bytes]) -> Callable[[Path], object]:
    text = "".join(" ".join(sentence) + "\n" for sentence in CORPUS[:12]) + "é 東京 . don't\n"
    return lambda folder: (folder / name).write_bytes(encode(text))


for _name, _encode in (
    ("corpus", str.encode),
    ("corpus_gzip", lambda text: gzip.compress(text.encode())),
    ("corpus_bzip2", lambda text: bz2.compress(text.encode())),
    ("corpus_xz", lambda text: lzma.compress(text.encode())),
    ("corpus_zip", lambda text: _zip(text.encode())),
    ("corpus_utf16", lambda text: text.encode("utf-16")),
    ("corpus_utf32", lambda text: text.encode("utf-32")),
):

    @target(_name, _corpus_file("corpus.txt", _encode))
    def _(folder: Path) -> None:
        build_vocabulary(folder / "corpus.txt", min_count=1, threads=1, allow_empty=True)


@target("corpus_folder", _corpus_file("corpus.txt", str.encode))
def _(folder: Path) -> None:
    for errors in ("replace", "skip", "strict"):
        build_vocabulary(folder, min_count=1, threads=2, allow_empty=True, errors=errors)


# -- text with labels


def _labelled(folder: Path) -> None:
    lines = [f"__label__{words[0]} {' '.join(words)}\n" for words in CORPUS[:12]]
    (folder / "lines.txt").write_text("".join(lines) + "__label__é 東京 </s>\n", "utf-8")


def _classifier(folder: Path, **settings: Any) -> FastTextClassifier:
    _labelled(folder)
    made = FastTextClassifier(
        dim=4, epoch=2, word_ngrams=2, maxn=3, bucket=20, workers=1, **settings
    )
    return made.train(folder / "lines.txt")


@target("labelled", _labelled)
def _(folder: Path) -> None:
    model = FastTextClassifier(dim=4, epoch=1, word_ngrams=2, maxn=2, bucket=20, workers=2)
    model.train(folder / "lines.txt").test(folder / "lines.txt", k=-1)


@target(
    "classifier",
    lambda folder: _classifier(folder, loss="hs").save(folder / "model"),
    *(".json", ".bin"),
)
def _(folder: Path) -> None:
    FastTextClassifier.load(folder / "model", workers=1).predict(["cat 東京", ""], k=-1)


@target("classifier_file", lambda folder: _classifier(folder).save(folder / "model.bin"), ".bin")
def _(folder: Path) -> None:
    FastTextClassifier.load(folder / "model.bin", workers=1).predict("cat 東京")


# -- labelled texts and pairs

_JUDGED = [
    ("gold_label", "sentence1_binary_parse", "sentence2_binary_parse", "sentence1", "sentence2"),
    ("neutral", "( A ( dog . ) )", "( 東京 )", "A dog.", "東京"),
    ("-", "( No )", "( one )", "No", "one"),
    ("entailment", "( é )", "( e )", 'é ""é""', '"e ""e"""'),
]


def _pairs_as_json(folder: Path) -> None:
    objects = [dict(zip(_JUDGED[0], row, strict=True)) for row in _JUDGED[1:]]
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in objects]
    (folder / "texts.jsonl").write_text("".join(lines))


def _table_of_texts(folder: Path) -> None:
    text = 'id,text,label\n1,"a ""cat"", é",x\n2,"two\nlines",y\n3,,x\n'
    (folder / "texts.csv").write_text(text)


def _classes(folder: Path, packed: str | None = None) -> None:
    for place in ("train/pos", "train/neg", "train/unsup"):
        (folder / "set" / place).mkdir(parents=True)
        (folder / "set" / place / "0_1.txt").write_text(f"of {place}, é")
    if packed is not None:
        with tarfile.open(folder / f"set.tar{packed}", f"w:{packed[1:]}") as archive:
            for path in sorted((folder / "set").rglob("*.txt")):
                archive.add(path, path.relative_to(folder))
                path.unlink()


for _name, _make, _file in (
    (
        "texts_tsv",
        lambda folder: (folder / "texts.tsv").write_text(
            "".join("\t".join(r) + "\n" for r in _JUDGED)
        ),
        "texts.tsv",
    ),
    ("texts_jsonl", _pairs_as_json, "texts.jsonl"),
    ("texts_csv", _table_of_texts, "texts.csv"),
    ("texts_folder", _classes, "set"),
    ("texts_tar", partial(_classes, packed=""), "set.tar"),
    ("texts_tar_gz", partial(_classes, packed=".gz"), "set.tar.gz"),
):

    @target(_name, _make)
    def _(folder: Path, file: str = _file) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of empty texts
            found = read_labelled(folder / file, errors="replace")
        assert len(found) == found.counts.sum()
        assert len(read_texts(folder / file)) >= len(found)


# -- phrases


def _phrases(folder: Path, frozen: bool) -> None:
    found = Phrases(CORPUS[:6], 1, 0.1, connector_words={"of", "é"})
    (found.freeze() if frozen else found).save(folder / "phrases.json")


for _name, _frozen in (("phrases", False), ("phrases_frozen", True)):

    @target(_name, partial(_phrases, frozen=_frozen))
    def _(folder: Path) -> None:
        found = Phrases.load(folder / "phrases.json")
        found.find_phrases(found[CORPUS[:3]])
        found.__getstate__()


# -- paragraphs


def _paragraphs(folder: Path) -> None:
    lines = [" . ".join(paragraph) + " .\n" for paragraph in planted_paragraphs(2, 10)]
    (folder / "corpus.txt").write_text("".join(lines))


@target("paragraphs", _paragraphs)
def _(folder: Path) -> None:
    read_paragraphs(folder / "corpus.txt")


def _vocabulary() -> Vocabulary:
    return build_vocabulary(CORPUS, min_count=1, threads=1)


@target("vocabulary", lambda folder: _vocabulary().save(folder / "vocab.txt"))
def _(folder: Path) -> None:
    Vocabulary.load(folder / "vocab.txt").sha1()


@target("encoded", lambda folder: encode_corpus(CORPUS, _vocabulary(), folder, threads=1))
def _(folder: Path) -> None:
    corpus = EncodedCorpus.open(folder)
    corpus.check(len(_vocabulary()))
    corpus.piece(0, min(corpus.num_tokens, 10))
    corpus.identity("")


# -- BERT


def _bert_run(folder: Path) -> None:
    pretrain(_paragraphs_of_run(), **BERT, **MACHINE, out=folder, stop=StopAfter(2))


@cache
def _paragraphs_of_run() -> list[list[str]]:
    return planted_paragraphs(topics=2, paragraphs=40)


@target("bert_resume", _bert_run, ".json", ".txt", ".safetensors")
def _(folder: Path) -> None:
    pretrain(_paragraphs_of_run(), **MACHINE, out=folder, resume=True, stop=StopAfter(1))


def _bert(folder: Path) -> None:
    sizes = {"hidden_size": 8, "num_heads": 2, "num_layers": 1, "intermediate_size": 8}
    config = BertConfig.standard(len(PIECES), **sizes, max_positions=12)
    model = BertModel(config, seed=1)
    model.vocabulary = PIECES
    model.save_pretrained(folder)


def _tensors(folder: Path) -> dict[str, torch.Tensor]:
    _bert(folder)
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    return tensors


def _pickled(folder: Path) -> None:
    torch.save(_tensors(folder), folder / "pytorch_model.bin")


def _shards(folder: Path) -> None:
    tensors = _tensors(folder)
    places = {name: f"model-0000{i % 2 + 1}-of-00002.safetensors" for i, name in enumerate(tensors)}
    for place in set(places.values()):
        part = {name: tensor for name, tensor in tensors.items() if places[name] == place}
        save_file(part, folder / place)
    index = {"metadata": {"total_size": 1}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


TARGETS["bert"] = Target(_bert, BertModel.from_pretrained)
TARGETS["bert_encoder"] = Target(
    _bert, partial(BertModel.from_pretrained, strict=False, heads=False)
)
TARGETS["bert_pickle"] = Target(_pickled, BertModel.from_pretrained)
TARGETS["bert_shards"] = Target(_shards, BertModel.from_pretrained)


# -- classifiers


def _trained_texts(folder: Path | None, **options: Any) -> Any:
    shape = {"embed_size": 4, "num_channels": 2, "kernel_sizes": "2"}
    settings = {"epochs": 4, "batch_size": 8, "min_count": 1, "dev_share": 0}
    texts = planted_texts(20)
    return train_classifier(texts, shape=shape, **settings, **MACHINE, out=folder, **options)


def _text_classifier(folder: Path) -> None:
    _trained_texts(None).classifier.save(folder)


@target("text_classifier", _text_classifier, ".json", ".txt", ".safetensors")
def _(folder: Path) -> None:
    TextClassifier.load(folder, "cpu").predict(["great"])


def _stopped_texts(folder: Path) -> None:
    _trained_texts(folder, stop=StopAfter(2))


@target("text_classifier_resume", _stopped_texts, ".json", ".txt", ".safetensors")
def _(folder: Path) -> None:
    train_classifier(planted_texts(20), **MACHINE, out=folder, resume=True, stop=StopAfter(1))


def _bert_classifier(folder: Path) -> None:
    _bert(folder)
    bert = BertModel.from_pretrained(folder)
    BertClassifier(bert, ["good", "bad"], dropout=0.5, seed=1).save_pretrained(folder)


TARGETS["bert_classifier"] = Target(_bert_classifier, TextClassifier.load)


def _archive(folder: Path, unpacked: bool = False) -> None:
    words = ["<unk>", "<pad>", "<mask>", "<cls>", "<sep>", "cat", "é"]
    config = BertConfig.reference(len(words), 8, 8, 2, 1, max_len=12)
    BertModel(config, seed=1).save_reference_archive(folder / "model.zip", words)
    if unpacked:
        with zipfile.ZipFile(folder / "model.zip") as archive:
            archive.extractall(folder)
        (folder / "model.zip").unlink()


@target("archive", _archive)
def _(folder: Path) -> None:
    BertModel.load_reference_archive(folder / "model.zip", num_heads=2)


@target("archive_folder", partial(_archive, unpacked=True))
def _(folder: Path) -> None:
    BertModel.load_reference_archive(folder, num_heads=2)


def _tokenizer(folder: Path) -> None:
    WordTokenizer.build([["the cat é 東京 cat"]], min_freq=1).save(folder)


def _tokenizer_json(folder: Path) -> None:
    vocabulary = {piece: number for number, piece in enumerate(PIECES)}
    content = {"version": "1.0", "model": {"type": "WordPiece", "vocab": vocabulary}}
    (folder / "tokenizer.json").write_text(json.dumps(content))


for _name, _make in (
    ("tokenizer_words", _tokenizer),
    ("tokenizer_pieces", lambda folder: (folder / "vocab.txt").write_text("\n".join(PIECES))),
    ("tokenizer_json", _tokenizer_json),
):

    @target(_name, _make)
    def _(folder: Path) -> None:
        tokenizer = load_tokenizer(folder)
        tokenizer.convert_ids_to_tokens(tokenizer.convert_tokens_to_ids(["cat", "no"]))


# -- evaluation sets and logs


_PAIRS = "# word1, word2, score\nthe,cat,1.5\ncat,cats,9\né,東京,3\nthe,a.b,0.25\n"
for _name, _text, _options in (
    ("pairs", _PAIRS.replace(",", "\t"), {}),
    ("pairs_commas", _PAIRS, {"delimiter": ",", "dummy4unknown": True}),
):

    @target(_name, partial(lambda folder, text: (folder / "pairs").write_text(text), text=_text))
    def _(folder: Path, options: dict = _options) -> None:
        VECTORS.evaluate_word_pairs(folder / "pairs", **options)


@target(
    "analogies",
    lambda folder: (folder / "analogies.txt").write_text(
        ": first\nthe cat é 東京\ncat cats the a.b\n: gram2-second\nthe é cat cats\n"
    ),
)
def _(folder: Path) -> None:
    VECTORS.evaluate_word_analogies(folder / "analogies.txt")


@target(
    "log",
    lambda folder: (folder / "log.jsonl").write_text(
        "".join(
            json.dumps({"time": 0.1 * i, "words": 100 * i, "epoch": 1 + i // 3, "loss": 3.0 / i})
            + "\n"
            for i in range(1, 7)
        )
    ),
)
def _(folder: Path) -> None:
    _plot.plot_loss(folder / "log.jsonl")


# -- byte pair encoding

BPE = BPETokenizer.train_from_iterator(["low lower lowest é"] * 3, 270, special_tokens=["<s>"])


@target("tokenizer.json of byte pair encoding", lambda folder: BPE.save(folder))
def _(folder: Path) -> None:
    BPETokenizer.load(folder).encode("slow é")


@target("vocab.json and merges.txt", lambda folder: BPE.save_gpt2(folder))
def _(folder: Path) -> None:
    BPETokenizer.load(folder).encode("slow é")
