"""Speed of byte pair encoding: learning and encoding, beside tokenizers and others that are there.

    LEXFORGE_DATA=... python benchmarks/bpe.py --json results.json

The text is the Wikipedia slice, or --text. `train` learns --vocab-size tokens of bytes from it by
the ties of tokenizers (the merges are checked to be the same), in processes of their own; peak
memory is what comes on top of the imported library. `encode` turns its first --megabytes into lists
of ids by GPT-2's files (LEXFORGE_DATA has them; ids are checked to be the same), on one thread, in
CPU time; `array` is lexforge without the list. `word` is a single word of a million letters.
Rivals: tokenizers, tiktoken, rustbpe.
"""

from __future__ import annotations

import argparse
import json
import lzma
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from harness import Report, add_report_options, process_bytes
from lexforge import BPETokenizer

PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


def byte_level(tokenizers, model):
    made = tokenizers.Tokenizer(model)
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    return made


def learn(name: str, path: str, vocab_size: int, threads: int) -> list:
    """Merges, as far as the library tells them as pairs."""
    if name == "lexforge":
        return BPETokenizer.train(path, vocab_size, workers=threads).merges
    if name == "tokenizers":
        import tokenizers

        made = byte_level(tokenizers, tokenizers.models.BPE())
        alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
        made.train(
            [path],
            tokenizers.trainers.BpeTrainer(
                vocab_size=vocab_size, show_progress=False, initial_alphabet=alphabet
            ),
        )
        return [tuple(pair) for pair in json.loads(made.to_str())["model"]["merges"]]
    import rustbpe

    with open(path, encoding="utf-8") as file:
        rustbpe.Tokenizer().train_from_iterator(file, vocab_size, pattern=PATTERN)
    return []


def learn_alone(name: str, path: Path, options: argparse.Namespace) -> dict:
    """Seconds and peak memory of a process that only learns."""
    environment = {
        **os.environ,
        "RAYON_NUM_THREADS": str(options.threads),
        "TOKENIZERS_PARALLELISM": "true",
    }
    command = [sys.executable, __file__, "--learn", name, "--text", path]
    command += ["--vocab-size", options.vocab_size, "--threads", options.threads]
    done = subprocess.run(
        [*map(str, command)], env=environment, capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def learn_and_tell(options: argparse.Namespace) -> None:
    __import__(options.learn)
    before, begin = process_bytes("VmRSS"), time.perf_counter()
    merges = learn(options.learn, str(options.text), options.vocab_size, options.threads)
    told = {
        "seconds": time.perf_counter() - begin,
        "peak_mb": (process_bytes("VmHWM") - before) / 1e6,
        "merges": len(merges),
        "hash": hash_of(merges),
    }
    print(json.dumps(told))


def hash_of(merges: list) -> str:
    import hashlib

    return hashlib.sha256(repr([tuple(pair) for pair in merges]).encode()).hexdigest()


def encoders(folder: Path) -> dict[str, Callable[[str], list[int]]]:
    """By name, those that can be imported."""
    files = [str(folder / name) for name in ("gpt2-encoder.json", "gpt2-vocab.bpe")]
    mine = BPETokenizer.from_file(*files)
    found: dict[str, Callable] = {"lexforge": lambda text: mine.encode(text, special=False)}
    found["array"] = lambda text: mine.encode_array(text, special=False)
    if find_spec("tokenizers"):
        import tokenizers

        theirs = byte_level(tokenizers, tokenizers.models.BPE.from_file(*files))
        found["tokenizers"] = lambda text: theirs.encode(text).ids
    if find_spec("tiktoken"):
        import tiktoken
        from tiktoken.load import data_gym_to_mergeable_bpe_ranks

        ranks = data_gym_to_mergeable_bpe_ranks(files[1], files[0])
        other = tiktoken.Encoding(
            "gpt2", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens={"<|endoftext|>": 50256}
        )
        found["tiktoken"] = other.encode_ordinary
    return found


def slice_of(options: argparse.Namespace, folder: Path) -> Path:
    """The text as a file."""
    if options.text:
        return options.text
    path = folder / "text.txt"
    packed = Path(os.environ["LEXFORGE_DATA"], "corpora", "enwiki_articles.txt.xz")
    with lzma.open(packed) as source:
        path.write_bytes(source.read().decode(errors="replace").encode())
    return path


def time_learning(options: argparse.Namespace, path: Path, report: Report) -> None:
    names = [name for name in ("lexforge", "tokenizers", "rustbpe") if name in options.rivals]
    names = [name for name in names if find_spec(name)]
    rounds: dict[str, list[dict]] = {name: [] for name in names}
    for _ in range(options.repeats):
        for name in names:
            rounds[name].append(learn_alone(name, path, options))
    if {"lexforge", "tokenizers"} <= {*names}:
        assert rounds["lexforge"][0]["hash"] == rounds["tokenizers"][0]["hash"], "other merges"
    for name, told in rounds.items():
        seconds = statistics.median(one["seconds"] for one in told)
        peak = statistics.median(one["peak_mb"] for one in told)
        print(f"train {name:12} {seconds:8.2f} s {peak:8.0f} MB", flush=True)
        report.add({"case": "train", "name": name, "seconds": seconds, "peak_mb": peak})


def time_encoding(options: argparse.Namespace, path: Path, report: Report) -> None:
    text = path.read_bytes()[: int(options.megabytes * 1e6)].decode(errors="ignore")
    megabytes = len(text.encode()) / 1e6
    found = encoders(Path(os.environ["LEXFORGE_DATA"], "tokenizers"))
    found = {name: each for name, each in found.items() if name in (*options.rivals, "array")}
    wanted = found["lexforge"](text)
    for name, encode in found.items():
        assert list(encode(text)) == wanted, f"{name}: other ids"
    times: dict[str, list[float]] = {name: [] for name in found}
    for _ in range(options.repeats):
        for name, encode in found.items():
            begin = time.process_time()
            encode(text)
            times[name].append(time.process_time() - begin)
    for name, seconds in times.items():
        speed = megabytes / statistics.median(seconds)
        print(f"encode {name:12} {speed:8.1f} MB/s of CPU", flush=True)
        report.add({"case": "encode", "name": name, "mb_per_s": speed})
    for letters in (500_000, 1_000_000):
        begin = time.process_time()
        found["array"]("ab" * (letters // 2))
        seconds = time.process_time() - begin
        print(f"word of {letters:,} letters {seconds:8.2f} s", flush=True)
        report.add({"case": "word", "letters": letters, "seconds": seconds})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--text", type=Path)
    parser.add_argument("--megabytes", type=float, default=20)
    parser.add_argument("--vocab-size", type=int, default=32_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument(
        "--rivals", nargs="*", default=["lexforge", "tokenizers", "tiktoken", "rustbpe"]
    )
    parser.add_argument("--learn", help=argparse.SUPPRESS)
    add_report_options(parser)
    options = parser.parse_args()
    if options.learn:
        learn_and_tell(options)
        return
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    report = Report(options, "cpu")
    with tempfile.TemporaryDirectory() as folder:
        path = slice_of(options, Path(folder))
        time_encoding(options, path, report)
        time_learning(options, path, report)
    report.close()


if __name__ == "__main__":
    main()
