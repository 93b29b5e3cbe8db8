"""BiRNN and TextCNN on IMDb beside the reference text's code in plain PyTorch.

LEXFORGE_DATA=FOLDER python benchmarks/sentiment.py [--networks textcnn birnn] [--vectors FILE]
    [--only speed accuracy] [--threads 2] [--texts N] [--steps 6] [--rounds 5] [--seeds 1 2 3]
    [--json F]
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

import classifiers
from lexforge.models.classification.birnn import BiRNN
from lexforge.models.classification.textcnn import TextCNN


class PlainBiRNN(nn.Module):
    """The text's: the states at the first and the last place of what is padded to 500."""

    def __init__(self, ours: BiRNN):
        super().__init__()
        config = ours.config
        self.embedding = nn.Embedding(config.vocab_size, config.embed_size)
        self.encoder = nn.LSTM(
            config.embed_size,
            config.hidden_size,
            num_layers=config.num_layers,
            bidirectional=True,
        )
        self.decoder = nn.Linear(4 * config.hidden_size, config.num_classes)
        initialise(self)
        self.embedding.weight.data.copy_(ours.embedding.weight.detach())
        self.embedding.weight.requires_grad = False

    def forward(self, inputs: Tensor) -> Tensor:
        embeddings = self.embedding(inputs.T)
        self.encoder.flatten_parameters()
        outputs, _ = self.encoder(embeddings)
        return self.decoder(torch.cat((outputs[0], outputs[-1]), dim=1))


class PlainTextCNN(nn.Module):
    """The text's, with the maximum over time of which it speaks."""

    def __init__(self, ours: TextCNN):
        super().__init__()
        config = ours.config
        self.embedding = nn.Embedding(config.vocab_size, config.embed_size)
        self.constant_embedding = nn.Embedding(config.vocab_size, config.embed_size)
        self.dropout = nn.Dropout(config.dropout)
        self.decoder = nn.Linear(sum(config.channels), config.num_classes)
        self.pool = nn.AdaptiveMaxPool1d(1)
        self.relu = nn.ReLU()
        self.convs = nn.ModuleList(
            nn.Conv1d(2 * config.embed_size, channels, width)
            for channels, width in zip(config.channels, config.widths, strict=True)
        )
        initialise(self)
        for table in (self.embedding, self.constant_embedding):
            table.weight.data.copy_(ours.embedding.weight.detach())
        self.constant_embedding.weight.requires_grad = False

    def forward(self, inputs: Tensor) -> Tensor:
        embeddings = torch.cat((self.embedding(inputs), self.constant_embedding(inputs)), dim=2)
        embeddings = embeddings.permute(0, 2, 1)
        encoding = torch.cat(
            [self.pool(functional.relu(conv(embeddings))).squeeze(-1) for conv in self.convs], dim=1
        )
        return self.decoder(self.dropout(encoding))


def initialise(net: nn.Module) -> None:
    """The text's first values."""
    for module in net.modules():
        if isinstance(module, (nn.Linear, nn.Conv1d, nn.LSTM)):
            for name, parameter in module.named_parameters():
                if "weight" in name:
                    nn.init.xavier_uniform_(parameter)


if __name__ == "__main__":
    plain = {"textcnn": PlainTextCNN, "birnn": PlainBiRNN}
    classifiers.main(__doc__, classifiers.word_setting(plain, "imdb", "imdb:test"))
