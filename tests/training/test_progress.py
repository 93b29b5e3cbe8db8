"""What is shown, where, and what is logged."""

import errno
import io
import json
import logging
import os
import re
import sys
import time
import types

import pytest

from lexforge.training.progress import Progress, _fitting, clock, count
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


# -- a live line at any width ---------------------------------------------------------------------

BERT = ["MLM 7.313", "NSP 0.757", "1.36 k pairs/s", "left 1:02:03"]
MORE = ["lr 0.01", "45.3 k tokens/s"]


def last_line(stream):
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    return [line for line in re.split(r"[\r\n]+", shown) if line][-1]


@pytest.mark.parametrize("columns", [40, 60, 80, 120])
def test_live_line_is_never_cut(monkeypatch, columns):
    """Bar, percent, part, loss, speed, time left; what follows only where there is room."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(columns))
    stream = Terminal()
    with Progress(True, stream=stream) as progress:
        simulate(progress)
    line = last_line(stream)
    assert len(line) <= columns and "\u2026" not in line and line.endswith("left 0:00")
    shown = ["100%", "epoch 2/2", "loss 3.6100", "2 k words/s", "lr 0.00000"]
    places = [line.find(part) for part in shown]
    kept = {40: 3, 60: 4}.get(columns, 5)
    assert places[:kept] == sorted(places[:kept]) and -1 not in places[:kept]
    assert places[kept:] == [-1] * (5 - kept)
    assert line.startswith("\u2501") == (columns > 40)


@pytest.mark.parametrize(
    "width, bar, text",
    [
        (30, 0, " 10%  step 9999/100000  left 1:02:03"),
        (60, 0, " 10%  step 9999/100000  MLM 7.313  NSP 0.757  left 1:02:03"),
        (80, 5, " 10%  step 9999/100000  MLM 7.313  NSP 0.757  1.36 k pairs/s  left 1:02:03"),
        (100, 16, f" 10%  step 9999/100000  {'  '.join([*BERT[:3], MORE[0], BERT[3]])}"),
        (140, 24, f" 10%  step 9999/100000  {'  '.join([*BERT[:3], *MORE, BERT[3]])}"),
    ],
)
def test_what_fits(width, bar, text):
    assert _fitting(width, "step 9999/100000", 0.1, BERT, MORE) == (bar, text)


def test_phase_without_a_total_has_no_bar(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    stream = Terminal()
    with Progress(True, stream=stream) as progress:
        monkeypatch.setattr(time, "monotonic", lambda: 1e9)
        progress.phase("encoding")(10, None)
        monkeypatch.setattr(time, "monotonic", lambda: 2e9)
        report = progress.phase("encoding")
        monkeypatch.setattr(time, "monotonic", lambda: 3e9)
        report(1500, None)
    assert last_line(stream).strip() == "encoding  1.5 k sentences"


# -- notebooks ------------------------------------------------------------------------------------


def test_live_line_in_a_notebook(fake_notebook, capsys):
    with Progress(True) as progress:
        simulate(progress)
        progress.say("210 words")
        simulate(progress)
    first, second = fake_notebook
    assert first[-1]["text/plain"].endswith("loss 3.6100  2 k words/s  lr 0.00000  left 0:00")
    assert '<progress value="1.0000"' in first[-1]["text/html"] and len(first) > 20
    assert second[0]["text/plain"] == "  0%  training"
    assert capsys.readouterr().err == "210 words\n"


# -- nobody listens, or someone who must not be commanded -----------------------------------------


class Lost(Terminal):
    """A stream that fails after so many writes."""

    def __init__(self, terminal, writes=0):
        super().__init__()
        self.terminal, self.left = terminal, writes

    def isatty(self):
        return self.terminal

    def write(self, text):
        self.left -= 1
        if self.left < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return super().write(text)


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("writes", [0, 1, 5])
def test_training_goes_on_without_its_display(terminal, writes, monkeypatch, tmp_path):
    monkeypatch.setenv("TERM", "xterm")
    stream = Lost(terminal, writes)
    with Progress(True, stream=stream, log_json=tmp_path / "log") as progress:
        progress.say("210 words")
        simulate(progress)
        progress.say("done")
        shown = stream.getvalue()
        progress.phase("counting", "words")
        progress.say("silent from here on")
    assert stream.getvalue() == shown and "done" not in shown
    assert len((tmp_path / "log").read_text().splitlines()) == 20


def test_closed_streams(monkeypatch):
    stream = io.StringIO()
    stream.close()
    monkeypatch.setattr(sys, "stderr", None)
    for each in (None, stream):
        with Progress(True, stream=each) as progress:
            progress.say("210 words")
            simulate(progress)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no full disk to write to")
def test_log_on_a_full_disk_ends():
    stream = io.StringIO()
    with Progress(True, stream=stream, log_json="/dev/full") as progress:
        simulate(progress)
    lines = stream.getvalue().splitlines()
    assert lines[0] == "the log ends here: No space left on device" and len(lines) == 3


def test_words_command_no_terminal(monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    with Progress(True, stream=stream) as progress:
        progress.say("try: \x1b]0;owned\x07 \x9b2J \u202eabc")
        progress.phase("reading \x1b[2J")(1, 1)
    assert "try: \\x1b]0;owned\\x07 \\x9b2J \\u202eabc\n" in stream.getvalue()
    assert "\x1b[2J" not in stream.getvalue() and "\\x1b[2J" in stream.getvalue()
