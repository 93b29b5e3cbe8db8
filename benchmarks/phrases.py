"""Speed of phrases: counting, and joining them in a text, beside gensim's Phrases.

    LEXFORGE_DATA=... python benchmarks/phrases.py --threads 1 2 --json results.json

The text is the beginning of the Wikipedia slice in lower case, or --text, or without data pydocs,
again and again up to --megabytes. Figures are medians, in words of text per second, of --repeats
rounds in which all take turns. `file` reads a file of lines (gensim by its LineSentence) and, where
it joins, writes another; `lists` has lists of str, which Python made before. Both join by frozen
phrases. Counts and phrases are checked to be the same first.
"""

from __future__ import annotations

import argparse
import itertools
import lzma
import os
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

from harness import Report, add_report_options, alternate
from lexforge import Phrases
from lexforge.text import dataset_path, resolve_corpus


def write_text(path: Path, megabytes: float) -> None:
    """Lower-case lines of words between spaces."""
    left, data = megabytes * 1e6, os.environ.get("LEXFORGE_DATA")
    packed = Path(data or "", "corpora", "enwiki_articles.txt.xz")
    if data and packed.exists():
        with lzma.open(packed, "rt", encoding="utf-8") as file:
            lines = list(itertools.islice(file, int(left / 50)))
    else:
        lines = dataset_path("pydocs").read_text("utf-8").splitlines()
    with path.open("w", encoding="utf-8") as out:
        for line in itertools.cycle(lines):
            if words := line.lower().split():
                left -= out.write(" ".join(words) + "\n")
            if left <= 0:
                return


def works(
    text: Path, sentences: list[list[str]], threads: list[int], scratch: Path
) -> dict[str, dict[str, Callable[[], object]]]:
    """What is measured -> contestant -> work."""
    found: dict[str, dict[str, Callable[[], object]]] = {
        "count, file": {},
        "count, lists": {},
        "join, file": {},
        "join, lists": {},
    }
    frozen = Phrases(corpus_file=text).freeze()
    for count in threads:
        name = "lexforge" if count == 1 else f"lexforge, {count} threads"
        options = {"workers": count}
        found["count, file"][name] = lambda o=options: Phrases(corpus_file=text, **o)
        found["count, lists"][name] = lambda o=options: Phrases(sentences, **o)
        found["join, file"][name] = lambda o=options: frozen.transform_file(
            text, scratch / "ours", **o
        )
    found["join, lists"]["lexforge"] = lambda: sum(map(len, frozen[sentences]))
    try:
        from gensim.models import phrases as theirs
        from gensim.models.word2vec import LineSentence
    except ImportError:
        print("gensim is not installed: it is left out")
        return found
    model = theirs.Phrases(sentences)
    assert model.vocab == Phrases(sentences).vocab
    their_frozen = model.freeze()
    assert their_frozen.phrasegrams == frozen.phrasegrams

    def join() -> None:
        with open(scratch / "theirs", "w", encoding="utf-8") as out:
            for sentence in their_frozen[LineSentence(str(text))]:
                out.write(" ".join(sentence) + "\n")

    join()
    frozen.transform_file(text, scratch / "ours")
    ours, others = ((scratch / name).read_bytes().splitlines() for name in ("ours", "theirs"))
    assert list(filter(None, ours)) == others  # LineSentence leaves out empty lines
    found["count, file"]["gensim"] = lambda: theirs.Phrases(LineSentence(str(text)))
    found["count, lists"]["gensim"] = lambda: theirs.Phrases(sentences)
    found["join, file"]["gensim"] = join
    found["join, lists"]["gensim"] = lambda: sum(map(len, their_frozen[sentences]))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", type=Path, help="plain text file, words between single spaces")
    parser.add_argument("--megabytes", type=float, default=10, help="size made without --text")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--repeats", type=int, default=5)
    add_report_options(parser)
    arguments = parser.parse_args()
    report = Report(arguments, "cpu")

    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        text = arguments.text or scratch / "text"
        if arguments.text is None:
            write_text(text, arguments.megabytes)
        sentences = list(resolve_corpus(text))
        words = sum(map(len, sentences))
        texts = len(Phrases(sentences).vocab)
        megabytes = text.stat().st_size / 1e6
        print(f"{megabytes:.1f} MB, {words:,} words, {texts:,} distinct words and pairs\n")
        print("| work | program | million words/s | times gensim |\n|---|---|---|---|")
        for what, contestants in works(text, sentences, arguments.threads, scratch).items():
            times = alternate(contestants, arguments.repeats, "cpu")
            medians = {name: statistics.median(all_times) for name, all_times in times.items()}
            for name, seconds in medians.items():
                ratio = medians["gensim"] / seconds if "gensim" in medians else None
                report.add(
                    {
                        "case": what,
                        "program": name,
                        "words": words,
                        "megabytes": megabytes,
                        "texts": texts,
                        "median_s": seconds,
                        "words_per_s": words / seconds,
                        "times_gensim": ratio,
                    }
                )
                shown = "" if ratio is None else f"{ratio:.1f}"
                print(f"| {what} | {name} | {words / seconds / 1e6:.2f} | {shown} |", flush=True)
    report.close()


if __name__ == "__main__":
    main()
