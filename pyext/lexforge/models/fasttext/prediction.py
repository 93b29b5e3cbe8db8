"""Labels of lines by a supervised model, line by line, also by one whose matrices are codes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from lexforge._text import ngram_hash
from lexforge.text.huffman import huffman_tree
from lexforge.vectors.formats.fasttext import LOSSES, FastTextFile
from lexforge.vectors.quantised import QuantizedMatrix
