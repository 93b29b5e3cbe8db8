"""Text classification beside fastText: speed of training and prediction, and accuracy.

    LEXFORGE_DATA=... python benchmarks/fasttext_supervised.py --threads 1 2 --json results.json

The text is IMDb: 25,000 reviews to train on and as many to test with, in lower case, punctuation
apart from words; or --train and --test, files of lines with labels. Both programs have the same
settings and take turns, --repeats times; figures are medians of whole calls, reading the text and
making the tables included, in words of text per second (times epochs, in training). `train, loop`
is training alone, of Lexforge: fastText does not tell. The peer is whatever ``import fasttext``
finds (`pip install fasttext-community`).

With --calls single calls are measured instead, as in a loop of Python: --repeats times some hundred
of each in turns, on models of the first 5,000 lines (the classifier, with n-grams of characters,
and vectors by skip-gram) that both programs load; the best of each, in microseconds a call.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import statistics
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import torch

import lexforge.fasttext as ours
from harness import Report, add_report_options, alternate
from lexforge.models.fasttext import FastTextClassifier

LINES = 5_000  # of the text, for single calls


def write_imdb(folder: Path) -> tuple[Path, Path]:
    """The reviews as lines with labels, shuffled."""
    data = os.environ.get("LEXFORGE_DATA")
    if data is None:
        raise SystemExit("LEXFORGE_DATA is not set: give --train and --test")
    lines: dict[str, list[str]] = {"train": [], "test": []}
    with tarfile.open(Path(data, "imdb", "aclImdb_labelled.tar.xz"), "r:xz") as archive:
        for member in archive:
            found = re.search(r"(train|test)/(pos|neg)/[^/]*\.txt$", member.name)
            if found is None or (file := archive.extractfile(member)) is None:
                continue
            text = file.read().decode().lower().replace("<br />", " ")
            text = re.sub(r"([.!?,'/()\"])", r" \1 ", text)
            lines[found[1]].append(" ".join([f"__label__{found[2]}", *text.split()]))
    for part, found_lines in lines.items():
        random.Random(1).shuffle(found_lines)
        (folder / part).write_text("\n".join([*found_lines, ""]), encoding="utf-8")
    return folder / "train", folder / "test"


def models_of(text: Path, folder: Path, settings: dict) -> dict[str, Path]:
    """A classifier and word vectors of some lines, as files."""
    lines = text.read_bytes().splitlines(keepends=True)[:LINES]
    (some := folder / "some").write_bytes(b"".join(lines))
    options = {"bucket": 200_000, "thread": 1, "verbose": 0, "minn": 3, "maxn": 6}
    made = {
        "classifier": ours.train_supervised(some, **{**settings, **options, "epoch": 2}),
        "vectors": ours.train_unsupervised(some, minCount=2, epoch=1, **options),
    }
    for name, model in made.items():
        model.save_model(folder / f"{name}.bin")
    return {name: folder / f"{name}.bin" for name in made}


def calls_of(vocabulary: list[str], classifier: bool) -> dict[str, list[tuple[str, tuple]]]:
    """Methods, and what they are asked, by a name for each."""
    draw = random.Random(2)
    words = draw.choices(vocabulary, k=200)
    lines = [" ".join(draw.choices(vocabulary[:3000], k=12)) for _ in range(200)]
    asked: dict[str, tuple[str, list[tuple]]] = {
        "get_word_vector": ("get_word_vector", [(word,) for word in words]),
        "get_word_vector, unknown": ("get_word_vector", [(f"{word}xq",) for word in words]),
        "get_sentence_vector": ("get_sentence_vector", [(line,) for line in lines]),
        "get_subwords": ("get_subwords", [(word,) for word in words]),
        "get_line": ("get_line", [(line,) for line in lines]),
        "get_word_id": ("get_word_id", [(word,) for word in words]),
        "get_nearest_neighbors": ("get_nearest_neighbors", [(word,) for word in words[:5]]),
        "get_analogies": ("get_analogies", [tuple(words[i : i + 3]) for i in range(5)]),
    }
    if classifier:
        asked["predict"] = ("predict", [(line,) for line in lines])
        asked["predict, k=2"] = ("predict", [(line, 2) for line in lines])
    return {name: [(method, each) for each in given] for name, (method, given) in asked.items()}


def single_calls(
    arguments: argparse.Namespace, fasttext: Any, text: Path, folder: Path, report: Report
) -> None:
    torch.set_num_threads(1)
    settings = {"dim": arguments.dim, "lr": arguments.lr, "wordNgrams": arguments.word_ngrams}
    print("| model | call | lexforge, us | fasttext, us | times fastText |")
    print("|---|---|---|---|---|")
    for kind, path in models_of(text, folder, settings).items():
        loaded = {"lexforge": ours.load_model(path)}
        if fasttext:
            loaded["fasttext"] = fasttext.load_model(str(path))
        vocabulary = [word for word in loaded["lexforge"].words if word != "</s>"]
        for name, calls in calls_of(vocabulary, kind == "classifier").items():
            works = {
                program: lambda m=model, c=calls: [getattr(m, method)(*each) for method, each in c]
                for program, model in loaded.items()
            }
            times = alternate(works, arguments.repeats, "cpu")
            best = {program: 1e6 * min(each) / len(calls) for program, each in times.items()}
            ratio = best["fasttext"] / best["lexforge"] if "fasttext" in best else None
            for program, each in best.items():
                report.add(
                    {
                        **{"case": name, "model": kind, "words": len(vocabulary)},
                        **{"program": program, "best_us": each, "times_fasttext": ratio},
                    }
                )
            told = f"{best['fasttext']:.2f} | {ratio:.2f}" if ratio else " | "
            print(f"| {kind} | {name} | {best['lexforge']:.2f} | {told} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--train", type=Path, help="lines of words and labels")
    parser.add_argument("--test", type=Path, help="others")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--dim", type=int, default=100)
    parser.add_argument("--epoch", type=int, default=5)
    parser.add_argument("--lr", type=float, default=0.5)
    parser.add_argument("--word-ngrams", type=int, default=2)
    parser.add_argument("--maxn", type=int, default=0)
    parser.add_argument("--loss", default="softmax", choices=("softmax", "hs", "ns", "ova"))
    parser.add_argument("--calls", action="store_true", help="single calls instead")
    add_report_options(parser)
    arguments = parser.parse_args()
    report = Report(arguments, "cpu")
    try:
        import fasttext
    except ImportError:
        fasttext = None
        print("fasttext is not installed: it is left out")
    settings = {name: getattr(arguments, name) for name in ("dim", "epoch", "lr", "loss", "maxn")}

    with tempfile.TemporaryDirectory() as folder:
        given = arguments.train, arguments.test
        train, test = given if all(given) else write_imdb(Path(folder))
        if arguments.calls:
            single_calls(arguments, fasttext, train, Path(folder), report)
            report.close()
            return
        words = {path: len(path.read_bytes().split()) for path in (train, test)}
        print(f"{words[train]:,} words to train on, {words[test]:,} to test with\n")
        print("| work | program | threads | million words/s | times fastText | accuracy |")
        print("|---|---|---|---|---|---|")
        for threads in arguments.threads:
            torch.set_num_threads(threads)
            models: dict[str, object] = {}
            inner: list[float] = []

            def ours(threads=threads, models=models, inner=inner) -> None:
                model = FastTextClassifier(
                    **settings, word_ngrams=arguments.word_ngrams, workers=threads
                )
                models["lexforge"] = model.train(train)
                inner.append(model.state.seconds)

            def theirs(threads=threads, models=models) -> None:
                models["fasttext"] = fasttext.train_supervised(
                    str(train),
                    **settings,
                    wordNgrams=arguments.word_ngrams,
                    thread=threads,
                    verbose=0,
                )

            works = {"lexforge": ours} | ({"fasttext": theirs} if fasttext else {})
            times = {"train": alternate(works, arguments.repeats, "cpu")}
            found = {name: model.test(str(test)) for name, model in models.items()}
            asked = {name: lambda m=model: m.test(str(test)) for name, model in models.items()}
            times["test"] = alternate(asked, arguments.repeats, "cpu")
            times["train, loop"] = {"lexforge": inner[1:]}
            for what, contestants in times.items():
                of = words[test] if what == "test" else words[train] * arguments.epoch
                medians = {name: statistics.median(each) for name, each in contestants.items()}
                for name, seconds in medians.items():
                    ratio = medians["fasttext"] / seconds if "fasttext" in medians else None
                    report.add(
                        {
                            "case": what,
                            "program": name,
                            "threads": threads,
                            **settings,
                            "word_ngrams": arguments.word_ngrams,
                            "median_s": seconds,
                            "words_per_s": of / seconds,
                            "times_fasttext": ratio,
                            "accuracy": found[name][1],
                        }
                    )
                    shown = "" if ratio is None else f"{ratio:.1f}"
                    print(
                        f"| {what} | {name} | {threads} | {of / seconds / 1e6:.2f} | {shown} | "
                        f"{found[name][1]:.4f} |",
                        flush=True,
                    )
    report.close()


if __name__ == "__main__":
    main()
