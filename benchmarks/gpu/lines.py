"""Programs of many items that write a line for each: the smoke program and the op tests.

A line is a JSON object: ``group`` (of the program), ``item``, ``outcome``. An item has a line
"started" and one with what came of it: "passed", "failed", "skipped", and where the program did not
live to say so "crashed", "hung" or "out of time", said by the program that started it.
"""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from processes import GRACE, TURN, Child, Clock

FAULT = 87  # exit status of a program whose CUDA context a fault has ruined
FILE, GROUP, LEAVE_OUT = "LEXFORGE_LINES", "LEXFORGE_LINES_GROUP", "LEXFORGE_LINES_LEAVE_OUT"
_RESTARTS = 12
_START = 20.0  # seconds that a program may take to its first line
_FAULTS = re.compile(
    "illegal memory access|misaligned address|illegal instruction|invalid program counter"
    "|illegal address|device-side assert|unspecified launch failure|hardware stack error"
    "|launch timed out|uncorrectable ECC|cudaError(Assert|Illegal|Launch|Misaligned)",
    re.IGNORECASE,
)


# -- in the program ------------------------------------------------------------------------------


class Writer:
    """Appends lines, each at once and in one piece, to the file that all groups share."""

    def __init__(self, path: str | Path, group: str):
        self.group = group
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    @classmethod
    def of_environment(cls) -> Writer:
        """As `Group` tells its program to write."""
        return cls(os.environ[FILE], os.environ[GROUP])

    def write(self, item: str | None, outcome: str, **more: object) -> None:
        line = {"group": self.group, "item": item, "outcome": outcome, **more}
        os.write(self._file, (json.dumps(line) + "\n").encode())


def left_out() -> set[str]:
    """Items that need not be done."""
    path = os.environ.get(LEAVE_OUT)
    return set(json.loads(Path(path).read_text())) if path else set()


def is_fault(message: str) -> bool:
    """Whether a CUDA error says that nothing works any more in this process."""
    return bool(_FAULTS.search(message))


def found_fault() -> str | None:
    """The error of kernels that have run so far, if they left one; waits for the GPU."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    try:
        torch.cuda.synchronize()
    except RuntimeError as error:
        return str(error)
    return None


# -- in the program that starts it ---------------------------------------------------------------


def read_lines(path: Path) -> list[dict]:
    """All lines of a file that may be written to; torn ones of killed programs are left out."""
    found = []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return found


def mend(path: Path) -> None:
    """Ends a torn last line, so that the next one begins at its own."""
    if path.exists() and (text := path.read_bytes()) and not text.endswith(b"\n"):
        with path.open("ab") as file:
            file.write(b"\n")


class Group:
    """One program's items: run in a process, and in a fresh one after each that ends early.

    Args:
        name: of the group.
        command: the program; it writes lines by a `Writer.of_environment`, and leaves out
            `left_out()`.
        lines: the file.
        scratch: folder for its output.
        folder: where it runs.
        environment: its variables.
        stall: seconds for an item, after which it hangs.
    """

    def __init__(
        self,
        name: str,
        command: list[str],
        *,
        lines: Path,
        scratch: Path,
        folder: Path,
        environment: dict[str, str],
        stall: float = 60.0,
    ):
        self.name, self.stall = name, stall
        self._command, self._lines, self._folder = command, lines, folder
        self._environment = environment
        self._writer = Writer(lines, name)
        self.output = scratch / f"{name.replace('/', '-')}.txt"
        self._leave_out = scratch / f"{name.replace('/', '-')}.json"
        items = self.items()
        self._earlier = {
            item
            for item, line in items.items()
            if line["outcome"] in ("passed", "skipped") and item is not None
        }
        self._done: set[str] = set()  # by this object, whatever came of it
        self._child: Child | None = None
        self._starts = self._seen = 0
        self._latest = 0.0
        self.problem: str | None = None
        # An earlier call may have done them all.
        self.finished = len(self._earlier) >= items.get(None, {}).get("total", 1)

    def items(self) -> dict[str | None, dict]:
        """The last line of each item; under None how many there are ("total")."""
        return {
            line["item"]: line for line in read_lines(self._lines) if line["group"] == self.name
        }

    def turn(self, clock: Clock) -> None:
        """Starts it, or sees what it does; sets `finished` in the end."""
        if self._child is None:
            self._start(clock)
        elif self._child.ended():
            self._end(None)
        elif self._heard():
            self._latest = time.monotonic()
        elif time.monotonic() > self._latest + self.stall:
            self._child.kill()
            self._end("hung")

    def close(self) -> None:
        """Without waiting for it."""
        if self._child is not None:
            self._child.kill()
            self._end("out of time")

    def _start(self, clock: Clock) -> None:
        self._leave_out.write_text(json.dumps(sorted(self._earlier | self._done)))
        named = {FILE: self._lines, GROUP: self.name, LEAVE_OUT: self._leave_out}
        self._child = Child(
            self._command,
            max(0.0, clock.left() - GRACE),
            self.output,
            self._folder,
            self._environment | {name: str(value) for name, value in named.items()},
        )
        self._starts += 1
        self._latest = time.monotonic() + _START

    def _heard(self) -> bool:
        """Whether lines of this group have come to the file."""
        with self._lines.open("rb") as file:
            file.seek(self._seen)
            new = file.read()
        self._seen += len(new)
        return json.dumps(self.name).encode() in new

    def _end(self, reason: str | None) -> None:
        """After a process: says what it left open, and whether there is a next one.

        Args:
            reason: "hung" or "out of time" of a process that was killed for it.
        """
        child, self._child = self._child, None
        if reason is None and child.result()["outcome"] == "out of time":
            reason = "out of time"
        elif reason is None and (child.status == FAULT or child.status < 0):
            reason = "crashed"
        before = len(self._done)
        for item, line in self.items().items():
            if item is None or item in self._earlier:
                continue
            if line["outcome"] == "started":
                self._writer.write(item, reason or "crashed", message=_ending(child.status))
            self._done.add(item)
        if reason is None:
            self.finished = True
            if child.status not in (0, 1, 5):  # pytest's 1: tests failed, 5: none were left
                self.problem = child.text()[-2000:]
        elif reason == "out of time":
            self.problem, self.finished = reason, True
        elif len(self._done) == before or self._starts > _RESTARTS:
            self.problem, self.finished = f"{reason} too often: {_ending(child.status)}", True

    def result(self) -> dict:
        """Outcome, counts, and what failed."""
        items = self.items()
        total = items.pop(None, {}).get("total")
        bad = {
            item: f"{line['outcome']}: {line.get('message', '')}"[:600]
            for item, line in items.items()
            if line["outcome"] not in ("passed", "skipped")
        }
        late = [item for item in bad if items[item]["outcome"] in ("started", "out of time")]
        outcome = "passed"
        if self.problem not in (None, "out of time") or len(bad) > len(late):
            outcome = "failed"
        elif self.problem or late:
            outcome = "out of time"
        counts = Counter(line["outcome"] for line in items.values())
        result = {"outcome": outcome, "total": total, "counts": dict(counts)}
        result["starts"] = self._starts
        if self.problem:
            result["problem"] = self.problem
        return result | ({"failed": bad} if bad else {})


def _ending(status: int | None) -> str:
    if status is not None and status < 0:
        return signal.Signals(-status).name
    return "CUDA fault" if status == FAULT else f"status {status}"


def run_groups(
    groups: Sequence[Group],
    workers: int,
    clock: Clock,
    each: Callable[[Group], object] = lambda group: None,
) -> None:
    """Runs them, so many at a time; `each` is called with every one that is finished."""
    waiting, active = list(groups), []
    try:
        while (waiting and clock.left() > GRACE) or active:
            while waiting and len(active) < workers:
                active.append(waiting.pop(0))
            for group in active:
                if not group.finished:
                    group.turn(clock)
            for group in [group for group in active if group.finished]:
                active.remove(group)
                each(group)
            time.sleep(TURN)
    finally:
        for group in active:
            group.close()
    for group in waiting:
        if not group.finished:
            group.problem = "out of time"
        each(group)
