"""Runs the benchmarks of this machine: `make bench`.

    python benchmarks/run.py [--only wikipedia sampling ...] [--output benchmarks/results]
    python benchmarks/run.py --check

Each script of the folder that takes ``--json`` is run by itself, one after another, with
``OMP_NUM_THREADS`` at the number of cores; it writes ``<output>/<script>.json``, and the table that
it prints goes to ``<output>/<script>.md``. Scripts that need real data sets are left out, with a
line that says so, where LEXFORGE_DATA is not set. Close other programs first: timings of a busy
machine are worth nothing.

Each result has its processor, commit and date. At the end, or alone with ``--check``, they are
told, and which of them are older than the kernels that they measure.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
NOT_BENCHMARKS = {"run", "harness", "bert_reference", "classifiers", "versions"}
NEED_DATA = {
    "wikipedia",
    "ptb_reference",
    "glove",
    "bert",
    "bpe",
    "bert_finetune",
    "nli",
    "sentiment",
    "sentiment_time",
}
# The code behind each result: its script, these folders of csrc, and csrc/common.
MEASURED = {
    "attention": ["attention"],
    "bert": ["attention", "transformer", "text"],
    "bert_finetune": ["attention", "transformer"],
    "bert_finetune_accuracy": ["attention", "transformer"],
    "conv_max_pool": ["convolution", "embedding"],
    "bpe": ["text"],
    "cooccurrence": ["cooccurrence"],
    "cosine_top_k": ["similarity"],
    "decode_attention": ["attention", "transformer"],
    "embedding_bag": ["embedding"],
    "fasttext_supervised": ["subword", "text"],
    "fasttext_supervised_avx2": ["subword", "text"],
    "fasttext_supervised_calls": ["text"],
    "glove": ["cooccurrence", "glove", "text"],
    "gpt": ["attention", "transformer"],
    "gpt_large_avx2": ["attention", "transformer"],
    "gpt_run": ["attention", "transformer"],
    "gpt_run_avx2": ["attention", "transformer"],
    "glove_loss": ["glove"],
    "glove_train": ["glove"],
    "gpt_generate": ["attention", "transformer"],
    "lstm": ["recurrent"],
    "nli": ["alignment", "embedding", "transformer"],
    "phrases": ["text"],
    "ptb_reference": ["word2vec", "sampling"],
    "row_update": ["embedding"],
    "sampling": ["sampling"],
    "sentiment_birnn": ["recurrent", "convolution", "embedding"],
    "sentiment_textcnn": ["recurrent", "convolution", "embedding"],
    "sentiment_time": ["word2vec", "convolution", "embedding", "text"],
    "soft_align": ["alignment"],
    "word2vec_train": ["word2vec"],
    "word2vec_train_models": ["word2vec"],
    "text_reader": ["text"],
    "transformer": ["transformer"],
    "vector_files": ["text"],
    "wikipedia": ["word2vec", "text"],
    "wikipedia_bf16_avx2": ["word2vec", "text"],
    "wikipedia_deterministic_avx2": ["word2vec", "text"],
    "wikipedia_fasttext": ["word2vec", "text"],
    "wikipedia_fasttext_avx2": ["word2vec", "text"],
    "wikipedia_fasttext_cbow": ["word2vec", "text"],
    "wikipedia_models": ["word2vec", "text"],
    "wikipedia_models_avx2": ["word2vec", "text"],
    "wikipedia_peak": ["word2vec", "text"],
}


def origin(result: Path) -> str:
    """Where, when and from what a result is."""
    environment = json.loads(result.read_text())["environment"]
    where = environment.get("gpu") or f"{environment['cpu']}, {environment['cores']} cores"
    return f"{where}; commit {environment['commit'][:7]}; {environment.get('date', 'no date')}"


def changes_since(result: Path, repository: Path = HERE.parent) -> str:
    """What has happened since to the code that a result measures; empty if nothing."""
    commit = json.loads(result.read_text())["environment"]["commit"]
    stem = result.stem
    # Of a script's cases that were run apart.
    parts = ("_avx2", "_bf16", "_peak", "_models", "_deterministic", "_cbow", "_birnn", "_textcnn")
    for part in (*parts, "_accuracy", "_large", "_run", "_calls"):
        stem = stem.removesuffix(part)
    script = f"benchmarks/{stem}.py"
    folders = [f"csrc/{name}" for name in (*MEASURED[result.stem], "common")]
    range_and_dates = ["--format=%cs", f"{commit}..HEAD"]
    log = subprocess.run(
        ["git", "-C", str(repository), "log", *range_and_dates, "--", script, *folders],
        capture_output=True,
        text=True,
        check=False,
    )
    if log.returncode:
        return "its commit is not in this repository"
    dates = log.stdout.split()
    return f"older than its code: {len(dates)} commits, the last {dates[0]}" if dates else ""


def check(folder: Path) -> None:
    """A line for each result."""
    for result in sorted(folder.glob("*.json")):
        if result.stem in MEASURED:
            told = filter(None, (origin(result), changes_since(result)))
            print(f"{result.stem}: {'; '.join(told)}")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = sorted(path.stem for path in HERE.glob("*.py") if path.stem not in NOT_BENCHMARKS)
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--output", type=Path, default=HERE / "results")
    parser.add_argument("--check", action="store_true", help="run nothing, tell of the results")
    options = parser.parse_args()
    if options.check:
        check(options.output)
        return 0
    options.output.mkdir(parents=True, exist_ok=True)
    environment = {"OMP_NUM_THREADS": str(len(os.sched_getaffinity(0))), **os.environ}
    failed = []
    for name in options.only:
        if name in NEED_DATA and not os.environ.get("LEXFORGE_DATA"):
            print(f"{name}: left out, LEXFORGE_DATA is not set", flush=True)
            continue
        begin = time.monotonic()
        command = [sys.executable, str(HERE / f"{name}.py")]
        command += ["--json", str(options.output / f"{name}.json")]
        result = subprocess.run(
            command, env=environment, stdout=subprocess.PIPE, text=True, check=False
        )
        print(f"{name}: {time.monotonic() - begin:.0f} s", flush=True)
        print(result.stdout, flush=True)
        if result.returncode:
            failed.append(name)
        else:
            told = f"{origin(options.output / f'{name}.json')}\n\n"
            (options.output / f"{name}.md").write_text(told + result.stdout)
    check(options.output)
    if failed:
        print(f"failed: {', '.join(failed)}")
    return bool(failed)


if __name__ == "__main__":
    raise SystemExit(main())
