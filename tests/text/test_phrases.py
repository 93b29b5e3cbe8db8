"""Phrases: gensim is the oracle of counts, scores, phrases and what becomes of sentences."""

from __future__ import annotations

import copy
import gc
import gzip
import io
import itertools
import json
import os
import pickle
import random
from pathlib import Path

import numpy as np
import pytest

import lexforge
import lexforge.models.phrases
from lexforge import ENGLISH_CONNECTOR_WORDS, FrozenPhrases, Phraser, Phrases, _text
from lexforge.text import resolve_corpus
from lexforge.text.phrases import npmi_scorer, original_scorer
from planted import planted_corpus

SENTENCES = [
    ["new", "york", "is", "big"],
    ["the", "bank", "of", "england", "is", "in", "london"],
    ["in", "new", "york", "the", "bank", "of", "england", "has", "no", "bank"],
    [],
    ["york", "is", "old"],
]
SMALL = {"min_count": 1, "threshold": 0.5}
READER = {"threads": 1, "chunk_bytes": 1 << 20, "errors": "replace", "lowercase": []}


def share(worda_count, wordb_count, bigram_count, len_vocab, min_count, corpus_word_count):
    """A scoring function of somebody's own."""
    return bigram_count / worda_count


def random_sentences(rng, words, most=30):
    return [
        [rng.choice(words) for _ in range(rng.randrange(12))] for _ in range(rng.randrange(most))
    ]


def same_as_gensim(ours, theirs, sentences):
    """Counts in their order, and everything that comes of them."""
    assert list(ours.vocab.items()) == list(theirs.vocab.items())
    assert ours.corpus_word_count == theirs.corpus_word_count
    assert ours.min_reduce == theirs.min_reduce
    found, expected = ours.export_phrases(), theirs.export_phrases()
    assert list(found) == list(expected)
    assert list(found.values()) == pytest.approx(list(expected.values()), rel=1e-12)
    for a, b in ((ours, theirs), (ours.freeze(), theirs.freeze())):
        assert list(a[sentences]) == [list(sentence) for sentence in b[sentences]]
        assert a.find_phrases(sentences) == pytest.approx(b.find_phrases(sentences), rel=1e-12)
        for sentence in sentences[:3]:
            assert list(a.analyze_sentence(sentence)) == list(b.analyze_sentence(sentence))
            assert a[sentence] == b[sentence]


@pytest.mark.interop
@pytest.mark.parametrize("delimiter", ["_", "__", " ", "-and-", "é", "ab", "_a_"])
@pytest.mark.parametrize("scoring, thresholds", [("default", [0.5, 2.0]), ("npmi", [0.1, 0.5])])
def test_same_as_gensim(delimiter, scoring, thresholds):
    """With words that hold the delimiter or parts of it, connectors, and counts that are pruned."""
    theirs_of = pytest.importorskip("gensim.models.phrases").Phrases
    rng = random.Random(f"{delimiter} {scoring}")
    glued = [f"a{delimiter}b", f"a{delimiter}of{delimiter}b", delimiter, delimiter * 2]
    pool = ["a", "b", "c", "of", "the", "é", "x y", "日本", "_", "a_", "_b", "ab", "aba", *glued]
    for _ in range(12):
        words = rng.sample(pool, rng.randrange(3, 12))
        sentences = [["a"], *random_sentences(rng, words)]
        options = {
            "min_count": rng.choice([1, 2, 1.5]),
            "threshold": rng.choice(thresholds),
            "max_vocab_size": rng.choice([10**6, 10**6, 25, 6]),
            "delimiter": delimiter,
            "scoring": scoring,
            "connector_words": rng.choice([(), {"of", "the"}, {"of", f"a{delimiter}b"}]),
        }
        ours, theirs = Phrases(sentences, **options, workers=2), theirs_of(sentences, **options)
        test = random_sentences(rng, [*words, "new", f"new{delimiter}er"])
        more = [["b"], *random_sentences(rng, [*words, "new"])]
        try:
            same_as_gensim(ours, theirs, test)
            theirs.add_vocab(more)
            ours.add_vocab(more)
            same_as_gensim(ours, theirs, test)
        except ZeroDivisionError:
            assert scoring == "npmi"  # gensim's, where all words are of one phrase


@pytest.mark.interop
@pytest.mark.real_data
@pytest.mark.parametrize("lines", [4000, pytest.param(None, marks=pytest.mark.slow)])
@pytest.mark.parametrize("scoring, threshold", [("default", 10.0), ("npmi", 0.5)])
def test_same_as_gensim_on_wikipedia(lines, scoring, threshold, tmp_path):
    theirs_of = pytest.importorskip("gensim.models.phrases").Phrases
    found = Path(os.environ["LEXFORGE_DATA"], "corpora", "enwiki_articles.txt.xz")
    sentences = list(itertools.islice(resolve_corpus(found), lines))
    path = tmp_path / "wikipedia.txt"
    path.write_text("".join(" ".join(sentence) + "\n" for sentence in sentences))
    options = {
        "scoring": scoring,
        "threshold": threshold,
        "connector_words": ENGLISH_CONNECTOR_WORDS,
    }
    ours, theirs = Phrases(corpus_file=path, **options), theirs_of(sentences, **options)
    same_as_gensim(ours, theirs, sentences)
    trigrams = Phrases(ours[sentences], **options)
    same_as_gensim(trigrams, theirs_of(theirs[sentences], **options), list(ours[sentences]))
    ours.transform_file(path, tmp_path / "out.txt")
    expected = "".join(" ".join(sentence) + "\n" for sentence in ours[sentences])
    assert (tmp_path / "out.txt").read_text() == expected


def test_counts_scores_and_phrases_by_hand():
    phrases = Phrases(SENTENCES, **SMALL, connector_words={"of", "the"})
    assert phrases.vocab["new_york"] == 2 and phrases.vocab["bank_of_england"] == 2
    assert phrases.vocab.get("of") is None and "york_of" not in phrases.vocab
    assert phrases.corpus_word_count == 24
    texts, york = len(phrases.vocab), phrases.vocab["york"]
    assert york == 3
    score = (2 - 1) / (2 * york) * texts
    assert phrases.score_candidate("new", "york", []) == ("new_york", score)
    assert phrases.export_phrases()["new_york"] == score
    assert phrases[["old", "new", "york", "of", "bank", "of", "england"]] == [
        "old", "new_york", "of", "bank_of_england",
    ]  # fmt: skip
    assert str(phrases).startswith(f"Phrases<{texts} vocab, min_count=1, threshold=0.5")
    assert phrases.vocab == dict(phrases.vocab) and len(phrases.vocab.values()) == texts
    assert Phraser is FrozenPhrases and isinstance(phrases.freeze(), Phraser)


def test_trigrams_in_a_second_pass():
    sentences = [["new", "york", "times"], ["a", "b"], ["new", "york", "times"], ["c", "d"]] * 3
    bigrams = Phrases(sentences, **SMALL)
    trigrams = Phrases(bigrams[sentences], **SMALL)
    assert trigrams[bigrams[["the", "new", "york", "times"]]] == ["the", "new_york_times"]
    assert trigrams[bigrams[sentences]][0] == ["new_york_times"]


def test_a_table_outlives_what_reads_it():
    """Also when both go in no order, as parts of a circle."""
    gc.collect()
    gc.freeze()  # a collection looks at what is made from here on
    for _ in range(20):
        circle = [_text.PhraseTable("_", ["of"])]
        circle.append(_text.PhraseCounter(circle[0], 10**6, **READER | {"chunk_bytes": 64}))
        circle[1].begin_document("text")
        circle[1].feed(b"a b c of d e f g h i j k l m n " * 200)
        circle.append(circle)
        del circle
        gc.collect()
    gc.unfreeze()


def test_at_gensims_place():
    assert lexforge.models.phrases.Phrases is Phrases


def test_scorers_say_what_is_no_phrase():
    assert original_scorer(0, 1, 1, 1, 1, 1) == npmi_scorer(1, 1, 1, 1, 2, 9) == -np.inf
    assert npmi_scorer(0, 1, 1, 1, 1, 9) == -np.inf and npmi_scorer(2, 2, 2, 9, 1, 8) == 1


def test_own_scoring_function(tmp_path):
    phrases = Phrases(SENTENCES, min_count=1, threshold=0.9, scoring=share)
    assert phrases[["new", "york", "is"]] == ["new_york", "is"]
    assert phrases.export_phrases()["new_york"] == 1
    assert phrases.find_phrases(SENTENCES)["new_york"] == 1
    assert list(phrases[SENTENCES]) == list(phrases.freeze()[SENTENCES])
    (tmp_path / "corpus.txt").write_text("new york is\n\nold")
    done = phrases.transform_file(tmp_path / "corpus.txt", tmp_path / "out.txt")
    assert done == (4, {"new_york": (1.0, 1)})
    assert (tmp_path / "out.txt").read_text() == "new_york is\n\nold\n"
    phrases.save(tmp_path / "phrases.json")
    with pytest.raises(ValueError, match=r"scored by .*share: give it, load\(path, scoring="):
        Phrases.load(tmp_path / "phrases.json")
    loaded = Phrases.load(tmp_path / "phrases.json", scoring=share)
    assert loaded.export_phrases() == phrases.export_phrases()
    phrases.freeze().save(tmp_path / "frozen.json")
    assert FrozenPhrases.load(tmp_path / "frozen.json")[["new", "york"]] == ["new_york"]


def test_a_subclass_may_say_what_a_phrase_is():
    class Twins(Phrases):
        def score_candidate(self, word_a, word_b, in_between):
            return ("twins", 1.0) if word_a == word_b else (None, None)

    twins = Twins(SENTENCES)
    assert twins[["a", "a", "b"]] == ["twins", "b"]
    assert list(twins[[["a", "a"], ["b"]]]) == [["twins"], ["b"]]


@pytest.mark.parametrize("max_texts", [10**6, 300])
def test_threads_chunks_and_documents_change_nothing(max_texts, tmp_path):
    sentences = [[f"of{word}" if word[0] == "c" else word for word in s] for s in planted_corpus()]
    sentences = sentences[:300] + [["a1", "of", "b1", "x_y", "z"]] * 9
    text = "".join(" ".join(sentence) + "\n" for sentence in sentences).encode()
    scoring = _text.Scoring("default", 1.0, 1.0, len(text.split()))
    results = []
    for threads, chunk, cut in ((1, 1 << 20, len(text)), (3, 50, 1000), (2, 7, 17)):
        table = _text.PhraseTable("_", ["of"])
        options = READER | {"threads": threads, "chunk_bytes": chunk}
        joined: list[bytes] = []
        for reader in (
            _text.PhraseCounter(table, max_texts, **options),
            _text.PhraseJoiner(table, scoring, joined.append, **options),
        ):
            reader.begin_document("text")
            for begin in range(0, len(text), cut):
                reader.feed(text[begin : begin + cut])
            reader.end_document()
            reader.finish()
            assert reader.tokens == len(text.split())
        texts, counts = table.counts()
        results.append((texts, counts.tolist(), b"".join(joined)))
    assert results[0] == results[1] == results[2]
    lists = Phrases(sentences, 1, 1.0, max_texts, connector_words={"of"}, workers=1)
    assert list(lists.vocab.items()) == list(zip(*results[0][:2], strict=True))
    if max_texts > 300:
        lines = [line.split() for line in results[0][2].decode().splitlines()]
        assert lines == list(lists[sentences]) != sentences


def test_long_lines_are_cut_as_gensims_line_sentence_cuts_them(tmp_path):
    path = tmp_path / "line.txt"
    path.write_text("a b " * 12_500)
    phrases = Phrases(corpus_file=path, **SMALL)
    assert (phrases.vocab["a_b"], phrases.vocab["b_a"]) == (12_500, 12_500 - 3)
    assert phrases.transform_file(path, tmp_path / "out.txt").words == 25_000
    assert (tmp_path / "out.txt").read_text().count("\n") == 1


def test_what_sentences_may_be(tmp_path):
    expected = dict(Phrases(SENTENCES).vocab)
    path = tmp_path / "corpus.txt"
    path.write_text("\n".join(" ".join(sentence) for sentence in SENTENCES))
    packed = tmp_path / "corpus.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    for sentences in (
        tuple(map(tuple, SENTENCES)),
        (iter(sentence) for sentence in SENTENCES),
        np.array(SENTENCES, dtype=object),
        resolve_corpus(path),
    ):
        assert Phrases(sentences).vocab == expected
    for file in (path, str(path), packed, [path]):
        assert Phrases(corpus_file=file).vocab == expected
    empty = [[word for each in sentence for word in (each, "")] for sentence in SENTENCES]
    assert Phrases(empty).vocab == expected  # empty strings are no words
    phrases = Phrases(SENTENCES, **SMALL)
    assert list(phrases[empty]) == list(phrases[SENTENCES])
    assert phrases[["new", "", "york"]] == ["new_york"]


def test_what_a_corpus_with_phrases_is():
    phrases = Phrases(SENTENCES, **SMALL)
    joined = phrases[SENTENCES]
    assert len(joined) == 5 and joined[0][0] == "new_york" and list(joined) == list(joined)
    assert phrases[[]] == phrases[iter(())] == [] and list(phrases[[[], []]]) == [[], []]
    once = phrases[iter(SENTENCES)]
    assert list(once) == list(joined)
    with pytest.raises(TypeError, match="a generator, which can be read once"):
        list(once)
    twice = list(phrases[phrases[iter(SENTENCES)]])
    assert len(twice) == 5 and twice[0][0] == "new_york"


def test_word2vec_on_phrases():
    sentences = [["new", "york", *sentence] for sentence in planted_corpus()[:50]]
    phrases = Phrases(sentences, **SMALL).freeze()
    model = lexforge.Word2Vec(
        phrases[sentences], vector_size=4, min_count=1, epochs=1, workers=1, seed=1
    )
    assert "new_york" in model.wv and "york" not in model.wv


@pytest.mark.parametrize(
    "call, error, message",
    [
        (lambda: Phrases("a b"), TypeError, "iterable of lists of str, got str .*corpus_file"),
        (lambda: Phrases(["a b", "c"]), TypeError, "lists of str, got list of str"),
        (lambda: Phrases(s for s in ["a b"]), TypeError, "a sentence must be a list of str"),
        (lambda: Phrases([[1, 2]]), TypeError, "must be a list of str, got an element of type int"),
        (lambda: Phrases(5), TypeError, "iterable of lists of str, got int"),
        (lambda: Phrases([]), ValueError, "there is no word in sentences"),
        (lambda: Phrases([[], []]), ValueError, "there is no word in sentences"),
        (lambda: Phrases([["\ud800"]]), UnicodeEncodeError, "surrogates"),
        (lambda: Phrases(SENTENCES, corpus_file="x"), TypeError, "one of them"),
        (lambda: Phrases(corpus_file="/no/such"), FileNotFoundError, "no such file"),
        (lambda: Phrases(min_count=0), ValueError, "min_count must be above 0"),
        (lambda: Phrases(threshold=0), ValueError, "threshold must be above 0 with default"),
        (lambda: Phrases(threshold=2, scoring="npmi"), ValueError, "-1 to 1 with npmi, got 2"),
        (lambda: Phrases(threshold="x"), TypeError, "threshold must be a number"),
        (lambda: Phrases(scoring="best"), ValueError, "or a function, got 'best'"),
        (lambda: Phrases(scoring=3), TypeError, "a name or a function, got 3"),
        (lambda: Phrases(scoring=lambda worda_count: 1), ValueError, "must take the arguments"),
        (lambda: Phrases(delimiter=""), ValueError, "delimiter must not be empty"),
        (lambda: Phrases(delimiter=b"_"), TypeError, "delimiter must be a str"),
        (lambda: Phrases(max_vocab_size=0), ValueError, "max_vocab_size must be >= 1"),
        (lambda: Phrases(connector_words="of"), TypeError, "a set of str, got the str 'of'"),
        (lambda: Phrases(connector_words=[1]), TypeError, "a set of str, with 1 in it"),
        (lambda: Phrases(SENTENCES, workers=0), ValueError, "threads must be"),
        (lambda: Phrases(SENTENCES)["new york"], TypeError, "a list of str, .* got str"),
        (lambda: Phrases(SENTENCES)[3], TypeError, "a list of str, .* got int"),
        (lambda: Phrases(SENTENCES)[["a", 3]], TypeError, "an element of type int"),
        (lambda: list(Phrases(SENTENCES)[[["a"], "b"]]), TypeError, "a sentence must be a list"),
        (lambda: Phrases(SENTENCES).find_phrases("ab"), TypeError, "lists of str, got str"),
        (lambda: Phrases(SENTENCES).vocab["\ud800"], KeyError, "ud800"),
        (lambda: Phrases(SENTENCES).vocab[3], KeyError, "3"),
        (lambda: Phrases(SENTENCES).add_vocab([]), ValueError, "no word"),
        (lambda: Phrases().add_vocab(), TypeError, "give sentences or corpus_file"),
    ],
)  # fmt: skip
def test_wrong_use(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_saved_loaded_pickled_and_copied(tmp_path):
    phrases = Phrases(SENTENCES, **SMALL, connector_words={"of"}, max_vocab_size=20)
    frozen = phrases.freeze()
    assert frozen.phrasegrams == phrases.export_phrases() and frozen.phrasegrams
    for number, model in enumerate((phrases, frozen)):
        path = tmp_path / f"{number}.json"
        model.save(path)
        for loaded in (
            Phrases.load(path),
            FrozenPhrases.load(path),
            pickle.loads(pickle.dumps(model)),
            copy.deepcopy(model),
        ):
            assert type(loaded) is type(model) and str(loaded) == str(model)
            assert loaded.__getstate__() == model.__getstate__()
            assert list(loaded[SENTENCES]) == list(model[SENTENCES])
    loaded = Phrases.load(tmp_path / "0.json")
    for model in (loaded, phrases):
        model.add_vocab([["york", "is"]])
    assert loaded.__getstate__() == phrases.__getstate__()


def test_phrasegrams_are_replaced_as_a_whole():
    frozen = Phrases(SENTENCES, **SMALL).freeze()
    with pytest.raises(TypeError):
        frozen.phrasegrams["is_big"] = 9.0
    frozen.phrasegrams = {"is_big": 9.0, "x": 1.0}
    assert list(frozen[[["new", "york", "is", "big"]]]) == [["new", "york", "is_big"]]
    frozen.threshold = 10
    assert frozen[["is", "big"]] == ["is", "big"]


@pytest.mark.parametrize(
    "change, message",
    [
        ({"format": "other"}, "must be a file of Phrases.save"),
        ({"kind": "melted"}, "must be a file of Phrases.save"),
        ({"version": 2}, "version must be 1, got 2"),
        ({"delimiter": ""}, "delimiter must not be empty"),
        ({"delimiter": 3}, "delimiter must be a str"),
        ({"threshold": None}, "threshold must be a number"),
        ({"scoring": "best"}, "scoring must be"),
        ({"connector_words": "of"}, "connector_words must be a set"),
        ({"connector_words": None}, "NoneType"),
        ({"corpus_word_count": -1}, "corpus_word_count must be >= 0"),
        ({"vocab": ["a"]}, "vocab must be a mapping"),
        ({"vocab": {"a": 0}}, "counts of 1 to"),
        ({"vocab": {"a": 1.5}}, "counts of 1 to"),
        ({"vocab": {"a": 2**63}}, "counts of 1 to"),
        ({"vocab": {"\ud800": 1}}, "half a character"),
        ({"min_reduce": ...}, "'min_reduce' is missing"),
    ],
)
def test_damaged_files(change, message, tmp_path):
    path = tmp_path / "phrases.json"
    Phrases(SENTENCES).save(path)
    record = {**json.loads(path.read_text()), **change}
    path.write_text(json.dumps({name: x for name, x in record.items() if x is not ...}))
    with pytest.raises(ValueError, match=message) as caught:
        Phrases.load(path)
    assert str(caught.value).startswith(str(path))


@pytest.mark.interop
@pytest.mark.parametrize("kind", ["phrases", "phraser"])
def test_gensims_files_are_refused_and_its_objects_taken(kind, tmp_path):
    theirs_of = pytest.importorskip("gensim.models.phrases")
    for options in ({}, {"scoring": "npmi"}):
        theirs = theirs_of.Phrases(SENTENCES, **SMALL, **options, connector_words={"of"})
        theirs = theirs if kind == "phrases" else theirs.freeze()
        ours = Phrases.from_gensim(theirs)
        assert list(ours[SENTENCES]) == list(theirs[SENTENCES])
        same = "vocab" if kind == "phrases" else "phrasegrams"
        assert getattr(ours, same) == getattr(theirs, same)
        ours.save(tmp_path / "phrases.json")
    theirs.save(str(tmp_path / "phrases.pkl"))
    with pytest.raises(ValueError, match=r"a pickle.*from_gensim\(.*\.save\('phrases.json'\)"):
        Phrases.load(tmp_path / "phrases.pkl")


def test_files_are_whole_or_not_there(tmp_path):
    phrases = Phrases(SENTENCES, **SMALL)
    bad = tmp_path / "bad.txt"
    bad.write_bytes(b"new york \xff\n" * 50_000)
    corpus = resolve_corpus(bad, errors="strict")
    with pytest.raises(ValueError, match=r"bad.txt: invalid UTF-8 at byte 9 \(line 1\)"):
        phrases.transform_file(corpus, tmp_path / "out.txt")
    assert [path.name for path in tmp_path.iterdir()] == ["bad.txt"]
    bad.write_text("New York\tis  BIG\r\n\n new york", encoding="utf-16")
    out, stream = tmp_path / "out.txt.gz", io.BytesIO()
    lower = resolve_corpus(bad, lowercase=True)
    done = phrases.transform_file(lower, out)
    score = phrases.export_phrases()["new_york"]
    assert done == phrases.transform_file(lower, stream) == (6, {"new_york": (score, 2)})
    assert done.times == 2 and repr(done) == "Joined(6 words, 1 phrases 2 times)"
    assert (
        gzip.decompress(out.read_bytes()) == stream.getvalue() == b"new_york is big\n\nnew_york\n"
    )


def test_phrases_that_change_while_they_are_joined(tmp_path):
    """A callback is on the way to the table, whose readers are other threads."""
    phrases = Phrases(SENTENCES, **SMALL)
    text = tmp_path / "text"
    text.write_text("in new york\n" * 2000)

    def change(done, total):
        phrases.add_vocab([["other", "words"]])

    with pytest.raises(RuntimeError, match="cannot be changed while they are being joined"):
        phrases.transform_file(text, tmp_path / "out", progress=change)
    assert not (tmp_path / "out").exists()
    phrases.add_vocab([["other", "words"]])
    assert phrases.vocab["other"] == 1


def test_a_connector_may_be_named_twice():
    table = _text.PhraseTable("_", ["of", "the", "of"])
    table.add(["a", "b", "a_b"], np.array([2, 2, 2]))
    scoring = _text.Scoring("default", 0.0, 0.0, 10)
    places, _, _ = table.match([["a", "b"], ["a", "of", "b"]], scoring)
    assert places.tolist() == [[0, 0, 2]]
