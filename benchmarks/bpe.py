"""Speed of byte pair encoding: learning and encoding, beside the other libraries that are there.

    LEXFORGE_DATA=... python benchmarks/bpe.py --json results.json [--only encode word train growth]

The text is the Wikipedia slice, or --text.

encode  its first --megabytes as lists of ids by GPT-2's files (LEXFORGE_DATA has them; ids are
        checked to be the same), on one thread, in CPU time, the libraries in turn, in processes of
        their own; `array` is lexforge without the list, and `gigatoken array` is gigatoken so.
word    a single word of a million letters, in processes of their own that are ended after a while.
train   --vocab-size tokens of bytes learned from it by the ties of tokenizers (where a library
        tells its merges they are compared) with --threads, in processes of their own; peak memory
        is what comes on top of the imported library. The trainers have rules of their own for ties
        and, sentencepiece, for words.
growth  lexforge learning from 10 to 300 MB, the text again and again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import lzma
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from harness import Contestant, Report, add_report_options, process_bytes, take_turns
from lexforge import BPETokenizer

CASES = ("encode", "word", "train", "growth")
ENCODERS = ("lexforge", "gigatoken", "fastokens", "tokie", "tiktoken", "tokenizers")
TRAINERS = ("lexforge", "gigatoken", "rustbpe", "sentencepiece", "tokenizers")
GROWTH = (10, 30, 100, 300)  # MB
LETTERS = 1_000_000
ARRAYS = {"lexforge": "array", "gigatoken": "gigatoken array"}  # sides without a list
PATIENCE = 30  # seconds for a word, or for the turns of a side that is to have more than two
PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"

Pairs = list[tuple[str, str]]


def byte_level(tokenizers, model):
    made = tokenizers.Tokenizer(model)
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    return made


# -- learning


def learn(name: str, path: str, vocab_size: int, threads: int) -> Pairs:
    """Merges, as far as the library tells them as pairs."""
    if name == "lexforge":
        return BPETokenizer.train(path, vocab_size, workers=threads).merges
    if name == "tokenizers":
        import tokenizers

        made = byte_level(tokenizers, tokenizers.models.BPE())
        alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
        trainer = tokenizers.trainers.BpeTrainer(
            vocab_size=vocab_size, show_progress=False, initial_alphabet=alphabet
        )
        made.train([path], trainer)
        return [tuple(pair) for pair in json.loads(made.to_str())["model"]["merges"]]
    if name == "gigatoken":
        import gigatoken

        gigatoken.train_bpe(path, vocab_size, [])
    elif name == "sentencepiece":
        import sentencepiece

        sentencepiece.SentencePieceTrainer.train(
            input=path,
            model_prefix=str(Path(path).with_suffix(".sentencepiece")),
            model_type="bpe",
            vocab_size=vocab_size,
            num_threads=threads,
            max_sentence_length=1 << 24,
            minloglevel=2,
        )
    else:
        import rustbpe

        with open(path, encoding="utf-8") as file:
            rustbpe.Tokenizer().train_from_iterator(file, vocab_size, pattern=PATTERN)
    return []


def alone(kind: str, name: str, path: Path, options: argparse.Namespace) -> dict | None:
    """What a process of its own tells of a case; None where it is not done in time."""
    threads = options.threads if kind == "train" else 1
    environment = {
        **os.environ,
        "RAYON_NUM_THREADS": str(threads),
        "TOKENIZERS_PARALLELISM": "true",
    }
    command = [sys.executable, __file__, "--alone", kind, name, "--text", path]
    command += ["--vocab-size", options.vocab_size, "--threads", threads]
    try:
        done = subprocess.run(
            [*map(str, command)],
            env=environment,
            stdout=subprocess.PIPE,
            text=True,
            check=True,
            timeout=PATIENCE if kind == "word" else None,
        )
    except subprocess.TimeoutExpired:
        return None
    return json.loads(done.stdout.splitlines()[-1])


def told_alone(kind: str, name: str, options: argparse.Namespace) -> dict:
    if kind == "word":
        encode = encoders([name])[name]
        word = "ab" * (LETTERS // 2)
        begin = time.process_time()
        encode(word)
        return {"seconds": time.process_time() - begin}
    __import__(name)
    before, begin = process_bytes("VmRSS"), time.perf_counter()
    merges = learn(name, str(options.text), options.vocab_size, options.threads)
    return {
        "seconds": time.perf_counter() - begin,
        "peak_mb": (process_bytes("VmHWM") - before) / 1e6,
        "hash": hashlib.sha256(repr(merges).encode()).hexdigest(),
    }


def medians(told: list[dict]) -> dict[str, float]:
    return {key: statistics.median(one[key] for one in told) for key in ("seconds", "peak_mb")}


def time_learning(options: argparse.Namespace, path: Path, report: Report) -> None:
    rounds: dict[str, list[dict]] = {name: [] for name in present(TRAINERS, options)}
    for _ in range(options.repeats):
        for name, told in rounds.items():
            told.append(alone("train", name, path, options))
    if {"lexforge", "tokenizers"} <= {*rounds}:
        assert rounds["lexforge"][0]["hash"] == rounds["tokenizers"][0]["hash"], "other merges"
    for name, told in rounds.items():
        found = medians(told)
        print(f"train {name:16} {found['seconds']:8.2f} s {found['peak_mb']:8.0f} MB", flush=True)
        report.add({"case": "train", "name": name, **found})


def time_growth(options: argparse.Namespace, path: Path, report: Report) -> None:
    text = path.read_bytes()
    grown = path.with_name("grown.txt")
    for megabytes in GROWTH:
        size = megabytes * 1_000_000
        grown.write_bytes((text * (size // len(text) + 1))[:size].decode(errors="ignore").encode())
        found = medians([alone("train", "lexforge", grown, options)])
        print(f"growth {megabytes:5} MB {found['seconds']:8.2f} s {found['peak_mb']:8.0f} MB")
        report.add({"case": "growth", "megabytes": megabytes, **found})
    grown.unlink()


# -- encoding


def present(names: tuple[str, ...], options: argparse.Namespace) -> list[str]:
    return [name for name in names if name in options.rivals and find_spec(name)]


def encoders(names: list[str]) -> dict[str, Callable[[str], list[int]]]:
    """By name; on one thread."""
    folder = Path(os.environ["LEXFORGE_DATA"], "tokenizers")
    files = [str(folder / name) for name in ("gpt2-encoder.json", "gpt2-vocab.bpe")]
    mine = BPETokenizer.from_file(*files)
    found: dict[str, Callable] = {}
    with tempfile.TemporaryDirectory() as saved:
        mine.save(saved)
        path = f"{saved}/tokenizer.json"
        if "lexforge" in names:
            found["lexforge"] = lambda text: mine.encode(text, special=False)
            found["array"] = lambda text: mine.encode_array(text, special=False)
        if "gigatoken" in names:
            import gigatoken

            giga = gigatoken.Tokenizer(path)
            found["gigatoken"] = lambda text: giga.encode_batch_list([text], parallel=False)[0]
            found["gigatoken array"] = giga.encode
        if "fastokens" in names:
            import fastokens

            fast = fastokens.Tokenizer.from_file(path)
            found["fastokens"] = lambda text: fast.encode_ordinary(text).ids
        if "tokie" in names:
            import tokie

            tok = tokie.Tokenizer.from_json(path)
            found["tokie"] = lambda text: tok.encode(text, add_special_tokens=False).ids
    if "tiktoken" in names:
        import tiktoken
        from tiktoken.load import data_gym_to_mergeable_bpe_ranks

        ranks = data_gym_to_mergeable_bpe_ranks(files[1], files[0])
        found["tiktoken"] = tiktoken.Encoding(
            "gpt2", pat_str=PATTERN, mergeable_ranks=ranks, special_tokens={"<|endoftext|>": 50256}
        ).encode_ordinary
    if "tokenizers" in names:
        import tokenizers

        theirs = byte_level(tokenizers, tokenizers.models.BPE.from_file(*files))
        found["tokenizers"] = lambda text: theirs.encode(text).ids
    return found


class EncodingSide:
    """A library that encodes the text in turns, in MB per second of CPU time.

    A turn begins with a call that is not counted, where one takes less than a second: while others
    have theirs a virtual machine gives free memory back to its host, and caches are emptied.
    """

    def __init__(self, name: str, text: str):
        library = {array: of for of, array in ARRAYS.items()}.get(name, name)
        self.encode, self.text = encoders([library])[name], text
        self.rates: list[float] = []
        self.seconds = math.inf  # of the last call
        self.hash = ""

    def turn(self, count: int) -> None:
        size = len(self.text.encode()) / 1e6
        if self.seconds < 1:
            self.encode(self.text)
        for _ in range(count):
            begin = time.process_time()
            ids = self.encode(self.text)
            self.seconds = time.process_time() - begin
            self.rates.append(size / self.seconds)
            self.hash = self.hash or hashlib.sha256(np.array(ids, np.int32).data).hexdigest()

    def record(self) -> dict:
        return {"rates": self.rates, "hash": self.hash}


def beginning(options: argparse.Namespace) -> str:
    return options.text.read_bytes()[: int(options.megabytes * 1e6)].decode(errors="ignore")


def time_encoding(options: argparse.Namespace, path: Path, report: Report) -> None:
    command = [sys.executable, __file__, "--text", str(path), "--alone", "encode"]
    names = present(ENCODERS, options)
    names = [side for name in names for side in (name, ARRAYS.get(name)) if side]
    more = ["--megabytes", str(options.megabytes)]
    sides = {name: Contestant([*command, name, *more]) for name in names}
    told = {name: side.ask(1) for name, side in sides.items()}
    for name, record in told.items():
        if record["hash"] != told[names[0]]["hash"]:
            print(f"encode {name}: other ids than {names[0]}", flush=True)
    spent = dict.fromkeys(names, 0.0)
    for number in range(options.repeats):
        for name, side in sides.items():
            if number >= 2 and spent[name] > PATIENCE:
                continue
            begin = time.perf_counter()
            told[name] = side.ask(1)
            spent[name] += time.perf_counter() - begin
    for name, side in sides.items():
        side.end()
        rates = told[name]["rates"]
        speed = statistics.median(rates)
        print(f"encode {name:16} {speed:8.1f} MB/s of CPU ({len(rates)} turns)", flush=True)
        report.add({"case": "encode", "name": name, "mb_per_s": speed, "rates": rates})


def time_words(options: argparse.Namespace, path: Path, report: Report) -> None:
    for name in present(ENCODERS, options):
        told = alone("word", name, path, options)
        seconds = told and told["seconds"]
        shown = f"{seconds:8.2f} s" if told else f"more than {PATIENCE} s"
        print(f"word of {LETTERS:,} letters {name:16} {shown}", flush=True)
        report.add({"case": "word", "name": name, "letters": LETTERS, "seconds": seconds})


def slice_of(options: argparse.Namespace, folder: Path) -> Path:
    """The text as a file."""
    if options.text:
        return options.text
    path = folder / "text.txt"
    packed = Path(os.environ["LEXFORGE_DATA"], "corpora", "enwiki_articles.txt.xz")
    with lzma.open(packed) as source:
        path.write_bytes(source.read().decode(errors="replace").encode())
    return path


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=CASES, default=CASES)
    parser.add_argument("--text", type=Path)
    parser.add_argument("--megabytes", type=float, default=20)
    parser.add_argument("--vocab-size", type=int, default=32_000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--rivals", nargs="*", default=sorted({*ENCODERS, *TRAINERS}))
    parser.add_argument("--alone", nargs=2, help=argparse.SUPPRESS)
    add_report_options(parser)
    options = parser.parse_args()
    if options.alone and options.alone[0] == "encode":
        take_turns(EncodingSide(options.alone[1], beginning(options)))
        return
    if options.alone:
        print(json.dumps(told_alone(*options.alone, options)))
        return
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ["RAYON_NUM_THREADS"] = "1"
    report = Report(options, "cpu")
    steps = {"encode": time_encoding, "word": time_words}
    steps |= {"train": time_learning, "growth": time_growth}
    with tempfile.TemporaryDirectory() as folder:
        path = slice_of(options, Path(folder))
        for name, step in steps.items():
            if name in options.only:
                step(options, path, report)
    report.close()


if __name__ == "__main__":
    main()
