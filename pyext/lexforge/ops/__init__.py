"""The ops, one module per family; importing any of them loads the op library."""

from lexforge import _library as _library
