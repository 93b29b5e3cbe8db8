"""simple_preprocess and its parts: gensim is the oracle, for any text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lexforge import simple_preprocess
from lexforge.text import preprocess

pytestmark = pytest.mark.interop
theirs = pytest.importorskip("gensim.utils")
LETTERS = st.sampled_from("aB_Éßİçñǅσς日é́0٣²Ⅷ \n-'")
TEXTS = st.one_of(st.text(), st.text(LETTERS))


@given(TEXTS, st.booleans(), st.integers(0, 4), st.integers(0, 20))
def test_same_as_gensim(text, deacc, low, high):
    arguments = (deacc, low, high)
    assert simple_preprocess(text, *arguments) == theirs.simple_preprocess(text, *arguments)
    assert preprocess.deaccent(text) == theirs.deaccent(text)
    for lower in (False, True):
        tokens = preprocess.tokenize(text, deacc=deacc, lower=lower)
        assert list(tokens) == list(theirs.tokenize(text, deacc=deacc, lower=lower))


@given(st.binary())
def test_bytes_as_gensim(data):
    assert simple_preprocess(data) == theirs.simple_preprocess(data)


def test_text_alone():
    assert simple_preprocess("The Cats_ _sat, on 12 mats") == ["the", "cats_", "on", "mats"]
    with pytest.raises(TypeError, match="text must be str or bytes, got list"):
        simple_preprocess(["a"])


def test_helpers_at_the_place_where_gensim_has_them():
    import lexforge.utils

    assert all(hasattr(theirs, name) for name in lexforge.utils.__all__)
    assert lexforge.utils.simple_preprocess is simple_preprocess
