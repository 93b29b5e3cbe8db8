"""fastText on English Wikipedia, end to end: speed, quality and memory beside the original's.

    LEXFORGE_DATA=FOLDER python benchmarks/wikipedia_fasttext.py [--models skipgram cbow ...]
        [--trainers lexforge window original gensim] [--seeds 1 2 3] [--threads 1 2] [--json F]

All read the same lower-cased text with the same settings: size 100, window 5 (drawn anew for each
centre), 5 noise words, sample 1e-4, min_count 5, n-grams of 3 to 6 characters in 2,000,000 buckets,
5 epochs, and the same learning rate falling linearly (``--alpha``, 0.05, the original's default).
For each seed and number of threads the contestants take turns in one process each, so that the
machine's moods meet them all:

    lexforge    5 noise words for each pair (the default)
    window      lexforge, negative_sharing="window"; of skip-gram with noise alone
    original    the package ``fasttext`` or one of its builds that train, where one is installed
    gensim      its FastText from `corpus_file`, where it is installed

Models with -hs have hierarchical softmax in place of noise words.

Speed is raw words per second: words of the vocabulary, dropped by sub-sampling or not, times
epochs, over the time of training. lexforge's and gensim's is that of `train`, which reads the text,
the vocabulary being built before; the original's is that of a run less one that reads the words
alone, a run of no epochs.

Spearman correlation on WordSim-353 and on rare words (a file whose name begins with RW or
EN-RW beside it), over all pairs, words out of the vocabulary included; and with "known" over those
whose words both are in it. Memory is the peak of a process that trains, less that of one that has
imported the library.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from wikipedia import corpus

SIZE, WINDOW, NOISE, SAMPLE, LEAST, BUCKET = 100, 5, 5, 1e-4, 5, 2_000_000
MODELS = {
    "skipgram": {"sg": 1, "hs": 0},
    "cbow": {"sg": 0, "hs": 0},
    "skipgram-hs": {"sg": 1, "hs": 1},
    "cbow-hs": {"sg": 0, "hs": 1},
}
CONTESTANTS = ("original", "gensim", "lexforge", "window")
Vector = Callable[[str], np.ndarray]


def settings(kind: str) -> dict[str, float]:
    """In gensim's names."""
    model = MODELS[kind]
    return {
        **model,
        "negative": 0 if model["hs"] else NOISE,
        "vector_size": SIZE,
        "window": WINDOW,
        "sample": SAMPLE,
        "min_count": LEAST,
        "bucket": BUCKET,
    }


def train(
    kind: str, contestant: str, text: Path, threads: int, seed: int, epochs: int, alpha: float
) -> dict[str, float]:
    """One training run in this process."""
    run = {"original": _original, "gensim": _gensim}.get(contestant, _lexforge)
    before, seconds, words, known, vector = run(
        kind, contestant, text, threads, seed, epochs, alpha
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {
        "words_per_second": words * epochs / seconds,
        "seconds": seconds,
        "peak_mib": peak - before,
        **similarities(vector, known),
    }


def _memory() -> float:
    """MiB, the peak so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _lexforge(kind, contestant, text, threads, seed, epochs, alpha):
    import torch

    from lexforge import FastText

    torch.set_num_threads(threads)
    before = _memory()
    model = FastText(
        **settings(kind),
        alpha=alpha,
        workers=threads,
        seed=seed,
        epochs=epochs,
        negative_sharing="window" if contestant == "window" else "pair",
        device="cpu",
    )
    model.build_vocab(corpus_file=str(text))
    begin = time.perf_counter()
    model.train(corpus_file=str(text))
    seconds = time.perf_counter() - begin
    return before, seconds, model.vocabulary.total, set(model.wv.key_to_index), model.wv.get_vector


def _gensim(kind, contestant, text, threads, seed, epochs, alpha):
    from gensim.models import FastText

    before = _memory()
    model = FastText(**settings(kind), alpha=alpha, workers=threads, seed=seed, epochs=epochs)
    model.build_vocab(corpus_file=str(text))
    begin = time.perf_counter()
    model.train(
        corpus_file=str(text),
        total_words=model.corpus_total_words,
        total_examples=model.corpus_count,
        epochs=epochs,
    )
    seconds = time.perf_counter() - begin
    words = sum(int(model.wv.get_vecattr(word, "count")) for word in model.wv.index_to_key)
    return before, seconds, words, set(model.wv.key_to_index), model.wv.get_vector


def _original(kind, contestant, text, threads, seed, epochs, alpha):
    import fasttext

    before = _memory()
    options = {
        "model": "skipgram" if MODELS[kind]["sg"] else "cbow",
        "loss": "hs" if MODELS[kind]["hs"] else "ns",
        "lr": alpha,
        "dim": SIZE,
        "ws": WINDOW,
        "minCount": LEAST,
        "minn": 3,
        "maxn": 6,
        "neg": NOISE,
        "bucket": BUCKET,
        "thread": threads,
        "t": SAMPLE,
        "seed": seed,
        "verbose": 0,
    }
    begin = time.perf_counter()
    fasttext.train_unsupervised(str(text), epoch=0, **options)
    reading = time.perf_counter() - begin
    begin = time.perf_counter()
    model = fasttext.train_unsupervised(str(text), epoch=epochs, **options)
    seconds = time.perf_counter() - begin - reading
    names, counts = model.get_words(include_freq=True)
    words = sum(int(count) for name, count in zip(names, counts, strict=True) if name != "</s>")
    return before, seconds, words, set(names), model.get_word_vector


def similarities(vector: Vector, known: set[str]) -> dict[str, float]:
    """Spearman correlations by the name of the set."""
    from scipy.stats import spearmanr

    folder = Path(os.environ["LEXFORGE_DATA"]) / "similarity"
    rare = sorted([*folder.glob("RW*"), *folder.glob("rw*"), *folder.glob("EN-RW*")])
    files = {"wordsim353": folder / "EN-WS-353-ALL.txt"}
    files |= {"rare_words": rare[0]} if rare else {}
    found = {}
    for name, path in files.items():
        lines = [line.lower().split() for line in path.read_text("utf-8").splitlines()]
        pairs = [(a, b, float(score)) for a, b, score, *_ in filter(None, lines)]
        cosines = np.array([_cosine(vector(a), vector(b)) for a, b, _ in pairs])
        scores = np.array([score for *_, score in pairs])
        both = np.array([a in known and b in known for a, b, _ in pairs])
        found[name] = float(spearmanr(cosines, scores)[0])
        found[f"{name}_known"] = float(spearmanr(cosines[both], scores[both])[0])
    return found


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    norm = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b / norm) if norm else 0.0


def run_apart(arguments: list[str]) -> dict[str, float]:
    """The same in a process of its own: nobody inherits another's memory or threads."""
    output = subprocess.run(
        [sys.executable, __file__, "--one", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    ).stdout
    return json.loads(output.splitlines()[-1])


def markdown(runs: list[dict]) -> str:
    """Medians over seeds; quality with its spread."""
    sets = [name for name in ("wordsim353", "rare_words") if all(name in run for run in runs)]
    columns = [column for name in sets for column in (name, f"{name}_known")]
    titles = "".join(f" {name.replace('_', ' ')} |" for name in columns)
    lines = [
        f"| model | threads | trainer | words/s | ratio to the first | memory |{titles}",
        "|---|---|---|---|---|---|" + "---|" * len(columns),
    ]
    for kind, threads in itertools.product(MODELS, sorted({run["threads"] for run in runs})):
        base = None
        for contestant in CONTESTANTS:
            one = (kind, threads, contestant)
            mine = [r for r in runs if (r["model"], r["threads"], r["trainer"]) == one]
            if not mine:
                continue
            speed = statistics.median(run["words_per_second"] for run in mine)
            memory = statistics.median(run["peak_mib"] for run in mine)
            base = base or speed
            quality = "".join(f" {_spread([run[name] for run in mine])} |" for name in columns)
            lines.append(
                f"| {kind} | {threads} | {contestant} | {speed / 1e3:.0f} k | {speed / base:.1f} x "
                f"| {memory:.0f} MiB |{quality}"
            )
    return "\n".join(lines)


def _spread(values: Sequence[float]) -> str:
    percent = [100 * value for value in values]
    return f"{statistics.mean(percent):.1f} ± {(max(percent) - min(percent)) / 2:.1f}"


def installed() -> list[str]:
    """Those that can take part here."""
    peers = {"original": "fasttext", "gensim": "gensim"}
    return [
        each
        for each in CONTESTANTS
        if each not in peers or importlib.util.find_spec(peers[each]) is not None
    ]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=["skipgram", "cbow"])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--trainers", nargs="+", choices=CONTESTANTS, default=installed())
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--alpha", type=float, default=0.05)
    parser.add_argument("--lines", type=int, help="read so many lines of the text only")
    parser.add_argument("--json", type=Path, help="also write the runs to this file")
    parser.add_argument("--one", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        kind, contestant, text, threads, seed = options.one
        result = train(
            *(kind, contestant, Path(text), int(threads), int(seed)),
            *(options.epochs, options.alpha),
        )
        print(json.dumps({"model": kind, "trainer": contestant, **result}))
        return
    data = os.environ.get("LEXFORGE_DATA")
    if not data:
        raise SystemExit("LEXFORGE_DATA must name the folder of real data sets")
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        text = corpus(Path(folder), Path(data))
        if options.lines:
            with text.open(encoding="utf-8") as lines:
                head = list(itertools.islice(lines, options.lines))
            text.write_text("".join(head), "utf-8")
        for seed, threads, kind, contestant in itertools.product(
            options.seeds, options.threads, options.models, options.trainers
        ):
            if contestant == "window" and kind != "skipgram":
                continue
            arguments = [kind, contestant, str(text), str(threads), str(seed)]
            more = ["--epochs", str(options.epochs), "--alpha", str(options.alpha)]
            runs.append({"threads": threads, "seed": seed, **run_apart([*arguments, *more])})
            print(json.dumps(runs[-1]), file=sys.stderr, flush=True)
        print(markdown(runs))
    if options.json:
        from harness import write_report

        write_report(options.json, "cpu", runs)


if __name__ == "__main__":
    main()
