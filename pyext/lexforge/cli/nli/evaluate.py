"""``lexforge nli evaluate``: how right a classifier of pairs is."""

from __future__ import annotations

from lexforge.cli import _classification as common
from lexforge.cli._options import options


@options
def evaluate(
    model: common.Model,
    data: common.Data,
    columns: common.PairColumnOptions,
    how: common.PredictionOptions,
    json_file: common.JsonFile = None,
    picture: common.ConfusionPicture = None,
) -> None:
    """Print accuracy, macro-F1, and precision, recall and F1 of each class.

    DATA is as for `train`; of a data set that has a test it is that.

    Examples:

    - `lexforge nli evaluate nli/ snli`
    - `lexforge nli evaluate nli/ mnli:matched --json scores.json --confusion confusion.png`
    """
    common.evaluate("nli", model, data, columns, how, json_file, picture)
