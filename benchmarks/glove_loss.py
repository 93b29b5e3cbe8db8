"""Speed of glove_loss, forward and backward, beside plain PyTorch.

    python benchmarks/glove_loss.py --device cpu --threads 1 2 --json results.json
    python benchmarks/glove_loss.py --device cuda --dim 100 300 --json results.json

Entries are drawn from a Zipf distribution over V words on both sides, as co-occurrences come. A
figure is entries per second. `GB/s` is what the rows of the entries move without any reuse: both
are read forward and again backward, where each also adds to one row of a gradient; the dense
gradients are not counted. Plain PyTorch looks rows up by index, as everybody writes it, or through
`embedding`, whose backward is the faster one.
"""

from __future__ import annotations

import argparse

import torch
from torch.nn.functional import embedding

from harness import Report, add_report_options, measure
from lexforge.ops.glove.glove_loss import glove_loss
from lexforge.ops.sampling.sampling import alias_sample, build_alias
from lexforge.reference.glove.glove_loss import glove_loss as plain_loss
from lexforge.reference.glove.glove_loss import glove_weight


def embedding_loss(word, context, word_bias, context_bias, rows, cols, counts):
    score = (embedding(rows, word) * embedding(cols, context)).sum(1)
    score = score + embedding(rows, word_bias[:, None])[:, 0]
    score = score + embedding(cols, context_bias[:, None])[:, 0]
    return glove_weight(counts) * (score - counts.log()) ** 2


LOSSES = {
    "lexforge": glove_loss,
    "torch, index": plain_loss,
    "torch, embedding": embedding_loss,
}


def arguments_of(entries: int, vocab_size: int, dim: int, device: str) -> list[torch.Tensor]:
    table = build_alias(1.0 / torch.arange(1, vocab_size + 1, dtype=torch.float64))
    rows, cols = (alias_sample(table, entries, seed=seed).long() for seed in (1, 2))
    counts = torch.exp(6 * torch.rand(entries, generator=torch.Generator().manual_seed(1)))
    tables = [torch.empty(vocab_size, dim).uniform_(-0.5 / dim, 0.5 / dim) for _ in range(2)]
    biases = [torch.zeros(vocab_size) for _ in range(2)]
    trained = [x.to(device).requires_grad_() for x in (*tables, *biases)]
    return [*trained, *(x.to(device) for x in (rows, cols, counts))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--dim", type=int, nargs="+", default=[100, 300])
    parser.add_argument("--vocab-size", type=int, default=71_000)
    parser.add_argument("--entries", type=int, help="default 131,072, on a GPU 1,048,576")
    parser.add_argument("--seconds", type=float, default=1.0, help="time for each case")
    add_report_options(parser)
    options = parser.parse_args()
    entries = options.entries or (1 << 20 if options.device == "cuda" else 1 << 17)

    report = Report(options, options.device)
    print("| loss | dim | threads | forward, M entries/s | with backward, M entries/s | GB/s |")
    print("|---|---|---|---|---|---|")
    for dim in options.dim:
        arguments = arguments_of(entries, options.vocab_size, dim, options.device)
        for threads in options.threads if options.device == "cpu" else [1]:
            for name, loss in LOSSES.items():

                def forward(loss=loss, arguments=arguments):
                    with torch.no_grad():
                        return loss(*arguments)

                def both(loss=loss, arguments=arguments):
                    return torch.autograd.grad(loss(*arguments).sum(), arguments[:4])

                fast, whole = (measure(work, threads, options.seconds) for work in (forward, both))
                rates = [entries / timing["median_s"] for timing in (fast, whole)]
                gigabytes = rates[1] * 4 * 4 * dim / 1e9
                shape = {"dim": dim, "threads": threads, "entries": entries}
                shape["vocab_size"] = options.vocab_size
                cells = [f"{rate / 1e6:.2f}" for rate in rates]
                print(
                    "|",
                    " | ".join([name, str(dim), str(threads), *cells, f"{gigabytes:.2f}"]),
                    "|",
                    flush=True,
                )
                report.add(
                    *(
                        {"case": name, "what": what, **shape, **timing, "entries_per_s": rate}
                        for what, timing, rate in zip(
                            ("forward", "both"), (fast, whole), rates, strict=True
                        )
                    )
                )
    report.close()


if __name__ == "__main__":
    main()
