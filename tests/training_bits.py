"""Digests of short runs of every trainer, for comparing two versions of the loop on one machine.

    python tests/training_bits.py FOLDER

trains from fixed seeds, undisturbed and in two parts, and prints one line per run: digests of
weights and of losses. The first part of a run in two leaves its checkpoint in FOLDER, where a later
call, of another version, goes on from it. Digests hold for one machine and one instruction set.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import shutil
import sys
import tempfile
from pathlib import Path

import torch
from torch import nn

import lexforge.bert
from lexforge import GloVe, Word2Vec, cooccurrence, d2l
from lexforge.classification import train_classifier
from lexforge.models.bert.examples import BertExamples, padded, tokenize_paragraphs
from lexforge.models.word2vec.textbook import SkipgramData, train_skipgram
from lexforge.text.tokenizers.words import WordTokenizer
from planted import planted_corpus
from planted_paragraphs import planted_paragraphs
from planted_texts import planted_texts

CORPUS = planted_corpus(sentences=1000)  # an epoch is one call of the kernel, whatever the machine


class StopAfter(contextlib.nullcontext):
    """A stop request that comes after some looks."""

    def __init__(self, looks: int):
        super().__init__()
        self.left = looks

    @property
    def requested(self) -> bool:
        self.left -= 1
        return self.left <= 0


def digest(*parts) -> str:
    """Of tensors and of whatever has a repr that tells it exactly."""
    found = hashlib.sha1(usedforsecurity=False)
    for part in parts:
        data = part.detach().contiguous().numpy().tobytes() if torch.is_tensor(part) else repr(part)
        found.update(data if isinstance(data, bytes) else data.encode())
    return found.hexdigest()[:16]


def vectors(model):
    """Of a model of word vectors: its tables and sums."""
    state = model.state
    tables = [torch.tensor(model.wv.vectors)]
    losses = [state.loss_sum, state.pairs, state.centers, state.done, state.epoch_losses]
    return digest(*tables), digest(*losses)


def word2vec(folder: Path | None):
    options = {
        "vector_size": 20,
        "min_count": 1,
        "epochs": 4,
        "negative_sharing": "window",
        "sg": 1,
    }
    if folder is None:
        return vectors(Word2Vec(CORPUS, **options, workers=1, device="cpu"))
    if not folder.exists():
        model = Word2Vec(**options, workers=1, device="cpu")
        model.build_vocab(CORPUS)
        model.train(CORPUS, checkpoint_folder=folder, stop=StopAfter(2))
    return lambda found: resumed_vectors(Word2Vec.load(found, workers=1, device="cpu"), CORPUS)


def glove(folder: Path | None):
    counts = cooccurrence(CORPUS, window=5, min_count=1)
    options = {"vector_size": 20, "epochs": 4, "x_max": 10, "workers": 2, "device": "cpu"}
    if folder is None:
        return vectors(GloVe(counts, **options))
    if not folder.exists():
        GloVe(**options).train(counts, checkpoint_folder=folder, stop=StopAfter(2))
    return lambda found: resumed_vectors(GloVe.load(found, workers=2, device="cpu"), counts)


def resumed_vectors(model, corpus):
    model.train(corpus, resume=True)
    return vectors(model)


def bert(folder: Path | None):
    paragraphs = planted_paragraphs(topics=6)
    shape = {"hidden_size": 32, "intermediate_size": 48, "max_positions": 20}
    options = {"shape": shape, "min_count": 1, "max_len": 16, "batch_size": 32, "steps": 24}
    options |= {"schedule": "linear", "warmup_steps": 5, "accumulation": 2, "clip": 0.5}
    machine = {"threads": 1, "device": "cpu"}

    def result(run):
        state = run.state
        losses = (state.totals, state.history, state.epoch, state.batch, state.sequences)
        return digest(*run.model.state_dict().values()), digest(*losses)

    if folder is None:
        return result(lexforge.bert.pretrain(paragraphs, **options, **machine))
    if not folder.exists():
        stop = StopAfter(15)
        lexforge.bert.pretrain(paragraphs, **options, **machine, out=folder, stop=stop)
    return lambda found: result(
        lexforge.bert.pretrain(paragraphs, **machine, out=found, resume=True)
    )


def classifier(folder: Path | None):
    shape = {"embed_size": 8, "num_channels": 8, "kernel_sizes": "2,3"}
    options = {"shape": shape, "min_count": 1, "batch_size": 16, "epochs": 3, "accumulation": 2}
    machine = {"workers": 1, "device": "cpu"}

    def result(run):
        network, state = run.classifier.network, run.state
        return digest(*network.state_dict().values()), digest(state.history, state.evaluations)

    if folder is None:
        return result(train_classifier(planted_texts(), **options, **machine))
    if not folder.exists():
        stop = StopAfter(20)
        train_classifier(planted_texts(), **options, **machine, out=folder, stop=stop)
    return lambda found: result(
        train_classifier(planted_texts(), **machine, out=found, resume=True)
    )


def minibatches(fused: bool):
    """The text's skip-gram, by the epoch's kernel or a minibatch at a time."""
    words = sorted({word for sentence in CORPUS for word in sentence})
    number = {word: index for index, word in enumerate(words)}
    tokens = torch.tensor([number[w] for s in CORPUS for w in s], dtype=torch.int32)
    lengths = torch.tensor([0, *(len(sentence) for sentence in CORPUS)])
    counts = torch.bincount(tokens.long(), minlength=len(words))
    data = SkipgramData(tokens, lengths.cumsum(0), counts, batch_size=100, threshold=0.01)
    torch.manual_seed(0)
    embeddings = [nn.Embedding(len(words), 20) for _ in range(2)]
    reports = []
    progress = train_skipgram(
        *embeddings,
        data if fused else _Minibatches(data),
        lr=0.01,
        epochs=2,
        report=lambda p: reports.append((p.epoch, p.fraction, p.loss)),
    )
    losses = (progress.loss_sum, progress.examples, progress.slots, progress.epoch_losses, reports)
    return digest(*(embedding.weight for embedding in embeddings)), digest(*losses)


class _Minibatches:
    def __init__(self, data: SkipgramData):
        self.data = data

    def __len__(self) -> int:
        return len(self.data)

    def __iter__(self):
        return iter(self.data)


def train_bert(compat: bool):
    """The text's BERT."""
    paragraphs = planted_paragraphs(topics=4, paragraphs=60)
    tokenizer = WordTokenizer.build(paragraphs, min_freq=1)
    examples = BertExamples(tokenize_paragraphs(paragraphs, tokenizer), tokenizer, max_len=24)

    class Data:
        epoch = -1

        def __iter__(self):
            self.epoch += 1
            return (padded(batch, 24) for batch in examples.batches(self.epoch, 32))

    torch.manual_seed(0)
    torch.set_num_threads(1)
    net = d2l.BERTModel(len(tokenizer), 32, 64, 2, 2, 0.2, max_len=32)
    loss, device = nn.CrossEntropyLoss(), torch.device("cpu")
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        result = d2l.train_bert(Data(), net, loss, len(tokenizer), [device], 12, compat=compat)
    losses = (result.mlm_loss, result.nsp_loss, result.animator.X, result.animator.Y)
    return digest(*net.state_dict().values()), digest(*losses, printed.getvalue().splitlines()[0])


def main(folder: Path) -> None:
    """Print all of them."""
    found = {}
    for run in (word2vec, glove, bert, classifier):
        found[f"{run.__name__} undisturbed"] = run(None)
        kept = folder / run.__name__
        resume = run(kept)
        with tempfile.TemporaryDirectory() as scratch:  # the checkpoint stays as it is
            found[f"{run.__name__} in two parts"] = resume(
                shutil.copytree(kept, Path(scratch) / "run")
            )
    for fused in (True, False):
        found[f"minibatches {'fused' if fused else 'stepwise'}"] = minibatches(fused)
    for compat in (False, True):
        found[f"train_bert {'compat' if compat else 'weights'}"] = train_bert(compat)
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
