"""benchmarks/fasttext_load.py on a small model."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "fasttext_load.py"


def test_script():
    command = [sys.executable, str(SCRIPT), "--words", "1000", "--dim", "3", "--repeat", "1"]
    done = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert 0 < found["seconds"] < 30 and found["bytes"] < 100e6
