"""Pictures of vectors, losses, classes and attention; with matplotlib, the extra ``plot``."""

from __future__ import annotations

import importlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from lexforge._arguments import one_of, real, whole
from lexforge._display import printable
from lexforge._files import replacement

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


class Words(Protocol):
    """What a map of words asks of vectors (:class:`lexforge.KeyedVectors`)."""

    index_to_key: list[str]
    expandos: dict[str, np.ndarray]

    @property
    def vectors(self) -> np.ndarray: ...
    def get_index(self, key: str | int, default: int | None = None) -> int: ...
    def __len__(self) -> int: ...


class Maps(Protocol):
    """What a picture of attention asks of its maps (:class:`lexforge.bert.AttentionMaps`)."""

    @property
    def weights(self) -> np.ndarray: ...
    @property
    def tokens(self) -> list[str]: ...


class Confusion(Protocol):
    """What a picture of mistakes asks (:class:`lexforge.training.metrics.ClassScores`)."""

    @property
    def confusion(self) -> np.ndarray: ...
    @property
    def names(self) -> Sequence[str]: ...


METHODS = ("pca", "tsne", "umap")
WORDS, CLUSTERS = 300, 8  # of a map of vectors, unless told otherwise
SKIPPED = 100  # the most frequent words (the, of, is) have no neighbourhood worth a look
SMOOTHING = 0.05  # of the loss curve: the share of it that a running mean spans

_DPI = 150
_COLUMNS = 4  # of heads in a picture
_COUNTED_CLASSES = 20  # numbers in smaller squares would be illegible
_NAMED_TOKENS = 64  # more names beside a map would be illegible
_SIZES = (6.0, 90.0)  # areas of dots: words seen never and most often, in square points
_LABEL_POINTS = 7
_LABEL_GAP = 1.5  # points between a dot and its word
# Where a label may stand: its centre goes so many halves of its size, and of the dot's, away.
_PLACES = ((1, 0), (0, 1), (0, -1), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1))
_ROUNDS = 50  # of k-means, at most


def _matplotlib(module: str) -> Any:
    try:
        import matplotlib  # noqa: F401  # the first thing to be missing

        return importlib.import_module(f"matplotlib.{module}")
    except ImportError as error:
        raise ImportError("plots need matplotlib: pip install lexforge[plot]") from error


def pyplot() -> Any:
    """``matplotlib.pyplot``, whose figures a notebook shows by themselves.

    Raises:
        ImportError: matplotlib is missing.
    """
    return _matplotlib("pyplot")


def new_figure(
    width: float, height: float, columns: Sequence[float] = (1,)
) -> tuple[Figure, list[Axes]]:
    """A figure of so many inches, its axes side by side with these shares of the width.

    It belongs to no window: it needs no display, and shows itself in a notebook.

    Raises:
        ImportError: matplotlib is missing.
    """
    figure = _matplotlib("figure").Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(1, len(columns), squeeze=False, width_ratios=list(columns))
    return figure, list(axes[0])


def picture_format(path: str | os.PathLike) -> str:
    """That of :func:`save_figure`, with the same errors as it and :func:`new_figure`."""
    figure, _ = new_figure(1, 1)
    format = Path(path).suffix[1:].lower() or "png"
    known = figure.canvas.get_supported_filetypes()
    if format not in known:
        raise ValueError(f"{path}: a picture must be one of {', '.join(sorted(known))}")
    return format


def save_figure(figure: Figure, path: str | os.PathLike) -> None:
    """Write the picture; the suffix is its format (png, svg, pdf, ...; png without one).

    Raises:
        ValueError: no such format. OSError: the file cannot be written; nothing is left of it.
    """
    format = picture_format(path)
    from matplotlib import rc_context

    # The same picture is the same file: no date, no random names in it.
    metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(format)
    with replacement(path) as temporary, rc_context({"svg.hashsalt": "lexforge"}):
        figure.savefig(temporary, format=format, dpi=_DPI, metadata=metadata)


# -- vectors --------------------------------------------------------------------------------------


def plot_vectors(
    kv: Words,
    words: Sequence[str] | None = None,
    *,
    path: str | os.PathLike | None = None,
    topn: int = WORDS,
    skip: int | None = None,
    method: str = "pca",
    clusters: int = CLUSTERS,
    seed: int = 1,
) -> Figure:
    """Draw words as dots in the plane: similar ones near each other.

    Dots are coloured by cluster (k-means of the vectors' directions), larger for words that are
    seen more often, and named where there is room, frequent words first.

    Args:
        kv: the vectors.
        words: which to draw; by default the `topn` most frequent after the first `skip`. The most
            frequent ones (the, of, is) go with everything: by default 100 are skipped, or a
            quarter of a vocabulary that is too small for that.
        path: file to write (:func:`save_figure`).
        method: how to get to two dimensions: "pca" keeps large distances, "tsne" (with
            scikit-learn) and "umap" (with umap-learn) keep neighbourhoods.
        clusters: number of colours; 1 for none.
        seed: of the clusters, t-SNE and UMAP.

    Returns:
        The figure, which a notebook shows.

    Raises:
        ImportError: matplotlib is missing, or the library of the method.
        KeyError: an unknown word. ValueError: fewer than 3 words, or an unknown method.
    """
    figure, (axes,) = new_figure(11, 9)
    draw_vectors(axes, kv, words, topn=topn, skip=skip, method=method, clusters=clusters, seed=seed)
    if path is not None:
        save_figure(figure, path)
    return figure


def draw_vectors(
    axes: Axes,
    kv: Words,
    words: Sequence[str] | None = None,
    *,
    topn: int = WORDS,
    skip: int | None = None,
    method: str = "pca",
    clusters: int = CLUSTERS,
    seed: int = 1,
) -> None:
    """:func:`plot_vectors` on given axes. The layout of their figure is final from here on."""
    one_of("plot_vectors", "method", method, METHODS)
    clusters = whole("plot_vectors", "clusters", clusters)
    if words is None:
        topn = whole("plot_vectors", "topn", topn)
        if skip is None:
            skip = min(SKIPPED, min(SKIPPED + topn, len(kv)) // 4)
        rows = np.arange(len(kv))[whole("plot_vectors", "skip", skip, 0) :][:topn]
    else:
        rows = np.array([kv.get_index(word) for word in dict.fromkeys(words)], dtype=np.int64)
    if len(rows) < 3:
        raise ValueError(f"plot_vectors: words must be at least 3, got {len(rows)}")
    units = kv.vectors[rows].astype(np.float64)
    units /= np.maximum(np.linalg.norm(units, axis=1, keepdims=True), 1e-12)
    places = _plane(units, method, seed)
    if "count" in kv.expandos:
        seen = np.asarray(kv.expandos["count"], dtype=np.float64)[rows]
    else:
        seen = 1 / (1.0 + rows)  # vector files begin with the frequent words
    order = np.argsort(-seen, kind="stable")
    places, seen = places[order], seen[order]
    groups = _clusters(units, min(clusters, len(rows)), seed)[order]
    smallest, largest = _SIZES
    areas = smallest + (largest - smallest) * np.sqrt(seen / max(float(seen.max()), 1e-300))
    colours: list[Any] = ["C0"] * len(rows)
    if clusters > 1:
        from matplotlib import colormaps

        table = colormaps["tab10" if clusters <= 10 else "tab20"]
        colours = [table(group % table.N) for group in groups]
    axes.scatter(places[:, 0], places[:, 1], s=areas, c=colours, alpha=0.45, linewidths=0)
    axes.set(xticks=[], yticks=[])
    axes.margins(0.06)
    names = {"pca": "first two principal components", "tsne": "t-SNE", "umap": "UMAP"}
    axes.set_title(f"{len(rows):,} words, {names[method]}")
    _label(axes, places, areas, [printable(kv.index_to_key[rows[i]]) for i in order], colours)


def _plane(units: np.ndarray, method: str, seed: int) -> np.ndarray:
    """Directions [N, D] as places [N, 2]."""
    if method == "pca":
        centred = units - units.mean(axis=0)
        _, _, directions = np.linalg.svd(centred, full_matrices=False)
        directions = directions[:2]
        # Either end of a direction may be its first: let the largest part of it decide.
        largest = np.abs(directions).argmax(axis=1)
        directions *= np.sign(directions[np.arange(len(directions)), largest])[:, None]
        places = np.zeros((len(units), 2))
        places[:, : len(directions)] = centred @ directions.T
        return places
    libraries = {"tsne": ("sklearn.manifold", "scikit-learn"), "umap": ("umap", "umap-learn")}
    library, package = libraries[method]
    try:
        module = importlib.import_module(library)
    except ImportError as error:
        raise ImportError(f"method {method!r} needs {package}: pip install {package}") from error
    if method == "tsne":
        # It asks for fewer neighbours than there are words.
        nearest = min(30.0, (len(units) - 1) / 3)
        reducer = module.TSNE(perplexity=nearest, metric="cosine", init="random", random_state=seed)
    else:
        nearest = min(15, len(units) - 1)
        reducer = module.UMAP(n_neighbors=nearest, metric="cosine", random_state=seed)
    return np.asarray(reducer.fit_transform(units), dtype=np.float64)


def _clusters(units: np.ndarray, number: int, seed: int) -> np.ndarray:
    """k-means of directions [N, D] by cosine: the cluster of each, the largest one being 0."""
    generator = np.random.default_rng(seed)
    centres = units[generator.integers(len(units), size=1)]
    while len(centres) < number:  # far from each other at first (k-means++)
        distance = np.maximum(1 - (units @ centres.T).max(axis=1), 0) + 1e-12
        chosen = generator.choice(len(units), p=distance / distance.sum())
        centres = np.concatenate([centres, units[chosen : chosen + 1]])
    found = np.full(len(units), -1)
    for _ in range(_ROUNDS):
        before, found = found, (units @ centres.T).argmax(axis=1)
        if np.array_equal(before, found):
            break
        sums = np.zeros_like(centres)
        np.add.at(sums, found, units)
        centres = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    rank = np.argsort(np.argsort(-np.bincount(found, minlength=number), kind="stable"))
    return rank[found]


def _label(
    axes: Axes,
    places: np.ndarray,
    areas: np.ndarray,
    words: Sequence[str],
    colours: Sequence[Any],
) -> None:
    """Names beside the dots, the first ones first; one without room is left out."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure: Any = axes.figure
    figure.draw_without_rendering()  # so that the layout is known ...
    figure.set_layout_engine("none")  # ... and stays
    renderer = FigureCanvasAgg(figure).get_renderer()
    pixels = figure.dpi / 72  # of a point
    dots = axes.transData.transform(places)
    radii = np.sqrt(areas / math.pi) * pixels
    inside = np.array(axes.bbox.extents)
    taken = np.empty((0, 4))  # left, bottom, right, top of the labels placed
    for word, place, dot, radius, colour in zip(words, places, dots, radii, colours, strict=True):
        text = axes.annotate(
            word,
            place,
            xytext=(0, 0),
            textcoords="offset points",
            fontsize=_LABEL_POINTS,
            ha="center",
            va="center",
            color=_darker(colour),
            parse_math=False,
        )
        extent = text.get_window_extent(renderer)
        half = np.array([extent.width, extent.height]) / 2
        away = half + radius + _LABEL_GAP * pixels
        for side in _PLACES:
            # Diagonally, a label touches the dot's square at its corner.
            centre = dot + np.array(side) * (away if 0 in side else away - 0.3 * radius)
            box = np.concatenate([centre - half, centre + half])
            if _free(box, taken) and _within(box, inside):
                text.set_position(tuple((centre - dot) / pixels))
                taken = np.concatenate([taken, box[None]])
                break
        else:
            text.remove()


def _free(box: np.ndarray, taken: np.ndarray) -> bool:
    left, bottom, right, top = box
    apart = (taken[:, 0] >= right) | (taken[:, 2] <= left)
    apart |= (taken[:, 1] >= top) | (taken[:, 3] <= bottom)
    return bool(apart.all())


def _within(box: np.ndarray, around: np.ndarray) -> bool:
    return bool((box[:2] >= around[:2]).all() and (box[2:] <= around[2:]).all())


def _darker(colour: Any) -> tuple[float, ...]:
    """For letters, which are thinner than dots."""
    from matplotlib.colors import to_rgb

    return tuple(0.6 * part for part in to_rgb(colour))


# -- losses ---------------------------------------------------------------------------------------


def read_log(path: str | os.PathLike) -> list[dict[str, Any]]:
    """The records of a log that a trainer wrote (``--log-json``).

    A line that is still being written does not count.

    Raises:
        OSError: it cannot be read. ValueError: a line is no record, or there is none.
    """
    text = Path(path).read_text(encoding="utf-8", errors="replace")
    records = []
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            record = None
            if not line.endswith("\n"):
                continue
        if not line.strip():
            continue
        if not isinstance(record, dict):
            raise ValueError(
                f"{path}: line {number} must be a JSON object, as --log-json writes, "
                f"got {line.strip()[:40]!r}"
            )
        records.append(record)
    if not records:
        raise ValueError(f"{path}: the log is empty")
    return records


def plot_loss(
    records: Sequence[Mapping[str, Any]] | str | os.PathLike,
    *,
    path: str | os.PathLike | None = None,
    smoothing: float = SMOOTHING,
) -> Figure:
    """Draw how a training went: its losses, and beside them what it learned to tell.

    Each loss is a thin line with its running mean over it, held-out ones are dots; dashed lines
    stand where epochs begin. What a resumed run did again is drawn as it went the second time.
    Where records hold accuracies or macro_f1 (of the training of a classifier), these are drawn in
    the same way at the right: its learning curve.

    Args:
        records: of a log, a model's ``state.loss_history`` or a result's ``history``; or the log
            itself, as a path.
        path: file to write (:func:`save_figure`).
        smoothing: share of the curve that the running mean spans, 0 (none) to 1.

    Returns:
        The figure, which a notebook shows.

    Raises:
        ImportError: matplotlib is missing. OSError, ValueError: the log cannot be read, or holds
            no loss.
    """
    source, records = _records(records)
    both = bool(_curve_names(records, _SCORES))
    figure, drawn = new_figure(13 if both else 9, 5.5, (1, 1) if both else (1,))
    _draw_curves(drawn[0], records, _LOSSES, smoothing, source)
    if both:
        _draw_curves(drawn[1], records, _SCORES, smoothing, source)
    if path is not None:
        save_figure(figure, path)
    return figure


def draw_loss(
    axes: Axes,
    records: Sequence[Mapping[str, Any]] | str | os.PathLike,
    *,
    smoothing: float = SMOOTHING,
) -> None:
    """The losses of :func:`plot_loss` on given axes."""
    source, records = _records(records)
    _draw_curves(axes, records, _LOSSES, smoothing, source)


# Names of values, alone or after another name and _; what the axis is called, and if it is empty.
_LOSSES = (("loss",), "loss", "losses")
_SCORES = (("accuracy", "macro_f1"), "accuracy, macro F1", "accuracies")


def _records(
    records: Sequence[Mapping[str, Any]] | str | os.PathLike,
) -> tuple[str, Sequence[Mapping[str, Any]]]:
    if isinstance(records, (str, os.PathLike)):
        return str(records), read_log(records)
    return "plot_loss: records", records


def _curve_names(
    records: Sequence[Mapping[str, Any]], kind: tuple[tuple[str, ...], str, str]
) -> list[str]:
    """What the records hold of a kind, at places in the run."""
    unit = _unit(records)
    return [
        name
        for name in dict.fromkeys(name for record in records for name in record)
        if any(name == each or name.endswith(f"_{each}") for each in kind[0])
        and any(
            _number(record.get(unit)) is not None and _number(record.get(name)) is not None
            for record in records
        )
    ]


def _draw_curves(
    axes: Axes,
    records: Sequence[Mapping[str, Any]],
    kind: tuple[tuple[str, ...], str, str],
    smoothing: float,
    source: str,
) -> None:
    smoothing = real("plot_loss", "smoothing", smoothing, 0, 1)
    unit = _unit(records)
    curves = _curve_names(records, kind)
    if not curves:
        raise ValueError(f"{source} must hold {kind[2]} over steps or words, as --log-json writes")
    records = _as_it_went([_placed(record, unit) for record in records], unit)
    for number, name in enumerate(curves):
        x, y = _curve(records, unit, name)
        colour = f"C{number}"
        if name.startswith("eval_"):
            axes.plot(x, y, "o-", color=colour, markersize=4, linewidth=0.8, label=name)
            continue
        span = round(smoothing * len(y))
        if span > 1:
            axes.plot(x, y, color=colour, linewidth=0.6, alpha=0.35)
            y = _running_mean(y, span)
        axes.plot(x, y, color=colour, linewidth=1.6, label=name)
    for before, after in pairwise(records):
        told = "epoch" in before and "epoch" in after and unit in before
        if told and before["epoch"] != after["epoch"]:
            axes.axvline(before[unit], color="0.6", linewidth=0.7, linestyle="--", zorder=0)
    from matplotlib.ticker import EngFormatter

    axes.xaxis.set_major_formatter(EngFormatter(sep=" "))
    axes.set(xlabel="seconds" if unit == "time" else unit, ylabel=kind[1])
    axes.grid(axis="y", color="0.9")
    if len(curves) > 1:
        axes.legend(frameon=False)


def _unit(records: Sequence[Mapping[str, Any]]) -> str:
    """What the records count: steps, or what they have a speed of; else time."""
    first = records[0] if len(records) else {}
    counted = (name.removesuffix("_per_second") for name in first if name.endswith("_per_second"))
    return next((name for name in ("step", *counted) if name in first), "time")


def _placed(record: Mapping[str, Any], unit: str) -> dict[str, Any]:
    """With its place in the run as a number, or without any."""
    place = _number(record.get(unit))
    others = {name: value for name, value in record.items() if name != unit}
    return others if place is None else {**others, unit: place}


def _as_it_went(records: Sequence[Mapping[str, Any]], unit: str) -> list[Mapping[str, Any]]:
    """Without what was lost: a run is resumed from its checkpoint, which lies behind its log."""
    kept: list[Mapping[str, Any]] = []
    for record in records:
        if unit in record:
            while kept and kept[-1].get(unit, 0) > record[unit]:
                kept.pop()
            # At the same place, there may be an evaluation too.
            if kept and kept[-1].get(unit) == record[unit] and kept[-1].keys() == record.keys():
                kept.pop()
        kept.append(record)
    return kept


def _curve(
    records: Sequence[Mapping[str, Any]], unit: str, name: str
) -> tuple[np.ndarray, np.ndarray]:
    """Where the loss is known; an evaluation without a place of its own is at the last one's."""
    xs, ys, latest = [], [], 0.0
    for record in records:
        latest = record.get(unit, latest)
        value = _number(record.get(name))
        if value is not None:
            xs.append(latest)
            ys.append(value)
    return np.array(xs, dtype=np.float64), np.array(ys, dtype=np.float64)


def _number(value: Any) -> float | None:
    try:
        number = float(value) if isinstance(value, (int, float)) else math.nan
    except OverflowError:  # an int
        return None
    return number if math.isfinite(number) else None


def _running_mean(values: np.ndarray, span: int) -> np.ndarray:
    """Mean of each value and its neighbours, `span` in all; fewer near the ends."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    at = np.arange(len(values))
    first = np.maximum(at - (span - 1) // 2, 0)
    last = np.minimum(at + span // 2 + 1, len(values))
    return (sums[last] - sums[first]) / (last - first)


# -- classes --------------------------------------------------------------------------------------


def plot_confusion(scores: Confusion, *, path: str | os.PathLike | None = None) -> Figure:
    """Draw which classes are taken for which: a row per class, a column per prediction.

    Colours are shares of the row, so that a rare class shows as well as a frequent one; numbers are
    counts, where there are few enough classes.

    Args:
        scores: of a classifier; C classes.
        path: file to write; its suffix is the format (png, pdf, svg; png without one).

    Returns:
        The figure, which a notebook shows.

    Raises:
        ImportError: matplotlib is missing. ValueError: no such format.
    """
    confusion, names = np.asarray(scores.confusion), list(scores.names)
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    side = 2.2 + min(0.55 * len(names), 9.0)
    figure = _matplotlib("figure").Figure((side + 1.2, side), layout="constrained")
    draw_matrices(
        figure,
        [[shares]],
        names=names,
        cmap="Blues",
        lowest=0.0,
        labels=("predicted", "class"),
    )
    if len(names) <= _COUNTED_CLASSES:
        middle = float(shares.max()) / 2
        for row, column in np.ndindex(*confusion.shape):
            colour = "white" if shares[row, column] > middle else "black"
            count = f"{confusion[row, column]:,}"
            figure.axes[0].text(
                column, row, count, ha="center", va="center", color=colour, fontsize=8
            )
    if path is not None:
        save_figure(figure, path)
    return figure


# -- attention ------------------------------------------------------------------------------------


def plot_attention(
    maps: Maps,
    *,
    path: str | os.PathLike | None = None,
    layer: int = -1,
    heads: int | Sequence[int] | None = None,
) -> Figure:
    """Draw the maps of a layer's heads side by side, rows look at columns.

    Args:
        maps: of :func:`~lexforge.bert.attention_maps`.
        path: file to write; its suffix is the format (png, pdf, svg; png without one).
        layer: which layer, 0 the first, -1 the last.
        heads: which heads; all by default.

    Returns:
        The figure, which a notebook shows.

    Raises:
        ImportError: matplotlib is missing. ValueError: no such layer, head or format.
    """
    num_layers, num_heads, _, _ = maps.weights.shape
    layer = whole("plot_attention", "layer", layer, -num_layers, num_layers - 1) % num_layers
    if heads is None:
        heads = range(num_heads)
    elif not isinstance(heads, Sequence):
        heads = [heads]
    heads = [whole("plot_attention", "heads", head, 0, num_heads - 1) for head in heads]
    if not heads:
        raise ValueError("plot_attention: heads must name at least one head, got none")
    columns = min(len(heads), _COLUMNS)
    rows = math.ceil(len(heads) / columns)
    matrices = [
        maps.weights[layer, heads[at : at + columns]] for at in range(0, len(heads), columns)
    ]
    titles = [f"head {head}" for head in heads]
    length = len(maps.tokens)
    side = 1.5 + (0.17 * length if length <= _NAMED_TOKENS else 4)
    figure = _matplotlib("figure").Figure((side * columns + 0.8, side * rows), layout="constrained")
    draw_matrices(figure, matrices, titles, maps.tokens, cmap="Blues", lowest=0.0)
    figure.suptitle(f"attention, layer {layer}")
    if path is not None:
        save_figure(figure, path)
    return figure


def draw_matrices(
    figure: Figure,
    matrices: Sequence[np.ndarray | Sequence[np.ndarray]],
    titles: Sequence[str] = (),
    names: Sequence[str] = (),
    *,
    cmap: str,
    lowest: float | None = None,
    labels: tuple[str, str] = ("", ""),
) -> None:
    """Rows of matrices as colours on one scale, which a bar beside them shows.

    Args:
        figure: an empty one.
        matrices: rows of matrices [Q, K]; the last row may be shorter.
        titles: of the matrices in turn. names: of rows and columns, where they are few enough.
        cmap: matplotlib's name of the colours.
        lowest: where the scale begins; by default at the smallest value.
        labels: of columns (at the bottom) and rows.
    """
    columns = max(map(len, matrices))
    if lowest is None:
        lowest = min(float(matrix.min()) for row in matrices for matrix in row)
    highest = max(float(matrix.max()) for row in matrices for matrix in row)
    shown = [printable(name) for name in names] if len(names) <= _NAMED_TOKENS else []
    ticks: dict[str, Any] = {"fontsize": 7, "parse_math": False}
    drawn: list[Axes] = []
    image: Any = None
    for row, line in enumerate(matrices):
        for column, matrix in enumerate(line):
            number = row * columns + column
            axes = figure.add_subplot(len(matrices), columns, number + 1)
            image = axes.imshow(matrix, vmin=lowest, vmax=highest, cmap=cmap)
            drawn.append(axes)
            if number < len(titles):
                axes.set_title(titles[number], fontsize=9)
            if row == len(matrices) - 1:
                axes.set_xlabel(labels[0])
            if column == 0:
                axes.set_ylabel(labels[1])
            if shown:
                axes.set_xticks(range(len(shown)), shown, rotation=90, **ticks)
                axes.set_yticks(range(len(shown)), shown, **ticks)
    figure.colorbar(image, ax=drawn, shrink=0.6)
