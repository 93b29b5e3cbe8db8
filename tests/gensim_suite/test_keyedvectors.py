"""gensim's own tests of `KeyedVectors`, on this package's class."""

from __future__ import annotations

import pytest

from gensim_suite.suite import check

pytest.importorskip("gensim")
pytestmark = pytest.mark.interop

DOES_NOT_APPLY = {
    "Gensim320Test.test": "reads a pickle, which may run code and is never opened here",
}


def test_what_applies_passes():
    check("test_keyedvectors.py", DOES_NOT_APPLY)
