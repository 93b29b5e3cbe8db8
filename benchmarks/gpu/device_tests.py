"""A pytest plugin that runs the tests of one device and writes a line for each (lines.py).

LEXFORGE_TEST_DEVICES names the values of the `device` fixture to keep: by default cuda. A CUDA
fault that nothing survives ends the process at once, with a status that says so.
"""

from __future__ import annotations

import os

from lines import FAULT, Writer, found_fault, is_fault, left_out

_KEPT = 2000  # characters of a failure


def device_name(item) -> str | None:
    callspec = getattr(item, "callspec", None)
    return callspec.params.get("device") if callspec is not None else None


class Lines:
    """What pytest calls."""

    def __init__(self):
        self._writer = Writer.of_environment()
        self._outcome, self._message, self._seconds = "passed", "", 0.0

    def pytest_collection_modifyitems(self, config, items):
        devices = os.environ.get("LEXFORGE_TEST_DEVICES", "cuda").split(",")
        wanted = [item for item in items if device_name(item) in devices]
        self._writer.write(None, "collected", total=len(wanted))
        done = left_out()
        kept = [item for item in wanted if item.nodeid not in done]
        config.hook.pytest_deselected(items=[item for item in items if item not in set(kept)])
        items[:] = kept

    def pytest_runtest_logstart(self, nodeid):
        self._writer.write(nodeid, "started")
        self._outcome, self._message, self._seconds = "passed", "", 0.0

    def pytest_runtest_logreport(self, report):
        self._seconds += report.duration
        if report.outcome != "passed" and self._outcome in ("passed", "skipped"):
            self._outcome = report.outcome
            reason = report.longrepr  # of a skipped test: file, line and why
            text = str(reason[-1]) if isinstance(reason, tuple) else report.longreprtext
            self._message = text[-_KEPT:]
        if report.when == "teardown":
            self._close(report.nodeid)

    def _close(self, nodeid: str) -> None:
        # Kernels run on after the test: their fault is this test's, and not the next one's.
        fault = found_fault()
        if fault is None and self._outcome == "failed" and is_fault(self._message):
            fault = ""
        more = {"seconds": round(self._seconds, 3)}
        if fault:
            self._outcome, self._message = "failed", f"{self._message}\n{fault}"
        if self._message:
            more["message"] = self._message
        if fault is not None:
            more["fault"] = True
        self._writer.write(nodeid, self._outcome, **more)
        if fault is not None:
            os._exit(FAULT)  # whatever else would run in this process would fail


def pytest_configure(config):
    config.pluginmanager.register(Lines(), "device_lines")
