"""Speed of training a bidirectional LSTM on texts of many lengths, beside torch's.

    python benchmarks/lstm.py --json results.json
    python benchmarks/lstm.py --programs lexforge padded --keep-denormals
    python benchmarks/lstm.py --device cuda --json results.json

A step is forward and backward of layers and of a classifier of two classes on the final states,
over a batch of texts as long as IMDb's reviews are in words, cut to --longest, with frozen vectors.
The programs take turns, and a figure is the median.

    lexforge   lexforge.nn.LSTM, over the distinct words of the batch and an index
    tokens     the same, over the vector of every token
    padded     torch.nn.LSTM over the batch padded to --longest; the outputs of the first step and
               of the last go to the classifier, as in the d2l book, whatever they hold
    packed     torch.nn.LSTM over a PackedSequence: what lexforge computes

Gradients fade on their way through a text, down to numbers below the smallest normal one, with
which Intel's processors compute a hundred times as slowly. torch is told to take them for 0, as
lexforge does by itself; --keep-denormals shows torch as it comes.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad
from torch.nn.utils.rnn import pack_padded_sequence

from harness import Report, add_report_options, alternate
from lexforge.nn import LSTM

# The logarithm of a review's words is about normal: 233 on average.
MEAN, DEVIATION, SHORTEST = 5.25, 0.63, 10
DISTINCT = 0.25  # of the words of a batch
PROGRAMS = ("lexforge", "tokens", "padded", "packed")


class Case:
    """A batch, and the layers of each program with the same parameters."""

    def __init__(self, options: argparse.Namespace):
        device = torch.device(options.device)
        torch.manual_seed(0)
        lengths = torch.randn(options.texts).mul(DEVIATION).add(MEAN).exp().long()
        self.lengths = lengths.clamp(min(SHORTEST, options.longest), options.longest)
        self.bounds = pad(self.lengths.cumsum(0), (1, 0)).int().to(device)
        tokens = int(self.lengths.sum())
        self.words = torch.randint(0, max(1, int(tokens * DISTINCT)), (tokens,)).to(device)
        self.table = torch.randn(int(self.words.max()) + 1, options.inputs, device=device)
        place = torch.arange(options.longest) < self.lengths[:, None]
        self.batch = torch.zeros(*place.shape, options.inputs, device=device)
        self.batch[place.to(device)] = self.table[self.words]
        self.labels = torch.randint(0, 2, (options.texts,)).to(device)
        sizes = (options.inputs, options.hidden, options.layers)
        self.net = LSTM(*sizes, bidirectional=True).to(device)
        self.torch_net = nn.LSTM(*sizes, bidirectional=True, batch_first=True).to(device)
        self.torch_net.load_state_dict(self.net.state_dict())
        self.of_states = nn.Linear(2 * options.hidden, 2).to(device)
        self.of_outputs = nn.Linear(4 * options.hidden, 2).to(device)

    def lexforge(self) -> Tensor:
        words, index = self.words.unique(return_inverse=True)
        _, (h_n, _) = self.net(self.table[words], self.bounds, index)
        return self.of_states(torch.cat([h_n[-2], h_n[-1]], 1))

    def tokens(self) -> Tensor:
        _, (h_n, _) = self.net(self.table[self.words], self.bounds)
        return self.of_states(torch.cat([h_n[-2], h_n[-1]], 1))

    def padded(self) -> Tensor:
        out, _ = self.torch_net(self.batch)
        return self.of_outputs(torch.cat([out[:, 0], out[:, -1]], 1))

    def packed(self) -> Tensor:
        rows = pack_padded_sequence(
            self.batch, self.lengths, batch_first=True, enforce_sorted=False
        )
        _, (h_n, _) = self.torch_net(rows)
        return self.of_states(torch.cat([h_n[-2], h_n[-1]], 1))

    def step(self, name: str) -> Callable[[], None]:
        logits = getattr(self, name)

        def run() -> None:
            for net in (self.net, self.torch_net):
                net.zero_grad()
            cross_entropy(logits(), self.labels).backward()

        return run

    @torch.no_grad()
    def check(self) -> None:
        """lexforge gives what torch gives."""
        expected = self.packed()
        for ours in (self.lexforge(), self.tokens()):
            torch.testing.assert_close(ours, expected, rtol=0, atol=1e-4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--texts", type=int, default=64)
    parser.add_argument("--longest", type=int, default=500)
    parser.add_argument("--inputs", type=int, default=100)
    parser.add_argument("--hidden", type=int, default=100)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--programs", choices=PROGRAMS, nargs="+", default=PROGRAMS)
    parser.add_argument("--keep-denormals", action="store_true")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=60.0, help="of a case, after 3 rounds")
    add_report_options(parser)
    options = parser.parse_args()

    torch.set_flush_denormal(not options.keep_denormals)  # threads that begin later inherit it
    report = Report(options, options.device)
    case = Case(options)
    case.check()
    tokens = int(case.lengths.sum())
    print(f"{options.texts} texts, {tokens / options.texts:.0f} words on average")
    print("| program | threads | ms | texts/s |")
    print("|---|---|---|---|")
    works = {name: case.step(name) for name in options.programs}
    for threads in options.threads if options.device == "cpu" else [1]:
        torch.set_num_threads(threads)
        times = alternate(works, options.repeats, options.device, options.seconds)
        for name, seconds in times.items():
            median = statistics.median(seconds)
            speed = options.texts / median
            print(f"| {name} | {threads} | {median * 1e3:.1f} | {speed:,.1f} |", flush=True)
            report.add(
                {
                    **{"case": name, "threads": threads, "texts": options.texts},
                    **{"tokens": tokens, "longest": options.longest, "inputs": options.inputs},
                    **{"hidden": options.hidden, "layers": options.layers},
                    "keep_denormals": options.keep_denormals,
                    **{"median_s": median, "best_s": min(seconds), "texts_per_s": speed},
                }
            )
    report.close()


if __name__ == "__main__":
    main()
