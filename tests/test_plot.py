"""Pictures of vectors and losses: what is drawn where."""

from __future__ import annotations

import json
import sys
from itertools import pairwise

import numpy as np
import pytest

from lexforge.vectors import KeyedVectors

pytest.importorskip("matplotlib", reason="matplotlib is not installed")

from matplotlib.colors import to_rgb

from lexforge import _plot
from lexforge.training.metrics import ClassScores

GROUPS = {"a": [10, 0, 0, 1], "b": [0, 10, 0, 1], "c": [0, 0, 10, 1]}


@pytest.fixture(scope="module")
def kv():
    """Three groups of 40 words each; every word of a group near its direction."""
    generator = np.random.default_rng(0)
    words = [f"{group}{number}" for number in range(40) for group in GROUPS]
    centres = np.array([GROUPS[word[0]] for word in words])
    vectors = (centres + generator.normal(size=centres.shape)).astype(np.float32)
    return KeyedVectors(words, vectors, counts=np.arange(len(words), 0, -1) ** 2)


def drawn(figure):
    """Dots [N, 2], their areas and colours, and the labels' boxes by word, in pixels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    (axes,) = figure.axes
    (dots,) = axes.collections
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = {text.get_text(): text.get_window_extent(renderer).extents for text in axes.texts}
    return dots.get_offsets(), dots.get_sizes(), dots.get_facecolors()[:, :3], boxes


def test_labels_do_not_collide(kv):
    figure = _plot.plot_vectors(kv, topn=120, skip=0)
    _, _, _, boxes = drawn(figure)
    assert "a0" in boxes and 20 < len(boxes) <= 120  # the most frequent word has its name
    corners = np.array(list(boxes.values()))
    for number, (left, bottom, right, top) in enumerate(corners):
        others = np.delete(corners, number, axis=0)
        apart = (others[:, 0] >= right) | (others[:, 2] <= left)
        apart |= (others[:, 1] >= top) | (others[:, 3] <= bottom)
        assert apart.all()
    inside = figure.axes[0].bbox.extents
    assert (corners[:, :2] >= inside[:2]).all() and (corners[:, 2:] <= inside[2:]).all()


def test_colours_are_clusters_and_sizes_frequencies(kv):
    words = [f"{group}{number}" for group in GROUPS for number in range(10)]
    places, sizes, colours, _ = drawn(_plot.plot_vectors(kv, words, clusters=3))
    seen = {word: kv.get_vecattr(word, "count") for word in words}
    order = sorted(words, key=lambda word: -seen[word])
    assert (np.diff(sizes) < 0).all()  # frequent ones are drawn first, and large
    share = (sizes[-1] - 6) / (sizes[0] - 6)
    assert share == pytest.approx(np.sqrt(seen[order[-1]] / seen[order[0]]))
    by_group = {group: {tuple(c) for w, c in zip(order, colours, strict=True) if w[0] == group}
                for group in GROUPS}  # fmt: skip
    assert all(len(found) == 1 for found in by_group.values())
    assert len(set.union(*by_group.values())) == 3
    _, _, colours, _ = drawn(_plot.plot_vectors(kv, words, clusters=1))
    assert {tuple(c) for c in colours} == {to_rgb("C0")}
    # Principal components: the groups lie apart, and the distances are those of the directions.
    centres = [places[[w[0] == group for w in order]].mean(axis=0) for group in GROUPS]
    assert all(np.linalg.norm(x - y) > 1 for x, y in pairwise(centres))


def test_words_that_are_markup(tmp_path):
    words = ["$x$", "\x1b]0;x\x07", "<b>&", "_"]
    kv = KeyedVectors(words, np.eye(4, dtype=np.float32))
    figure = _plot.plot_vectors(kv, words, path=tmp_path / "w.svg")
    assert set(drawn(figure)[3]) <= {"$x$", r"\x1b]0;x\x07", "<b>&", "_"}
    assert "<b>" not in (tmp_path / "w.svg").read_text()


@pytest.mark.parametrize("name", ["w.png", "w.svg", "w.pdf", "w"])
def test_formats_and_equal_files(kv, tmp_path, name):
    magic = {"svg": b"<?xml", "pdf": b"%PDF"}.get(name.split(".")[-1], b"\x89PNG")
    files = [tmp_path / str(number) / name for number in range(2)]
    for file in files:
        file.parent.mkdir()
        _plot.plot_vectors(kv, topn=20, skip=0, path=file)
    first, second = (file.read_bytes() for file in files)
    assert first.startswith(magic) and first == second
    assert [path.name for path in files[0].parent.iterdir()] == [name]


def test_default_words(kv):
    figure = _plot.plot_vectors(kv, topn=50)  # a quarter of 120 is skipped
    assert "50 words" in figure.axes[0].get_title()
    assert set(drawn(figure)[3]) <= set(kv.index_to_key[30:80])


@pytest.mark.parametrize(
    "options, error",
    [
        ({"words": ["a0", "a1"]}, "words must be at least 3, got 2"),
        ({"words": ["a0", "a1", "nobody"]}, "nobody"),
        ({"method": "ica"}, "method must be one of pca, tsne, umap, got 'ica'"),
        ({"clusters": 0}, "clusters must be >= 1, got 0"),
        ({"path": "x.doc"}, "x.doc: a picture must be one of"),
    ],
)
def test_what_is_refused(kv, options, error):
    with pytest.raises((ValueError, KeyError), match=error):
        _plot.plot_vectors(kv, **options)


@pytest.mark.parametrize("method, library", [("tsne", "sklearn.manifold"), ("umap", "umap")])
def test_other_methods(kv, monkeypatch, method, library):
    """With their libraries, for which others stand in; without, the package is named."""

    class Reducer:
        def __init__(self, **options):
            self.options = options

        def fit_transform(self, units):
            assert self.options["metric"] == "cosine" and self.options["random_state"] == 7
            assert np.allclose(np.linalg.norm(units, axis=1), 1)
            return units[:, :2]

    stub = type(sys)(library)
    stub.TSNE = stub.UMAP = Reducer
    monkeypatch.setitem(sys.modules, library.split(".")[0], stub)
    monkeypatch.setitem(sys.modules, library, stub)
    assert _plot.plot_vectors(kv, topn=9, method=method, seed=7).axes[0].collections
    monkeypatch.setitem(sys.modules, library.split(".")[0], None)
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ImportError, match=rf"method '{method}' needs .*pip install"):
        _plot.plot_vectors(kv, topn=9, method=method)


def stream_log(epochs=2, each=50):
    return [
        {"time": n / 10, "epoch": 1 + n // each, "words": 1000 * n, "words_per_second": 1e4,
         "loss": 3 - n / 100 + 0.2 * (-1) ** n, "lr": 0.1}
        for n in range(epochs * each)
    ]  # fmt: skip


def lines(figure):
    (axes,) = figure.axes
    return {line.get_label(): line.get_xydata() for line in axes.lines}, axes


def test_loss_of_a_stream():
    records = stream_log()
    records[3]["loss"] = None  # an interval without pairs
    curves, axes = lines(_plot.plot_loss(records))
    assert axes.get_xlabel() == "words" and axes.get_ylabel() == "loss"
    mean = curves["loss"]
    assert len(mean) == 99 and mean[0, 0] == 0 and mean[-1, 0] == 99_000
    # The noise of alternate signs is gone from the running mean, and not from the thin line.
    steps = np.abs(np.diff(mean[5:-5, 1])).max()
    thin = axes.lines[0].get_xydata()
    assert steps < 0.15 < np.abs(np.diff(thin[:, 1])).max()
    (epoch,) = (line for line in axes.lines if line.get_linestyle() == "--")
    assert epoch.get_xdata()[0] == 49_000


def test_running_mean():
    values = np.array([1.0, 2, 3, 4, 10])
    assert _plot._running_mean(values, 1).tolist() == values.tolist()
    assert _plot._running_mean(values, 3).tolist() == [1.5, 2, 3, 17 / 3, 7]
    assert _plot._running_mean(values, 10).tolist() == pytest.approx([4] * 5)


def test_loss_of_steps_and_evaluations():
    records = [{"time": float(n), "step": n, "epoch": 1, "mlm_loss": 7.0 - n, "nsp_loss": 0.7,
                "tokens": 10 * n, "tokens_per_second": 1.0} for n in range(1, 5)]  # fmt: skip
    records.insert(2, {"time": 2.5, "step": 2, "epoch": 1, "eval_mlm_loss": 6.5, "eval_loss": 7.2})
    curves, axes = lines(_plot.plot_loss(records, smoothing=0))
    assert axes.get_xlabel() == "step" and axes.get_legend() is not None
    assert set(curves) == {"mlm_loss", "nsp_loss", "eval_mlm_loss", "eval_loss"}
    assert curves["mlm_loss"].tolist() == [[1, 6], [2, 5], [3, 4], [4, 3]]
    assert curves["eval_loss"].tolist() == [[2, 7.2]]


def test_loss_of_a_resumed_run(tmp_path):
    """What was done twice counts once; a line that is half written is left out."""
    first, second = stream_log()[:60], stream_log()[40:]
    for record in second:
        record["loss"] += 1
    path = tmp_path / "log.jsonl"
    text = "".join(json.dumps(record) + "\n" for record in [*first, *second])
    path.write_text(text + '{"time": 12.')
    curves, _ = lines(_plot.plot_loss(path, smoothing=0))
    assert curves["loss"][:, 0].tolist() == [1000.0 * n for n in range(100)]
    assert curves["loss"][39, 1] == pytest.approx(3 - 0.39 - 0.2)
    assert curves["loss"][40, 1] == pytest.approx(4 - 0.40 + 0.2)


def test_learning_curve():
    """Of a classifier: losses at the left, what it tells at the right."""
    records = [
        {"step": n, "epoch": 1, "loss": 1 / n, "accuracy": 1 - 1 / n, "examples_per_second": 9.0}
        for n in range(1, 6)
    ]
    records.append({"step": 5, "epoch": 1, "eval_loss": 0.3, "eval_accuracy": 0.7,
                    "eval_macro_f1": 0.6})  # fmt: skip
    figure = _plot.plot_loss(records, smoothing=0)
    left, right = figure.axes
    assert [line.get_label() for line in left.lines] == ["loss", "eval_loss"]
    curves = {line.get_label(): line.get_xydata() for line in right.lines}
    assert set(curves) == {"accuracy", "eval_accuracy", "eval_macro_f1"}
    assert curves["accuracy"][:, 1] == pytest.approx([0, 1 / 2, 2 / 3, 3 / 4, 4 / 5])
    assert curves["eval_accuracy"].tolist() == [[5, 0.7]]
    assert right.get_ylabel() == "accuracy, macro F1" and right.get_xlabel() == "step"


def test_confusion(tmp_path):
    scores = ClassScores(np.array([[8, 2], [0, 1]]), ("negative", "no\x1b$x$"))
    figure = _plot.plot_confusion(scores, path=tmp_path / "confusion.svg")
    axes, _ = figure.axes
    assert axes.images[0].get_array().tolist() == [[0.8, 0.2], [0, 1]]
    assert [text.get_text() for text in axes.texts] == ["8", "2", "0", "1"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["negative", r"no\x1b$x$"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("predicted", "class")
    first = (tmp_path / "confusion.svg").read_bytes()
    _plot.plot_confusion(scores, path=tmp_path / "confusion.svg")
    assert (tmp_path / "confusion.svg").read_bytes() == first
    many = ClassScores(np.eye(30, dtype=int), tuple(map(str, range(30))))
    assert not _plot.plot_confusion(many).axes[0].texts
    empty = ClassScores(np.zeros((2, 2), int), ("a", "b"))
    assert _plot.plot_confusion(empty).axes[0].images[0].get_array().sum() == 0


@pytest.mark.parametrize("wrong", ["x", [], None, {}, float("nan"), 10**400, ...])
@pytest.mark.parametrize("key", ["words", "epoch", "loss"])
def test_a_value_of_another_kind(key, wrong):
    """Or a missing one: the others are drawn."""
    records = [
        {"words": 10 * n, "epoch": n, "loss": 1 / n, "words_per_second": 1} for n in (1, 2, 3, 4)
    ]
    records[1][key] = wrong
    if wrong is ...:
        del records[1][key]
    curves, _ = lines(_plot.plot_loss(records, smoothing=0))
    expected = (
        [10, 30, 40] if key == "loss" else [10, 10, 30, 40] if key == "words" else [10, 20, 30, 40]
    )
    assert curves["loss"][:, 0].tolist() == expected


@pytest.mark.parametrize(
    "text, error",
    [
        ("", "the log is empty"),
        ("words\n", "line 1 must be a JSON object, as --log-json writes, got 'words'"),
        ('{"a": 1}\n[1]\n', "line 2 must be a JSON object"),
        ("[" * 100_000 + "\n", "line 1 must be a JSON object"),
        ('{"words": 1, "words_per_second": 2}\n', "must hold losses over steps or words"),
    ],
)
def test_what_is_no_log(tmp_path, text, error):
    path = tmp_path / "log"
    path.write_text(text)
    with pytest.raises(ValueError, match=error):
        _plot.plot_loss(path)


def test_without_matplotlib(kv, monkeypatch):
    for module in ("matplotlib", "matplotlib.figure"):
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, module, None)
            with pytest.raises(ImportError, match=r"plots need matplotlib: pip install lexforge\["):
                _plot.plot_vectors(kv)
