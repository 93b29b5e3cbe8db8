"""A plugin of pytest: gensim's modules have this package's classes, and outcomes go to a file.

``suite.py`` starts pytest with it on gensim's own tests, in a process of its own.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from functools import wraps
from pathlib import Path
from types import ModuleType

import gensim.models
import gensim.models.fasttext
import gensim.models.keyedvectors
import gensim.models.phrases
import gensim.models.word2vec

import lexforge
from lexforge.models import fasttext
from lexforge.text import phrases
from lexforge.text.subwords import SubwordIndex

for module in (gensim.models, gensim.models.word2vec):
    module.Word2Vec = lexforge.Word2Vec
for name in ("LineSentence", "PathLineSentences", "Text8Corpus"):
    setattr(gensim.models.word2vec, name, getattr(lexforge, name))
for module in (gensim.models, gensim.models.keyedvectors):
    module.KeyedVectors = lexforge.KeyedVectors
for module in (gensim.models, gensim.models.phrases):
    module.Phrases, module.FrozenPhrases = lexforge.Phrases, lexforge.FrozenPhrases
    module.Phraser = lexforge.Phraser
gensim.models.phrases._PhrasesTransformation = phrases._PhraseTransformation
gensim.models.phrases.original_scorer = phrases.original_scorer


class FastText(lexforge.FastText):
    """With a row for every bucket, whose number gensim's tests look at."""

    def _subwords_of(self, vocabulary):
        settings = self.settings
        return SubwordIndex.every(settings.min_n, settings.max_n, settings.bucket)


for module in (gensim.models, gensim.models.fasttext):
    module.FastText = FastText
for name in fasttext.__all__[1:]:
    setattr(gensim.models.fasttext, name, getattr(fasttext, name))

_outcomes: dict[str, list[str]] = {}


def pytest_runtest_logreport(report) -> None:
    """Keep the worst that a test came to, and why."""
    name = report.nodeid.partition("::")[2].replace("::", ".")
    if report.skipped:
        _outcomes[name] = ["skipped", report.longrepr[2]]
    elif report.failed:
        _outcomes[name] = ["failed", report.longrepr.reprcrash.message]
    elif report.when == "call":
        _outcomes.setdefault(name, ["passed", ""])


def pytest_sessionfinish() -> None:
    """Write the outcomes where ``suite.py`` looks for them."""
    Path(os.environ["GENSIM_SUITE_OUTCOMES"]).write_text(json.dumps(_outcomes))


class _Records(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(f"{record.name} {record.levelname}\n  {record.getMessage()}")

    def __str__(self) -> str:
        return "\n".join(self.lines)


def _log_capture():
    """What gensim's tests use of testfixtures: a test is given what was logged, as text."""

    def decorate(test):
        @wraps(test)
        def with_records(self):
            records, root = _Records(), logging.getLogger()
            level, others = root.level, root.handlers
            root.handlers, root.level = [records], logging.DEBUG
            try:
                return test(self, records)
            finally:
                root.handlers, root.level = others, level

        # pytest would take the second argument for a fixture.
        del with_records.__wrapped__
        return with_records

    return decorate


sys.modules["testfixtures"] = ModuleType("testfixtures")
sys.modules["testfixtures"].log_capture = _log_capture
