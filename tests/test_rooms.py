"""One name in six rooms: an op's contract, schema, face, reference, tests and benchmark."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CSRC = ROOT / "csrc"
ROOMS = {
    "contract": "csrc/{family}/{op}.h",
    "schema": "csrc/{family}/{op}_schema.cpp",
    "face": "pyext/lexforge/ops/{family}/{op}.py",
    "reference": "pyext/lexforge/reference/{family}/{op}.py",
    "tests": "tests/{family}/test_{op}.py",
    "benchmark": "benchmarks/{op}.py",
}
# (op, room): where it is instead, or None, and why.
PRIVATE = "lets the tests reach what lies under every kernel"
TOGETHER = "what a block of BERT is made of is measured together"
TRAINING = "what a step of training is made of is measured together"
STEP = "what a step of generation is made of is measured together"
EXCEPTIONS = {
    ("probe", "face"): (None, PRIVATE),
    ("probe", "reference"): (None, "the tests have published vectors, and double"),
    ("probe", "tests"): ("tests/probe/test_philox.py", "tests/common has that of the numerics"),
    ("probe", "benchmark"): ("benchmarks/sampling.py", "the generator alone is a bound of it"),
    ("cooccurrence", "tests"): ("tests/cooccurrence/test_ops.py", "of three ops"),
    ("sampling", "tests"): ("tests/sampling/test_alias_sample.py", "a file for each of its ops"),
    ("glove_tiles", "reference"): (
        "pyext/lexforge/reference/glove/glove_train.py",
        "tiles are told by the order in which they train",
    ),
    ("glove_tiles", "benchmark"): ("benchmarks/glove_train.py", "made there, before training"),
    ("skipgram_batch", "reference"): (None, "its tests hold its rules, one by one"),
    ("skipgram_batch", "benchmark"): ("benchmarks/ptb_reference.py", "an epoch of the recipe"),
    ("skipgram_loss", "benchmark"): ("benchmarks/gpu/smoke_words.py", "the step is what trains"),
    ("skipgram_step", "reference"): (
        "pyext/lexforge/reference/word2vec/skipgram_loss.py",
        "the step applies its gradient",
    ),
    ("skipgram_step", "benchmark"): ("benchmarks/ptb_reference.py", "an epoch of the recipe"),
    ("classify_train", "benchmark"): (
        "benchmarks/fasttext_supervised.py",
        "measured by whole runs, beside the original",
    ),
    ("add_layer_norm", "benchmark"): ("benchmarks/transformer.py", TOGETHER),
    ("bias_activation", "benchmark"): ("benchmarks/transformer.py", TOGETHER),
    ("dropout", "benchmark"): ("benchmarks/transformer.py", TOGETHER),
    ("embedding_sum", "benchmark"): ("benchmarks/transformer.py", TOGETHER),
    ("few_rows_linear", "benchmark"): ("benchmarks/decode_attention.py", STEP),
    ("adam_step", "face"): (
        "pyext/lexforge/training/optimizer.py",
        "of the optimiser of a network alone",
    ),
    ("adam_step", "reference"): (None, "torch's optimisers"),
    ("adam_step", "tests"): ("tests/training/test_optimizer.py", "as its face"),
    ("adam_step", "benchmark"): ("benchmarks/gpt.py", TRAINING),
    ("causal_block", "face"): (
        "pyext/lexforge/layers/causal_step.py",
        "chosen by the sizes of a block",
    ),
    ("causal_block", "reference"): (None, "the ops that it is made of"),
    ("causal_block", "benchmark"): ("benchmarks/gpt.py", TRAINING),
    ("softmax_cross_entropy", "face"): (
        "pyext/lexforge/ops/transformer/linear_cross_entropy.py",
        "never called without the product before it",
    ),
    ("softmax_cross_entropy", "reference"): (
        "pyext/lexforge/reference/transformer/linear_cross_entropy.py",
        "as its face",
    ),
    ("softmax_cross_entropy", "tests"): (
        "tests/transformer/test_linear_cross_entropy.py",
        "as its face",
    ),
    ("softmax_cross_entropy", "benchmark"): ("benchmarks/transformer.py", TOGETHER),
    ("split_product", "face"): (
        "pyext/lexforge/ops/transformer/linear.py",
        "chosen by the sizes of a linear layer",
    ),
    ("split_product", "reference"): (None, "torch's product in float64"),
    ("split_product", "benchmark"): ("benchmarks/transformer.py", TOGETHER),
    ("weight_gradient", "face"): (
        "pyext/lexforge/ops/transformer/linear.py",
        "the backward of a layer whose forward is the library's product",
    ),
    ("weight_gradient", "reference"): (None, "torch's product in float64"),
    ("weight_gradient", "tests"): ("tests/transformer/test_linear.py", "as its face"),
    ("weight_gradient", "benchmark"): ("benchmarks/transformer.py", TOGETHER),
}
OPS = {
    path.name.removesuffix("_schema.cpp"): path.parent.name
    for path in sorted(CSRC.rglob("*_schema.cpp"))
}
BODIES = [
    path
    for path in sorted(CSRC.rglob("*_cpu_impl.h"))
    if path.parent.name != "text"  # which has no ops
]


@pytest.mark.parametrize("op", OPS)
def test_one_name_in_six_rooms(op):
    for room, pattern in ROOMS.items():
        usual = pattern.format(family=OPS[op], op=op)
        if (op, room) not in EXCEPTIONS:
            assert (ROOT / usual).exists(), f"{op} has no {room}: {usual}"
            continue
        assert not (ROOT / usual).exists(), f"{usual} is there: no exception is needed"
        instead = EXCEPTIONS[op, room][0]
        assert instead is None or (ROOT / instead).exists(), f"there is no {instead}"


def test_every_exception_is_of_an_op_and_a_room():
    assert {op for op, _ in EXCEPTIONS} <= set(OPS)
    assert {room for _, room in EXCEPTIONS} <= set(ROOMS)


@pytest.mark.parametrize("body", BODIES, ids=lambda path: path.name)
def test_a_body_says_where_to_start(body):
    """By the path of a reference, unless its op has none."""
    op = body.name.removesuffix("_cpu_impl.h")
    starts = re.findall(r"^// Start with (\S+?\.py)", body.read_text(), re.MULTILINE)
    if EXCEPTIONS.get((op, "reference"), ("",))[0] is None:
        assert starts == []
        return
    usual = ROOMS["reference"].format(family=OPS[op], op=op)
    assert starts == [EXCEPTIONS.get((op, "reference"), (usual,))[0]]
    assert (ROOT / starts[0]).exists()
