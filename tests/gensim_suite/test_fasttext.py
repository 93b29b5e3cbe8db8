"""gensim's own tests of `FastText`, on this package's class; and the names of the two, compared."""

from __future__ import annotations

import inspect

import pytest

import lexforge
from gensim_suite.suite import check
from gensim_suite.test_word2vec import DEPRECATED, MISSING, OTHER_PARAMETERS, methods
from lexforge.models import fasttext

gensim = pytest.importorskip("gensim")
pytestmark = pytest.mark.interop

DOES_NOT_APPLY: dict[str, str] = {}


def test_what_applies_passes():
    check("test_fasttext.py", DOES_NOT_APPLY)
