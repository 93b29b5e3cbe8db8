"""Every binding wants its tensors on one device, whoever calls torch.ops.

A stranger reaches a binding only among tensors of its device: without a GPU, one of the meta device
in a call that is sent to the CPU's key; with one, a tensor of the host among those of the GPU.
"""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch._C import DispatchKey, DispatchKeySet

from lexforge import _library
from lexforge.ops.word2vec.skipgram_step import MAX_PENDING

# For the CPU alone: the dispatcher finds no kernel when a tensor of a GPU is among theirs.
CPU_ONLY = {
    "_numerics",
    "adam_step_",
    "causal_block_",
    "causal_block_backward_",
    "few_rows_linear",
    "glove_deal_parts",
    "glove_tiles",
    "skipgram_batch",
    "skipgram_epoch_",
    "skipgram_windows",
    "split_product_",
    "weight_gradient_",
}
# Not on the device of the others: what the host keeps, and an argument of the CPU kernel only.
ELSEWHERE = {"history", "workspace"}


def floats(*shape):
    return torch.ones(shape)


def ints(*values, dtype=torch.int32):
    return torch.tensor(values, dtype=dtype)


def longs(*values):
    return ints(*values, dtype=torch.int64)


def attention() -> dict:
    rows = {name: torch.ones(2, 3, 1, 4) for name in ("q", "k", "v")}
    return {
        **rows,
        "cu_seqlens": None,
        "valid_lens": ints(3, 2),
        "seed": longs(1),
        "max_seqlen": 3,
        "causal": False,
        "dropout_p": 0.5,
        "scale": 1.0,
    }


def packed_attention() -> dict:
    rows = {name: torch.ones(3, 1, 4) for name in ("q", "k", "v")}
    return {**attention(), **rows, "cu_seqlens": ints(0, 3), "valid_lens": None}


def attention_backward() -> dict:
    saved = {"grad_out": torch.ones(2, 3, 1, 4), "out": torch.ones(2, 3, 1, 4)}
    return {**attention(), **saved, "lse": floats(2, 3, 1)}


def alignment() -> dict:
    features = {"f_a": floats(3, 4), "f_b": floats(2, 4)}
    values = {"a": floats(3, 5), "b": floats(2, 5)}
    bounds = {"cu_a": ints(0, 3), "cu_b": ints(0, 2), "max_a": 3, "max_b": 2}
    return {**features, **values, **bounds}


def alignment_backward() -> dict:
    of_a = {name: floats(3, 5) for name in ("grad_beta", "beta")}
    of_b = {name: floats(2, 5) for name in ("grad_alpha", "alpha")}
    return {**alignment(), **of_a, **of_b, "stats_a": floats(2, 3), "stats_b": floats(2, 2)}


def decode_attention() -> dict:
    rows = {name: torch.ones(2, 1, 4) for name in ("q", "k", "v")}
    caches = {name: torch.ones(2, 1, 3, 4) for name in ("k_cache", "v_cache")}
    return {**rows, **caches, "lengths": ints(2, 0), "scale": 1.0}


def norm() -> dict:
    vectors = {name: floats(4) for name in ("x_bias", "weight", "bias")}
    rows = {"x": floats(2, 4), "residual": floats(2, 4)}
    return {**rows, **vectors, "seed": longs(1), "eps": 1e-5, "dropout_p": 0.5}


def norm_backward() -> dict:
    return {**norm(), "grad_y": floats(2, 4), "mean": floats(2), "rstd": floats(2)}


def norm_sum_backward() -> dict:
    rows = {name: floats(2, 4) for name in ("grad_sum", "sum")}
    return {**norm_backward(), **rows, "with_x_bias": True}


def dropout() -> dict:
    return {"x": floats(2, 4), "seed": longs(1), "dropout_p": 0.5}


def embedding() -> dict:
    ids = {name: ints(0, 1) for name in ("tokens", "segments", "positions")}
    tables = {f"{name}_table": floats(2, 4) for name in ("token", "segment", "position")}
    norm = {"norm_weight": floats(4), "norm_bias": floats(4), "eps": 1e-5}
    rest = {"seed": longs(1), "dropout_p": 0.5, "dtype": torch.float32}
    return {**ids, **tables, **norm, **rest}


def embedding_backward() -> dict:
    return {**embedding(), "grad_out": floats(2, 4), "mean": floats(2), "rstd": floats(2)}


def bags() -> dict:
    """Two, of one id and of two; a maximum's choice and a mean's scale are empty."""
    return {
        **{"table": floats(2, 4), "ids": ints(0, 1, 1), "offsets": longs(0, 1, 3)},
        **{"per_sample_weights": floats(3), "mode": "sum", "padding_idx": -1},
        **{"scale_grad_by_freq": False, "sparse": False, "grad_out": floats(2, 4), "rows": 2},
        **{"choice": torch.zeros(0, 4, dtype=torch.int32), "scale": floats(0)},
        **{"max_norm": 1.0, "norm_type": 2.0},
    }


def glove_loss() -> dict:
    tables = {"word": floats(2, 4), "context": floats(2, 4)}
    biases = {"word_bias": floats(2), "context_bias": floats(2)}
    entries = {"rows": ints(0, 1, 1), "cols": ints(0, 0, 1)}
    of_entries = {name: floats(3) for name in ("counts", "grad_loss", "slope")}
    return {**tables, **biases, **entries, **of_entries, "x_max": 100.0, "alpha": 0.75}


def glove_train() -> dict:
    settings = dict.fromkeys(("learning_rate", "bias_rate", "x_max", "alpha", "clip"), 1.0)
    adam = {"beta1": 0.9, "beta2": 0.99, "epsilon": 1e-8}
    return {
        **{name: torch.ones(2, 2, 16) for name in ("word_table", "context_table")},
        "stats": torch.zeros(2, dtype=torch.float64),
        "parts": 1,
        "tile_begin": longs(0, 1),
        "segment_row": ints(0),
        "segment_begin": longs(0, 1),
        "column": ints(1),
        "log_count": floats(1),
        **{"first_round": 0, "last_round": 1, "dim": 8, "optimizer": "adagrad"},
        **{**settings, **adam, "deterministic": True, "threads": 1},
    }


def batch() -> dict:
    target = {name: floats(2, 3) for name in ("mask", "label", "error")}
    return {
        "center": ints(0, 1),
        "contexts_and_negatives": torch.zeros(2, 3, dtype=torch.int32),
        **target,
        **{"embed_v": floats(2, 16), "embed_u": floats(2, 16)},
        **{"grad_loss": floats(2), "loss": floats(2)},
    }


def step() -> dict:
    tables = {f"{side}_table": floats(2, 16) for side in ("in", "out")}
    moments = {f"{side}_moments": torch.zeros(2, 2, 16) for side in ("in", "out")}
    last = {f"{side}_last": ints(0, 0) for side in ("in", "out")}
    workspace = torch.ops.lexforge.skipgram_step_workspace(2, 6, 2, 2, 16)
    return {
        **{**batch(), **tables, **moments, **last},
        "history": torch.zeros(MAX_PENDING, 2, dtype=torch.float64),
        "workspace": torch.zeros(workspace, dtype=torch.uint8),
        **{"optimizer": "adam", "step": 1, "lr": 0.1, "beta1": 0.9, "beta2": 0.99, "eps": 1e-8},
    }


def stream() -> dict:
    return {
        **{"in_table": floats(2, 16), "out_table": floats(2, 16), "tree_table": floats(1, 16)},
        "stats": torch.zeros(3, dtype=torch.float64),
        **{"path_offsets": longs(0, 1, 2), "paths": ints(0, 1), "longest_path": 1},
        **{"bag_offsets": longs(0, 1, 2), "bag_rows": ints(0, 1), "longest_bag": 1},
        **{"bag_mean": True, "cbow": False, "cbow_mean": True, "together": 0},
        **{"shards": 0, "shard_tokens": 1, "shard_rows": torch.zeros(0, dtype=torch.uint8)},
        **{"tokens": ints(0, 1, 0), "offsets": longs(0, 3), "keep": floats(2)},
        **{"in_scale": floats(2), "noise": torch.zeros(2, 2, dtype=torch.int32)},
        **{"first_sentence": 0, "last_sentence": 1, "window": 1, "negatives": 1},
        **{"dynamic_window": False, "share_negatives": False, "alpha": 0.1, "min_alpha": 0.1},
        **{"tokens_before": 0, "total_tokens": 3, "seed": 1, "epoch": 0, "threads": 1},
    }


def classify() -> dict:
    return {
        **{"in_table": floats(4, 16), "out_table": floats(2, 16)},
        "stats": torch.zeros(2, dtype=torch.float64),
        **{"tokens": ints(0, 1, 0), "offsets": longs(0, 3)},
        **{"label_ids": ints(1), "label_offsets": longs(0, 1)},
        **{"bag_offsets": longs(0, 1, 2), "bag_rows": ints(0, 1), "hashes": ints(5, -7)},
        **{"bucket_rows": ints(1, 0), "noise": torch.zeros(2, 2, dtype=torch.int32)},
        **{"path_offsets": longs(0, 1, 2), "paths": ints(0, 1)},
        **{"first_line": 0, "last_line": 1, "words": 2, "buckets": 2, "word_ngrams": 2},
        **{"loss": 2, "negatives": 1, "alpha": 0.1, "min_alpha": 0.0},
        **{"tokens_before": 0, "total_tokens": 3, "seed": 1, "epoch": 0, "threads": 1},
    }


def pooling() -> dict:
    """Two texts of three tokens, filters of two taps."""
    return {
        **{"x": floats(2, 4), "cu_seqlens": ints(0, 2, 3), "weight": floats(2, 3, 4)},
        **{"bias": floats(3), "index": ints(1, 0, 1), "min_length": 2},
        **{"grad_out": floats(2, 3), "place": torch.zeros(2, 3, dtype=torch.int32), "taps": 2},
    }


def counting() -> dict:
    """Two words, padded by the third, the separator."""
    return {
        **{"tokens": ints(0, 1), "offsets": longs(0, 2), "first": 0, "last": 2},
        **{"padded": ints(2, 0, 1, 2), "starts": longs(0, 1, 2), "positions": ints(1, 2)},
        **{"first_row": 0, "last_row": 2, "symmetric": True, "distance_weighting": False},
        **{"row_sizes": [longs(1, 0)] * 2, "cols": [ints(1)] * 2, "counts": [longs(1)] * 2},
        **{"vocab_size": 2, "window": 1, "cross_sentences": False, "threads": 1},
    }


def sampling() -> dict:
    return {
        "table": torch.zeros(2, 2, dtype=torch.int32),
        **{"positives": ints(0, 1), "offsets": longs(0, 2), "positions": longs(0)},
        **{"first_position": 0, "negatives": 1, "seed": 1, "epoch": 0},
    }


def activation() -> dict:
    return {"x": floats(2, 4), "bias": floats(4), "grad_out": floats(2, 4), "activation": 1}


def lstm() -> dict:
    """A text of two tokens, in both directions."""
    return {
        **{"gates": floats(2, 24), "index": ints(1, 0), "w_hh": floats(2, 12, 3)},
        **{"cu_seqlens": ints(0, 2), "save": True},
        **{"grad_out": floats(2, 6), "grad_h": floats(1, 6), "grad_c": floats(1, 6)},
        **{"activated": floats(2, 24), "cells": floats(2, 6)},
    }


def row_update() -> dict:
    moments = {"first": torch.zeros(2, 4), "second": torch.zeros(2, 4)}
    flags = {"touched": torch.zeros(2, dtype=torch.uint8)}
    factors = {f"{name}{n}": 0.5 for name in ("decay", "fresh") for n in (1, 2)}
    return {
        **{"weight": floats(2, 4), "ids": ints(1, 0, 1), "gradients": floats(3, 4)},
        **{**moments, **flags, **factors},
        **{"rule": "adam", "lr": 0.1, "weight_decay": 0.1, "epsilon": 1e-8},
    }


def cross_entropy() -> dict:
    rows = {"labels": longs(0, 1), "scale": floats(2)}
    return {"logits": floats(2, 4), "bias": floats(4), **rows, "gradient": True}


def search() -> dict:
    return {
        **{"table": floats(3, 4), "norms": floats(3), "queries": floats(2, 4)},
        **{"excluded": longs(0, -1)[:, None], "first": 0, "last": 3, "k": 2},
    }


CALLS = [
    ("add_layer_norm", norm),
    ("add_layer_norm_backward", norm_backward),
    ("add_layer_norm_sum", norm),
    ("add_layer_norm_sum_backward", norm_sum_backward),
    ("attention", attention),
    ("attention", packed_attention),
    ("attention_backward", attention_backward),
    ("bias_activation", activation),
    ("bias_activation_backward", activation),
    ("classify_train_", classify),
    ("conv_max_pool", pooling),
    ("conv_max_pool_picks", pooling),
    ("cooccurrence_index", counting),
    ("cooccurrence_merge", counting),
    ("cooccurrence_rows", counting),
    ("cosine_top_k", search),
    ("decode_attention_", decode_attention),
    ("dropout", dropout),
    ("embedding_bag", bags),
    ("embedding_bag_backward", bags),
    ("embedding_bag_weights_backward", bags),
    ("embedding_renorm_", bags),
    ("embedding_sum", embedding),
    ("embedding_sum_backward", embedding_backward),
    ("glove_loss", glove_loss),
    ("glove_loss_backward", glove_loss),
    ("glove_train_", glove_train),
    ("lstm", lstm),
    ("lstm_backward", lstm),
    ("row_update_", row_update),
    ("sample_noise", sampling),
    ("skipgram_loss", batch),
    ("skipgram_loss_backward", batch),
    ("skipgram_loss_backward_rows", batch),
    ("skipgram_step_", step),
    ("skipgram_sync_", step),
    ("soft_align", alignment),
    ("soft_align_backward", alignment_backward),
    ("word2vec_train_", stream),
    ("softmax_cross_entropy_", cross_entropy),
]


def tensor_arguments(op) -> list[str]:
    return [a.name for a in op._schema.arguments if "Tensor" in str(a.type)]


def moved(value, device):
    if isinstance(value, list):
        return [moved(item, device) for item in value]
    return value.to(device) if isinstance(value, torch.Tensor) else value


def call(op, arguments: dict, device: torch.device):
    key = DispatchKey.CUDA if device.type == "cuda" else DispatchKey.CPU
    values = [arguments[argument.name] for argument in op._schema.arguments]
    return op.redispatch(DispatchKeySet(key), *values)


@pytest.mark.parametrize(("name", "arguments"), CALLS)
def test_a_stranger_among_the_tensors_is_refused(name, arguments, device):
    op = getattr(torch.ops.lexforge, name).default
    stranger = "cpu" if device.type == "cuda" else "meta"

    def fresh() -> dict:
        places = {name: "cpu" if name == "history" else device for name in arguments()}
        return {name: moved(value, places[name]) for name, value in arguments().items()}

    call(op, fresh(), device)  # but for the stranger, the call is right
    for tensor in tensor_arguments(op):
        given = fresh()
        if given[tensor] is None or tensor in ELSEWHERE:
            continue
        if isinstance(given[tensor], list):
            given[tensor][-1] = given[tensor][-1].to(stranger)
        else:
            given[tensor] = given[tensor].to(stranger)
        with pytest.raises(RuntimeError, match="must be on the device of"):
            call(op, given, device)


def written(op) -> list[str]:
    infos = [(a.name, a.alias_info) for a in op._schema.arguments]
    return [name for name, info in infos if info is not None and info.is_write]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [each for each in CALLS if written(getattr(torch.ops.lexforge, each[0]).default)],
)
def test_memory_in_common_with_what_is_written_is_refused(name, arguments, device):
    op = getattr(torch.ops.lexforge, name).default
    fresh = arguments()
    tensors = [n for n in tensor_arguments(op) if fresh[n] is not None and fresh[n].numel()]
    state = set(written(op))
    for one in [n for n in tensors if n in state and n != "history"]:
        for other in tensors:
            if other in (one, "history"):
                continue
            given = {n: moved(v, "cpu" if n == "history" else device) for n, v in fresh.items()}
            memory = torch.zeros(1 << 16, dtype=torch.uint8, device=device)
            memory = memory[-memory.data_ptr() % 64 :]
            first_bytes = given[one].numel() * given[one].element_size()
            start = (first_bytes - 1) // 64 * 64  # as much in common as the alignment allows
            for n, at in ((one, 0), (other, start)):
                size = given[n].numel() * given[n].element_size()
                place = memory[at : at + size].view(given[n].dtype).view(given[n].shape)
                given[n] = place.copy_(given[n])
            with pytest.raises(RuntimeError, match=f"^{name}: .* must not share memory with"):
                call(op, given, device)


def test_what_the_host_keeps_is_refused_elsewhere(device):
    op = torch.ops.lexforge.skipgram_step_.default
    arguments = {name: moved(value, device) for name, value in step().items()}
    arguments["history"] = step()["history"].to("cuda" if device.type == "cuda" else "meta")
    with pytest.raises(RuntimeError, match="history must be on the CPU"):
        call(op, arguments, device)


def test_no_op_is_forgotten():
    # In a process of its own, which has the libraries' ops and none that are made in Python.
    code = "import lexforge._library, torch; print(*torch._C._dispatch_get_all_op_names())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    names = [name for name in done.stdout.split() if name.startswith("lexforge::")]
    assert len(names) > 20
    called = {name for name, _ in CALLS}
    for name in (full.removeprefix("lexforge::") for full in names):
        op = getattr(torch.ops.lexforge, name).default
        if len(tensor_arguments(op)) > 1 and name not in CPU_ONLY:
            assert name in called, f"{name} is not among the calls above"


@pytest.mark.skipif(_library.emulated(), reason="the emulated library has no CPU kernels")
def test_cpu_only_ops_have_no_other_kernel():
    for name in CPU_ONLY:
        assert torch._C._dispatch_has_kernel_for_dispatch_key(f"lexforge::{name}", "CPU")
        assert not torch._C._dispatch_has_kernel_for_dispatch_key(f"lexforge::{name}", "CUDA")
