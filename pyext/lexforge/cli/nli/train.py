"""``lexforge nli train``: a network that tells the classes of pairs of texts."""

from __future__ import annotations

from typing import Annotated

from lexforge.cli import _classification as common
from lexforge.cli._network import NetworkRunOptions
from lexforge.cli._options import Given, options
from lexforge.models.classification.settings import (
    RECIPES,
    DecomposableConfig,
    EvaluationSettings,
)


@options
def train(
    data: common.Data,
    shape: Annotated[Given, DecomposableConfig],
    given: Annotated[Given, RECIPES["decomposable"]],
    columns: common.PairColumnOptions,
    others: common.ClassifierOptions,
    evaluated: Annotated[Given, EvaluationSettings],
    run: NetworkRunOptions,
) -> None:
    """Train decomposable attention to tell the classes of pairs of texts (Parikh et al. 2016).

    DATA is `snli` or `mnli`; SNLI or MultiNLI as they are published, tab-separated or as JSON
    lines; a table with a header (.csv, .tsv); or JSON lines. Columns of a usual name (sentence1 and
    sentence2, premise and hypothesis; gold_label, label) are found, others named by --text,
    --second and --label. Pairs without a gold label are left out.

    The network aligns the words of both texts, compares each with what belongs to it, and sums up;
    words begin with what --vectors has for them, and are trained further.

    After every epoch it is evaluated on --dev, or on a share of DATA that it does not train on;
    --out keeps the best one in `best`, which is what predict and evaluate use. A run that is
    interrupted and resumed ends as if it had not been, to the last bit.

    Examples:

    - `lexforge nli train snli --dev snli:dev --out nli/ --vectors glove.6B.100d.txt`
    - `lexforge nli train pairs.tsv --text question --second answer --label fits --out pairs/`
    - `lexforge nli train snli --dev snli:dev --out nli/ --resume`
    """
    kind = None if run.resume else "decomposable"
    common.train("nli train", data, kind, shape, given, columns, others, evaluated, run)
