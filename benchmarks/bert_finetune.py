"""Fine-tuning BERT on pairs of texts beside the reference text's way of it, in plain PyTorch.

    LEXFORGE_DATA=FOLDER python benchmarks/bert_finetune.py [--only speed accuracy] [--threads 2]
        [--model FOLDER] [--data snli] [--test snli:test] [--texts N] [--batch 512] [--max-len 128]
        [--steps 6] [--rounds 5] [--epochs 3] [--seeds 1 2 3] [--json F]

The text's recipe: its small model (2 blocks of 256, 4 heads, feed-forward layers of 512), Adam at
1e-4, batches of 512 pairs of at most 128 tokens. Weights are those of --model, a folder that
`lexforge bert pretrain` made of the text's kind, with its tokenizer; without it first values, words
of the pairs, and a token table as large as that of the text's archive (60,005 rows).
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import classifiers
from lexforge.models.bert.config import BertConfig
from lexforge.models.bert.files import ARCHIVE
from lexforge.models.bert.model import BertModel, named_tensors
from lexforge.models.bert.sequences import joined
from lexforge.models.classification.bert import BertClassifier
from lexforge.models.classification.network import Network
from lexforge.models.classification.settings import FinetuningSettings, TrainingSettings
from lexforge.reference import bert as reference
from lexforge.text.classification import LabelledTexts, read_labelled
from lexforge.text.classification.batches import text_batch
from lexforge.text.classification.encoded import EncodedTexts
from lexforge.text.tokenizers.words import WordTokenizer

LR, DROPOUT, BATCH, MAX_LEN = 1e-4, 0.1, 512, 128
SMALL = {"num_hiddens": 256, "ffn_num_hiddens": 512, "num_heads": 4, "num_blks": 2}
POSITIONS, ARCHIVE_TOKENS = 512, 60_005


class TextsClassifier(nn.Module):
    """The text's BERTClassifier, on its encoder."""

    def __init__(self, config: BertConfig, classes: int):
        super().__init__()
        self.encoder = reference.BertEncoder(
            config.vocab_size,
            config.hidden_size,
            config.intermediate_size,
            config.num_heads,
            config.num_layers,
            config.dropout,
            config.max_positions,
        )
        self.hidden = nn.Sequential(nn.Linear(config.hidden_size, config.hidden_size), nn.Tanh())
        self.output = nn.Linear(config.hidden_size, classes)

    def forward(self, tokens: Tensor, segments: Tensor, valid_lens: Tensor) -> Tensor:
        encoded = self.encoder(tokens, segments, valid_lens)
        return self.output(self.hidden(encoded[:, 0]))


class FinetuningTask(classifiers.Task):
    """A BERT, and pairs of texts.

    Args:
        model: its folder, or None: one with first values and so many `rows` of tokens.
        pairs, test: to train and to test on.
    """

    rate = LR

    def __init__(
        self,
        model: Path | None,
        pairs: LabelledTexts,
        test: LabelledTexts,
        rows: int = ARCHIVE_TOKENS,
        max_len: int = MAX_LEN,
        batch: int = BATCH,
    ):
        self.batch, self.max_len, self.names = batch, max_len, pairs.names
        if model is not None:
            bert = BertModel.from_pretrained(model, heads=False)
            if bert.config.embedding_norm:
                raise SystemExit(f"{model} must be of the text's kind, as the plain model is")
            bert = copied(bert, replace(bert.config, dropout=DROPOUT, attention_dropout=DROPOUT))
        else:
            tokenizer = WordTokenizer.build([pairs.first, pairs.second], min_freq=1)
            size = max(rows, len(tokenizer))
            config = BertConfig.reference(size, **SMALL, dropout=DROPOUT, max_len=POSITIONS)
            bert = BertModel(config, seed=1)
            bert.tokenizer, bert.mlm, bert.nsp = tokenizer, None, None
        self.bert, net = bert, BertClassifier(bert, pairs.names, seed=1)
        self.train, self.test = (net.encode(x, net.tokenizer, max_len) for x in (pairs, test))

    def arrays(self, texts: EncodedTexts) -> list[Tensor]:
        """Tokens, segments, valid lengths, labels."""
        tokenizer, batch = self.bert.tokenizer, text_batch(texts, np.arange(len(texts)))
        found = joined(batch.first, batch.second, cls_id=tokenizer.cls_id, sep_id=tokenizer.sep_id)
        lengths = found.cu_seqlens.long().diff()
        place = torch.arange(len(texts)).repeat_interleave(lengths), found.positions.long()
        tokens = torch.full((len(texts), self.max_len), tokenizer.pad_id)
        segments = torch.zeros_like(tokens)
        tokens[place], segments[place] = found.tokens.long(), found.segments.long()
        return [tokens, segments, lengths, batch.labels]

    def plain(self) -> nn.Module:
        """The text's classifier, with the weights."""
        net = TextsClassifier(self.bert.config, len(self.names))
        state = named_tensors(self.bert, ARCHIVE)
        net.load_state_dict({k: x for k, x in state.items() if k[:4] != "mlm."}, strict=False)
        return net

    def ours(self, seed: int) -> tuple[Network, TrainingSettings]:
        """As lexforge bert finetune makes it; its parts learn, so they are copies."""
        bert = copied(self.bert, self.bert.config)
        net = BertClassifier(bert, self.names, dropout=0.0, seed=seed)
        return net, FinetuningSettings(optimizer="adam", learning_rate=LR, weight_decay=0, clip=0)


def copied(bert: BertModel, config: BertConfig) -> BertModel:
    """The same weights once more, with the tokenizer; no heads."""
    other = BertModel(config, seed=1)
    other.tokenizer, other.mlm, other.nsp = bert.tokenizer, None, None
    other.load_state_dict(bert.state_dict())
    return other


def setting() -> classifiers.Setting:
    """What classifiers.main takes."""

    def add_options(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--model", type=Path, help="folder with a BERT of the text's kind")
        parser.add_argument(
            "--rows", type=int, default=ARCHIVE_TOKENS, help="of the token table without --model"
        )
        parser.set_defaults(batch=BATCH, max_len=MAX_LEN)

    @lru_cache(maxsize=1)
    def made(model: Path | None, data: str, test: str, texts: int | None, *sizes: int):
        pairs = classifiers.some_texts(data, texts)
        return FinetuningTask(model, pairs, read_labelled(test), *sizes)

    def task(_: str, options: argparse.Namespace) -> FinetuningTask:
        sizes = options.rows, options.max_len, options.batch
        return made(options.model, options.data, options.test, options.texts, *sizes)

    return classifiers.Setting(("bert",), "snli", "snli:test", task, add_options)


if __name__ == "__main__":
    classifiers.main(__doc__, setting())
