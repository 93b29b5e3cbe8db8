"""Word2vec on English Wikipedia, end to end: speed and quality beside gensim.

    LEXFORGE_DATA=FOLDER python benchmarks/wikipedia.py [--models skipgram cbow skipgram-hs cbow-hs]
        [--seeds 1 2 3] [--threads 1 2] [--json F]

Both read the same lower-cased text with the same settings: size 100, window 5 (drawn anew for each
centre), 5 noise words, sample 1e-4, min_count 5, 5 epochs, the default learning rate falling
linearly (0.025; of lexforge's CBOW 0.075, whose gradient is divided by the number of context words,
which gensim leaves out). gensim runs from `corpus_file`, its fastest way. For each seed and number
of threads the contestants take turns in one process each, so that the machine's moods meet them
all:

    gensim    5 noise words for each pair
    pair      lexforge, 5 noise words for each pair (the default)
    window    lexforge, negative_sharing="window"; of skip-gram with noise alone
    deterministic      pair with deterministic=True
    rates     only when asked for: pair at the learning rates of gensim's workers, see below

Models with -hs have hierarchical softmax in place of noise words.

Speed is raw words per second: corpus tokens in the vocabulary, dropped by sub-sampling or not,
times epochs, over the time of `train`, which reads the text (lexforge encodes it once, gensim
parses it in every epoch); the vocabulary is built before. Beware of gensim's learning rate with
several workers: each lets it fall by its own share of the corpus only, so with 2 workers it stays
higher than with one, and rises where an epoch begins; compare quality at 1 thread (only there are
the schedules alike), or with `--trainers rates`, which trains epoch by epoch at such rates.
Spearman correlation on WordSim-353 and SimLex-999, accuracy on the Google analogies. `--peak`
instead trains once in a fresh process and reports the peak memory beside the size of the tables.
"""

from __future__ import annotations

import argparse
import itertools
import json
import lzma
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SETTINGS = {
    "vector_size": 100,
    "window": 5,
    "negative": 5,
    "sample": 1e-4,
    "min_count": 5,
}
MODELS = {
    "skipgram": {"sg": 1, "hs": 0},
    "cbow": {"sg": 0, "hs": 0},
    "skipgram-hs": {"sg": 1, "hs": 1, "negative": 0},
    "cbow-hs": {"sg": 0, "hs": 1, "negative": 0},
}
CONTESTANTS = ("gensim", "pair", "window", "bf16", "deterministic", "rates")


def corpus(folder: Path, data: Path) -> Path:
    """The slice as plain text, one paragraph a line, lower-cased."""
    path = folder / "enwiki.txt"
    packed = data / "corpora" / "enwiki_articles.txt.xz"
    # Line by line: a large parent would show in its children's peak memory.
    with (
        lzma.open(packed, "rt", encoding="utf-8") as lines,
        path.open("w", encoding="utf-8") as out,
    ):
        out.writelines(line.lower() for line in lines)
    return path


def train(
    kind: str, contestant: str, text: Path, threads: int, seed: int, epochs: int
) -> dict[str, float]:
    """One training run in this process."""
    settings = {**SETTINGS, **MODELS[kind]}
    import torch

    torch.set_num_threads(threads)
    from lexforge import KeyedVectors, Word2Vec

    if contestant == "gensim":
        from gensim.models import Word2Vec as Gensim

        model = Gensim(**settings, workers=threads, seed=seed, epochs=epochs)
        model.build_vocab(corpus_file=str(text))
        begin = time.perf_counter()
        model.train(
            corpus_file=str(text),
            total_words=model.corpus_total_words,
            total_examples=model.corpus_count,
            epochs=epochs,
        )
        seconds = time.perf_counter() - begin
        counts = [model.wv.get_vecattr(word, "count") for word in model.wv.index_to_key]
        vectors = KeyedVectors(model.wv.index_to_key, model.wv.vectors, counts)
    else:
        model = Word2Vec(
            **settings,
            workers=threads,
            seed=seed,
            epochs=epochs,
            negative_sharing="window" if contestant == "window" else "pair",
            precision="bf16" if contestant == "bf16" else "float32",
            deterministic=contestant == "deterministic",
            progress=False,
        )
        model.build_vocab(corpus_file=str(text))
        begin = time.perf_counter()
        call = {"corpus_file": str(text), "total_examples": model.corpus_count, "progress": False}
        if contestant == "rates":
            alpha, fall = model.alpha, (model.alpha - model.min_alpha) / epochs
            for epoch in range(epochs):
                first = alpha - fall * epoch
                last = first - fall / threads
                model.train(**call, epochs=1, start_alpha=first, end_alpha=last)
        else:
            model.train(**call, epochs=epochs)
        seconds = time.perf_counter() - begin
        counts = [model.wv.get_vecattr(word, "count") for word in model.wv.index_to_key]
        vectors = model.wv
    data = Path(os.environ["LEXFORGE_DATA"])
    pairs = data / "similarity"
    return {
        "words_per_second": sum(int(count) for count in counts) * epochs / seconds,
        "seconds": seconds,
        "wordsim353": vectors.evaluate_word_pairs(pairs / "EN-WS-353-ALL.txt")[1][0],
        "simlex999": vectors.evaluate_word_pairs(pairs / "EN-SIMLEX-999.txt")[1][0],
        "analogy": vectors.evaluate_word_analogies(data / "analogy" / "questions-words.txt")[0],
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "tables_mib": 2 * len(vectors) * -(-SETTINGS["vector_size"] // 16) * 16 * 4 / 2**20,
    }


def peak(text: Path, threads: int) -> dict[str, float]:
    """Peak memory of the command line, which trains from the encoded corpus on disk."""
    with tempfile.TemporaryDirectory() as out:
        command = [
            *(sys.executable, "-m", "lexforge.cli.main", "word2vec", str(text)),
            *("--out", f"{out}/model", "--sg", "1", "--epochs", "1", "--sample", "1e-4", "--quiet"),
            *("--workers", str(threads)),
        ]
        subprocess.run(command, check=True)
        with open(f"{out}/model/vocab.txt", encoding="utf-8") as vocabulary:
            words = sum(1 for _ in vocabulary)
    # Of all finished children the largest: this one.
    process = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    imports = "import torch, lexforge.ops, resource; "
    imports += "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    bare = subprocess.run([sys.executable, "-c", imports], capture_output=True, check=True)
    return {
        "peak_mib": process,
        "tables_mib": 2 * words * 112 * 4 / 2**20,
        "torch_mib": int(bare.stdout) / 1024,
    }


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
    lines = [
        "| model | threads | trainer | words/s | ratio to gensim | WordSim-353 | SimLex-999 "
        "| analogy |",
        "|---|---|---|---|---|---|---|---|",
    ]
    kinds = [(kind, n) for kind in MODELS for n in sorted({run["threads"] for run in runs})]
    for kind, threads in kinds:
        base = None
        for contestant in CONTESTANTS:
            one = (kind, threads, contestant)
            mine = [r for r in runs if (r["model"], r["threads"], r["trainer"]) == one]
            if not mine:
                continue
            speed = statistics.median(run["words_per_second"] for run in mine)
            base = base or speed

            def spread(name: str, mine: list[dict] = mine) -> str:
                values = [100 * run[name] for run in mine]
                half = (max(values) - min(values)) / 2
                return f"{statistics.mean(values):.1f} ± {half:.1f}"

            quality = " | ".join(spread(n) for n in ("wordsim353", "simlex999", "analogy"))
            lines.append(
                f"| {kind} | {threads} | {contestant} | {speed / 1e6:.2f} M | {speed / base:.1f} x "
                f"| {quality} |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--trainers", nargs="+", choices=CONTESTANTS, default=CONTESTANTS[:-1])
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--peak", action="store_true", help="peak memory instead of speed")
    parser.add_argument("--json", type=Path, help="also write the runs to this file")
    parser.add_argument("--one", nargs=5, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        kind, contestant, text, threads, seed = options.one
        result = train(kind, contestant, Path(text), int(threads), int(seed), options.epochs)
        print(json.dumps({"model": kind, "trainer": contestant, **result}))
        return
    data = os.environ.get("LEXFORGE_DATA")
    if not data:
        raise SystemExit("LEXFORGE_DATA must name the folder of real data sets")
    runs = []
    with tempfile.TemporaryDirectory() as folder:
        text = corpus(Path(folder), Path(data))
        if options.peak:
            runs = [{"threads": n, **peak(text, n)} for n in options.threads]
            for run in runs:
                print(json.dumps(run))
        else:
            for seed, threads, kind, contestant in itertools.product(
                options.seeds, options.threads, options.models, options.trainers
            ):
                if contestant == "window" and kind != "skipgram":
                    continue
                arguments = [kind, contestant, str(text), str(threads), str(seed)]
                result = run_apart([*arguments, "--epochs", str(options.epochs)])
                runs.append({"threads": threads, "seed": seed, **result})
                print(json.dumps(runs[-1]), file=sys.stderr, flush=True)
            print(markdown(runs))
    if options.json:
        from harness import write_report

        write_report(options.json, "cpu", runs)


if __name__ == "__main__":
    main()
