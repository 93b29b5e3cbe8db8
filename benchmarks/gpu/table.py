"""The record in some twenty lines: what was expected, and what was measured."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

TERA, GIGA, MEGA = 1e12, 1e9, 1e6


@dataclass(frozen=True)
class Figure:
    """A number of a benchmark, and what an H200 is expected to reach (benchmarks/NOTES.md).

    Args:
        what: it is, with its unit.
        case: of the record.
        where: what the benchmark's case is known by.
        value: of that case.
        expected: at least, or at most where `at_most`.
    """

    what: str
    case: str
    where: dict[str, object]
    value: Callable[[dict], float]
    expected: float
    at_most: bool = False

    def measured(self, cases: dict[str, dict]) -> float | None:
        for found in cases.get(self.case, {}).get("results", {}).get("cases", []):
            if all(found.get(key) == value for key, value in self.where.items()):
                return self.value(found)
        return None

    def row(self, cases: dict[str, dict]) -> list[str]:
        sign = "<=" if self.at_most else ">="
        measured = self.measured(cases)
        if measured is None:
            return [self.what, f"{sign} {self.expected:g}", "", ""]
        met = measured <= self.expected if self.at_most else measured >= self.expected
        return [self.what, f"{sign} {self.expected:g}", f"{measured:.4g}", "yes" if met else "no"]


def word2vec(case: str, what: str, expected: float, name: str | None = None) -> Figure:
    where = {"case": f"lexforge, {what}", "dim": 100, "threshold": 1e-4}
    rate = f"{name or what}, M words/s"
    return Figure(rate, case, where, lambda x: x["tokens_per_s"] / MEGA, expected)


def skipgram(sharing: str, expected: float) -> Figure:
    what = f"noise per {sharing}"
    return word2vec("skipgram", what, expected, f"skip-gram, {what}")


def attention(length: int, direction: str, expected: float) -> Figure:
    where = {"case": direction, "length": length, "ragged": False, "dtype": "bfloat16"}
    what = f"attention {length}, {direction}, torch's best / ours"
    return Figure(what, "attention", where, lambda x: x["ratio"], expected)


FIGURES = [
    skipgram("window", 300),
    skipgram("pair", 100),
    word2vec("word2vec-models", "tree", 50, "skip-gram, tree"),
    word2vec("word2vec-models", "CBOW, noise", 400),
    word2vec("word2vec-models", "noise per window, 16 together", 90),
    word2vec("subwords", "noise per pair, bags of 20", 50, "skip-gram, sub-words"),
    Figure(
        "GloVe, M entries/s",
        "glove",
        {"case": "lexforge adagrad, deterministic", "dim": 100},
        lambda x: x["entries_per_s"] / MEGA,
        800,
    ),
    Figure(
        "counting 8.3 M words, window 10, ms",
        "cooccurrence",
        {"case": "index and rows (words)", "window": 10},
        lambda x: 1e3 * x["median_s"],
        10,
        at_most=True,
    ),
    attention(128, "forward", 1),
    attention(128, "forward+backward", 1),
    attention(512, "forward", 0.85),
    attention(512, "forward+backward", 0.95),
    Figure(
        "small BERT with graphs, k pairs/s",
        "bert",
        {"case": "small", "precision": "bf16", "graphs": True},
        lambda x: x["pairs_per_s"] / 1e3,
        300,
    ),
    Figure(
        "alias draws, G/s",
        "sampling",
        {"case": "alias_sample int32"},
        lambda x: x["per_s"] / GIGA,
        50,
    ),
]
BACKWARD = ("attention 512, backward alone, TFLOP/s", 270)


def backward_rate(cases: dict[str, dict]) -> float | None:
    """Flops per second of the backward: the difference of both directions and the forward."""
    found = {
        x["case"]: (x["flops_per_s"] * x["lexforge_s"], x["lexforge_s"])
        for x in cases.get("attention", {}).get("results", {}).get("cases", [])
        if x["length"] == 512 and not x["ragged"] and x["dtype"] == "bfloat16"
    }
    if len(found) < 2:
        return None
    flops, seconds = (
        both - forward
        for both, forward in zip(found["forward+backward"], found["forward"], strict=True)
    )
    return flops / seconds / TERA if seconds > 0 else None


def checks(cases: dict[str, dict]) -> list[list[str]]:
    """Rows of what is right or wrong."""
    rows = []
    for name in ("smoke", "tests"):
        case = cases.get(name, {})
        counts = ", ".join(f"{n} {outcome}" for outcome, n in case.get("counts", {}).items())
        counts += f" of {case['total']}" if "total" in case else ""
        rows.append([name, "all passed", counts, verdict(case)])
    for name in ("memcheck", "racecheck", "initcheck", "synccheck"):
        case = cases.get(name, {})
        rows.append([name, "0 errors", case.get("summary", case.get("outcome", "")), verdict(case)])
    case = cases.get("quality", {})
    models = case.get("models", {}).values()
    worst = max((x["difference"] / x["allowed"] for x in models if "difference" in x), default=None)
    measured = "" if worst is None else f"{len(models)} models, worst at {worst:.0%} of its bound"
    rows.append(["training, GPU loss = CPU loss", "within bounds", measured, verdict(case)])
    kernels = len(cases.get("ncu", {}).get("kernels", []))
    rows.append(["ncu, launches", ">= 6", str(kernels or ""), verdict(cases.get("ncu", {}))])
    return rows


def verdict(case: dict) -> str:
    return {"passed": "yes", "failed": "no"}.get(case.get("outcome", ""), "")


def of(data: dict) -> str:
    """The table of a record, as text."""
    cases = data["cases"]
    ceilings = cases.get("ceilings", {})
    rows = [["what", "expected", "measured", "met"]]
    for what, key, scale, expected in (
        ("copy, TB/s", "copy_bytes_per_s", TERA, "4.3"),
        ("bfloat16 product 8192^3, TFLOP/s", "product_flops_per_s", TERA, "790"),
    ):
        measured = f"{ceilings[key] / scale:.4g}" if key in ceilings else ""
        rows.append([what, expected, measured, ""])
    rows += checks(cases)
    rows += [figure.row(cases) for figure in FIGURES]
    what, expected = BACKWARD
    rate = backward_rate(cases)
    met = "" if rate is None else "yes" if rate >= expected else "no"
    rows.append([what, f">= {expected}", "" if rate is None else f"{rate:.4g}", met])
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    call = data["calls"][-1]
    about = f"{data['gpu']}, commit {call.get('commit') or '?'}, torch {call.get('torch') or '?'}"
    return "\n".join([about, *lines])
