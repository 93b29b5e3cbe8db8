"""Seconds from the raw reviews of IMDb to a classifier, beside gensim and plain PyTorch.

    LEXFORGE_DATA=FOLDER python benchmarks/sentiment_time.py [--threads 2] [--epochs 2]
        [--texts 2000] [--steps 4] [--only plain lexforge] [--json F]

What is timed of lexforge is one command, from its start to its end:

    lexforge sentiment train imdb --unlabelled imdb:unsup --tokenizer split --epochs 2 --out FOLDER

which reads 75,000 reviews, trains word vectors on them (skip-gram, size 100) and textCNN with
these; the accuracy on the test reviews is told beside it. What gensim and plain PyTorch take for as
many passes with the same settings is not waited for: reading the reviews, which lexforge's reader
and a regular expression do, is measured, the rest is a part of the work and in proportion. Vectors
are trained on --texts reviews, once over, and the reference text's network for --steps steps
(benchmarks/sentiment.py, in a process that keeps the memory it frees). Its accuracy is not
measured.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

import classifiers
import sentiment
from harness import Report, add_report_options
from lexforge.classification import TextClassifier
from lexforge.models.classification.settings import TrainingSettings
from lexforge.models.classification.vectors import EPOCHS, SAMPLE, WINDOW
from lexforge.text.classification import LabelledTexts, read_labelled, read_texts

KIND, SIZE = "textcnn", 100
SENTENCES = ["so great", "so bad"]  # the reference text's


def ours(options: argparse.Namespace) -> dict:
    """The command, and how good what it makes is."""
    with tempfile.TemporaryDirectory(prefix="lexforge-") as folder:
        out = str(Path(folder, "sentiment"))
        command = [sys.executable, "-m", "lexforge.cli.main", "sentiment", "train", options.data]
        command += ["--unlabelled", options.unlabelled, "--tokenizer", "split", "--out", out]
        command += ["--epochs", str(options.epochs), "--workers", str(options.threads)]
        begin = time.perf_counter()
        subprocess.run(command, check=True)
        seconds = time.perf_counter() - begin
        classifier = TextClassifier.load(out, "cpu")
        scores = classifier.evaluate(read_labelled(options.test))
        said = dict(zip(SENTENCES, classifier.predict(SENTENCES).labels, strict=True))
    return {"side": "lexforge", "seconds": seconds, "accuracy": scores.accuracy, "said": said}


def plain(options: argparse.Namespace) -> dict:
    """gensim's vectors and the text's network: measured in part, and told in proportion."""
    from gensim.models import Word2Vec

    parts, begin = {}, time.perf_counter()
    labelled, more = read_labelled(options.data), read_texts(options.unlabelled)
    lines = [re.findall(r"\w+|[^\w\s]", text.lower()) for text in (*labelled.first, *more.first)]
    parts["reading"] = time.perf_counter() - begin
    rows = np.random.default_rng(0).permutation(len(lines))[: options.texts]
    some = [lines[row] for row in rows]
    begin = time.perf_counter()
    model = Word2Vec(
        vector_size=SIZE, sg=1, window=WINDOW, min_count=5, sample=SAMPLE, workers=options.threads
    )
    model.build_vocab(some)
    model.train(some, total_examples=len(some), epochs=1)
    parts["vectors"] = (time.perf_counter() - begin) * len(lines) / len(some) * EPOCHS
    begin = time.perf_counter()
    joined = LabelledTexts(
        [" ".join(words) for words in lines[: len(labelled)]], None, labelled.labels, labelled.names
    )
    task = classifiers.WordTask(KIND, sentiment.PlainTextCNN, joined, joined[:1])
    side = classifiers.Keeping(task, "float32", 1)
    parts["reading"] += time.perf_counter() - begin
    side.turn(1)  # sets up
    side.rates.clear()
    side.turn(options.steps)
    trained = len(labelled) * (1 - TrainingSettings().dev_share)
    parts["network"] = options.epochs * trained / side.rates[0]
    return {"side": "gensim and plain PyTorch", "seconds": sum(parts.values()), "parts": parts}


SIDES = {"plain": plain, "lexforge": ours}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=SIDES, default=list(SIDES))
    parser.add_argument("--data", default="imdb", help="as lexforge takes it")
    parser.add_argument("--unlabelled", default="imdb:unsup")
    parser.add_argument("--test", default="imdb:test")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=2, help="of the network")
    parser.add_argument("--texts", type=int, default=2000, help="of which plain's time is told")
    parser.add_argument("--steps", type=int, default=4, help="of plain's network")
    add_report_options(parser)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    report = Report(options, "cpu")
    print("| side | minutes | test accuracy |\n|---|---|---|", flush=True)
    for name in options.only:
        record = SIDES[name](options)
        accuracy = f"{record['accuracy']:.4f}" if "accuracy" in record else "not measured"
        print(f"| {record['side']} | {record['seconds'] / 60:.1f} | {accuracy} |", flush=True)
        for sentence, label in record.get("said", {}).items():
            print(f"{sentence!r} is {label}", flush=True)
        if "parts" in record:
            told = (f"{part} {seconds / 60:.1f}" for part, seconds in record["parts"].items())
            print(f"of its minutes: {', '.join(told)}", flush=True)
        report.add({"case": "time to quality", "epochs": options.epochs, **record})
    report.close()


if __name__ == "__main__":
    main()
