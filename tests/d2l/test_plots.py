"""The text's plots, in notebooks and without a display."""

from __future__ import annotations

import sys
import time

import numpy as np
import pytest
import torch

from lexforge import d2l

pytest.importorskip("matplotlib", reason="matplotlib is not installed")


@pytest.fixture
def axes():
    figure = d2l.plt.figure()
    yield figure.add_subplot()
    d2l.plt.close("all")


def curves(axes):
    return [line.get_xydata().tolist() for line in axes.lines]


@pytest.mark.parametrize(
    "X, Y, expected",
    [
        ([1, 2], [3, 4], [[[1, 3], [2, 4]]]),
        (torch.tensor([1.0, 2]), [torch.tensor([3.0, 4]), np.array([5, 6])],
         [[[1, 3], [2, 4]], [[1, 5], [2, 6]]]),
        ([[1, 2], [1, 2, 3]], [[3, 4], [5, 6, 7]], [[[1, 3], [2, 4]], [[1, 5], [2, 6], [3, 7]]]),
        ([3, 4], None, [[[0, 3], [1, 4]]]),
        ([[3, 4], [5]], None, [[[0, 3], [1, 4]], [[0, 5]]]),
        ([torch.tensor(1.0, requires_grad=True)], [torch.tensor(2)], [[[1, 2]]]),
    ],
)  # fmt: skip
def test_plot(axes, X, Y, expected):
    d2l.plot(X, Y, "x", "loss", legend=["a", "b"], xlim=[0, 5], yscale="log", axes=axes)
    assert curves(axes) == expected
    assert axes.get_xlabel() == "x" and axes.get_ylabel() == "loss" and axes.get_xlim() == (0, 5)
    assert axes.get_yscale() == "log" and axes.get_legend() is not None


def test_plot_on_the_axes_of_pyplot(axes):
    d2l.plot([1, 2], [3, 4], figsize=(4, 1))
    assert curves(d2l.plt.gca()) == [[[1, 3], [2, 4]]]
    assert d2l.plt.rcParams["figure.figsize"] == [4, 1]
    d2l.set_figsize()
    assert d2l.plt.rcParams["figure.figsize"] == [3.5, 2.5]
    d2l.use_svg_display()  # nothing, outside of notebooks
    with pytest.raises(ValueError, match="X must be one curve or 3, as Y is, got 2"):
        d2l.plot([[1], [2]], [[1], [2], [3]])


def test_show_heatmaps(axes):
    matrices = torch.arange(24.0).reshape(1, 2, 3, 4)
    d2l.show_heatmaps(matrices, "keys", "queries", titles=["one", "two"], figsize=(5, 3))
    figure = d2l.plt.gcf()
    first, second, bar = figure.axes
    assert first.images[0].get_array().tolist() == matrices[0, 0].tolist()
    assert first.images[0].get_clim() == second.images[0].get_clim() == (0, 23)
    assert (first.get_title(), second.get_title()) == ("one", "two")
    assert (first.get_xlabel(), first.get_ylabel()) == ("keys", "queries")
    assert list(figure.get_size_inches()) == [5, 3] and not bar.images
    with pytest.raises(ValueError, match=r"must be \[rows, columns, Q, K\], got \(3, 4\)"):
        d2l.show_heatmaps(torch.zeros(3, 4), "k", "q")


def test_animator_draws_in_a_notebook(fake_notebook, monkeypatch):
    """At most so often; the last points when the cell is done."""
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    animator = d2l.Animator(xlabel="epoch", ylabel="loss", legend=["mlm", "nsp"], xlim=[1, 9])
    for epoch in range(1, 6):
        animator.add(epoch, (1 / epoch, None))
        now += 0.6
    (shown,) = fake_notebook  # one place, which changes
    assert [content["text/plain"] for content in shown] == [
        f"Animator(2 curves, {n} points)" for n in (1, 3, 5)
    ]
    assert all("<svg" in content["image/svg+xml"] for content in shown)
    animator.add(6, 0.1)
    shell = sys.modules["IPython"].get_ipython()
    shell.events.trigger("post_run_cell")
    shell.events.trigger("post_run_cell")
    assert len(shown) == 4 and "6 points" in shown[-1]["text/plain"]
    assert not any(shell.events.listeners.values())


def test_animator_without_matplotlib(fake_notebook, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    d2l.Animator().add(1, 2)
    (shown,) = fake_notebook
    assert "pip install lexforge[plot]" in shown[0]["text/plain"]
    for function in (d2l.set_figsize, lambda: d2l.plt, lambda: d2l.plot([1, 2])):
        with pytest.raises(ImportError, match=r"plots need matplotlib: pip install lexforge\["):
            function()


def test_histogram_in_a_notebook(fake_notebook, tmp_path):
    first, *_ = d2l.show_list_len_pair_hist(
        ["a", "b"], "tokens", "count", [[1], [1, 2]], [[1] * 11], file=tmp_path / "h.svg"
    )
    assert first.sum() == 2 and "<svg" in fake_notebook[0][0]["image/svg+xml"]
    assert "<svg" in (tmp_path / "h.svg").read_text()


def test_other_names_are_not_there():
    with pytest.raises(AttributeError, match="has no attribute 'pylab'"):
        _ = d2l.pylab
