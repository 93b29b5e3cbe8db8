"""Natural language inference by attention."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from lexforge.d2l.padding import PADDING, texts_of
from lexforge.d2l.text import Vocab
from lexforge.models.classification import decomposable_attention as model
from lexforge.models.classification.settings import DecomposableConfig
from lexforge.text.classification.texts import INFERENCE
from lexforge.training.network_job import evaluating


def mlp(num_inputs: int, num_hiddens: int, flatten: bool) -> nn.Sequential:
    """The text's layers: twice dropout, a linear layer and ReLU, and a flattening where asked for.

    On what is [B, H] already, flattening changes nothing.
    """
    layers: list[nn.Module] = []
    for layer in model.mlp(num_inputs, num_hiddens):
        layers.append(layer)
        if flatten and isinstance(layer, nn.ReLU):
            layers.append(nn.Flatten(start_dim=1))
    return nn.Sequential(*layers)


class Attend(model.Attend):
    """The text's alignment: (A [B, SA, D], B [B, SB, D]) to beta like A, and alpha like B."""

    def forward(  # type: ignore[override]  # the text's
        self, A: Tensor, B: Tensor
    ) -> tuple[Tensor, Tensor]:
        scores = torch.bmm(self.f(A), self.f(B).transpose(1, 2))
        beta = torch.bmm(functional.softmax(scores, dim=-1), B)
        alpha = torch.bmm(functional.softmax(scores.transpose(1, 2), dim=-1), A)
        return beta, alpha


class Compare(model.Compare):
    """The text's comparison: (A, B, beta, alpha) to [B, SA, H] and [B, SB, H]."""

    def forward(  # type: ignore[override]  # the text's
        self, A: Tensor, B: Tensor, beta: Tensor, alpha: Tensor
    ) -> tuple[Tensor, Tensor]:
        return super().forward(A, beta), super().forward(B, alpha)


class Aggregate(model.Aggregate):
    """The text's aggregation: (V_A [B, SA, H], V_B [B, SB, H]) to logits [B, num_outputs]."""

    def forward(self, V_A: Tensor, V_B: Tensor) -> Tensor:
        return super().forward(V_A.sum(1), V_B.sum(1))


class DecomposableAttention(model.DecomposableAttention):
    """The text's network over pairs of texts: align, compare, sum up; three logits.

    Padding is never computed.

    Args:
        vocab, embed_size, num_hiddens: as in the text.
        num_inputs_attend, num_inputs_compare, num_inputs_agg: what follows from them: D, 2 D and
            twice ``num_hiddens``.
        padding: the number of ``<pad>``; what a row ends with of it is no text.
        compat: padding is text, as in the reference: it takes part in the softmax and in the sums.

    Raises:
        ValueError: sizes that do not go together.
    """

    def __init__(
        self,
        vocab: Vocab,
        embed_size: int,
        num_hiddens: int,
        num_inputs_attend: int = 100,
        num_inputs_compare: int = 200,
        num_inputs_agg: int = 400,
        *,
        padding: int | None = PADDING,
        compat: bool = False,
    ):
        given = (num_inputs_attend, num_inputs_compare, num_inputs_agg)
        expected = (embed_size, 2 * embed_size, 2 * num_hiddens)
        if given != expected:
            raise ValueError(
                "DecomposableAttention: num_inputs_attend, num_inputs_compare and num_inputs_agg "
                f"must be {expected} with embed_size {embed_size} and num_hiddens {num_hiddens}, "
                f"got {given}"
            )
        super().__init__(
            DecomposableConfig(
                vocab_size=len(vocab), embed_size=embed_size, hidden_size=num_hiddens
            )
        )
        self.padding = None if compat else padding

    def forward(self, X: Sequence[Tensor]) -> Tensor:  # type: ignore[override]  # the text's
        """Logits [B, 3] of premises and hypotheses, tokens [B, S] each."""
        premises, hypotheses = (texts_of("DecomposableAttention", x, self.padding) for x in X)
        return super().forward(premises, hypotheses)


def predict_snli(
    net: nn.Module, vocab: Vocab, premise: Sequence[str], hypothesis: Sequence[str]
) -> str:
    """``"entailment"``, ``"contradiction"`` or ``"neutral"``: what a net says of two texts' words.

    It is asked in evaluation mode, without gradients, on its own device, and is left in the mode
    that it was in.

    Raises:
        TypeError: a text instead of its words. ValueError: a text has no words.
    """
    device, rows = next(net.parameters()).device, []
    for name, words in (("premise", premise), ("hypothesis", hypothesis)):
        if isinstance(words, str):
            raise TypeError(f"predict_snli: {name} must be a list of words, got a text")
        if not words:
            raise ValueError(f"predict_snli: {name} must have words, got none")
        rows.append(torch.tensor([vocab[list(words)]], device=device))
    with torch.no_grad(), evaluating(net):
        return INFERENCE[int(net(rows).argmax(1))]
