"""``lexforge sentiment train``: a network that tells the classes of texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from lexforge.cli import _classification as common
from lexforge.cli._network import NetworkRunOptions
from lexforge.cli._options import Given, Recipe, merged, options
from lexforge.models.classification.settings import (
    RECIPES,
    BiRNNConfig,
    EvaluationSettings,
    TextCNNConfig,
    TrainingSettings,
)
from lexforge.models.settings import model

MODEL_HELP = "textcnn (convolutions; the default) or birnn (a recurrent network, slower)."


@dataclass(frozen=True)
class KindOptions:
    """Which network."""

    model: str = model("textcnn", MODEL_HELP, choices=("textcnn", "birnn"))


@options
def train(
    data: common.Data,
    kind: Annotated[Given, KindOptions],
    shape: Annotated[Given, merged(TextCNNConfig, BiRNNConfig)],
    given: Annotated[Given, TrainingSettings, Recipe(RECIPES["birnn"], "with birnn")],
    columns: common.ColumnOptions,
    others: common.ClassifierOptions,
    evaluated: Annotated[Given, EvaluationSettings],
    run: NetworkRunOptions,
) -> None:
    """Train a network to tell the classes of texts.

    DATA is `imdb`; a folder with a folder of text files per class, or with folders train and test
    of such; a table with a header (.csv, .tsv); or JSON lines. Columns of a usual name (text,
    sentence, review; label, sentiment, class) are found, others named by --text and --label.

    Words begin with vectors: --unlabelled trains them first (word2vec) on DATA and on more texts of
    its kind, --vectors has them from a file. textcnn trains the vectors further and keeps a copy as
    it was; birnn leaves them as they are, unless --tune is given. Without either a network learns
    its words from the classes alone, and does worse.

    After every epoch the network is evaluated on --dev, or on a share of DATA that it does not
    train on; --out keeps the best one in `best`, which is what predict and evaluate use. A run that
    is interrupted and resumed ends as if it had not been, to the last bit.

    Examples:

    - `lexforge sentiment train imdb --unlabelled imdb:unsup --tokenizer split --out sentiment/`
    - `lexforge sentiment train imdb --out rnn/ --model birnn --vectors glove.6B.100d.txt`
    - `lexforge sentiment train reviews.csv --text body --label stars --out stars/ --epochs 10
      --early-stopping 2 --class-weights balanced`
    - `lexforge sentiment train imdb --out sentiment/ --resume`
    """
    common.train(
        "sentiment train",
        data,
        kind.get("model", None if run.resume else "textcnn"),
        shape,
        given,
        columns,
        others,
        evaluated,
        run,
    )
