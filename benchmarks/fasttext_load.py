"""Time and memory until a mapped fastText model gives its first vector.

The model is a sparse file of its own making: words, counts, and matrices of zeros that take no
room on the disk.
"""

from __future__ import annotations

import argparse
import json
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from lexforge.vectors.formats.fasttext import MAGIC, VERSION

_BUCKETS = 2_000_000
_PROGRAM = """
import json, sys, time
from lexforge.vectors.formats.fasttext import read_fasttext

def resident():
    status = open("/proc/self/status").read()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024

before, started = resident(), time.perf_counter()
file = read_fasttext(sys.argv[1])
known = file.word_vector(sys.argv[2])
seconds, memory = time.perf_counter() - started, resident() - before
started = time.perf_counter()
unknown = file.word_vector("quite-unknown")
print(json.dumps({"seconds": seconds, "bytes": memory, "next": time.perf_counter() - started}))
"""


def make(path: Path, words: int, dim: int) -> None:
    """A skip-gram model with words w0, w1, ..., all of whose numbers are zero."""
    with open(path, "wb") as file:
        file.write(struct.pack("<2i", MAGIC, VERSION))
        file.write(struct.pack("<12id", dim, 5, 5, 5, 5, 1, 2, 2, _BUCKETS, 3, 6, 100, 1e-4))
        file.write(struct.pack("<3i2q", words, words, 0, 100 * words, -1))
        for start in range(0, words, 100_000):
            rows = range(start, min(start + 100_000, words))
            file.write(b"".join(b"word%d" % row + struct.pack("<xqb", 9, 0) for row in rows))
        for rows in (words + _BUCKETS, words):
            file.write(struct.pack("<B2q", 0, rows, dim))
            file.seek(4 * rows * dim, 1)
        file.truncate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--words", type=int, default=2_000_000)
    parser.add_argument("--dim", type=int, default=300)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.bin"
        make(path, options.words, options.dim)
        last = f"word{options.words - 1}"
        found = [
            json.loads(subprocess.check_output([sys.executable, "-c", _PROGRAM, path, last]))
            for _ in range(options.repeat)
        ]
    result = {name: float(np.median([each[name] for each in found])) for name in found[0]}
    if options.json:
        print(json.dumps(result))
        return
    print(
        f"{options.words:,} x {options.dim}: first vector after {result['seconds']:.2f} s, "
        f"{result['bytes'] / 1e6:.0f} MB more in memory; the next after "
        f"{1e3 * result['next']:.2f} ms"
    )


if __name__ == "__main__":
    main()
