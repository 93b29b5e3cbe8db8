"""A script for gensim, run as it is, and with the package in its imports changed."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("gensim")
pytestmark = pytest.mark.interop

SCRIPT = """
import logging

from gensim.models import KeyedVectors, Word2Vec
from gensim.models.callbacks import CallbackAny2Vec
from gensim.models.word2vec import LineSentence, PathLineSentences

logging.basicConfig(format="%(asctime)s : %(message)s", level=logging.INFO)


class Saver(CallbackAny2Vec):
    def __init__(self, path):
        self.path, self.epoch, self.losses = path, 0, []

    def on_epoch_end(self, model):
        self.epoch += 1
        self.losses.append(model.get_latest_training_loss())
        model.save(f"{self.path}.epoch{self.epoch}")


saver = Saver(folder + "/model")
sentences = LineSentence(text)
model = Word2Vec(
    sentences=sentences, vector_size=20, window=3, min_count=2, workers=1, sg=1, hs=0, negative=5,
    epochs=3, sample=0, seed=7, compute_loss=True, callbacks=[saver],
)
made = str(model)
model.save(folder + "/model")
model = Word2Vec.load(folder + "/model", mmap="r")
model.build_vocab(PathLineSentences(text), update=True)
trained = model.train(
    corpus_iterable=sentences, total_examples=model.corpus_count, total_words=None,
    epochs=model.epochs, start_alpha=0.01, end_alpha=0.001, word_count=0, queue_factor=2,
    report_delay=1.0, compute_loss=True, callbacks=(),
)
vector = model.wv["system"]
nearest = model.wv.most_similar(positive=["human", "computer"], negative=["trees"], topn=3)
words = {word: model.wv.get_vecattr(word, "count") for word in model.wv.key_to_index}
model.wv.save_word2vec_format(folder + "/vectors.bin", binary=True)
kv = KeyedVectors.load_word2vec_format(folder + "/vectors.bin", binary=True)
model.wv.save(folder + "/vectors.kv")
again = KeyedVectors.load(folder + "/vectors.kv", mmap="r")
predicted = model.predict_output_word(["human", "system"], topn=3)
memory = model.estimate_memory()
"""


def test_a_script_runs_after_its_imports_are_changed(tmp_path):
    from gensim.test.utils import common_texts

    text = tmp_path / "text.txt"
    text.write_text("".join(" ".join(sentence) + "\n" for sentence in common_texts * 10))
    found = []
    for package in ("gensim", "lexforge"):
        names = {"text": str(text), "folder": str(tmp_path / package)}
        (tmp_path / package).mkdir()
        exec(SCRIPT.replace("from gensim.models", f"from {package}.models"), names)
        np.testing.assert_allclose(names["kv"]["system"], names["vector"])
        np.testing.assert_allclose(names["again"]["system"], names["vector"])
        assert [len(names[each]) for each in ("nearest", "predicted")] == [3, 3]
        assert names["saver"].epoch == 3 and names["saver"].losses[-1] > 0
        assert names["vector"].shape == (20,) and names["memory"]["total"] > 0
        found.append([names["made"], names["trained"], names["words"], names["model"].corpus_count])
    assert found[0] == found[1]
