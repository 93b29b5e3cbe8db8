"""Runs a file of gensim's own tests, untouched, on this package's `Word2Vec` and `KeyedVectors`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

TESTS = Path(__file__).resolve().parents[1]
SECONDS = 600


class Outcome(NamedTuple):
    """What became of a test: "passed", "failed" or "skipped", and the message."""

    result: str
    message: str


@lru_cache
def outcomes(file: str, without: str = "") -> dict[str, Outcome]:
    """The outcome of each test of a file of the installed gensim, by ``Class.test``.

    A file is run once in a process; gensim skips some of its tests itself.

    Args:
        file: such as ``"test_keyedvectors.py"``.
        without: a class of tests that it only imports from another file.
    """
    import gensim

    with tempfile.TemporaryDirectory() as folder:
        found = Path(folder) / "outcomes.json"
        pytest = (sys.executable, "-m", "pytest", "-q", "-p", "gensim_suite.substituted")
        done = subprocess.run(
            [
                *(*pytest, "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", folder),
                str(Path(gensim.__file__).parent / "test" / file),
                *(("-k", f"not {without}") if without else ()),
            ],
            cwd=folder,
            env={
                **{name: value for name, value in os.environ.items() if name != "PYTEST_ADDOPTS"},
                "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
                "PYTHONPATH": os.pathsep.join([str(TESTS), *sys.path]),
                "TMPDIR": folder,
                "GENSIM_SUITE_OUTCOMES": str(found),
            },
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )
        if not found.exists():
            raise AssertionError(f"{file} did not run to its end:\n{done.stdout}\n{done.stderr}")
        tests = {name: Outcome(*outcome) for name, outcome in json.loads(found.read_text()).items()}
    assert tests, f"{file} has no tests:\n{done.stdout}\n{done.stderr}"
    return tests


def check(
    file: str,
    does_not_apply: Mapping[str, str],
    may_fail: Mapping[str, str] | None = None,
    without: str = "",
) -> None:
    """Fail unless the tests of a file that do not pass are those that need not.

    Args:
        file, without: as in :func:`outcomes`.
        does_not_apply: ``Class.test`` -> why it fails.
        may_fail: ``Class.test`` -> why it passes sometimes.
    """
    may_fail = may_fail or {}
    ran = outcomes(file, without)
    wrong = [
        f"{name} fails: {message}"
        for name, (result, message) in ran.items()
        if result == "failed" and name not in {*does_not_apply, *may_fail}
    ]
    for name in does_not_apply:
        result = ran[name].result if name in ran else "not there"
        if result != "failed":
            wrong.append(f"{name} is in the table of those that do not apply, and is {result}")
    wrong += [f"{name} may fail, and is not there" for name in may_fail if name not in ran]
    assert not wrong, f"gensim's {file}:\n" + "\n".join(wrong)
