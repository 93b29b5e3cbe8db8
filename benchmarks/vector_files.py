"""Speed of loading and saving vector files, beside gensim on the same files.

    python benchmarks/vector_files.py --rows 40000 --dim 100 --threads 1 2 --json results.json

Each figure is the median over --seconds of runs, in MB (10^6 bytes) of the file per second, the
file being in the page cache. Words and vectors are compared with gensim's before anything is timed.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np

from harness import measure, write_report
from lexforge.vectors import KeyedVectors, load_vectors, save_vectors


def make_vectors(rows: int, dim: int) -> KeyedVectors:
    """Normal vectors, rounded like published ones: five significant digits."""
    vectors = np.random.default_rng(0).standard_normal((rows, dim))
    digits = 10.0 ** (4 - np.floor(np.log10(np.abs(vectors))))
    return KeyedVectors(
        [f"word{i}" for i in range(rows)], (np.round(vectors * digits) / digits).astype(np.float32)
    )


def cases(kv: KeyedVectors, folder: Path, threads: list[int], with_gensim: bool):
    """(what, format, program, threads, file, function) of every case."""
    scratch = folder / "scratch"
    files = {"text": folder / "v.txt", "text.gz": folder / "v.txt.gz", "binary": folder / "v.bin"}
    files |= {"safetensors": folder / "v.safetensors", "npy": folder / "v.npy"}
    for path in files.values():
        save_vectors(kv, path)
    for name, path in files.items():
        for count in threads if name == "text" else threads[-1:]:
            yield (
                *("load", name, "lexforge", count, path),
                lambda path=path, count=count: load_vectors(path, threads=count),
            )
            target = scratch.with_suffix("".join(path.suffixes))
            if name != "text.gz":
                yield (
                    *("save", name, "lexforge", count, path),
                    lambda target=target, count=count: save_vectors(kv, target, threads=count),
                )
    if not with_gensim:
        return
    from gensim.models import KeyedVectors as Gensim

    theirs = kv.to_gensim()
    for name, binary in (("text", False), ("binary", True)):
        path = str(files[name])
        loaded = Gensim.load_word2vec_format(path, binary=binary)
        assert loaded.index_to_key == kv.index_to_key
        assert np.array_equal(loaded.vectors, kv.vectors)
        yield (
            *("load", name, "gensim", 1, files[name]),
            lambda path=path, binary=binary: Gensim.load_word2vec_format(path, binary=binary),
        )
        yield (
            *("save", name, "gensim", 1, files[name]),
            lambda binary=binary: theirs.save_word2vec_format(str(scratch), binary=binary),
        )


def markdown(records: list[dict]) -> str:
    """One row per case, with the speed as a multiple of gensim's where gensim did the same."""
    peers = {(r["what"], r["format"]): r["mb_per_s"] for r in records if r["program"] == "gensim"}
    lines = [
        "| | format | program | threads | MB/s | rows/s | x gensim |",
        "|---|---|---|---|---|---|---|",
    ]
    for r in sorted(records, key=lambda r: (r["what"], r["format"], r["program"], r["threads"])):
        peer = peers.get((r["what"], r["format"]))
        ratio = f"{r['mb_per_s'] / peer:.1f}" if peer else ""
        lines.append(
            f"| {r['what']} | {r['format']} | {r['program']} | {r['threads']} "
            f"| {r['mb_per_s']:.0f} | {r['rows_per_s']:,.0f} | {ratio} |"
        )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=40_000)
    parser.add_argument("--dim", type=int, default=100)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seconds", type=float, default=1.0, help="time for each case")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    args = parser.parse_args()
    try:
        import gensim  # noqa: F401

        with_gensim = True
    except ImportError:
        print("gensim is not installed: its figures are left out")
        with_gensim = False
    kv = make_vectors(args.rows, args.dim)
    records = []
    with tempfile.TemporaryDirectory() as folder:
        for what, name, program, threads, path, work in cases(
            kv, Path(folder), args.threads, with_gensim
        ):
            size = path.stat().st_size
            times = measure(work, threads, args.seconds)
            records.append(
                {
                    "what": what,
                    "format": name,
                    "program": program,
                    "threads": threads,
                    "rows": args.rows,
                    "dim": args.dim,
                    "bytes": size,
                    "mb_per_s": size / 1e6 / times["median_s"],
                    "rows_per_s": args.rows / times["median_s"],
                    **times,
                }
            )
    print(markdown(records))
    if args.json:
        write_report(args.json, "cpu", records)


if __name__ == "__main__":
    main()
