"""The results of all calls with one output folder: a JSON file that is whole at any time, a log."""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
from pathlib import Path


def short_name(gpu: str) -> str:
    """A file name of the GPU's name: "NVIDIA H200" is h200."""
    name = re.sub(r"^nvidia\s+", "", gpu.strip().lower())
    return re.sub(r"[^a-z0-9]+", "-", name).strip("-") or "gpu"


class Record:
    """What is known so far, on disk after every change.

    Attributes:
        data: ``{"gpu", "calls": [{date, ...}], "cases": {name: {"outcome", "call", ...}}}``; a call
            is one run of the program, and a case says by its number in which one it was measured.
        log: file of everything that was printed.
    """

    def __init__(self, folder: Path, gpu: str):
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.path = folder / f"{short_name(gpu)}.json"
        self.log = folder / "log.txt"
        self.data = {"gpu": gpu, "calls": [], "cases": {}}
        if self.path.exists():
            self.data = json.loads(self.path.read_text())
        self.data["calls"].append({"date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())})
        self.save()

    @property
    def call(self) -> dict:
        """What is said of this run of the program."""
        return self.data["calls"][-1]

    @property
    def cases(self) -> dict[str, dict]:
        return self.data["cases"]

    def passed(self, name: str) -> bool:
        return self.cases.get(name, {}).get("outcome") == "passed"

    def put(self, name: str, case: dict) -> None:
        """Writes down a case, or what there is of one."""
        self.cases[name] = {**case, "call": len(self.data["calls"])}
        self.save()

    def save(self) -> None:
        """Replaces the file as a whole, so that whatever kills this process leaves one behind."""
        temporary = self.path.with_suffix(".tmp")
        with temporary.open("w") as file:
            file.write(json.dumps(self.data, indent=1) + "\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.path)

    def say(self, text: str) -> None:
        """A line for the log and the reader, who may have gone."""
        with self.log.open("a") as file:
            file.write(text + "\n")
        with contextlib.suppress(BrokenPipeError):
            print(text, flush=True)
