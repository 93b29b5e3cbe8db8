"""Speed of reading text: counting the vocabulary and encoding, beside gensim's vocabulary scan.

    python benchmarks/text_reader.py --text FILE --threads 1 2 --json results.json

Each figure is the median over --seconds of runs, in MB (10^6 bytes) of text per second, the file
being in the page cache. Without --text the data set pydocs is repeated up to --megabytes.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from harness import measure, write_report
from lexforge.text import build_vocabulary, dataset_path, encode_corpus


def cases(text: Path, threads: list[int], scratch: Path):
    """(what, threads, function) of every case."""
    vocab = build_vocabulary(text)
    for count in threads:
        yield (
            "lexforge build_vocabulary",
            count,
            lambda count=count: build_vocabulary(text, threads=count),
        )
        yield (
            "lexforge encode_corpus",
            count,
            lambda count=count: encode_corpus(text, vocab, scratch / "encoded", threads=count),
        )
    try:
        from gensim.models import Word2Vec
    except ImportError:
        print("gensim is not installed: its vocabulary scan is left out")
        return
    for count in threads:
        yield (
            "gensim scan_vocab(corpus_file)",
            count,
            lambda count=count: Word2Vec(workers=count).scan_vocab(
                corpus_file=str(text), workers=count
            ),
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", type=Path, help="plain text file")
    parser.add_argument(
        "--megabytes", type=int, default=100, help="size made when no --text is given"
    )
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seconds", type=float, default=3.0, help="time for each case")
    parser.add_argument("--json", type=Path, help="file for the figures")
    arguments = parser.parse_args()

    with tempfile.TemporaryDirectory() as scratch:
        text = arguments.text
        if text is None:
            text = Path(scratch, "pydocs.txt")
            once = dataset_path("pydocs").read_bytes()
            with text.open("wb") as file:
                for _ in range(max(1, arguments.megabytes * 10**6 // len(once))):
                    file.write(once)
        megabytes = text.stat().st_size / 1e6
        records = []
        print("| reader | threads | MB/s | seconds for the file |\n|---|---|---|---|")
        for what, threads, work in cases(text, arguments.threads, Path(scratch)):
            record = {
                "case": what,
                "threads": threads,
                "megabytes": megabytes,
                **measure(work, threads, arguments.seconds),
            }
            record["mb_per_s"] = megabytes / record["median_s"]
            records.append(record)
            print(f"| {what} | {threads} | {record['mb_per_s']:.0f} | {record['median_s']:.2f} |")
    if arguments.json:
        write_report(arguments.json, "cpu", records)


if __name__ == "__main__":
    main()
