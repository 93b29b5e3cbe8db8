"""gensim's own tests of `Phrases` and `FrozenPhrases`, on this package's classes."""

from __future__ import annotations

import pytest

from gensim_suite.suite import check

pytest.importorskip("gensim")
pytestmark = pytest.mark.interop

PICKLE = "reads a pickle, which may run code: it is refused with the line that converts it"
NAMED = "a file never decides what is run: load(path, scoring=...) is given the function"
DOES_NOT_APPLY = {
    "TestPhrasesPersistence.test_save_load_custom_scorer": NAMED,
    "TestFrozenPhrasesPersistence.test_save_load_custom_scorer": NAMED,
    "TestPhrasesPersistence.test_save_load_no_common_terms": PICKLE,
    "TestPhrasesPersistence.test_save_load_no_scoring": PICKLE,
    "TestPhrasesPersistence.test_save_load_string_scoring": PICKLE,
    "TestFrozenPhrasesPersistence.test_save_load_no_common_terms": PICKLE,
    "TestFrozenPhrasesPersistence.test_save_load_no_scoring": PICKLE,
    "TestFrozenPhrasesPersistence.test_save_load_string_scoring": PICKLE,
    "TestFrozenPhrasesModelCompatibility.test_compatibility": PICKLE,
}


def test_what_applies_passes():
    check("test_phrases.py", DOES_NOT_APPLY)
