"""The reference text's names and argument order (word2vec, BERT), over lexforge's own parts.

Where the text has a slip, the right behaviour is the default; docstrings say how to get the text's.
"""

from __future__ import annotations

import collections
import copy
import hashlib
import os
import random
import tarfile
import time
import urllib.request
import zipfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from lexforge.models import bert
from lexforge.models.skipgram import SkipgramData, SkipgramProgress, train_skipgram
from lexforge.ops.sampling import alias_sample, build_alias, seed_from
from lexforge.text.bert import (
    BertExamples,
    PackedBatch,
    WordTokenizer,
    padded,
    read_paragraphs,
    tokenize_paragraphs,
)
from lexforge.text.datasets import cache_folder, dataset_path
from lexforge.training.network_job import (
    Minibatch,
    NetworkJob,
    NetworkState,
    evaluating,
    minibatches,
)
from lexforge.training.progress import Progress
from lexforge.training.run import run
from lexforge.vectors import similarity

# Data sets

DATA_URL = "http://d2l-data.s3-accelerate.amazonaws.com/"
# name -> (url, sha1)
DATA_HUB: dict[str, tuple[str, str]] = {
    "ptb": (DATA_URL + "ptb.zip", "319d85e578af0cdc590547f26231e4e31cdf1e42"),
    "glove.6b.50d": (DATA_URL + "glove.6B.50d.zip", "0b8703943ccdb6eb788e6f091b8946e82231bc4d"),
    "glove.6b.100d": (DATA_URL + "glove.6B.100d.zip", "cd43bfb07e44e6f27cbcc7bc9ae3d80284fdaf5a"),
    "glove.42b.300d": (DATA_URL + "glove.42B.300d.zip", "b5116e234e9eb9076672cfeabf5469f3eec904fa"),
    "wiki.en": (DATA_URL + "wiki.en.zip", "c1816da3821ae9f43899be655002f6c723e91b88"),
    "wikitext-2": (
        "https://s3.amazonaws.com/research.metamind.io/wikitext/wikitext-2-v1.zip",
        "3c914d17d80b1459be871a5039ac23e752a53cbe",
    ),
}


def download(name: str, folder: str | os.PathLike | None = None) -> Path:
    """The file of a data set named in ``DATA_HUB``, downloaded unless a good copy is there.

    Args:
        name: key of ``DATA_HUB``. folder: where to keep it; default lexforge's cache.

    Raises:
        KeyError: unknown name. ConnectionError: the download failed. ValueError: wrong SHA-1.
    """
    if name not in DATA_HUB:
        raise KeyError(f"download: name must be one of {', '.join(DATA_HUB)}, got {name!r}")
    url, sha1 = DATA_HUB[name]
    folder = cache_folder() / "d2l" if folder is None else Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / url.rsplit("/", 1)[-1]
    if target.exists() and _sha1(target) == sha1:
        return target
    partial = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        with urllib.request.urlopen(url, timeout=30) as response, open(partial, "wb") as file:
            while block := response.read(1 << 20):
                file.write(block)
        if _sha1(partial) != sha1:
            raise ValueError(f"download: {url} must have the SHA-1 {sha1}, got {_sha1(partial)}")
        partial.replace(target)
    except OSError as error:
        raise ConnectionError(
            f"download: {url} cannot be fetched ({error}); put the file at {target} by hand"
        ) from error
    finally:
        partial.unlink(missing_ok=True)
    return target


def _sha1(path: Path) -> str:
    return hashlib.sha1(path.read_bytes()).hexdigest()


def download_extract(name: str, folder: str | None = None) -> Path:
    """Download and unpack a data set; the folder that its archive (or `folder` in it) became."""
    archive = download(name)
    stem = archive.name.removesuffix(".gz").removesuffix(".tar").removesuffix(".zip")
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as file:
            file.extractall(archive.parent)
    elif archive.name.endswith((".tar", ".tar.gz")):
        with tarfile.open(archive) as file:
            file.extractall(archive.parent, filter="data")
    else:
        raise ValueError(f"download_extract: must be a zip or tar archive, got {archive.name}")
    return archive.parent / (folder or stem)


# Text


def tokenize(lines: Iterable[str], token: str = "word") -> list[list[str]]:
    """Each line split into words (at white space) or characters."""
    if token == "word":
        return [line.split() for line in lines]
    if token == "char":
        return [list(line) for line in lines]
    raise ValueError(f"tokenize: token must be 'word' or 'char', got {token!r}")


def truncate_pad(line: Sequence, num_steps: int, padding_token) -> list:
    """`line` cut, or filled up at the right with `padding_token`, to `num_steps` entries."""
    line = list(line)[:num_steps]
    return line + [padding_token] * (num_steps - len(line))


class Vocab:
    """Tokens and their indices.

    Index 0 is ``<unk>``, then come the reserved tokens, then all tokens of at least `min_freq`
    occurrences by descending count, ties by first appearance.

    Args:
        tokens: list of tokens, or list of lists of them. min_freq: smallest count.
        reserved_tokens: tokens that are in the vocabulary whatever their count.
        order: the tokens after the reserved ones, in this order (``sorted(...)`` for the
            alphabetical order of newer editions); tokens below `min_freq` are left out.
    """

    def __init__(
        self,
        tokens: Sequence = (),
        min_freq: int = 0,
        reserved_tokens: Sequence[str] = (),
        *,
        order: Iterable[str] | None = None,
    ):
        if tokens and isinstance(tokens[0], (list, tuple)):
            tokens = [token for line in tokens for token in line]
        counter = collections.Counter(tokens)
        # most_common sorts stably, and a Counter keeps the order of first appearance.
        self.token_freqs: list[tuple[str, int]] = counter.most_common()
        ranked = [token for token, _ in self.token_freqs] if order is None else order
        first = ["<unk>", *reserved_tokens]
        wanted = (token for token in ranked if counter[token] >= max(min_freq, 1))
        self.idx_to_token: list[str] = list(dict.fromkeys([*first, *wanted]))
        self.token_to_idx = {token: index for index, token in enumerate(self.idx_to_token)}

    def __len__(self) -> int:
        return len(self.idx_to_token)

    def __getitem__(self, tokens):
        """The index of a token (that of ``<unk>`` for unknown ones), or a list of them."""
        if isinstance(tokens, (list, tuple)):
            return [self[token] for token in tokens]
        return self.token_to_idx.get(tokens, self.unk)

    def to_tokens(self, indices):
        """The token at an index, or a list of them."""
        if hasattr(indices, "__len__"):
            return [self.idx_to_token[int(index)] for index in indices]
        return self.idx_to_token[indices]

    @property
    def unk(self) -> int:
        """Index of the unknown token."""
        return self.token_to_idx["<unk>"]


# Word2vec data


def read_ptb() -> list[list[str]]:
    """The training split of the Penn Treebank, one list of words per line.

    Found through LEXFORGE_DATA, in the cache, or by download (lexforge.text.datasets).
    """
    raw_text = dataset_path("ptb").read_text(encoding="utf-8")
    return [line.split() for line in raw_text.split("\n")]


def subsample(
    sentences: list[list[str]], vocab: Vocab, *, threshold: float = 1e-4, seed: int | None = None
) -> tuple[list[list[str]], collections.Counter]:
    """Drop unknown tokens, then each token with probability max(1 - sqrt(t / f(token)), 0).

    Returns:
        The shortened sentences, and the counts before the second step, on which f is based.
    """
    known = [[token for token in line if vocab[token] != vocab.unk] for line in sentences]
    counter = collections.Counter(token for line in known for token in line)
    total = sum(counter.values())
    keep = {token: (threshold * total / count) ** 0.5 for token, count in counter.items()}
    draw = random.Random(seed).random
    return [[token for token in line if draw() < keep[token]] for line in known], counter


def get_centers_and_contexts(
    corpus: list[list[int]], max_window_size: int, *, seed: int | None = None
) -> tuple[list[int], list[list[int]]]:
    """Centres and their contexts: the window is drawn from 1..max_window_size per centre.

    Sentences of fewer than two tokens are skipped; the centre's own position is no context.
    """
    generator = random.Random(seed)
    centers, contexts = [], []
    for line in corpus:
        if len(line) < 2:
            continue
        centers += line
        for i in range(len(line)):
            window = generator.randint(1, max_window_size)
            contexts.append(line[max(0, i - window) : i] + line[i + 1 : i + 1 + window])
    return centers, contexts


class RandomGenerator:
    """Draws 1..n in proportion to n weights, 10,000 at a time from an alias table."""

    def __init__(self, sampling_weights: Sequence[float], *, seed: int | None = None):
        self._table = build_alias(torch.as_tensor(sampling_weights, dtype=torch.float64))
        self._seed = random.getrandbits(63) if seed is None else seed_from(seed)
        self._offset = 0
        self._drawn: list[int] = []

    def draw(self) -> int:
        """The next number."""
        if not self._drawn:
            drawn = alias_sample(self._table, (10_000,), seed=self._seed, offset=self._offset)
            self._offset += len(drawn)
            self._drawn = (drawn.flip(0) + 1).tolist()
        return self._drawn.pop()


def get_negatives(
    all_contexts: list[list[int]],
    vocab: Vocab,
    counter: collections.Counter,
    K: int,
    *,
    seed: int | None = None,
) -> list[list[int]]:
    """K noise words per context word, P(w) in proportion to count^0.75, none of them a context.

    Index 0 (``<unk>``) is never drawn. A centre whose contexts are all words there are cannot have
    noise words: ValueError.
    """
    weights = [counter[vocab.to_tokens(i)] ** 0.75 for i in range(1, len(vocab))]
    possible = {i for i, weight in enumerate(weights, 1) if weight > 0}
    generator = RandomGenerator(weights, seed=seed)
    all_negatives = []
    for contexts in all_contexts:
        avoided = set(contexts)
        if K > 0 and contexts and possible <= avoided:
            raise ValueError(f"get_negatives: contexts must leave a noise word, got {contexts}")
        negatives: list[int] = []
        while len(negatives) < len(contexts) * K:
            negative = generator.draw()
            if negative not in avoided:
                negatives.append(negative)
        all_negatives.append(negatives)
    return all_negatives


def batchify(data: Sequence[tuple[int, list[int], list[int]]]) -> tuple[Tensor, ...]:
    """Examples (centre, contexts, negatives) as a minibatch, padded with zeros to the longest.

    Returns:
        int64 centers [B, 1], contexts_negatives [B, L], masks [B, L] and labels [B, L].
    """
    length = max(len(contexts) + len(negatives) for _, contexts, negatives in data)
    centers, targets, masks, labels = [], [], [], []
    for center, contexts, negatives in data:
        used = len(contexts) + len(negatives)
        centers.append([center])
        targets.append(truncate_pad([*contexts, *negatives], length, 0))
        masks.append([1] * used + [0] * (length - used))
        labels.append([1] * len(contexts) + [0] * (length - len(contexts)))
    return tuple(torch.tensor(rows) for rows in (centers, targets, masks, labels))


def load_data_ptb(
    batch_size: int,
    max_window_size: int,
    num_noise_words: int,
    *,
    seed: int = 1,
    static_samples: bool = False,
) -> tuple[SkipgramData, Vocab]:
    """The Penn Treebank as minibatches, and its vocabulary.

    Returns:
        An iterator over (centers, contexts_negatives, masks, labels) and the vocabulary of words
        with at least 10 occurrences. Windows, sub-sampling and noise words are drawn afresh in
        every epoch; ``static_samples=True`` draws them once, as the text does.
    """
    sentences = read_ptb()
    vocab = Vocab(sentences, min_freq=10)
    index, unk = vocab.token_to_idx, vocab.unk
    encoded = [[i for word in line if (i := index.get(word, unk)) != unk] for line in sentences]
    tokens = torch.tensor([i for line in encoded for i in line], dtype=torch.int32)
    lengths = torch.tensor([0] + [len(line) for line in encoded])
    counts = torch.bincount(tokens.long(), minlength=len(vocab))
    data = SkipgramData(
        tokens,
        lengths.cumsum(0),
        counts,
        batch_size=batch_size,
        window=max_window_size,
        negatives=num_noise_words,
        static_samples=static_samples,
        seed=seed,
    )
    return data, vocab


# Word2vec model


def skip_gram(
    center: Tensor, contexts_and_negatives: Tensor, embed_v: nn.Module, embed_u: nn.Module
) -> Tensor:
    """Dot products of centres [B, 1] with their contexts and negatives [B, L]: [B, 1, L]."""
    v = embed_v(center)
    u = embed_u(contexts_and_negatives)
    return torch.bmm(v, u.permute(0, 2, 1))


class SigmoidBCELoss(nn.Module):
    """Binary cross-entropy with logits [B, L], weighted by a mask, mean over all L columns."""

    def forward(self, inputs: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
        """Loss [B]; mask and target may be of any real dtype."""
        elements = functional.binary_cross_entropy_with_logits(
            inputs,
            target.to(inputs.dtype),
            weight=None if mask is None else mask.to(inputs.dtype),
            reduction="none",
        )
        return elements.mean(dim=1)


@dataclass
class TrainResult:
    """What :func:`train` measured."""

    loss: float  # mean over all examples of all epochs, as the text prints it
    epoch_losses: list[float]  # mean over the examples of each epoch
    tokens_per_second: float  # centres of all epochs over the training time
    pairs_per_second: float  # (centre, context or noise word) pairs
    seconds: float  # training time, drawing of minibatches included
    animator: Animator


def train(
    net: nn.Sequential,
    data_iter,
    lr: float,
    num_epochs: int,
    device: torch.device | str | None = None,
    *,
    optimizer: str = "adam",
) -> TrainResult:
    """Train skip-gram with negative sampling, as the text does, by the fused kernels.

    Both embeddings are initialised anew (Xavier uniform) and trained in place with dense Adam on
    the sum over the minibatch of the normalised losses. Prints loss and speed in the text's form;
    the speed is that of all epochs over the time of all epochs (the text divides the examples of
    all epochs by the time of the last one).

    Args:
        net: ``nn.Sequential`` of the embeddings of centres and of contexts.
        data_iter: from :func:`load_data_ptb`, or any iterable over minibatches (centers,
            contexts_negatives, masks, labels).
        lr: learning rate. num_epochs: epochs. device: where to train, default :func:`try_gpu`.
        optimizer: as for :func:`lexforge.models.skipgram.train_skipgram`.
    """
    device = try_gpu() if device is None else torch.device(device)
    for embedding in net:
        nn.init.xavier_uniform_(embedding.weight)
    animator = Animator(xlabel="epoch", ylabel="loss", xlim=[1, num_epochs])

    def report(progress: SkipgramProgress) -> None:
        animator.add(progress.epoch + progress.fraction, (progress.loss,))

    progress = train_skipgram(
        net[0],
        net[1],
        data_iter,
        lr=lr,
        epochs=num_epochs,
        optimizer=optimizer,
        device=device,
        report=report,
    )
    rate = progress.examples_per_second
    print(f"loss {progress.loss:.3f}, {rate:.1f} tokens/sec on {device!s}")
    return TrainResult(
        progress.loss,
        progress.epoch_losses,
        rate,
        progress.slots_per_second,
        progress.seconds,
        animator,
    )


# BERT model


def get_tokens_and_segments(
    tokens_a: Sequence[str], tokens_b: Sequence[str] | None = None
) -> tuple[list[str], list[int]]:
    """``<cls> a <sep>`` or ``<cls> a <sep> b <sep>``, and the segment, 0 or 1, of each token."""
    tokens = ["<cls>", *tokens_a, "<sep>"]
    segments = [0] * len(tokens)
    if tokens_b is not None:
        tokens += [*tokens_b, "<sep>"]
        segments += [1] * (len(tokens_b) + 1)
    return tokens, segments


def masked_softmax(X: Tensor, valid_lens: Tensor | None) -> Tensor:
    """Softmax over the last axis of the first ``valid_lens`` entries of each row; zeros elsewhere.

    Args:
        X: [B, Q, K], left as it is.
        valid_lens: [B] or [B, Q]; rows of length 0 become zeros. None: softmax of everything.
    """
    if valid_lens is None:
        return functional.softmax(X, dim=-1)
    if X.dim() != 3 or tuple(valid_lens.shape) not in {tuple(X.shape[:1]), tuple(X.shape[:2])}:
        raise ValueError(
            "masked_softmax: X and valid_lens must be [B, Q, K] and [B] or [B, Q], "
            f"got {tuple(X.shape)} and {tuple(valid_lens.shape)}"
        )
    lens = valid_lens.reshape(len(X), -1, 1)
    masked = torch.arange(X.shape[2], device=X.device) >= lens
    scores = X.masked_fill(masked, torch.finfo(X.dtype).min)
    return functional.softmax(scores, dim=-1).masked_fill(masked, 0)


class BERTEncoder(bert.BertEncoder):
    """The text's encoder: (tokens [B, S], segments, valid_lens) to [B, S, num_hiddens].

    Padding is never computed; what stands there in the result is zero.
    """

    def __init__(
        self,
        vocab_size: int,
        num_hiddens: int,
        ffn_num_hiddens: int,
        num_heads: int,
        num_blks: int,
        dropout: float,
        max_len: int = 1000,
    ):
        super().__init__(
            bert.BertConfig.reference(
                vocab_size, num_hiddens, ffn_num_hiddens, num_heads, num_blks, dropout, max_len
            )
        )

    def forward(self, tokens: Tensor, segments: Tensor, valid_lens: Tensor | None) -> Tensor:
        return super().forward(tokens, segments, _whole_lens(valid_lens))


class MaskLM(bert.MaskLM):
    """The text's masked-LM head: (X [B, S, H], pred_positions [B, P]) to logits [B, P, V]."""

    def __init__(self, vocab_size: int, num_hiddens: int):
        # The head needs no more of a configuration than these two; heads of one dimension suit all.
        super().__init__(
            bert.BertConfig.reference(vocab_size, num_hiddens, num_heads=num_hiddens, num_blks=0)
        )

    def forward(self, X: Tensor, pred_positions: Tensor) -> Tensor:
        index = pred_positions.unsqueeze(-1).expand(-1, -1, X.shape[-1])
        rows = X.gather(1, index)
        return super().forward(rows.flatten(0, 1)).unflatten(0, pred_positions.shape)


class NextSentencePred(nn.Module):
    """The text's next-sentence head: one linear layer to two logits.

    Args:
        num_inputs: width of what it is given; by default the first input tells.
    """

    def __init__(self, num_inputs: int | None = None):
        super().__init__()
        self.output = nn.LazyLinear(2) if num_inputs is None else nn.Linear(num_inputs, 2)

    def forward(self, X: Tensor) -> Tensor:
        """[B, num_inputs] to [B, 2]."""
        return self.output(X)


class BERTModel(bert.BertModel):
    """The text's model: encoder, ``hidden``, ``mlm`` and ``nsp``; see :meth:`forward`."""

    def __init__(
        self,
        vocab_size: int,
        num_hiddens: int,
        ffn_num_hiddens: int,
        num_heads: int,
        num_blks: int,
        dropout: float,
        max_len: int = 1000,
    ):
        super().__init__(
            bert.BertConfig.reference(
                vocab_size, num_hiddens, ffn_num_hiddens, num_heads, num_blks, dropout, max_len
            )
        )

    def forward(
        self,
        tokens: Tensor,
        segments: Tensor,
        valid_lens: Tensor | None = None,
        pred_positions: Tensor | None = None,
    ) -> tuple[Tensor, Tensor | None, Tensor]:
        """(encoded [B, S, H], masked-LM logits [B, P, V] or None, next-sentence logits [B, 2])."""
        return super().forward(tokens, segments, _whole_lens(valid_lens), pred_positions)


def _whole_lens(valid_lens: Tensor | None) -> Tensor | None:
    """The text keeps lengths as floating-point numbers."""
    if valid_lens is None or not valid_lens.is_floating_point():
        return valid_lens
    return valid_lens.long()


# BERT data


class WikiData:
    """Minibatches of sentence pairs, padded; every iteration is one epoch, beginning with epoch 0.

    Iterating gives (tokens, segments, valid_lens, pred_positions, mlm_weights, mlm_labels,
    nsp_labels), see :func:`lexforge.text.bert.padded`.
    """

    def __init__(self, examples: BertExamples, batch_size: int, tokenizer: WordTokenizer):
        self.examples = examples
        self.batch_size = batch_size
        self.tokenizer = tokenizer
        self.epoch = 0  # the next one

    def __len__(self) -> int:
        """Minibatches of the next epoch."""
        return self.examples.num_batches(self.epoch, self.batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        batches = self.examples.batches(self.epoch, self.batch_size)
        self.epoch += 1
        for batch in batches:
            yield padded(batch, self.examples.max_len, pad_id=self.tokenizer.pad_id)


def load_data_wiki(
    batch_size: int, max_len: int, *, seed: int = 1, static_masks: bool = False
) -> tuple[WikiData, Vocab]:
    """The training split of WikiText-2 as minibatches of sentence pairs, and its vocabulary.

    Args:
        batch_size: pairs in a minibatch. max_len: tokens of the longest pair, which every row is
            padded to. seed: of all draws.
        static_masks: pairs and masks are drawn once, as the text does, and not in every epoch.

    Returns:
        An iterable over the seven arrays and the vocabulary of words with at least 5 occurrences.
        The random sentence of a pair is never the one that follows, and random words in place of
        masked ones are never special tokens; in the text both may be.
    """
    paragraphs = read_paragraphs("wikitext-2")
    words = [sentence.split() for paragraph in paragraphs for sentence in paragraph]
    vocab = Vocab(words, min_freq=5, reserved_tokens=["<pad>", "<mask>", "<cls>", "<sep>"])
    tokenizer = WordTokenizer(vocab.idx_to_token)
    examples = BertExamples(
        tokenize_paragraphs(paragraphs, tokenizer),
        tokenizer,
        max_len=max_len,
        seed=seed,
        static_masks=static_masks,
    )
    return WikiData(examples, batch_size, tokenizer), vocab


# BERT training


def _get_batch_loss_bert(
    net: nn.Module,
    loss: nn.Module,
    vocab_size: int,
    tokens_X: Tensor,
    segments_X: Tensor,
    valid_lens_x: Tensor,
    pred_positions_X: Tensor,
    mlm_weights_X: Tensor,
    mlm_Y: Tensor,
    nsp_y: Tensor,
    *,
    compat: bool = False,
) -> tuple[Tensor, Tensor, Tensor]:
    """Masked-LM loss, next-sentence loss and their sum, of a minibatch of the seven arrays.

    The masked-LM loss is sum(w l) / sum(w) over the slots for predictions; with ``compat`` it is
    the plain mean over all slots, as in the text, where the weights cancel out and an empty slot
    asks for class 0 of position 0.
    """
    plain = type(loss) is nn.CrossEntropyLoss and loss.weight is None and not loss.label_smoothing
    if isinstance(net, bert.BertModel) and plain and not compat:
        packed = bert.pack_padded(net.config, tokens_X, segments_X, _whole_lens(valid_lens_x))
        wanted = mlm_weights_X.flatten() != 0
        if bool((mlm_weights_X.flatten()[wanted] == 1).all()):
            index = packed.index_of(pred_positions_X)[wanted]
            labels = mlm_Y.flatten()[wanted]
            losses = net.losses(PackedBatch(*packed.inputs, index, labels, nsp_y))
            return losses.mlm_loss, losses.nsp_loss, losses.mlm_loss + losses.nsp_loss
    if getattr(loss, "reduction", "none") != "none":
        loss = copy.copy(loss)
        loss.reduction = "none"
    _, mlm_Y_hat, nsp_Y_hat = net(tokens_X, segments_X, valid_lens_x.reshape(-1), pred_positions_X)
    elements = loss(mlm_Y_hat.reshape(-1, vocab_size), mlm_Y.reshape(-1))
    weights = torch.ones_like(elements) if compat else mlm_weights_X.flatten().to(elements.dtype)
    mlm_l = (weights * elements).sum() / weights.sum().clamp(min=1e-8)
    nsp_l = loss(nsp_Y_hat, nsp_y).mean()
    return mlm_l, nsp_l, mlm_l + nsp_l


@dataclass
class BertTrainResult:
    """What :func:`train_bert` measured."""

    mlm_loss: float  # mean over the steps, as the text prints it
    nsp_loss: float
    pairs_per_second: float
    seconds: float  # training time, drawing of minibatches included
    animator: Animator


def train_bert(
    train_iter,
    net: nn.Module,
    loss: nn.Module,
    vocab_size: int,
    devices: Sequence[torch.device],
    num_steps: int,
    *,
    lr: float = 0.01,
    compat: bool = False,
) -> BertTrainResult:
    """Pretrain BERT by Adam for some steps, and print losses and speed in the text's form.

    A :class:`BERTModel` is trained without computing its padding. The text's masked-LM loss counts
    empty slots for predictions as class 0, which is easily learned and makes the printed figure too
    small by their share (5.6 for 7.3); here they do not count, unless ``compat`` is set.

    Args:
        train_iter: from :func:`load_data_wiki`, or any iterable over its seven arrays; it is
            iterated again until all steps are done.
        net: the model, also wrapped for data parallelism. It keeps the vocabulary of
            :func:`load_data_wiki`, for :func:`get_bert_encoding`.
        loss: ``nn.CrossEntropyLoss()``, or another loss of logits and labels.
        vocab_size: V. devices: the first one is trained on. num_steps: optimiser steps.
        lr: learning rate. compat: train on the text's loss.

    Raises:
        ValueError: ``num_steps`` is below 1, or ``train_iter`` is empty.
    """
    if num_steps < 1:
        raise ValueError(f"train_bert: num_steps must be >= 1, got {num_steps}")
    device = torch.device(devices[0])
    net = (net.module if isinstance(net, nn.DataParallel) else net).to(device).train()
    if isinstance(train_iter, WikiData):
        net.vocabulary = train_iter.tokenizer.tokens
    trainer = torch.optim.Adam(net.parameters(), lr=lr, fused=True)
    animator = Animator(xlabel="step", ylabel="loss", xlim=[1, num_steps], legend=["mlm", "nsp"])
    sums = torch.zeros(2, dtype=torch.float64, device=device)

    def step(batch: Minibatch, rate: float) -> None:
        batch = [x.to(device) for x in batch.data]
        trainer.zero_grad()
        mlm_l, nsp_l, l = _get_batch_loss_bert(net, loss, vocab_size, *batch, compat=compat)
        l.backward()
        trainer.step()
        sums.add_(torch.stack((mlm_l.detach(), nsp_l.detach())))

    state = NetworkState(total=num_steps)
    steps = minibatches(
        lambda epoch: train_iter,
        lambda arrays: {"pairs": len(arrays[0])},
        what="train_bert: train_iter",
    )
    job = NetworkJob(state, steps, step, ("mlm", "nsp"), sums, lambda step: lr, patience=0.0)
    run(job, progress=_Curves(animator))
    mlm, nsp = state.sums["mlm"] / num_steps, state.sums["nsp"] / num_steps
    rate = state.sums["pairs"] / state.seconds
    print(f"MLM loss {mlm:.3f}, NSP loss {nsp:.3f}")
    print(f"{rate:.1f} sentence pairs/sec on {[str(device) for device in devices]}")
    return BertTrainResult(mlm, nsp, rate, state.seconds, animator)


class _Curves(Progress):
    """Mean losses over all steps so far, after every step."""

    def __init__(self, animator: Animator) -> None:
        super().__init__()
        self._animator = animator

    def update(self, state: NetworkState) -> None:
        """One more point."""
        means = state.sums["mlm"] / state.done, state.sums["nsp"] / state.done
        self._animator.add(state.done, means)
        super().update(state)


# BERT encoding


def get_bert_encoding(
    net: bert.BertModel,
    tokens_a: Sequence[str],
    tokens_b: Sequence[str] | None = None,
    *,
    vocab: Vocab | None = None,
) -> Tensor:
    """The vectors of ``<cls> a <sep>`` or ``<cls> a <sep> b <sep>``, [1, S, num_hiddens].

    They are computed in evaluation mode and without gradients, on the device of `net`, whose mode
    is what it was afterwards; the text leaves dropout on.

    Args:
        net: the model. tokens_a, tokens_b: words; unknown ones become ``<unk>``.
        vocab: of the model, a global variable in the text; by default ``net.vocabulary``.

    Raises:
        TypeError: a text instead of its words. ValueError: no vocabulary, or one of another size;
        more words than the model has positions.
    """
    if isinstance(tokens_a, str) or isinstance(tokens_b, str):
        raise TypeError("get_bert_encoding: tokens must be lists of words, got a string")
    if vocab is None and net.vocabulary is None:
        raise ValueError("get_bert_encoding: vocab must be given for a net without vocabulary")
    size = len(net.vocabulary if vocab is None else vocab)
    if size != net.config.vocab_size:
        raise ValueError(
            f"get_bert_encoding: vocab must have the {net.config.vocab_size} tokens of the net, "
            f"got {size}"
        )
    tokens, segments = get_tokens_and_segments(tokens_a, tokens_b)
    if vocab is None:
        ids = WordTokenizer(net.vocabulary).convert_tokens_to_ids(tokens)
    else:
        ids = vocab[tokens]
    device = next(net.parameters()).device
    with torch.no_grad(), evaluating(net):
        encoded, _, _ = net(
            torch.tensor([ids], device=device), torch.tensor([segments], device=device)
        )
    return encoded


# Similarity and analogy


class TokenEmbedding:
    """Pretrained vectors; index 0 is ``<unk>`` with a zero vector.

    Args:
        embedding_name: key of ``DATA_HUB`` (downloaded), a folder that holds ``vec.txt``, or a text
            file of vectors.
    """

    def __init__(self, embedding_name: str | os.PathLike):
        from lexforge.vectors import load_vectors

        path = Path(embedding_name)
        if not path.exists():
            path = download_extract(str(embedding_name))
        vectors = load_vectors(path / "vec.txt" if path.is_dir() else path)
        table = torch.as_tensor(np.asarray(vectors.vectors, dtype=np.float32))
        self.idx_to_token: list[str] = ["<unk>", *vectors.index_to_key]
        self.idx_to_vec = torch.cat((torch.zeros(1, table.shape[1]), table))
        self.unknown_idx = 0
        self.token_to_idx = {token: index for index, token in enumerate(self.idx_to_token)}

    def __getitem__(self, tokens: Sequence[str]) -> Tensor:
        """The vectors of tokens [n, D]; zeros for unknown ones."""
        if isinstance(tokens, str):
            tokens = [tokens]
        rows = [self.token_to_idx.get(token, self.unknown_idx) for token in tokens]
        return self.idx_to_vec[rows]

    def __len__(self) -> int:
        return len(self.idx_to_token)


def knn(W: Tensor, x: Tensor, k: int, exclude: Iterable[int] = ()) -> tuple[Tensor, list[float]]:
    """Row numbers and cosines of the `k` rows of W [V, D] closest to x [D], best first."""
    rows, scores = similarity.knn(W.detach().cpu(), x.detach().reshape(-1).cpu(), k, exclude)
    return torch.from_numpy(rows), scores.tolist()


def _rows_and_tokens(embed, vocab, tokens: Sequence[str]):
    """The matrix, the rows of tokens, and the list of all tokens. Unknown tokens: KeyError."""
    if isinstance(embed, TokenEmbedding):
        matrix, index, names = embed.idx_to_vec, embed.token_to_idx, embed.idx_to_token
    elif vocab is None:
        raise ValueError("vocab must be given with an nn.Embedding, got None")
    else:
        matrix, index, names = embed.weight, vocab.token_to_idx, vocab.idx_to_token
    if unknown := [token for token in tokens if token not in index]:
        raise KeyError(f"tokens must be in the vocabulary, got {', '.join(map(repr, unknown))}")
    return matrix, [index[token] for token in tokens], names


def get_similar_tokens(
    query_token: str, k: int, embed: TokenEmbedding | nn.Embedding, vocab: Vocab | None = None
) -> list[tuple[str, float]]:
    """Print and return the `k` nearest tokens by cosine, without the query itself.

    Args:
        query_token: a known token; KeyError otherwise. k: how many.
        embed: pretrained vectors, or an embedding together with its `vocab`.
    """
    matrix, rows, names = _rows_and_tokens(embed, vocab, [query_token])
    found, scores = knn(matrix, matrix[rows[0]], k, exclude=rows)
    result = [(names[int(row)], score) for row, score in zip(found, scores, strict=True)]
    for token, score in result:
        print(f"cosine sim={score:.3f}: {token}")
    return result


def get_analogy(
    token_a: str,
    token_b: str,
    token_c: str,
    embed: TokenEmbedding | nn.Embedding,
    vocab: Vocab | None = None,
    *,
    exclude: bool = True,
) -> str:
    """The token nearest to vec(b) - vec(a) + vec(c): a is to b as c is to the result.

    Args:
        embed, vocab: as for :func:`get_similar_tokens`. exclude: leave the three tokens out of the
            answer; the text does not (``exclude=False``).
    """
    matrix, rows, names = _rows_and_tokens(embed, vocab, [token_a, token_b, token_c])
    a, b, c = matrix[rows]
    found, _ = knn(matrix, b - a + c, 1, exclude=rows if exclude else ())
    return names[int(found[0])]


# Helpers


class Timer:
    """A stop-watch that keeps all its times, in seconds."""

    def __init__(self):
        self.times: list[float] = []
        self.start()

    def start(self) -> None:
        """Start a new lap."""
        self._started = time.perf_counter()

    def stop(self) -> float:
        """End the lap, keep its time and return it."""
        self.times.append(time.perf_counter() - self._started)
        return self.times[-1]

    def avg(self) -> float:
        """Mean lap; 0 before the first."""
        return self.sum() / max(len(self.times), 1)

    def sum(self) -> float:
        """Sum of all laps."""
        return sum(self.times)

    def cumsum(self) -> list[float]:
        """Running sums of the laps."""
        return np.cumsum(self.times).tolist()


class Accumulator:
    """`n` running sums."""

    def __init__(self, n: int):
        self.data = [0.0] * n

    def add(self, *args: float) -> None:
        """Add one number to each sum."""
        if len(args) != len(self.data):
            raise ValueError(f"add: must be {len(self.data)} numbers, got {len(args)}")
        self.data = [total + float(value) for total, value in zip(self.data, args, strict=True)]

    def reset(self) -> None:
        """All sums back to zero."""
        self.data = [0.0] * len(self.data)

    def __getitem__(self, index: int) -> float:
        return self.data[index]


class Animator:
    """Collects curves; prints a line per point where asked to, and saves a plot where asked to.

    Needs no display. The text's plot options are accepted.

    Args:
        xlabel, ylabel, legend, xlim, ylim, xscale, yscale: as in the text.
        file: where :meth:`save` draws to by default. verbose: print each point.
    """

    def __init__(
        self,
        xlabel: str | None = None,
        ylabel: str | None = None,
        legend: Sequence[str] = (),
        xlim=None,
        ylim=None,
        xscale: str = "linear",
        yscale: str = "linear",
        fmts: Sequence[str] = ("-", "m--", "g-.", "r:"),
        nrows: int = 1,
        ncols: int = 1,
        figsize: tuple[float, float] = (3.5, 2.5),
        *,
        file: str | os.PathLike | None = None,
        verbose: bool = False,
    ):
        self.xlabel, self.ylabel, self.legend = xlabel, ylabel, list(legend)
        self.xlim, self.ylim, self.xscale, self.yscale = xlim, ylim, xscale, yscale
        self.fmts, self.figsize = fmts, (figsize[0] * ncols, figsize[1] * nrows)
        self.file, self.verbose = file, verbose
        self.X: list[list[float]] = []
        self.Y: list[list[float]] = []

    def add(self, x: float | Sequence[float], y: float | Sequence[float | None]) -> None:
        """One more point per curve; None leaves a curve out."""
        ys = list(y) if hasattr(y, "__len__") else [y]
        xs = list(x) if hasattr(x, "__len__") else [x] * len(ys)
        while len(self.X) < len(ys):
            self.X.append([])
            self.Y.append([])
        for curve, (a, b) in enumerate(zip(xs, ys, strict=True)):
            if a is not None and b is not None:
                self.X[curve].append(float(a))
                self.Y[curve].append(float(b))
        if self.verbose:
            names = [*self.legend, *(self.ylabel or "y" for _ in ys[len(self.legend) :])]
            values = (f"{n} {v:.4f}" for n, v in zip(names, ys, strict=False) if v is not None)
            print(f"{self.xlabel or 'x'} {xs[0]:.2f}: " + ", ".join(values))

    def save(self, file: str | os.PathLike | None = None) -> None:
        """Draw the curves to a file (needs matplotlib, the extra `plot`)."""
        file = file or self.file
        if file is None:
            raise ValueError("save: file must be a path, got None")
        figure, axes = _figure(self.figsize)
        for curve, (xs, ys) in enumerate(zip(self.X, self.Y, strict=True)):
            axes.plot(xs, ys, self.fmts[curve % len(self.fmts)])
        axes.set(xlabel=self.xlabel, ylabel=self.ylabel, xscale=self.xscale, yscale=self.yscale)
        if self.xlim:
            axes.set_xlim(self.xlim)
        if self.ylim:
            axes.set_ylim(self.ylim)
        if self.legend:
            axes.legend(self.legend)
        axes.grid()
        _save_figure(figure, file)


def _figure(figsize: tuple[float, float]):
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError("plots need matplotlib: pip install lexforge[plot]") from error
    figure = Figure(figsize=figsize, layout="constrained")
    return figure, figure.add_subplot()


def _save_figure(figure, file: str | os.PathLike) -> None:
    path = Path(file)
    partial = path.with_name(f"{path.name}.{os.getpid()}.part")
    figure.savefig(partial, format=path.suffix.lstrip(".") or "png")
    partial.replace(path)


def show_list_len_pair_hist(
    legend: Sequence[str],
    xlabel: str,
    ylabel: str,
    xlist: Sequence[Sequence],
    ylist: Sequence[Sequence],
    *,
    file: str | os.PathLike | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Histogram of the list lengths of two series, over ten common bins.

    Returns:
        Counts of the first series [10], of the second [10], and the bin edges [11]. With `file`,
        the plot is saved there (needs matplotlib, the extra `plot`).
    """
    lengths = [[len(x) for x in xlist], [len(y) for y in ylist]]
    edges = np.histogram_bin_edges(lengths[0] + lengths[1], bins=10)
    first, second = (np.histogram(series, bins=edges)[0] for series in lengths)
    if file is not None:
        figure, axes = _figure((3.5, 2.5))
        axes.hist(lengths, bins=edges, label=list(legend))
        axes.set(xlabel=xlabel, ylabel=ylabel)
        axes.legend()
        _save_figure(figure, file)
    return first, second, edges


def try_gpu(i: int = 0) -> torch.device:
    """GPU `i`, or the CPU where there is no such GPU."""
    return torch.device(f"cuda:{i}" if i < torch.cuda.device_count() else "cpu")


def try_all_gpus() -> list[torch.device]:
    """All GPUs, or the CPU alone."""
    gpus = [torch.device(f"cuda:{i}") for i in range(torch.cuda.device_count())]
    return gpus or [torch.device("cpu")]


def get_dataloader_workers() -> int:
    """Loader processes: one per core but one, at most 4."""
    return min(4, max((os.cpu_count() or 1) - 1, 0))


def load_array(data_arrays: Sequence[Tensor], batch_size: int, is_train: bool = True):
    """A loader of minibatches of tensors, shuffled when training."""
    dataset = torch.utils.data.TensorDataset(*data_arrays)
    return torch.utils.data.DataLoader(dataset, batch_size, shuffle=is_train)


def accuracy(y_hat: Tensor, y: Tensor) -> float:
    """The number of correct predictions: by argmax over classes, or of labels as they are."""
    if y_hat.dim() > 1 and y_hat.shape[1] > 1:
        y_hat = y_hat.argmax(dim=1)
    return float((y_hat.to(y.dtype) == y).sum())


def evaluate_accuracy_gpu(net: nn.Module, data_iter, device: torch.device | None = None) -> float:
    """Accuracy on a data set, in eval mode (in which the net is left, as in the text)."""
    net.eval()
    if device is None and (parameter := next(net.parameters(), None)) is not None:
        device = parameter.device
    metric = Accumulator(2)
    with torch.no_grad():
        for X, y in data_iter:
            X = [x.to(device) for x in X] if isinstance(X, (list, tuple)) else X.to(device)
            y = y.to(device)
            metric.add(accuracy(net(X), y), y.numel())
    return metric[0] / max(metric[1], 1)
