"""Items of the smoke program: attention, alignment and the fused ops of a transformer."""

from __future__ import annotations

import torch
from smoke_items import Items, as_good_as_plain, differentiate
from torch import Tensor
from torch.nn import functional

from lexforge.ops.alignment.soft_align import soft_align
from lexforge.ops.attention.attention import attention, varlen_attention
from lexforge.ops.transformer.add_layer_norm import add_layer_norm
from lexforge.ops.transformer.bias_activation import bias_activation
from lexforge.ops.transformer.embedding_sum import embedding_sum
from lexforge.ops.transformer.linear_cross_entropy import linear_cross_entropy
from lexforge.reference.alignment import soft_align as align_reference
from lexforge.reference.attention import attention as attention_reference
from lexforge.reference.transformer import add_layer_norm as norm_reference
from lexforge.reference.transformer import bias_activation as activation_reference
from lexforge.reference.transformer import embedding_sum as embedding_reference
from lexforge.reference.transformer import linear_cross_entropy as head_reference

ITEMS = Items()
BF16, FLOAT, DOUBLE = torch.bfloat16, torch.float32, torch.float64


def short(dtype: torch.dtype) -> str:
    return {BF16: "bfloat16", FLOAT: "float32", DOUBLE: "float64"}[dtype]


def dropout(numbers: int, dtype: torch.dtype) -> dict[str, float]:
    """Options: none where the reference's mask takes seconds, nor in float64 (the scale is not)."""
    return {"dropout_p": 0.25, "seed": 5} if numbers < 2**17 and dtype != DOUBLE else {}


def normal(device, dtype: torch.dtype, *shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed + sum(shape))
    # Numbers that bfloat16 holds exactly, so that all precisions compute the same thing.
    return torch.randn(shape, generator=generator).bfloat16().to(device, dtype)


def judge(ours, plain, leaves: list[Tensor], dtype: torch.dtype, gradients=None) -> dict:
    """Results and gradients of a random sum, ours and plain torch's, against float64.

    Args:
        ours, plain: functions of the leaves.
        dtype: of the result.
        gradients: dtype of the gradients, where it is another.
    """
    grad = normal(leaves[0].device, FLOAT, *ours(*leaves).shape, seed=1)
    found, rough = differentiate(ours, leaves, grad), differentiate(plain, leaves, grad)
    exact = differentiate(plain, [x.double() for x in leaves], grad)
    result = as_good_as_plain(found[:1], rough[:1], exact[:1], dtype)
    rest = as_good_as_plain(found[1:], rough[1:], exact[1:], gradients or dtype)
    return max(result, rest, key=lambda x: x["error"] / x["allowed"])


# -- attention -----------------------------------------------------------------------------------


def padded(device, dtype, length, dim, causal=False):
    """Sequences of two lengths."""
    leaves = [normal(device, dtype, 2, 2, length, dim, seed=i) for i in range(3)]
    valid = torch.tensor([length, max(1, length // 3)], device=device)
    options = {"causal": causal, **dropout(4 * length**2, dtype)}

    def ours(*heads):
        return attention(*heads, valid, **options)

    def plain(*heads):
        return attention_reference.attention(*heads, valid, **options)

    return judge(ours, plain, leaves, dtype)


def packed(device, dtype, dim, offset=0, bound=130):
    """Sequences of many lengths as views of one projection; with an offset, unaligned.

    The bound of the lengths, and not the lengths, chooses among the forms of the backward.
    """
    lengths = torch.tensor([1, 64, 17, 100, 130])
    bounds = functional.pad(lengths.cumsum(0), (1, 0)).int().to(device)
    tokens = int(lengths.sum())

    def heads(leaf):
        rows = torch.cat([leaf.new_zeros(offset), leaf.flatten()])[offset:]
        return rows.view(tokens, 3, 2, dim).unbind(1)

    def ours(leaf):
        return varlen_attention(*heads(leaf), bounds, bound)

    def plain(leaf):
        return attention_reference.varlen_attention(*heads(leaf), bounds)

    return judge(ours, plain, [normal(device, dtype, tokens, 3, 2, dim)], dtype)


ATTENTION = ("attention", "attention_backward")
for _dim, _length in [(20, 17), (32, 64), (64, 64), (64, 128), (64, 130), (64, 256)]:
    _name = f"attention, bfloat16, head {_dim}, {_length} tokens"
    ITEMS.add(_name, padded, *ATTENTION, dtype=BF16, length=_length, dim=_dim)
for _dim, _length in [(40, 300), (64, 520), (96, 150), (128, 100), (128, 300)]:
    _name = f"attention, bfloat16, head {_dim}, {_length} tokens, causal"
    ITEMS.add(_name, padded, *ATTENTION, dtype=BF16, length=_length, dim=_dim, causal=True)
for _dtype, _dim in [(BF16, 200), (FLOAT, 64), (FLOAT, 128), (FLOAT, 200), (DOUBLE, 48)]:
    _name = f"attention, {short(_dtype)}, head {_dim}, 70 tokens"
    ITEMS.add(_name, padded, *ATTENTION, dtype=_dtype, length=70, dim=_dim)
ITEMS.add("attention, packed", packed, *ATTENTION, dtype=BF16, dim=64)
ITEMS.add("attention, packed, bound 600", packed, *ATTENTION, dtype=BF16, dim=64, bound=600)
ITEMS.add("attention, packed, bound 1100", packed, *ATTENTION, dtype=BF16, dim=64, bound=1100)
ITEMS.add("attention, packed, unaligned", packed, *ATTENTION, dtype=BF16, dim=64, offset=1)


# -- alignment -----------------------------------------------------------------------------------


def aligned(device, dtype, longest):
    """Pairs of many lengths; a text that may be long is aligned a few tokens at a time."""
    lengths = torch.tensor([[1, 14, 0, 50, 17], [9, 8, 3, 0, 130]])
    bounds = functional.pad(lengths.cumsum(1), (1, 0)).int().to(device)
    tokens = lengths.sum(1).tolist()
    leaves = [normal(device, dtype, n, width) for width in (200, 100) for n in tokens]
    leaves[:2] = [x * 0.25 for x in leaves[:2]]

    def ours(*texts):
        return torch.cat(soft_align(*texts, *bounds, 50, longest))

    def plain(*texts):
        return torch.cat(align_reference.soft_align(*texts, *bounds))

    return judge(ours, plain, leaves, dtype)


ALIGNMENT = ("soft_align", "soft_align_backward")
for _dtype in (BF16, FLOAT, DOUBLE):
    ITEMS.add(f"soft_align, {short(_dtype)}", aligned, *ALIGNMENT, dtype=_dtype, longest=130)
ITEMS.add("soft_align, bound 4096", aligned, *ALIGNMENT, dtype=FLOAT, longest=4096)


# -- norm, activation, embedding, head -----------------------------------------------------------


def norm(device, dtype, rows, width):
    leaves = [normal(device, dtype, rows, width, seed=i) for i in range(2)]
    vectors = FLOAT if dtype == BF16 else dtype
    leaves += [normal(device, vectors, width, seed=i) for i in range(3)]

    options = dropout(rows * width, dtype)

    def ours(x, residual, weight, bias, x_bias):
        return add_layer_norm(x, residual, weight, bias, x_bias=x_bias, **options)

    def plain(*tensors):
        x, residual, weight, bias, x_bias = (t.to(tensors[0].dtype) for t in tensors)
        return norm_reference.add_layer_norm(x, residual, weight, bias, x_bias=x_bias, **options)

    return judge(ours, plain, leaves, dtype)


NORM = ("add_layer_norm", "add_layer_norm_backward")
for _dtype, _rows, _width in [
    (BF16, 70, 128),
    (BF16, 70, 768),
    (FLOAT, 70, 128),
    (FLOAT, 30, 1024),
    (BF16, 9, 4096),
    (BF16, 19, 97),
    (FLOAT, 19, 97),
    (DOUBLE, 19, 31),
]:
    _name = f"add_layer_norm, {short(_dtype)}, {_width}"
    ITEMS.add(_name, norm, *NORM, dtype=_dtype, rows=_rows, width=_width)


def activated(device, dtype, activation, width):
    leaves = [2 * normal(device, dtype, 67, width)]
    leaves += [normal(device, FLOAT if dtype == BF16 else dtype, width)]

    def ours(x, bias):
        return bias_activation(x, bias, activation=activation)

    def plain(x, bias):
        return activation_reference.bias_activation(x, bias, activation=activation)

    return judge(ours, plain, leaves, dtype)


ACTIVATION = ("bias_activation", "bias_activation_backward")
for _activation in ("gelu", "relu"):
    for _dtype, _width in [(BF16, 256), (FLOAT, 256), (BF16, 97), (DOUBLE, 64)]:
        _name = f"bias_activation, {_activation}, {short(_dtype)}, {_width}"
        _options = {"dtype": _dtype, "activation": _activation, "width": _width}
        ITEMS.add(_name, activated, *ACTIVATION, **_options)


def embedded(device, dtype, width, with_norm):
    count, rows = 120, (700, 2, 40)  # short and long tables
    generator = torch.Generator().manual_seed(1)
    ids = [torch.randint(0, n, (count,), generator=generator) for n in rows]
    ids[0][: count // 3] = 7  # as a frequent token is
    ids = [x.to(device) for x in ids]
    parameters = DOUBLE if dtype == DOUBLE else FLOAT
    leaves = [normal(device, parameters, n, width) for n in rows]
    leaves += [normal(device, parameters, width, seed=i) for i in range(2 * with_norm)]

    def of(function):
        def call(*tables):
            weight, bias = tables[3:] if with_norm else (None, None)
            exact = tables[0].dtype == DOUBLE
            return function(
                *ids,
                *tables[:3],
                norm_weight=weight,
                norm_bias=bias,
                eps=1e-5,
                dtype=DOUBLE if exact else dtype,
                **dropout(count * width, dtype),
            )

        return call

    functions = of(embedding_sum), of(embedding_reference.embedding_sum)
    return judge(*functions, leaves, dtype, parameters)


EMBEDDING = ("embedding_sum", "embedding_sum_backward")
for _dtype, _width, _norm in [
    (FLOAT, 128, False),
    (BF16, 128, True),
    (BF16, 512, True),
    (BF16, 768, True),
    (BF16, 1024, True),
    (FLOAT, 97, True),
    (DOUBLE, 31, True),
]:
    _name = f"embedding_sum, {short(_dtype)}, {_width}{', norm' if _norm else ''}"
    _options = {"dtype": _dtype, "width": _width, "with_norm": _norm}
    ITEMS.add(_name, embedded, *EMBEDDING, **_options)


def head(device, dtype, classes):
    width, rows = 64, 33
    leaves = [normal(device, dtype, rows, width)]
    leaves += [normal(device, dtype, classes, width) / 8, normal(device, dtype, classes)]
    labels = torch.arange(rows, device=device) * 31 % classes
    labels[2::5] = -100

    def of(function):
        def call(*tensors):
            return function(*tensors, labels)[0]

        return call

    functions = of(linear_cross_entropy), of(head_reference.linear_cross_entropy)
    return judge(*functions, leaves, dtype)


for _dtype, _classes in [(BF16, 1000), (FLOAT, 1000), (FLOAT, 97), (BF16, 97), (DOUBLE, 59)]:
    _name = f"linear_cross_entropy, {short(_dtype)}, {_classes} words"
    ITEMS.add(_name, head, "softmax_cross_entropy_", dtype=_dtype, classes=_classes)
