"""The library with its plain C interface: loading, calls, errors, objects and memory."""

from __future__ import annotations

import operator
import os
import threading
import weakref
from collections.abc import Callable
from ctypes import CDLL, byref, c_char_p, c_int, c_int64, c_void_p, string_at
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

Buffer: TypeAlias = bytes | bytearray | memoryview | np.ndarray


def _load() -> CDLL:
    found = sorted(Path(__file__).parents[1].glob("_text_native*.so"))
    if not found:
        raise ImportError(
            "lexforge's text library is not built: run `pip install --no-build-isolation .` "
            "(or `-e .`) in the source folder"
        )
    return CDLL(str(found[0]))


native = _load()
native.lexforge_error_message.restype = c_char_p

# By the numbers of Status in csrc/text/c_interface.h; the first means that all went well.
_EXCEPTIONS = (None, ValueError, IndexError, OSError, MemoryError, RuntimeError)


def check(status: int, function: object, arguments: object) -> None:
    exception = _EXCEPTIONS[status]
    if exception is None:
        return
    message = native.lexforge_error_message()
    if exception is OSError:
        number = native.lexforge_error_errno()
        reason = os.strerror(number)
        path = os.fsdecode(message).removesuffix(f": {reason}")
        raise OSError(number, reason, path)  # picks its own subclass
    raise exception(message.decode(errors="replace"))  # it may quote a file, cut anywhere


_Address = type(np.empty(0).ctypes)  # of an array, which it keeps


def plain(
    returns: Any,
    name: str,
    *parameters: Any,
    check: Callable[..., None] | None = None,
    quick: bool = False,
) -> Callable[..., Any]:
    """A function of the library; `returns` is None where nothing comes back.

    `quick`: no argument is the address of an array.
    """
    function = getattr(native, f"lexforge_{name}")
    function.argtypes, function.restype = parameters, returns
    if check is not None:
        function.errcheck = check
    if quick:
        return function

    def call(*arguments: Any) -> Any:
        # Not left to ctypes: if Ctrl-C came while it asks an array for its address, it would make
        # an ArgumentError of it.
        return function(*[each.data if type(each) is _Address else each for each in arguments])

    return call


def checked(name: str, *parameters: Any, quick: bool = False) -> Callable[..., Any]:
    """A function of the library whose status is raised as an exception."""
    return plain(c_int, name, *parameters, check=check, quick=quick)


SPAN = (c_void_p, c_int64)  # where something begins, and its size
BYTES = (c_char_p, c_int64)  # which may hold NULs, and their number

_block_data = plain(c_void_p, "block_data", c_void_p, quick=True)
_block_size = plain(c_int64, "block_size", c_void_p, quick=True)
block_free = plain(None, "block_free", c_void_p, quick=True)


class Handle:
    """An object of the library, freed with this one.

    Args:
        free: what frees it.
        make: a function of the library; its last parameter is where the object's address goes.
        arguments: the others.
    """

    def __init__(self, free: Callable[..., Any], make: Callable[..., Any], *arguments: Any):
        self._as_parameter_ = c_void_p()
        self._lock = threading.RLock()
        make(*arguments, byref(self._as_parameter_))
        # At exit all is left as it is: arrays may still show the object's memory.
        self._free = weakref.finalize(self, free, self._as_parameter_)
        self._free.atexit = False

    def _call(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """For what changes the object or reads what changes: one thread at a time."""
        with self._lock:
            return function(self, *arguments)

    def close(self) -> None:
        """Free it now; nothing may be asked of it any more."""
        with self._lock:
            self._free()

    def __reduce__(self):
        raise TypeError(f"cannot pickle or copy a {type(self).__name__}")


class Memory:
    """Memory of the library, for numpy to look at."""

    def __init__(self, address: int | None, typestr: str, *shape: int):
        self.__array_interface__ = {
            "data": (address, False),
            "typestr": typestr,
            "shape": shape,
            "version": 3,
        }


def bytes_of(block: c_void_p | int | None) -> np.ndarray:
    return np.asarray(Memory(_block_data(block), "|u1", _block_size(block)))


def take(block: c_void_p | int | None) -> bytes:
    """The content of a result, which is freed."""
    try:
        return string_at(_block_data(block), _block_size(block))
    finally:
        block_free(block)


def span(buffer: Buffer) -> tuple[Any, int]:
    """Where the bytes are, as an object that keeps them there, and how many."""
    view = np.frombuffer(buffer, np.uint8)
    return view.ctypes, view.size


def as_array(buffer: Buffer) -> np.ndarray:
    return buffer if isinstance(buffer, np.ndarray) else np.asarray(memoryview(buffer))


def whole(name: str, value: int, least: int, most: int = 2**63 - 1) -> int:
    value = operator.index(value)
    if not least <= value <= most:
        bound = f">= {least}" if value < least else f"<= {most}"
        raise ValueError(f"{name} must be {bound}, got {value}")
    return value


def thread_count(threads: int) -> int:
    return whole("threads", threads, 1, 2**31 - 1)
