"""One run of the program: its options and time, and how it runs other programs."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable
from pathlib import Path

from clocks import Clocks
from libraries import HERE, ROOT, Package
from processes import Child, Clock, wait_for
from record import Record


class Session:
    """What the cases of the course need.

    Args:
        options: of the command line.
        record: of the output folder.
        clock: of the whole run.
        scratch: folder for what nobody needs later.
    """

    def __init__(self, options: argparse.Namespace, record: Record, clock: Clock, scratch: Path):
        self.options, self.record, self.clock, self.scratch = options, record, clock, scratch
        self.stand_in: bool = options.stand_in
        self.device = "cpu" if options.stand_in else "cuda"
        self.package = Package(options.work)
        self.clocks = Clocks(scratch, clock.left())
        self.cores = len(os.sched_getaffinity(0))

    def environment(self, beside: Path = ROOT / "benchmarks", **more: str) -> dict[str, str]:
        """Variables of every program: the package under test comes before any other lexforge.

        Args:
            beside: a further folder of modules.
            more: variables.
        """
        path = os.pathsep.join(map(str, (self.options.work, HERE, beside)))
        return {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"} | more

    def run(
        self,
        command: list[str],
        seconds: float,
        output: Path | None = None,
        each_turn: Callable[[], object] = lambda: None,
        **environment: str,
    ) -> dict:
        """Runs a program to its end, or to that of its time.

        Args:
            command: with its arguments.
            seconds: how long it may run, where so much is left.
            output: file that takes what it prints, instead of the log.
            each_turn: called every now and then meanwhile, and at the end.
            environment: variables beside the usual ones.

        Returns:
            "outcome" (passed, failed or out of time), "seconds", and of one that did not pass its
            "status" and the end of its "output".
        """
        with self.record.log.open("a") as log:
            log.write(f"$ {' '.join(map(str, command))}\n")
        child = Child(
            command,
            self.clock.left(seconds),
            output or self.record.log,
            ROOT,
            self.environment(**environment),
        )
        return wait_for(child, each_turn)

    def script(self, name: str, *arguments: object) -> list[str]:
        """The command of a script in this folder, or beside it."""
        at = HERE / name if (HERE / name).exists() else ROOT / "benchmarks" / name
        return [sys.executable, str(at), *map(str, arguments)]

    def close(self) -> None:
        self.clocks.close()
