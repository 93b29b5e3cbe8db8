"""The text's plots: in notebooks they are drawn at once, scripts need no display."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from lexforge import _plot
from lexforge._display import LiveOutput, notebook

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("-", "m--", "g-.", "r:")  # of the curves in turn
DRAW_SECONDS = 1.0  # between two pictures of an animator: one takes nearly a tenth of that


def use_svg_display() -> None:
    """Plots of pyplot appear as SVG in a notebook; elsewhere nothing happens."""
    if notebook() is not None:
        from matplotlib_inline import backend_inline

        backend_inline.set_matplotlib_formats("svg")


def set_figsize(figsize: tuple[float, float] = (3.5, 2.5)) -> None:
    """The size in inches of pyplot's figures from here on."""
    pyplot = _plot.pyplot()
    use_svg_display()
    pyplot.rcParams["figure.figsize"] = figsize


def set_axes(
    axes: Axes,
    xlabel: str | None,
    ylabel: str | None,
    xlim: Any,
    ylim: Any,
    xscale: str,
    yscale: str,
    legend: Sequence[str] | None,
) -> None:
    """Labels, limits, scales and legend of axes; None leaves what there is. A grid too."""
    axes.set(xscale=xscale, yscale=yscale)
    given = {"xlabel": xlabel, "ylabel": ylabel, "xlim": xlim, "ylim": ylim}
    axes.set(**{name: value for name, value in given.items() if value is not None})
    if legend:
        axes.legend(legend)
    axes.grid()


def plot(
    X: Any,
    Y: Any = None,
    xlabel: str | None = None,
    ylabel: str | None = None,
    legend: Sequence[str] | None = None,
    xlim: Any = None,
    ylim: Any = None,
    xscale: str = "linear",
    yscale: str = "linear",
    fmts: Sequence[str] = FORMATS,
    figsize: tuple[float, float] = (3.5, 2.5),
    axes: Axes | None = None,
) -> None:
    """Draw curves on pyplot's axes, or on the given ones.

    Args:
        X, Y: a curve, or a list of curves; with one X for several Y it is that of all. Without Y
            what is given is Y, over 0, 1, ...
        xlabel, ylabel, xlim, ylim, xscale, yscale, legend: see :func:`set_axes`.
        fmts: matplotlib's formats of the curves in turn. figsize: see :func:`set_figsize`.

    Raises:
        ImportError: matplotlib is missing. ValueError: several X, and another number of Y.
    """
    xs, ys = (None, _curves(X)) if Y is None else (_curves(X), _curves(Y))
    if xs is not None and len(xs) not in (1, len(ys)):
        raise ValueError(f"plot: X must be one curve or {len(ys)}, as Y is, got {len(xs)}")
    set_figsize(figsize)
    axes = _plot.pyplot().gca() if axes is None else axes
    axes.cla()
    for number, y in enumerate(ys):
        x = np.arange(len(y)) if xs is None else xs[number % len(xs)]
        axes.plot(x, y, fmts[number % len(fmts)])
    set_axes(axes, xlabel, ylabel, xlim, ylim, xscale, yscale, legend)


def _curves(values: Any) -> list[np.ndarray]:
    """One curve or several, as arrays; tensors may be on any device."""
    several = len(values) and np.ndim(_array(values[0])) > 0
    return [_array(value) for value in values] if several else [_array(values)]


def _array(values: Any) -> np.ndarray:
    if hasattr(values, "detach"):
        values = values.detach().cpu()
    elif isinstance(values, (list, tuple)):
        values = [_array(value) if hasattr(value, "detach") else value for value in values]
    return np.asarray(values)


class Animator:
    """Curves that grow: a picture that changes in a notebook; elsewhere they are collected.

    Needs no display. In a script points can be printed as they come, and the picture be saved.

    Args:
        xlabel, ylabel, legend, xlim, ylim, xscale, yscale, fmts, nrows, ncols, figsize: as in the
            text.
        file: where :meth:`save` draws to by default. verbose: print each point.
    """

    def __init__(
        self,
        xlabel: str | None = None,
        ylabel: str | None = None,
        legend: Sequence[str] | None = None,
        xlim: Any = None,
        ylim: Any = None,
        xscale: str = "linear",
        yscale: str = "linear",
        fmts: Sequence[str] = FORMATS,
        nrows: int = 1,
        ncols: int = 1,
        figsize: tuple[float, float] = (3.5, 2.5),
        *,
        file: str | os.PathLike | None = None,
        verbose: bool = False,
    ):
        self.xlabel, self.ylabel, self.legend = xlabel, ylabel, list(legend or ())
        self.xlim, self.ylim, self.xscale, self.yscale = xlim, ylim, xscale, yscale
        self.fmts, self.figsize = fmts, (figsize[0] * ncols, figsize[1] * nrows)
        self.file, self.verbose = file, verbose
        self.X: list[list[float]] = []
        self.Y: list[list[float]] = []
        self._live: LiveOutput | None = None
        self._drawn_at = -np.inf
        self._waiting = False  # points that are not in the picture yet

    def add(self, x: float | Sequence[float], y: float | Sequence[float | None]) -> None:
        """One more point per curve; None leaves a curve out."""
        ys = list(y) if isinstance(y, Iterable) else [y]
        xs = list(x) if isinstance(x, Iterable) else [x] * len(ys)
        while len(self.X) < len(ys):
            self.X.append([])
            self.Y.append([])
        for curve, (a, b) in enumerate(zip(xs, ys, strict=True)):
            if a is not None and b is not None:
                self.X[curve].append(float(a))
                self.Y[curve].append(float(b))
        if self.verbose:
            names = [*self.legend, *(self.ylabel or "y" for _ in ys[len(self.legend) :])]
            values = (f"{n} {v:.4f}" for n, v in zip(names, ys, strict=False) if v is not None)
            print(f"{self.xlabel or 'x'} {xs[0]:.2f}: " + ", ".join(values))
        if (shell := notebook()) is not None:
            self._show_soon(shell)

    def save(self, file: str | os.PathLike | None = None) -> None:
        """Draw the curves to a file (needs matplotlib, the extra `plot`)."""
        file = file or self.file
        if file is None:
            raise ValueError("save: file must be a path, got None")
        _plot.save_figure(self.figure(), file)

    def figure(self) -> Figure:
        """The curves so far (needs matplotlib)."""
        figure, (axes,) = _plot.new_figure(*self.figsize)
        for curve, (xs, ys) in enumerate(zip(self.X, self.Y, strict=True)):
            axes.plot(xs, ys, self.fmts[curve % len(self.fmts)])
        set_axes(
            axes, self.xlabel, self.ylabel, self.xlim, self.ylim, self.xscale, self.yscale,
            self.legend,
        )  # fmt: skip
        return figure

    def __repr__(self) -> str:
        return f"Animator({len(self.X)} curves, {max(map(len, self.X), default=0)} points)"

    def _show_soon(self, shell: Any) -> None:
        """Draw now, or with the next points, at the latest when the cell is done."""
        if time.monotonic() - self._drawn_at >= DRAW_SECONDS:
            self._show()
            self._drawn_at = time.monotonic()
            self._waiting = False
        elif not self._waiting:
            self._waiting = True

            def finish(*_: object) -> None:
                shell.events.unregister("post_run_cell", finish)
                if self._waiting:
                    self._waiting = False
                    self._show()

            shell.events.register("post_run_cell", finish)

    def _show(self) -> None:
        if self._live is None:
            self._live = LiveOutput()
        try:
            self._live.show({"text/plain": repr(self), "image/svg+xml": _svg(self.figure())})
        except ImportError as error:
            self._live.show({"text/plain": f"{self!r}: {error}"})


def _svg(figure: Figure) -> str:
    content = io.BytesIO()
    figure.savefig(content, format="svg")
    return content.getvalue().decode()


def show_heatmaps(
    matrices: Any,
    xlabel: str,
    ylabel: str,
    titles: Sequence[str] | None = None,
    figsize: tuple[float, float] = (2.5, 2.5),
    cmap: str = "Reds",
) -> None:
    """Draw matrices [rows, columns, Q, K] on one scale, as a figure of pyplot.

    Args:
        matrices: tensor or array. xlabel, ylabel: of the last row's and first column's.
        titles: of the columns. figsize: of all in inches. cmap: matplotlib's colours.

    Raises:
        ImportError: matplotlib is missing. ValueError: another shape.
    """
    matrices = _array(matrices)
    if matrices.ndim != 4:
        raise ValueError(
            f"show_heatmaps: matrices must be [rows, columns, Q, K], got {tuple(matrices.shape)}"
        )
    use_svg_display()
    figure = _plot.pyplot().figure(figsize=figsize, layout="constrained")
    rows = [list(row) for row in matrices]
    _plot.draw_matrices(
        figure, rows, list(titles or ()) * len(rows), cmap=cmap, labels=(xlabel, ylabel)
    )


def show_list_len_pair_hist(
    legend: Sequence[str],
    xlabel: str,
    ylabel: str,
    xlist: Sequence[Sequence],
    ylist: Sequence[Sequence],
    *,
    file: str | os.PathLike | None = None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Histogram of the list lengths of two series, over ten common bins; drawn in a notebook.

    Returns:
        Counts of the first series [10], of the second [10], and the bin edges [11]. With `file`,
        the plot is saved there (needs matplotlib, the extra `plot`).
    """
    lengths = [[len(x) for x in xlist], [len(y) for y in ylist]]
    edges = np.histogram_bin_edges(lengths[0] + lengths[1], bins=10)
    first, second = (np.histogram(series, bins=edges)[0] for series in lengths)
    if file is not None or notebook() is not None:
        figure, (axes,) = _plot.new_figure(3.5, 2.5)
        axes.hist(lengths, bins=edges.tolist(), label=list(legend))
        axes.set(xlabel=xlabel, ylabel=ylabel)
        axes.legend()
        if file is not None:
            _plot.save_figure(figure, file)
        if notebook() is not None:
            LiveOutput().show({"text/plain": "histogram", "image/svg+xml": _svg(figure)})
    return first, second, edges
