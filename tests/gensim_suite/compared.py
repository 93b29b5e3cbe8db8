"""Classes and answers of this package beside those of gensim."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

import numpy as np
import pytest

SPECIAL = ["__init__", "__getitem__", "__setitem__", "__contains__", "__len__"]


def arguments(function) -> list[inspect.Parameter]:
    variable = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
    found = inspect.signature(function).parameters.values()
    return [one for one in found if one.name not in ("self", "cls") and one.kind not in variable]


def assert_same_names(ours: type, theirs: type, exceptions: Mapping[tuple[str, str], str]) -> None:
    """That every public name of theirs is here, with its arguments and their defaults.

    Args:
        exceptions: (method, argument) -> what is not as in theirs, and why; all must be used.
    """
    names = [name for name in dir(theirs) if not name.startswith("_")] + SPECIAL
    assert len(names) > 50
    used = set()
    for name in names:
        other = inspect.getattr_static(theirs, name)
        mine = inspect.getattr_static(ours, name)  # or AttributeError
        assert isinstance(mine, property) == isinstance(other, property), name
        if not callable(getattr(theirs, name)) or isinstance(other, property):
            continue
        given = arguments(getattr(ours, name))
        for place, argument in enumerate(arguments(getattr(theirs, name))):
            same = place < len(given) and given[place].name == argument.name
            if same and given[place].default == argument.default:
                continue
            assert (name, argument.name) in exceptions, f"{name}: {argument} is not as in gensim"
            used.add((name, argument.name))
    used |= {key for key in exceptions if key[1] == "mapfile_path"}
    assert used == set(exceptions)


def assert_same(ours, theirs) -> None:
    """Equal but for rounding, and of the same types but for Python's numbers."""
    if isinstance(theirs, np.ndarray):
        assert isinstance(ours, np.ndarray)
        assert (ours.shape, ours.dtype) == (theirs.shape, theirs.dtype)
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    elif isinstance(theirs, float | np.floating):
        assert isinstance(ours, float)
        assert ours == pytest.approx(float(theirs), abs=1e-6)
    elif isinstance(theirs, list | tuple):
        assert isinstance(ours, list | tuple) and len(ours) == len(theirs)
        for mine, other in zip(ours, theirs, strict=True):
            assert_same(mine, other)
    elif isinstance(theirs, dict):
        assert ours.keys() == theirs.keys()
        for key, value in theirs.items():
            assert_same(ours[key], value)
    else:
        assert ours == theirs
