"""Natural language inference by fine-tuning BERT."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

from lexforge import bert as lexforge_bert
from lexforge.d2l.bert import BERTModel, get_tokens_and_segments, whole_lens
from lexforge.d2l.hub import DATA_HUB, download
from lexforge.d2l.natural_language_inference_and_dataset import Pairs
from lexforge.d2l.text import Vocab
from lexforge.layers.packing import pack_padded
from lexforge.models.bert.sequences import Sequences, joined
from lexforge.models.classification.bert import BertClassifier
from lexforge.text.classification.batches import text_batch
from lexforge.text.classification.encoded import EncodedTexts, word_numbers
from lexforge.text.classification.texts import INFERENCE, LabelledTexts
from lexforge.training.network_job import evaluating

SPECIAL = 3  # tokens of a pair: <cls>, <sep>, <sep>
_ROWS = 2**14  # pairs that are laid out together


def load_pretrained_model(
    pretrained_model: str | os.PathLike,
    num_hiddens: int,
    ffn_num_hiddens: int,
    num_heads: int,
    num_blks: int,
    dropout: float,
    max_len: int,
    devices: Sequence[torch.device],
) -> tuple[BERTModel, Vocab]:
    """A BERT from an archive of the text, and its vocabulary.

    Args:
        pretrained_model: ``"bert.small"`` or ``"bert.base"``, which are downloaded; or a zip with
            ``vocab.json`` and ``pretrained.params``, or the folder that it unpacks to.
        num_hiddens, ffn_num_hiddens, num_blks, max_len: sizes, those that the archive has.
        num_heads, dropout: of attention, and of further training; archives do not tell them. All
            of these are used; the text's function has 4 heads, 2 blocks and a dropout of 0.2.
        devices: the model goes to the first one.

    Returns:
        The model, in training mode, and the vocabulary.

    Raises:
        ValueError: sizes other than the archive's, or heads that do not divide its width.
        FileNotFoundError, ConnectionError: there is no such archive, or it cannot be downloaded.
        CheckpointError: it is damaged.
    """
    path = Path(pretrained_model)
    if not path.exists():
        if str(pretrained_model) not in DATA_HUB:
            raise FileNotFoundError(
                "load_pretrained_model: pretrained_model must be bert.small, bert.base, another "
                f"name in DATA_HUB or an archive, got {os.fspath(pretrained_model)!r}"
            )
        path = download(str(pretrained_model))
    model = lexforge_bert.BertModel.load_reference_archive(
        path, num_heads=num_heads, dropout=dropout
    )
    config = model.config
    found = {
        "num_hiddens": (num_hiddens, config.hidden_size),
        "ffn_num_hiddens": (ffn_num_hiddens, config.intermediate_size if num_blks else None),
        "num_blks": (num_blks, config.num_layers),
        "max_len": (max_len, config.max_positions),
    }
    wrong = [
        f"{name} must be {saved}, got {given}"
        for name, (given, saved) in found.items()
        if saved not in (None, given)
    ]
    if wrong:
        raise ValueError(f"load_pretrained_model: {pretrained_model}: {', '.join(wrong)}")
    vocab = Vocab()
    vocab.idx_to_token = list(model.vocabulary or ())
    vocab.token_to_idx = {token: index for index, token in enumerate(vocab.idx_to_token)}
    model.__class__ = BERTModel  # the same parts under the text's name
    assert isinstance(model, BERTModel)
    return model.to(devices[0]).train(), vocab


class _Special(NamedTuple):
    """Numbers of the special tokens."""

    pad: int
    cls: int
    sep: int

    @classmethod
    def of(cls, vocab: Vocab) -> _Special:
        """ValueError if one is missing."""
        names = ("<pad>", "<cls>", "<sep>")
        if missing := [name for name in names if name not in vocab.token_to_idx]:
            raise ValueError(f"vocab must have {' '.join(names)}, lacks {' '.join(missing)}")
        return cls(*(vocab.token_to_idx[name] for name in names))


class SNLIBERTDataset(Dataset):
    """Pairs of sentences as BERT takes them: ``<cls> premise <sep> hypothesis <sep>``, padded.

    Texts are turned to lower case and split at white space. Where a pair is too long, the longer
    text loses its last word, the hypothesis where both are equal, until it fits. An item is
    ((tokens, segments, valid length), label).

    Args:
        dataset: premises, hypotheses and labels, as of :func:`read_snli`.
        max_len: tokens of a pair, the three special ones included.
        vocab: with ``<pad>``, ``<cls>`` and ``<sep>``, as of :func:`load_pretrained_model`.

    Attributes:
        all_token_ids, all_segments: int64 [N, max_len]; what follows a pair is ``<pad>`` and 0.
        valid_lens: int64 [N].
        labels: int64 [N].

    Raises:
        ValueError: no vocabulary, or one without special tokens; ``max_len`` below 5.
    """

    def __init__(self, dataset: Pairs, max_len: int, vocab: Vocab | None = None):
        if vocab is None:
            raise ValueError("SNLIBERTDataset: vocab must be that of the model, got None")
        if max_len < SPECIAL + 2:
            raise ValueError(f"SNLIBERTDataset: max_len must be >= {SPECIAL + 2}, got {max_len}")
        special = _Special.of(vocab)
        self.labels = torch.tensor(dataset[2])
        self.vocab, self.max_len = vocab, max_len
        numbers = word_numbers(vocab.token_to_idx, vocab.unk, lowercase=True)
        pairs = EncodedTexts.by(LabelledTexts(dataset[0], dataset[1]), numbers)
        pairs = pairs.cut_pairs(max_len - SPECIAL)
        shape = (len(pairs), max_len)
        self.all_token_ids = torch.full(shape, special.pad, dtype=torch.int64)
        self.all_segments = torch.zeros(shape, dtype=torch.int64)
        self.valid_lens = torch.from_numpy(pairs.lengths + SPECIAL)
        for first in range(0, len(pairs), _ROWS):
            rows = np.arange(first, min(first + _ROWS, len(pairs)))
            batch = text_batch(pairs, rows)
            found = joined(batch.first, batch.second, cls_id=special.cls, sep_id=special.sep)
            row = torch.from_numpy(rows).repeat_interleave(found.cu_seqlens.long().diff())
            place = row, found.positions.long()
            self.all_token_ids[place] = found.tokens.long()
            self.all_segments[place] = found.segments.long()
        print(f"read {len(self.all_token_ids)} examples")

    def __getitem__(self, idx):
        inputs = self.all_token_ids[idx], self.all_segments[idx], self.valid_lens[idx]
        return inputs, self.labels[idx]

    def __len__(self) -> int:
        return len(self.all_token_ids)


class BERTClassifier(BertClassifier):
    """The text's classifier: encoder and ``hidden`` of a BERT, and a new linear layer to 3 classes.

    Padding is never computed.

    Args:
        bert: whose parts learn further; a :class:`BERTModel`.
    """

    def __init__(self, bert: BERTModel):
        super().__init__(bert, INFERENCE, dropout=0.0)

    def forward(  # type: ignore[override]  # the text's
        self, inputs: Sequence[Tensor]
    ) -> Tensor:
        """Logits [B, 3] of tokens [B, S], segments [B, S] and valid lengths [B]."""
        tokens, segments, valid_lens = inputs
        lens = whole_lens(valid_lens)
        assert lens is not None
        most = self.config.max_positions
        packed = pack_padded("BERTClassifier", most, tokens, segments, lens.reshape(-1))
        return self.logits(Sequences(*packed.inputs))


def predict_snli_bert(
    net: nn.Module,
    vocab: Vocab,
    premise: Sequence[str],
    hypothesis: Sequence[str],
    *,
    max_len: int = 128,
) -> tuple[str, dict[str, float]]:
    """What a net says of two texts' words: the class, and the probability of each.

    It is asked in evaluation mode, without gradients, on its own device, and is left in the mode
    that it was in. Unknown words are ``<unk>``.

    Args:
        net: of (tokens, segments, valid lengths), such as :class:`BERTClassifier`.
        max_len: tokens of the pair; what is longer is cut as by :class:`SNLIBERTDataset`.

    Returns:
        ``"entailment"``, ``"contradiction"`` or ``"neutral"``, and probabilities by these names.

    Raises:
        TypeError: a text instead of its words. ValueError: a text has no words; the vocabulary
        lacks special tokens.
    """
    for name, words in (("premise", premise), ("hypothesis", hypothesis)):
        if isinstance(words, str):
            raise TypeError(f"predict_snli_bert: {name} must be a list of words, got a text")
        if not words:
            raise ValueError(f"predict_snli_bert: {name} must have words, got none")
    if max_len < SPECIAL + 2:
        raise ValueError(f"predict_snli_bert: max_len must be >= {SPECIAL + 2}, got {max_len}")
    _Special.of(vocab)
    first, second = list(premise), list(hypothesis)
    while len(first) + len(second) > max_len - SPECIAL:
        (first if len(first) > len(second) else second).pop()
    tokens, segments = get_tokens_and_segments(first, second)
    device = next(net.parameters()).device
    inputs = [torch.tensor(x, device=device) for x in ([vocab[tokens]], [segments], [len(tokens)])]
    with torch.no_grad(), evaluating(net):
        shares = functional.softmax(net(inputs).float(), dim=1)[0].tolist()
    best = int(np.argmax(shares))
    return INFERENCE[best], dict(zip(INFERENCE, shares, strict=True))
