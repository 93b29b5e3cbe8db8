"""Word2Vec, and the sentences that it is trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lexforge._lazy import attach

if TYPE_CHECKING:
    from lexforge.models.word2vec.model import Word2Vec
    from lexforge.text.sentences import (
        BrownCorpus,
        LineSentence,
        PathLineSentences,
        Text8Corpus,
    )

__all__ = ["BrownCorpus", "LineSentence", "PathLineSentences", "Text8Corpus", "Word2Vec"]

_HOME = {
    "BrownCorpus": "lexforge.text.sentences",
    "LineSentence": "lexforge.text.sentences",
    "PathLineSentences": "lexforge.text.sentences",
    "Text8Corpus": "lexforge.text.sentences",
    "Word2Vec": "lexforge.models.word2vec.model",
}

__getattr__, __dir__ = attach(__name__, _HOME)
