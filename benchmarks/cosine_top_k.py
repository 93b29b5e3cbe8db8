"""Speed of finding nearest rows by cosine, beside gensim and torch's product and topk.

    python benchmarks/cosine_top_k.py --threads 1 2 --json results.json
    python benchmarks/cosine_top_k.py --device cuda --queries 1 100 10000 --json results.json

A table of normal numbers, of which V rows of D. Lengths of rows are known beforehand, as gensim
keeps them; torch has a table of rows of length 1, which is a second one in memory, and writes the
matrix of all cosines. gensim has no search for many: `most_similar` is called for each. The
programs take turns, and a figure is the median. `GB/s` is the table once over the time: a bound by
memory for one query, and for many what a fast product would not reach.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable

import torch
from torch import Tensor

from harness import Report, add_report_options, alternate
from lexforge.ops.similarity.cosine_top_k import cosine_top_k, row_norms

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def gensim_vectors(table: Tensor):
    """gensim's class over the same memory, with the lengths of rows; None without gensim."""
    try:
        from gensim.models import KeyedVectors
    except ImportError:
        print("gensim is not installed: its figures are left out")
        return None
    kv = KeyedVectors(table.shape[1])
    kv.index_to_key = [str(row) for row in range(len(table))]
    kv.key_to_index = {word: row for row, word in enumerate(kv.index_to_key)}
    kv.vectors, kv.next_index = table.numpy(), len(table)
    kv.fill_norms()
    return kv


def works(table: Tensor, queries: Tensor, k: int, kv) -> dict[str, Callable[[], object]]:
    """What each program does, after a look at whether they find the same."""
    norms = row_norms(table)
    units = (table / norms[:, None]).to(table.dtype)
    unit_queries = (queries / queries.norm(dim=1, keepdim=True)).to(table.dtype)
    found = {
        "lexforge": lambda: cosine_top_k(table, queries, k, norms=norms),
        "torch": lambda: (unit_queries @ units.T).topk(k),
    }
    tolerance = 1e-5 if table.dtype == torch.float32 else 2e-2
    best = found["lexforge"]()[1]
    torch.testing.assert_close(best, found["torch"]()[0].float(), atol=tolerance, rtol=0)
    if kv is not None and table.dtype == torch.float32:
        vectors = list(queries.numpy())
        found["gensim"] = lambda: [kv.similar_by_vector(vector, topn=k) for vector in vectors]
        first = torch.tensor([score for _, score in kv.similar_by_vector(vectors[0], topn=k)])
        torch.testing.assert_close(best[0], first, atol=tolerance, rtol=0)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--rows", type=int, default=400_000)
    parser.add_argument("--dim", type=int, default=300)
    parser.add_argument("--queries", type=int, nargs="+", default=[1, 100])
    parser.add_argument("--dtype", choices=DTYPES, nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--topn", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=7)
    add_report_options(parser)
    options = parser.parse_args()

    report = Report(options, options.device)
    table = torch.randn(options.rows, options.dim)
    kv = gensim_vectors(table) if options.device == "cpu" and "float32" in options.dtype else None
    print("| program | dtype | queries | threads | ms | queries/s | GB/s |")
    print("|---|---|---|---|---|---|---|")
    for dtype in options.dtype:
        typed = table.to(options.device, DTYPES[dtype])
        for count in options.queries:
            queries = torch.randn(count, options.dim).to(options.device)
            programs = works(typed, queries, options.topn, kv)
            for threads in options.threads if options.device == "cpu" else [1]:
                torch.set_num_threads(threads)
                times = alternate(programs, options.repeats, options.device)
                for name, seconds in times.items():
                    median = statistics.median(seconds)
                    bandwidth = typed.numel() * typed.element_size() / median / 1e9
                    cells = [name, dtype, str(count), str(threads), f"{median * 1e3:.2f}"]
                    cells += [f"{count / median:,.0f}", f"{bandwidth:.1f}"]
                    print("|", " | ".join(cells), "|", flush=True)
                    report.add(
                        {
                            **{"case": name, "dtype": dtype, "queries": count, "threads": threads},
                            **{"rows": options.rows, "dim": options.dim, "topn": options.topn},
                            **{"median_s": median, "best_s": min(seconds)},
                            "queries_per_s": count / median,
                        }
                    )
    report.close()


if __name__ == "__main__":
    main()
