"""``lexforge sentiment evaluate``: how right a classifier is."""

from __future__ import annotations

from lexforge.cli import _classification as common
from lexforge.cli._options import options


@options
def evaluate(
    model: common.Model,
    data: common.Data,
    columns: common.ColumnOptions,
    how: common.PredictionOptions,
    json_file: common.JsonFile = None,
    picture: common.ConfusionPicture = None,
) -> None:
    """Print accuracy, macro-F1, and precision, recall and F1 of each class.

    DATA is as for `train`; of a data set or folder that has a test it is that.

    Examples:

    - `lexforge sentiment evaluate sentiment/ imdb`
    - `lexforge sentiment evaluate stars/ reviews.csv --text body --label stars --json scores.json`
    - `lexforge sentiment evaluate sentiment/ imdb --confusion confusion.png`
    """
    common.evaluate("sentiment", model, data, columns, how, json_file, picture)
