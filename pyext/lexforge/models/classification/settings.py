"""What the result of training a classifier depends on, beside network and data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from lexforge._arguments import real
from lexforge.models import settings as common
from lexforge.models.network_settings import NetworkSettings
from lexforge.models.settings import corpus, training

BALANCED = "balanced"
WEIGHTS_HELP = "Of the classes in the loss: balanced, or a number for each, like 1,2.5."
TUNE_HELP = "Train pretrained vectors too; birnn does not unless told, the others do."
DEV_HELP = "Share of the texts that is held out where no others are given; 0 for none."


def class_weights(owner: str, name: str, value: Any) -> str:
    """``"balanced"``, or numbers above 0 as text with commas between; `value` may be a sequence."""
    if value == BALANCED:
        return BALANCED
    parts: Sequence[Any] = value.split(",") if isinstance(value, str) else value
    if isinstance(parts, Mapping) or not hasattr(parts, "__iter__"):
        raise TypeError(f"{owner}: {name} must be balanced or a number for each class")
    try:
        given = [float(part) for part in parts]
    except (TypeError, ValueError):
        raise ValueError(
            f"{owner}: {name} must be balanced or numbers like 1,2.5, got {value!r}"
        ) from None
    return ",".join(f"{real(owner, name, each, above=0.0):.17g}" for each in given)


@dataclass(frozen=True)
class TrainingSettings(NetworkSettings):
    """Those of :func:`lexforge.classification.train_classifier`; ``RECIPES`` has each network's.

    ``steps`` is None until the data tell how many are in ``epochs``.
    """

    OWNER: ClassVar[str] = "train_classifier"

    batch_size: int = training(64, "Texts per step.", low=1)
    steps: int | None = training(None, "Length of the run, instead of --epochs.", low=1)
    epochs: int = common.epochs(5, "Passes over the texts.")
    max_len: int = corpus(500, "Longest text in tokens; longer ones are cut.", low=1)
    min_count: int = common.min_count(help="Rarer words are unknown.", low=1)
    dev_share: float = corpus(0.05, DEV_HELP, low=0, high=0.9)
    tune: bool | None = training(None, TUNE_HELP, names="--tune/--no-tune")
    class_weights: str | None = training(None, WEIGHTS_HELP, rule=class_weights, metavar="WEIGHTS")


# The reference text's: rates, batches and passes of each network. That of BERT is the usual one for
# fine-tuning (Devlin et al. 2019, appendix A.3), with the text's rate.
RECIPES = {
    "birnn": TrainingSettings(learning_rate=0.01, batch_size=64, epochs=5, max_len=500),
    "textcnn": TrainingSettings(learning_rate=0.001, batch_size=64, epochs=5, max_len=500),
    "decomposable": TrainingSettings(learning_rate=0.001, batch_size=256, epochs=4, max_len=50),
    "bert": TrainingSettings(
        batch_size=32,
        epochs=3,
        max_len=128,
        optimizer="adamw",
        learning_rate=1e-4,
        weight_decay=0.01,
        warmup_steps=None,
        schedule="linear",
        clip=1.0,
    ),
}
