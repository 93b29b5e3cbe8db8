"""What is shown, where, and what is logged."""

import io
import json
import logging
import re
import sys
import time
import types

import pytest

from lexforge.training.progress import Progress, clock, count
from lexforge.training.stream_job import StreamState


class Terminal(io.StringIO):
    def isatty(self):
        return True


def advance(state, seconds, tokens, loss):
    """`seconds` of training on `tokens` tokens, two pairs each, at a mean loss of `loss`."""
    state.seconds += seconds
    state.done += tokens
    state.sums["pairs"] += 2 * tokens
    state.sums["loss_sum"] += 2 * tokens * loss


def simulate(progress, calls=40):
    """Calls of half a second at 2000 words/s, the loss falling by 0.01 each."""
    state = StreamState(epochs=2, total=1000 * calls, alpha=0.1, min_alpha=0.0)
    progress.begin(state)
    for call in range(calls):
        state.epoch = 2 * call // calls
        advance(state, 0.5, 1000, 4.0 - 0.01 * call)
        progress.update(state)
    progress.end(state)


def test_silent_by_default(capfd):
    with Progress() as progress:
        assert progress.phase("counting") is None
        progress.say("hello")
        simulate(progress)
    assert capfd.readouterr() == ("", "")


def test_plain_lines_when_not_a_terminal():
    stream = io.StringIO()
    with Progress(True, stream=stream) as progress:
        simulate(progress)
    lines = stream.getvalue().splitlines()
    assert len(lines) == 2  # 20 s of training, a line every 10 s
    assert lines[0].startswith("epoch 1/2   50%  2 k words/s  loss 3.9050  lr 0.05000  left 0:10")
    assert lines[1].startswith("epoch 2/2  100%  2 k words/s  loss 3.7050  lr 0.00000  left 0:00")
    assert "\x1b" not in stream.getvalue() and "\r" not in stream.getvalue()


def test_live_line_on_a_terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    stream = Terminal()
    with Progress(True, stream=stream) as progress:
        progress.phase("counting words")(10_000, 10_000)
        progress.say("210 words")
        simulate(progress)
    assert "\x1b[" in stream.getvalue()
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    assert "counting words" in shown and "10 kB" in shown
    assert "\n210 words\n" in shown  # on a line of its own
    assert "epoch 2/2" in shown and "100%" in shown and "2 k words/s" in shown
    assert "left 0:00" in shown and "lr 0.00000" in shown


def test_live_line_leaves_standard_output_alone(capsys):
    with Progress(True, stream=Terminal()) as progress:
        progress.begin(StreamState(epochs=1, total=1, alpha=0.1, min_alpha=0.0))
        print("a result")
    assert capsys.readouterr().out == "a result\n"


def test_phases_when_not_a_terminal():
    stream = io.StringIO()
    with Progress(True, stream=stream, every=0.0) as progress:
        progress.phase("counting words")(50_000_000, 200_000_000)
        progress.phase("encoding")(1500, None)
    assert stream.getvalue() == "counting words   25% of 200 MB\nencoding  1.5 k sentences\n"


def test_phases_with_a_unit(monkeypatch):
    """Speed and time left count from the first call; a fall begins anew."""
    now, stream = 100.0, io.StringIO()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with Progress(True, stream=stream) as progress:
        report = progress.phase("counting", "words")
        now += 50  # before the phase begins
        for done in (1_000_000, 2_000_000, 4_000_000, 0, 1_000_000):
            report(done, 5_000_000)
            now += 20
    assert stream.getvalue().splitlines() == [
        "counting   40% of 5 M words  50 k words/s  left 1:00",
        "counting   80% of 5 M words  75 k words/s  left 0:13",
        "counting   20% of 5 M words  50 k words/s  left 1:20",
    ]


def test_phases_with_a_unit_and_no_total(monkeypatch):
    now, stream = 100.0, io.StringIO()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with Progress(True, stream=stream) as progress:
        report = progress.phase("encoding", "texts")
        for done in (0, 1000, 4000):
            report(done, None)
            now += 20
    assert stream.getvalue().splitlines() == [
        "encoding  1 k texts  50 texts/s",
        "encoding  4 k texts  100 texts/s",
    ]


def test_json_log(tmp_path):
    path = tmp_path / "log.jsonl"
    for append in (False, True):
        with Progress(log_json=path, append=append) as progress:
            simulate(progress)
    records = [json.loads(line) for line in path.read_text().splitlines()]
    assert len(records) == 2 * 20  # one per second of training, two runs
    keys = {"time", "epoch", "words", "words_per_second", "pairs_per_second", "loss", "lr"}
    assert set(records[0]) == keys
    assert records[0] == {
        "time": 1.0,
        "epoch": 1,
        "words": 2000,
        "words_per_second": 2000.0,
        "pairs_per_second": 4000.0,
        "loss": 3.995,
        "lr": 0.095,
    }
    assert records[19]["epoch"] == 2 and records[19]["words"] == 40_000
    with Progress(log_json=path) as progress:
        simulate(progress)
    assert len(path.read_text().splitlines()) == 20


def test_entries_instead_of_words(tmp_path):
    stream, path = io.StringIO(), tmp_path / "log.jsonl"
    state = StreamState(epochs=25, total=5000, alpha=0.05, min_alpha=0.05, unit="entries")
    with Progress(True, stream=stream, log_json=path) as progress:
        progress.begin(state)
        state.seconds, state.done = 2.0, 3000
        state.sums.update(pairs=3000, loss_sum=240.0)
        progress.end(state)
    assert stream.getvalue().startswith("epoch 1/25   60%  1.5 k entries/s  loss 0.0800  lr 0.05")
    record = json.loads(path.read_text())
    assert (record["entries"], record["entries_per_second"]) == (3000, 1500.0)


def test_interval_without_pairs_has_no_loss(tmp_path):
    path = tmp_path / "log.jsonl"
    state = StreamState(epochs=1, total=10, alpha=0.1, min_alpha=0.0)
    with Progress(log_json=path) as progress:
        progress.begin(state)
        state.seconds, state.done = 2.0, 10
        progress.end(state)
    assert json.loads(path.read_text())["loss"] is None


def test_logger_hears_what_is_said(caplog, monkeypatch):
    """Shown or not, on a terminal or not: lines as they are where there is none."""
    monkeypatch.setenv("TERM", "xterm")
    heard = []
    for show, stream in ((False, io.StringIO()), (True, io.StringIO()), (True, Terminal())):
        caplog.clear()
        with caplog.at_level(logging.INFO, "lexforge"), Progress(show, stream=stream) as progress:
            progress.say("210 words")
            simulate(progress)
        heard.append([(record.name, record.levelname) for record in caplog.records])
        assert caplog.messages[0] == "210 words" and len(caplog.messages) == 3
        assert caplog.messages[1].startswith("epoch 1/2   50%  2 k words/s  loss 3.9050")
    assert heard == [[("lexforge", "INFO")] * 3] * 3
    caplog.clear()
    with Progress(True, stream=io.StringIO()) as progress:  # at the level that is usual
        simulate(progress)
    assert caplog.messages == []


def test_evaluation_is_said_and_logged(tmp_path):
    stream, path = io.StringIO(), tmp_path / "log.jsonl"
    state = StreamState(epochs=1, total=10, alpha=0.1, min_alpha=0.0, seconds=2.0)
    with Progress(True, stream=stream, log_json=path) as progress:
        progress.evaluation(state, {"step": 4, "epoch": 1, "loss": 2.5}, "evaluation: 2.5")
    assert stream.getvalue() == "evaluation: 2.5\n"
    assert json.loads(path.read_text()) == {"time": 2.0, "step": 4, "epoch": 1, "eval_loss": 2.5}


class Writer:
    """What stands in for TensorBoard's own."""

    def __init__(self, folder):
        self.folder, self.scalars, self.open = folder, [], True
        Writer.last = self

    def add_scalar(self, name, value, step):
        self.scalars.append((name, value, step))

    def close(self):
        self.open = False


def test_tensorboard(tmp_path, monkeypatch):
    """The numbers of the log, over the units done."""
    module = types.SimpleNamespace(SummaryWriter=Writer)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    path = tmp_path / "log.jsonl"
    with Progress(log_json=path, tensorboard=tmp_path / "board") as progress:
        simulate(progress)
        writer = Writer.last
        assert writer.open and writer.folder == str(tmp_path / "board")
    records = [json.loads(line) for line in path.read_text().splitlines()]
    expected = [(n, x, record["words"]) for record in records for n, x in record.items()]
    assert writer.scalars == expected and not writer.open


def test_tensorboard_writes_its_files(tmp_path):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    with Progress(tensorboard=tmp_path) as progress:
        simulate(progress)
    (file,) = tmp_path.iterdir()
    assert b"words_per_second" in file.read_bytes()


def test_tensorboard_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(ImportError, match="needs its package: pip install tensorboard"):
        Progress(tensorboard=tmp_path)


@pytest.mark.parametrize(
    "number, text",
    [(0, "0"), (812, "812"), (45_300, "45.3 k"), (3_210_000, "3.21 M"), (7e9, "7 G")],
)
def test_count(number, text):
    assert count(number) == text


@pytest.mark.parametrize(
    "seconds, text", [(0.4, "0:00"), (7, "0:07"), (723, "12:03"), (3723, "1:02:03")]
)
def test_clock(seconds, text):
    assert clock(seconds) == text
