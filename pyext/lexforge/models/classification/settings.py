"""What classifiers are made of, and what the result of training them depends on beside the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from lexforge._arguments import real, whole
from lexforge.models import settings as common
from lexforge.models.network_settings import CLIP_HELP, NetworkSettings
from lexforge.models.network_settings import EvaluationSettings as CommonEvaluation
from lexforge.models.settings import corpus, evaluation, model, training
from lexforge.training.schedules import SCHEDULES
from lexforge.training.settings import Settings, setting

BIRNN_POOLS, TEXTCNN_POOLS = ("final", "ends", "mean", "max"), ("max", "avg")
STATES_HELP = "What stands for a text: the final states, or the states' mean or maximum."
CHANNELS_HELP = "Outputs of each width, or one number for each."
CONSTANT_HELP = "Beside the vectors that are trained, those that stay as they are."
DROPOUT = 0.2  # of decomposable attention
WORD_SIZE = 100  # numbers of a vector
BALANCED = "balanced"
WEIGHTS_HELP = "Of the classes in the loss: balanced, or a number for each, like 1,2.5."
TUNE_HELP = "Train pretrained vectors too; birnn does not unless told, the others do."
SORT_HELP = "Batches whose texts are sorted by length together; 1: batches are random."
DEV_HELP = "Share of the texts that is held out where no others are given; 0 for none."


def whole_numbers(owner: str, name: str, value: Any) -> str:
    """Integers of at least 1 as text, with commas between them; `value` may be a sequence."""
    parts: Sequence[Any]
    if isinstance(value, str):
        texts = [part.strip() for part in value.split(",")]
        if not all(part.isdecimal() for part in texts):
            raise ValueError(f"{owner}: {name} must be whole numbers like 3,4,5, got {value!r}")
        parts = [int(part) for part in texts]
    else:
        parts = value if isinstance(value, Sequence) else [value]
    if not parts:
        raise ValueError(f"{owner}: {name} must be at least one number, got none")
    return ",".join(str(whole(owner, name, part)) for part in parts)


def numbers(text: str) -> list[int]:
    """Those of :func:`whole_numbers`."""
    return [int(part) for part in text.split(",")]


@dataclass(frozen=True)
class BiRNNConfig(Settings):
    """What a :class:`BiRNN` is made of."""

    OWNER: ClassVar[str] = "birnn"

    vocab_size: int = setting(1, low=1)
    num_classes: int = setting(2, low=2)
    embed_size: int = model(WORD_SIZE, "Numbers per word.", low=1, names="-- --vector-size")
    hidden_size: int = model(100, "Units of each direction.", low=1, high=1024)
    num_layers: int = model(2, "Layers of the LSTM.", low=1, names="--layers --")
    pool: str = model("final", STATES_HELP, choices=BIRNN_POOLS)


@dataclass(frozen=True)
class TextCNNConfig(Settings):
    """What a :class:`TextCNN` is made of."""

    OWNER: ClassVar[str] = "textcnn"

    vocab_size: int = setting(1, low=1)
    num_classes: int = setting(2, low=2)
    embed_size: int = model(WORD_SIZE, "Numbers per word.", low=1, names="-- --vector-size")
    kernel_sizes: str = model("3,4,5", "Widths in words.", rule=whole_numbers, metavar="N,N,...")
    num_channels: str = model("100", CHANNELS_HELP, rule=whole_numbers, metavar="N,N,...")
    pool: str = model(
        "max", "Over the places in a text; the text prints avg.", choices=TEXTCNN_POOLS
    )
    dropout: float = model(0.5, "Share dropped before the last layer.", low=0, high=1)
    constant_table: bool = model(True, CONSTANT_HELP, names="--constant-table/--no-constant-table")

    def __post_init__(self) -> None:
        super().__post_init__()
        given = len(numbers(self.num_channels))
        if given not in (1, len(self.widths)):
            raise ValueError(
                f"textcnn: num_channels must be one number or {len(self.widths)}, as kernel_sizes "
                f"{self.kernel_sizes}, got {self.num_channels}"
            )

    @property
    def widths(self) -> list[int]:
        """Of the convolutions, in words."""
        return numbers(self.kernel_sizes)

    @property
    def channels(self) -> list[int]:
        """Outputs of each of them."""
        given = numbers(self.num_channels)
        return given * len(self.widths) if len(given) == 1 else given


@dataclass(frozen=True)
class DecomposableConfig(Settings):
    """What a :class:`DecomposableAttention` is made of."""

    OWNER: ClassVar[str] = "decomposable"

    vocab_size: int = setting(1, low=1)
    num_classes: int = setting(3, low=2)
    embed_size: int = model(WORD_SIZE, "Numbers per word.", low=1, names="-- --vector-size")
    hidden_size: int = model(200, "Width of all layers.", low=1)
    dropout: float = model(DROPOUT, "Share dropped before each layer.", low=0, high=1)


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
    dev_share: float = corpus(0.05, DEV_HELP, low=0, high=0.9, names="-- --eval-share")
    tune: bool | None = training(None, TUNE_HELP, names="--tune/--no-tune")
    class_weights: str | None = training(None, WEIGHTS_HELP, rule=class_weights, metavar="WEIGHTS")
    sort_batches: int = training(32, SORT_HELP, low=1, later=True)


@dataclass(frozen=True)
class FinetuningSettings(TrainingSettings):
    """Those of a BERT, which has its tokenizer and its table already.

    ``warmup_steps`` is None until the length of the run is known: a tenth of it. The recipe is the
    usual one (Devlin et al. 2019, appendix A.3), with the reference text's rate. Batches are
    random: those of like lengths teach a BERT a little less, and are no faster without padding.
    """

    batch_size: int = training(32, "Texts or pairs per step.", low=1)
    epochs: int = common.epochs(3, "Passes over the texts.")
    optimizer: str = training("adamw", "How steps are sized.", choices=("adam", "adamw"))
    learning_rate: float = common.learning_rate(1e-4, "At its highest; 2e-5 to 5e-5 for BERT-base.")
    weight_decay: float = training(0.01, "Of matrices, not of biases and norms.", low=0)
    warmup_steps: int | None = training(None, "Steps in which the rate rises; a tenth.", low=0)
    schedule: str = training("linear", "The rate after the warm-up.", choices=SCHEDULES)
    clip: float = training(1.0, CLIP_HELP, low=0, names="-- --grad-clip")
    max_len: int = corpus(128, "Longest text or pair in tokens; longer ones are cut.", low=5)
    min_count: int = corpus(1, low=1)
    tune: bool | None = training(None)
    sort_batches: int = training(1, SORT_HELP, low=1)


@dataclass(frozen=True)
class EvaluationSettings(CommonEvaluation):
    """How a run is evaluated."""

    OWNER: ClassVar[str] = TrainingSettings.OWNER

    eval_every: int | None = evaluation(None, "Steps between; an epoch by default.", low=1)


# The reference text's: rates, batches and passes of each network.
RECIPES = {
    "birnn": TrainingSettings(learning_rate=0.01, batch_size=64, epochs=5, max_len=500),
    "textcnn": TrainingSettings(learning_rate=0.001, batch_size=64, epochs=5, max_len=500),
    "decomposable": TrainingSettings(learning_rate=0.001, batch_size=256, epochs=4, max_len=50),
    "bert": FinetuningSettings(),
}
