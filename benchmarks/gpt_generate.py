"""Speed of generating text with GPT, beside transformers' generate with its cache.

    python benchmarks/gpt_generate.py --threads 2 --json results.json

A model of GPT-2's smallest size (`--size gpt2`) or of nanoGPT's characters (`--size characters`)
with random weights, written to a folder that both programs read. Greedy, no token ends a sequence,
prompts of random tokens. The programs take turns; both compute in the same precision. A first short
run says whether they choose the same tokens (in bfloat16 they may differ by rounding). `tokens/s`
is of whole calls: our copying of the weights to huge pages, and both programs' prompts, included.
`ms/step` is the time of a step alone: the difference between a long call and a short one. `GB/s` is
what a step reads of weights over that.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile

import torch

from harness import Report, add_report_options, alternate
from lexforge.gpt import GPT, Generator, GPTConfig, generate

SIZES = {
    "gpt2": GPTConfig.gpt2(),
    "characters": GPTConfig(256, 65, n_layer=6, n_head=6, n_embd=384, activation="gelu_tanh"),
    "tiny": GPTConfig(64, 65, n_layer=2, n_head=2, n_embd=32, activation="gelu_tanh"),
}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
SHORT = 2  # tokens of the short call
ONCE = "generate"  # ours with what is done once for a model; of whole calls alone


def programs(folder: str, dtype: torch.dtype, prompts: torch.Tensor, device: str) -> dict:
    """Functions of the number of tokens, which give the new ones of each prompt."""
    ours = GPT.from_pretrained(folder).to(device)
    ready = Generator(ours, dtype=dtype)
    found = {
        "lexforge": lambda count: ready.generate(list(prompts), count, temperature=0),
        ONCE: lambda count: generate(ours, list(prompts), count, temperature=0, dtype=dtype),
    }
    try:
        from transformers import GPT2LMHeadModel
    except ImportError:
        print("transformers is not installed: its figures are left out")
        return found
    peer = GPT2LMHeadModel.from_pretrained(folder, dtype=dtype).to(device).eval()

    def theirs(count):
        tokens = peer.generate(
            prompts.to(device),
            attention_mask=torch.ones_like(prompts).to(device),
            max_new_tokens=count,
            min_new_tokens=count,
            do_sample=False,
            use_cache=True,
            pad_token_id=0,
        )
        return tokens[:, prompts.shape[1] :].tolist()

    found["transformers"] = theirs
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--size", choices=SIZES, default="gpt2")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--dtype", choices=DTYPES, nargs="+", default=[*DTYPES])
    parser.add_argument("--prompt", type=int, default=16, help="tokens of each prompt")
    parser.add_argument("--tokens", type=int, default=50, help="to generate of each sequence")
    parser.add_argument("--repeats", type=int, default=3)
    add_report_options(parser)
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    report = Report(options, options.device)
    config = SIZES[options.size]
    weights = config.num_parameters - config.block_size * config.n_embd
    with tempfile.TemporaryDirectory() as folder:
        GPT(config, seed=0).save_pretrained(folder)
        print("| program | dtype | batch | tokens/s | ms/step | GB/s | same tokens |")
        print("|---|---|---|---|---|---|---|")
        for dtype in options.dtype:
            for batch in options.batch:
                generator = torch.Generator().manual_seed(batch)
                shape = (batch, options.prompt)
                prompts = torch.randint(0, config.vocab_size, shape, generator=generator)
                found = programs(folder, DTYPES[dtype], prompts, options.device)
                chosen = {name: work(8) for name, work in found.items()}
                same = {name: tokens == chosen["lexforge"] for name, tokens in chosen.items()}
                works = {
                    (name, count): (lambda work=work, count=count: work(count))
                    for name, work in found.items()
                    for count in (SHORT, options.tokens)
                    if name != ONCE or count != SHORT
                }
                times = alternate(works, options.repeats, "cpu")
                medians = {key: statistics.median(seconds) for key, seconds in times.items()}
                for name in found:
                    long, short = medians[name, options.tokens], medians.get((name, SHORT))
                    rate = batch * options.tokens / long
                    cells = [name, dtype, str(batch), f"{rate:,.1f}", "", ""]
                    step = None
                    if short is not None:
                        step = (long - short) / (options.tokens - SHORT)
                        read = DTYPES[dtype].itemsize * weights
                        cells[-2:] = [f"{step * 1e3:.2f}", f"{read / step / 1e9:.1f}"]
                    cells += ["yes" if same[name] else "no"]
                    print("|", " | ".join(cells), "|", flush=True)
                    report.add(
                        {
                            **{"case": name, "size": options.size, "dtype": dtype, "batch": batch},
                            **{"threads": options.threads, "prompt": options.prompt},
                            **{"tokens": options.tokens, "median_s": long, "step_s": step},
                            **{"tokens_per_s": rate, "same_tokens": same[name]},
                        }
                    )
    report.close()


if __name__ == "__main__":
    main()
