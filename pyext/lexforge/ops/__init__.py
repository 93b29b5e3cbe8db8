"""The ops, one module per family; importing any of them loads the op library."""

from lexforge import _library as _library
from lexforge.ops.attention import attention, varlen_attention

# A function hides the module of its name: `from lexforge.ops.attention import ...` finds both.
__all__ = ["attention", "varlen_attention"]
