"""Bugs to plant in the kernels: what the checks on the PTX device must see.

A mutant is a textual change of a file under csrc. Those of common/tensor_core.cuh are seen by the
tests of the single instructions (test_tensor_core.py); the others are built into op libraries,
several in one where they are in different files, and the named device tests must fail there.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import build


class Mutant(NamedTuple):
    """A planted bug.

    Attributes:
        name: what is wrong.
        file: the file that is changed, under csrc.
        changes: pairs of a text, which is there once, and what takes its place.
        tests: the device test that must fail, as pytest takes it.
        says: what the failure must say, for instance that of a race.
        source: the ``.cu`` file that is compiled, where the changed one is a header.
    """

    name: str
    file: str
    changes: list[tuple[str, str]]
    tests: str
    says: str = ""
    source: str | None = None


def plant(folder: Path, changes: list[tuple[str, str, str]]) -> None:
    """Writes changed files into a folder: (file under csrc, text, what takes its place)."""
    texts: dict[str, str] = {}
    for file, old, new in changes:
        text = texts.get(file) or (build.CSRC / file).read_text()
        if text.count(old) != 1:
            raise ValueError(f"{old!r} is {text.count(old)} times in {file}")
        texts[file] = text.replace(old, new)
    for file, text in texts.items():
        # Written again, it would be compiled again.
        if not (folder / file).exists() or (folder / file).read_text() != text:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text(text)


def build_ops(name: str, mutants: list[Mutant]) -> Path:
    """The op library with these mutants in it, PTX alone of the changed files."""
    sources = sorted({mutant.source or mutant.file for mutant in mutants})
    files, commands = [], []
    for source in sources:
        folder = build.OUTPUT / "mutants" / name / Path(source).stem
        plant(
            folder,
            [
                (mutant.file, *change)
                for mutant in mutants
                if source == (mutant.source or mutant.file)
                for change in mutant.changes
            ],
        )
        own = folder / source
        files.append(own if own.exists() else build.CSRC / source)
        commands.append(build.nvcc(build.PTX_ONLY, folder))
    objects = [x.path for x in build.in_parallel(build.compile_object, files, commands)]
    keys = [build.CSRC / source for source in sources]
    return build.build_ops(changed=dict(zip(keys, objects, strict=True)))


class Instruction(NamedTuple):
    """A bug in common/tensor_core.cuh, and the test of test_tensor_core.py that must fail."""

    name: str
    old: str
    new: str
    test: str
    arguments: tuple = ()


LOAD = '"ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, '
INSTRUCTIONS = [
    Instruction(
        "words of the left operand swapped",
        '"r"(a[1]), "r"(a[2])',
        '"r"(a[2]), "r"(a[1])',
        "test_product",
        (None, None),
    ),
    Instruction(
        "words of the right operand swapped",
        '"r"(b0), "r"(b1)',
        '"r"(b1), "r"(b0)',
        "test_product",
        (None, None),
    ),
    Instruction(
        "matrices in the wrong registers", f"{LOAD}%1, %2", f"{LOAD}%2, %1", "test_matrices", (0,)
    ),
    Instruction("matrices not transposed", "x4.trans.shared", "x4.shared", "test_matrices", (1,)),
    Instruction(
        "rounded numbers swapped",
        '"f"(high), "f"(low)',
        '"f"(low), "f"(high)',
        "test_rounding_to_bfloat16",
    ),
    Instruction(
        "no zeros where nothing is copied",
        "wanted ? kBytes : 0",
        "kBytes",
        "test_copies_arrive_when_they_are_waited_for",
        (0,),
    ),
    Instruction(
        "one group of copies too few waited for",
        '"n"(kPending)',
        '"n"(kPending + 1)',
        "test_copies_arrive_when_they_are_waited_for",
        (1,),
    ),
]

ATTENTION = "tests/attention/test_attention_cuda.py::test_tile_widths_and_divisions"
BARRIER = "    __syncthreads();\n"

# What one library holds, and how the device runs it.
LIBRARIES = {
    "races": (
        ["--order", "1"],
        [
            Mutant(
                "no barrier before copies overwrite a tile",
                "attention/attention_forward_mma.cu",
                [(f"{BARRIER}  }}\n  wait_for_copies<0>();", "  }\n  wait_for_copies<0>();")],
                f"{ATTENTION}[cuda_emulated-64-260-260]",
                "race",
            ),
            Mutant(
                "a list is read before it is written",
                "word2vec/cuda/targets.cuh",
                [
                    (
                        "  __syncwarp();\n  return size + __popc(added);",
                        "  return size + __popc(added);",
                    ),
                    ("window.context(j); });\n  __syncwarp();", "window.context(j); });"),
                ],
                "tests/word2vec/test_word2vec_train.py::test_one_sentence_equals_the_oracle"
                "[cuda_emulated-16-window]",
                "race",
                "word2vec/cuda/shared.cu",
            ),
            Mutant(
                "a row is looked for in a list before it is written",
                "word2vec/cuda/targets.cuh",
                [
                    (
                        "  __syncwarp();\n  return size + __popc(added);",
                        "  return size + __popc(added);",
                    )
                ],
                "tests/word2vec/test_word2vec_bags.py::test_a_long_bag",
                "race",
                "word2vec/cuda/bags.cu",
            ),
            Mutant(
                "neighbours are read before they are written",
                "word2vec/cuda/windows.cuh",
                [("  __syncwarp();  // the ring is written\n", "")],
                "tests/word2vec/test_word2vec_train_cuda.py::"
                "test_a_round_is_a_step_of_gradient_descent[cuda_emulated-20-cbow-tree]",
                "race",
                "word2vec/cuda/cbow.cu",
            ),
            Mutant(
                "no barrier between the steps of a tree",
                "sampling/sampling_cuda.cu",
                [
                    (
                        "combine(shared[thread], shared[thread + step]);\n    __syncthreads();",
                        "combine(shared[thread], shared[thread + step]);",
                    )
                ],
                "tests/sampling/test_alias_table.py",
                "race",
            ),
            Mutant(
                "sums of warps are read before they are written",
                "transformer/row_octets.cuh",
                [
                    (
                        "shared[turn][warp][i] = values[i];\n      }\n      __syncthreads();",
                        "shared[turn][warp][i] = values[i];\n      }",
                    )
                ],
                "tests/transformer/test_add_layer_norm.py::test_values_and_gradients",
                "race",
                "transformer/add_layer_norm_cuda.cu",
            ),
            Mutant(
                "rows that collide updated without atomics",
                "glove/glove_train_cuda.cu",
                [
                    (
                        "atomic_add4(quad(table, row, part, p),\n"
                        "                      make_float4(x[0] - y[0], x[1] - y[1], x[2] - y[2], "
                        "x[3] - y[3]));",
                        "*quad(table, row, part, p) = make_float4(x[0], x[1], x[2], x[3]);",
                    )
                ],
                "tests/glove/test_glove_train_cuda.py::test_warps_of_a_tile_lose_nothing"
                "[cuda_emulated-adam-200-dtype0]",
            ),
            Mutant(
                "no barriers around the label's logit",
                "transformer/softmax_cross_entropy_cuda.cu",
                [
                    (
                        "(!params.gradient) return;\n  __syncthreads();",
                        "(!params.gradient) return;",
                    ),
                    (
                        "  __syncthreads();\n  if (threadIdx.x == 0 && known)",
                        "  if (threadIdx.x == 0 && known)",
                    ),
                ],
                "tests/transformer/test_linear_cross_entropy.py::test_values_and_gradients",
            ),
        ],
    ),
    "values": (
        ["--order", "1"],
        [
            Mutant(
                "a tile is read before its copies arrive",
                "attention/attention_forward_mma.cu",
                [("wait_for_copies<1>();", "wait_for_copies<2>();")],
                f"{ATTENTION}[cuda_emulated-64-260-260]",
            ),
            Mutant(
                "shared memory beyond 48 KB not asked for",
                "common/cuda_launch.cuh",
                [("shared_bytes > 48 * 1024", "shared_bytes > 480 * 1024")],
                "tests/cooccurrence/test_cuda.py::test_counters_beyond_32_bits",
                "shared",
                "cooccurrence/cooccurrence_cuda.cu",
            ),
            Mutant(
                "half of the lanes named in a shuffle",
                "common/warp.cuh",
                [("kAllLanes = 0xFFFFFFFFu", "kAllLanes = 0x0000FFFFu")],
                "tests/glove/test_glove_loss.py::test_values_and_gradients",
                "mask",
                "glove/glove_loss_cuda.cu",
            ),
            Mutant(
                "one round of random numbers too few",
                "common/philox.h",
                [("kRounds = 10", "kRounds = 9")],
                "tests/probe/test_philox.py",
                source="probe/probe_cuda.cu",
            ),
            Mutant(
                "more threads than the bound of the launch",
                "sampling/sampling_cuda.cu",
                [
                    (
                        "dim3(blocks_for(n / 2 + 1, kThreads)), dim3(kThreads), 0,",
                        "dim3(blocks_for(n / 2 + 1, 2 * kThreads)), dim3(2 * kThreads), 0,",
                    )
                ],
                "tests/sampling/test_alias_sample.py",
                "threads",
            ),
            Mutant(
                "a round's sums added again by the next",
                "word2vec/word2vec_train_cuda.cu",
                [("        sum[n * row_packs] = 0;\n", "")],
                "tests/word2vec/test_word2vec_train_cuda.py::"
                "test_a_round_is_a_step_of_gradient_descent[cuda_emulated-20-cbow]",
            ),
            Mutant(
                "the first rows of a bag read again",
                "word2vec/cuda/bags.cuh",
                [("if (n + kWarp < sum) read(n + kWarp + lane);", "read(n + lane);")],
                "tests/word2vec/test_word2vec_bags.py::test_a_long_bag",
                source="word2vec/cuda/bags.cu",
            ),
            Mutant(
                "the last number of a row left out",
                "sampling/sampling_cuda.cu",
                [("      noise[d + i] = x;", "      if (d + i + 1 < n) noise[d + i] = x;")],
                "tests/sampling/test_sample_noise.py",
            ),
        ],
    ),
    "memory": (
        ["--sanitize"],
        [
            Mutant(
                "one number too many",
                "sampling/sampling_cuda.cu",
                [("if (e + 1 < n) out[e + 1]", "if (e < n) out[e + 1]")],
                "tests/sampling/test_alias_sample.py::test_equals_the_reference",
                "not allocated",
            ),
            Mutant(
                "one row too many",
                "sampling/sampling_cuda.cu",
                [("if (row >= params.rows) return;", "if (row > params.rows) return;")],
                "tests/sampling/test_sample_noise.py",
                "not allocated",
            ),
            Mutant(
                "a bag's rows not looked at",
                "word2vec/cuda/bags.cuh",
                [("static_cast<uint32_t>(mine) >= lists.limit", "mine < 0")],
                "tests/word2vec/test_word2vec_train_cuda.py::"
                "test_bags_that_are_none_make_the_loss_nan[cuda_emulated-row-bags-pair-and-tree-0]",
                "not allocated",
                "word2vec/cuda/bags.cu",
            ),
        ],
    ),
}
