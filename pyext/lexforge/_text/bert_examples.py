"""BERT's examples."""

from __future__ import annotations

import operator
from ctypes import c_bool, c_int, c_int32, c_int64, c_uint32, c_uint64, c_void_p

import numpy as np

from lexforge._text.library import (
    SPAN,
    Buffer,
    Handle,
    as_array,
    checked,
    plain,
    thread_count,
    whole,
)

_prediction_count = plain(c_int64, "prediction_count", c_int64)
_examples_new = checked(
    "examples_new", *5 * SPAN, *3 * (c_int32,), c_int64, c_uint64, c_bool, c_void_p
)
_examples_free = plain(None, "examples_free", c_void_p)
_examples_draw = checked("examples_draw", c_void_p, c_uint32, c_int, c_void_p)
_epoch_free = plain(None, "epoch_free", c_void_p)
_epoch_count = plain(c_int64, "epoch_count", c_void_p)
_epoch_pair = checked("epoch_pair", c_void_p, c_int64, c_void_p)
_epoch_measure = checked("epoch_measure", c_void_p, c_int64, c_int64, c_void_p)
_epoch_fill = checked("epoch_fill", c_void_p, c_int64, c_int64, c_void_p, c_int)


def prediction_count(tokens: int) -> int:
    """Predicted tokens of an example of so many."""
    return _prediction_count(operator.index(tokens))


def _integers(name: str, buffer: Buffer, dtype: type[np.integer]) -> np.ndarray:
    values = as_array(buffer)
    if values.dtype != dtype or values.ndim != 1 or not values.flags.c_contiguous:
        raise TypeError(
            f"BertExamples: {name} must be a contiguous array of "
            f"{8 * np.dtype(dtype).itemsize}-bit integers"
        )
    return values


class BertExamples(Handle):
    """Draws sentence pairs and masks them; see csrc/text/bert_examples.h."""

    def __init__(
        self,
        *,
        tokens: Buffer,
        sentences: Buffer,
        paragraphs: Buffer,
        ordinary: Buffer,
        continues: Buffer,
        mask: int,
        cls: int,
        sep: int,
        max_len: int,
        seed: int,
        static_masks: bool,
    ):
        arrays = [
            _integers("tokens", tokens, np.int32),
            _integers("sentences", sentences, np.int64),
            _integers("paragraphs", paragraphs, np.int64),
            _integers("ordinary", ordinary, np.int32),
            _integers("continues", continues, np.uint8),
        ]
        least, most = -(2**31), 2**31 - 1
        super().__init__(
            _examples_free,
            _examples_new,
            *[part for values in arrays for part in (values.ctypes, values.size)],
            whole("mask", mask, least, most),
            whole("cls", cls, least, most),
            whole("sep", sep, least, most),
            whole("max_len", max_len, 0),
            whole("seed", seed, 0, 2**64 - 1),
            static_masks,
        )

    def draw(self, epoch: int, *, threads: int) -> BertEpoch:
        """The examples of an epoch, 0 .. 2^32 - 1."""
        return BertEpoch(self, whole("epoch", epoch, 0, 2**32 - 1), thread_count(threads))


class BertEpoch(Handle):
    """The examples of one epoch, in order; made by `BertExamples.draw`."""

    def __init__(self, examples: BertExamples, epoch: int, threads: int):
        self._examples = examples  # the library looks at them
        super().__init__(_epoch_free, _examples_draw, examples, epoch, threads)

    def __len__(self) -> int:
        return _epoch_count(self)

    def pair(self, example: int) -> tuple[int, int]:
        """The numbers of an example's two sentences in the corpus."""
        sentences = (c_int64 * 2)()
        _epoch_pair(self, operator.index(example), sentences)
        return sentences[0], sentences[1]

    def measure(self, first: int, last: int) -> tuple[int, int, int]:
        """Tokens, predictions and longest example of examples first .. last - 1."""
        size = (c_int64 * 3)()
        _epoch_measure(self, operator.index(first), operator.index(last), size)
        return size[0], size[1], size[2]

    def fill(
        self,
        first: int,
        last: int,
        tokens: Buffer,
        segments: Buffer,
        positions: Buffer,
        cu_seqlens: Buffer,
        prediction_index: Buffer,
        labels: Buffer,
        next_labels: Buffer,
        *,
        threads: int,
    ) -> None:
        """Writes examples first .. last - 1 into arrays of the right sizes."""
        total, predictions, _ = self.measure(first, last)

        def target(
            name: str, buffer: Buffer, dtype: type[np.signedinteger], size: int
        ) -> np.ndarray:
            values = _integers(name, buffer, dtype)
            if values.size != size:
                raise ValueError(f"BertEpoch: {name} must hold {size} elements, got {values.size}")
            if not values.flags.writeable:
                raise ValueError(f"BertEpoch: {name} must be writable")
            return values

        targets = [
            target("tokens", tokens, np.int32, total),
            target("segments", segments, np.int32, total),
            target("positions", positions, np.int32, total),
            target("cu_seqlens", cu_seqlens, np.int32, last - first + 1),
            target("prediction_index", prediction_index, np.int64, predictions),
            target("labels", labels, np.int64, predictions),
            target("next_labels", next_labels, np.int64, last - first),
        ]
        batch = (c_void_p * len(targets))(*[values.ctypes.data for values in targets])
        _epoch_fill(self, first, last, batch, thread_count(threads))
