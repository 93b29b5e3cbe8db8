"""lexforge sentiment and lexforge nli: trained, asked and scored from the command line."""

from __future__ import annotations

import json
import shlex

import pytest

from planted_texts import planted_texts

TINY = "--min-count 1 --embed-size 8 --batch-size 16 --lr 0.01 --workers 1 --device cpu"
TASKS = ("sentiment", "nli")


def written(folder, task, size=96):
    """A file of planted texts, whose columns have other names than usual for single texts."""
    texts = planted_texts(size, task == "nli")
    names = [texts.names[label] for label in texts.labels]
    if task == "nli":
        path = folder / "pairs.tsv"
        rows = zip(texts.first, texts.second, names, strict=True)
        lines = ["sentence1\tsentence2\tgold_label", *("\t".join(row) for row in rows)]
    else:
        path = folder / "reviews.csv"
        lines = ["body,stars", *(f"{text},{name}" for text, name in zip(texts.first, names))]  # noqa: B905
    path.write_text("\n".join(lines) + "\n")
    return path


def columns(task):
    return [] if task == "nli" else ["--text", "body", "--label", "stars"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folders of a classifier of each task, trained once, and what was said."""
    from typer.testing import CliRunner

    from lexforge.cli.main import app

    found = {}

    def run(task):
        if task not in found:
            folder = tmp_path_factory.mktemp(task)
            data = written(folder, task)
            more = "--hidden-size 24" if task == "nli" else "--num-channels 8 --kernel-sizes 2,3"
            line = f"{task} train {data} --out {folder / 'out'} --epochs 3 {TINY} {more}"
            words = [*shlex.split(line), *columns(task), "--log-json", str(folder / "log.jsonl")]
            result = CliRunner().invoke(app, words)
            assert result.exit_code == 0, result.output
            found[task] = folder, data, result.stderr
        return found[task]

    return run


@pytest.mark.parametrize("task", TASKS)
def test_train_tells_how_it_went_and_what_to_do_next(task, trained):
    folder, _, said = trained(task)
    assert "evaluation at step" in said and "examples/s" in said
    assert "macro mean" in said
    assert f"lexforge {task} predict {folder / 'out'}" in said
    records = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert any("eval_macro_f1" in record for record in records)
    assert any(record.get("examples_per_second", 0) > 0 for record in records)
    assert (folder / "out" / "best" / "model.safetensors").exists()


def asked(task):
    if task == "nli":
        return ["w1 great", "great w2"], [("w1 great", "great w2")]
    return ["w1 great", "awful w2"], ["w1 great", "awful w2"]


@pytest.mark.parametrize("task", TASKS)
def test_predict_takes_arguments_lines_json_and_files(task, trained, invoke, tmp_path):
    folder, data, _ = trained(task)
    arguments, texts = asked(task)
    result = invoke(task, "predict", folder / "out", *arguments)
    expected = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(expected) == len(texts) and "texts/s" in result.stderr
    for found, text in zip(expected, texts, strict=True):
        given = (found["premise"], found["hypothesis"]) if task == "nli" else found["text"]
        assert given == text
        assert found["label"] == max(found["probabilities"], key=found["probabilities"].get)
        assert sum(found["probabilities"].values()) == pytest.approx(1, abs=1e-4)
    lines = "\n".join("\t".join(text) if task == "nli" else text for text in texts) + "\n"
    keys = ("premise", "hypothesis") if task == "nli" else ("text",)
    objects = "".join(json.dumps({key: found[key] for key in keys}) + "\n" for found in expected)
    (tmp_path / "some.jsonl").write_text(objects)
    for words, given in (
        ([], lines),
        (["--file", "-"], objects),
        (["--file", tmp_path / "some.jsonl"], ""),
    ):
        found = invoke(task, "predict", folder / "out", *words, input=given.encode())
        assert found.stdout == result.stdout, found.output
    more = columns(task)[:2]
    found = invoke(task, "predict", folder / "out", "--file", data, *more)
    assert len(found.stdout.splitlines()) == 96


@pytest.mark.parametrize("task", TASKS)
def test_evaluate_prints_the_figures_and_writes_them(task, trained, invoke, tmp_path):
    folder, data, _ = trained(task)
    pytest.importorskip("matplotlib")
    scores, picture = tmp_path / "scores.json", tmp_path / "confusion.svg"
    result = invoke(
        task, "evaluate", folder / "out", data, *columns(task), "--json", scores,
        "--confusion", picture,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[0].split() == [
        "class",
        "precision",
        "recall",
        "f1",
        "examples",
    ]
    found = json.loads(scores.read_text())
    assert found["examples"] == 96 and f"{found['accuracy']:.4f}" in result.stdout
    assert picture.read_bytes().startswith(b"<?xml")
    drawn = invoke("plot", "confusion", scores, "--out", tmp_path / "again.svg")
    assert drawn.exit_code == 0, drawn.output


def test_a_run_is_resumed_and_others_are_refused(trained, invoke, tmp_path):
    folder, data, _ = trained("sentiment")
    words = ["sentiment", "train", data, *columns("sentiment"), "--out", folder / "out"]
    result = invoke(*words)
    assert result.exit_code == 2 and "--resume" in result.stderr
    result = invoke(*words, "--resume", "--batch-size", 8)
    assert result.exit_code == 1 and "--batch-size is 8, 16 in the run" in result.stderr
    result = invoke(*words, "--resume", "--workers", 1)
    assert result.exit_code == 0 and "done in" in result.stderr


def test_a_stopped_run_says_how_to_go_on(invoke, tmp_path, monkeypatch):
    from lexforge.training import signals

    class Stopped(signals.StopRequest):
        requested = True
        exit_code = 130

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    data = written(tmp_path, "sentiment")
    words = ["sentiment", "train", data, *columns("sentiment"), "--out", tmp_path / "o"]
    monkeypatch.setattr(signals, "StopRequest", Stopped)
    result = invoke(*words, *shlex.split(TINY))
    assert result.exit_code == 130
    (said,) = [line for line in result.stderr.splitlines() if "continue with: " in line]
    monkeypatch.undo()
    result = invoke(*shlex.split(said.partition("lexforge ")[2]), "--workers", 1)
    assert result.exit_code == 0 and "done in" in result.stderr, result.output


def test_named_sets_and_folders_are_read(invoke, tmp_path, monkeypatch, trained):
    """IMDb in the folder of data sets, with its own test; and a folder per class."""
    texts = planted_texts(40)
    for split in ("train", "test"):
        for number, (text, label) in enumerate(zip(texts.first, texts.labels, strict=True)):
            folder = tmp_path / "aclImdb" / split / ("neg", "pos")[label]
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{number}_1.txt").write_text(text)
    monkeypatch.setenv("LEXFORGE_DATA", str(tmp_path))
    more = [*shlex.split(TINY), "--epochs", 1, "--num-channels", 4]
    result = invoke("sentiment", "train", "imdb", "--out", tmp_path / "o", *more)
    assert result.exit_code == 0, result.output
    assert "of negative, positive" in result.stderr
    for data in ("imdb", tmp_path / "aclImdb"):
        result = invoke("sentiment", "evaluate", tmp_path / "o", data)
        assert result.exit_code == 0, result.output
        assert "positive" in result.stdout


def test_a_classifier_of_another_task_is_told(trained, invoke):
    (single, *_), (pairs, *_) = trained("sentiment"), trained("nli")
    result = invoke("nli", "predict", single / "out", "a", "b")
    assert "of pairs of texts, and holds textcnn: it is for lexforge sentiment" in result.stderr
    result = invoke("sentiment", "predict", pairs / "out", "a")
    assert "of single texts, and holds decomposable: it is for lexforge nli" in result.stderr
    assert result.exit_code == 1


@pytest.mark.parametrize(
    "task, words, given, text",
    [
        ("sentiment", [""], "", "text 1 must be a text with words, and has none"),
        ("sentiment", [], "great\n\n", "text 2 must be a text with words, and has none"),
        ("sentiment", [], '{"txt": "a"}\n', "standard input: line 1 must have a text as text"),
        ("sentiment", [], '{"text": \n', "standard input: line 1"),
        ("sentiment", ["a", "--file", "-"], "", "give either texts or --file"),
        ("nli", ["a"], "", "texts must come in pairs: PREMISE HYPOTHESIS"),
        ("nli", [], "a\n", "line 1 must be two texts with a tab between them, got 'a'"),
    ],
)
def test_bad_texts_are_told_in_one_line(task, words, given, text, trained, invoke):
    folder, *_ = trained(task)
    result = invoke(task, "predict", folder / "out", *words, input=given.encode())
    assert result.exit_code in (1, 2)
    assert text in result.stderr.splitlines()[-1]
