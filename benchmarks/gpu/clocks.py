"""The GPU's clocks, power and temperature while something runs, by nvidia-smi where it is."""

from __future__ import annotations

import shutil
import statistics
from pathlib import Path

from processes import Child

FIELDS = {
    "sm_mhz": "clocks.sm",
    "memory_mhz": "clocks.mem",
    "watts": "power.draw",
    "celsius": "temperature.gpu",
}
_MILLISECONDS = 250


class Clocks:
    """Samples from its making on; only reads, and leaves the GPU's settings alone."""

    def __init__(self, scratch: Path, seconds: float):
        self._file = scratch / "clocks.csv"
        self._file.touch()
        self._child = None
        if program := shutil.which("nvidia-smi"):
            query = f"--query-gpu={','.join(FIELDS.values())}"
            command = [program, "-i", "0", query, "--format=csv,noheader,nounits"]
            command += ["-lms", str(_MILLISECONDS)]
            self._child = Child(command, seconds, self._file, scratch, {})

    def mark(self) -> int:
        """The present, for `since`."""
        return self._file.stat().st_size

    def since(self, mark: int) -> dict[str, list[float]]:
        """[least, median, most] of each field since then; empty where there are no samples."""
        with self._file.open() as file:
            file.seek(mark)
            lines = file.read().splitlines()
        samples = []
        for line in lines:
            try:
                values = [float(cell) for cell in line.split(",")]
            except ValueError:
                continue  # torn, or a field that this GPU does not tell
            if len(values) == len(FIELDS):
                samples.append(values)
        if not samples:
            return {}
        columns = dict(zip(FIELDS, zip(*samples, strict=True), strict=True))
        return {name: [min(x), statistics.median(x), max(x)] for name, x in columns.items()}

    def close(self) -> None:
        if self._child is not None:
            self._child.kill()
