"""Everything that is checked on nvcc's PTX: `make ptx`.

The whole device suite runs once, with what costs nothing on top: races are looked for, and warps
and blocks take turns in a shuffled order, which sees all that the order of their numbers sees. The
rest are runs of the tests that a mode can tell something about:

- Copies to shared memory that arrive at once instead of when they are waited for: the tensor-core
  kernels of attention alone have any.
- Approximate functions that are off by as much as the manual allows, and sums of tensor cores that
  are cut off: whether the tolerances of the tests leave room for the hardware.
- Every access to global memory looked up at the allocator: tests that give kernels wrong indices,
  and one of each kernel whose last row, tile or column is not whole.
- Devices of one and of 132 multiprocessors: tests of kernels that divide their work by them.

At last the device's own tests, and the planted bugs. Without nvcc it says so and succeeds.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import build  # noqa: E402

import run  # noqa: E402

ATTENTION = "tests/attention/test_attention_cuda.py"
STREAM = "tests/word2vec/test_word2vec_train.py"
STREAM_BAGS = "tests/word2vec/test_word2vec_bags.py"
STREAM_ROUNDS = "tests/word2vec/test_word2vec_train_cuda.py"
COOCCURRENCE = "tests/cooccurrence/test_cuda.py"
APPROXIMATE = [
    f"{ATTENTION}::test_tile_widths_and_divisions",
    f"{STREAM}::test_one_sentence_equals_the_oracle",
    f"{STREAM_BAGS}::test_one_sentence_equals_the_oracle",
    f"{STREAM_ROUNDS}::test_a_round_is_a_step_of_gradient_descent",
    "tests/glove/test_glove_train_cuda.py::test_every_size_of_a_record",
    "tests/transformer/test_linear_cross_entropy.py::test_values_and_gradients",
    "tests/transformer/test_bias_activation.py::test_values_and_gradients",
]
MEMORY = [
    "tests/attention/test_attention.py",
    "tests/glove/test_glove_train_cuda.py",
    "tests/glove/test_glove_loss.py",
    "tests/sampling",
    "tests/similarity",
    STREAM,
    STREAM_ROUNDS,
    COOCCURRENCE,
    "tests/transformer",
]
MULTIPROCESSORS = [
    f"{STREAM}::test_sentences_trained_at_the_same_time",
    COOCCURRENCE,
    "tests/similarity/test_cosine_top_k.py::test_equal_scores_are_in_row_order",
]

# On all cores; then these, the longest first, a process each.
EVERYTHING = ["--every-kernel", "--order", "1", "-q", "-n", "2"]
MUTANTS = "tests/ptx/test_mutants.py"
OWN = [[MUTANTS], ["tests/ptx", f"--ignore={MUTANTS}"]]
RUNS = [
    ["--early-copies", "--order", "2", ATTENTION],
    ["--jitter", "1", "--order", "2", *APPROXIMATE],
    [
        "--sanitize",
        *MEMORY,
        "-k",
        "forged or without_a_row or out_of_range or equals_the_reference or not_allowed",
    ],
    *(["--multiprocessors", count, "--order", "3", *MULTIPROCESSORS] for count in ("1", "132")),
]


def passes(program: list[str], arguments: list[str]) -> bool:
    """Runs a Python program from the root; says what it said when it is done."""
    done = subprocess.run(
        [sys.executable, *program, *arguments, "-q"],
        cwd=build.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    print(f"ptx: {' '.join(arguments)}\n{done.stdout}", end="", flush=True)
    return done.returncode == 0


def main() -> int:
    if build.find_toolkit() is None:
        print(f"ptx: {build.NO_TOOLKIT}")
        return 0
    print(f"ptx: {' '.join(EVERYTHING)}", flush=True)
    right = [run.run(EVERYTHING) == 0]
    programs = [["-m", "pytest"]] * len(OWN) + [[str(HERE / "run.py")]] * len(RUNS)
    right += build.in_parallel(passes, programs, OWN + RUNS)
    failed = [
        each for each, passed in zip([EVERYTHING, *OWN, *RUNS], right, strict=True) if not passed
    ]
    for arguments in failed:
        print(f"ptx: failed: {' '.join(arguments)}", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    raise SystemExit(main())
