"""Words and their vectors, with the names and rules of gensim's class of the same name."""

from __future__ import annotations

import operator
import os
import warnings
from collections.abc import Callable, Iterable, Sequence
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
import torch

from lexforge._arguments import real
from lexforge.vectors import evaluation
from lexforge.vectors.correlation import Correlation
from lexforge.vectors.formats.arrays import read_vocabulary, write_vocabulary
from lexforge.vectors.formats.files import read_table, save_rows, save_vectors
from lexforge.vectors.gensim_names import GensimNames
from lexforge.vectors.growing import GrowingVectors, moved
from lexforge.vectors.similarity import EPSILON, cosine, cosines, knn, nearest, unit
from lexforge.vectors.word_movers import word_movers_distance
from lexforge.vectors.word_vectors import WordVectors
from lexforge.vectors.word_vectors import as_list as _as_list

# A word, the number of its row, or a vector [D].
Key = str | int | np.ndarray


class KeyedVectors(GensimNames):
    """A matrix of word vectors and the words of its rows.

    Names, arguments and results are those of gensim 4's ``KeyedVectors``, so code written for it
    runs unchanged. Keys are words or row numbers. Where gensim divides by a zero norm and yields
    NaN, a zero vector here has cosine 0 to everything; equal cosines are returned in row order, and
    rows with NaN after all others. Single numbers are Python's floats.

    Args:
        words: V different strings; row i of `vectors` belongs to ``words[i]``. Or `vector_size`,
            `count` and `dtype`, in gensim's order.
        vectors: array or tensor [V, D], floating. float32 and float16 arrays (also memory-mapped
            ones) are kept as they are, without a copy; others are converted to float32.
        counts: occurrences of the words [V], kept as the attribute ``count``.
        vector_size: D of a table without words yet (:meth:`add_vectors`).
        count: rows of zeros that it begins with, for :meth:`add_vector` to fill.
        dtype: float32, float16 or float64, which rows and `vectors` are converted to. Similarities
            are computed in float32 all the same.
        mapfile_path: kept, and without effect.

    Attributes:
        index_to_key: the words, list of V strings; None for a row that waits for its word.
        key_to_index: their row numbers, dict.
        vectors: the matrix [V, D]. After changing it call ``fill_norms(force=True)``.
        norms: Euclidean norms of the rows, float32 [V], computed on first use.
        expandos: further attributes of the words, name -> array [V].
        next_index: the first row without a word, V when all have one.
        vectors_lockf: what steps of training are multiplied by, float32 [V] or [1].

    Raises:
        ValueError: for repeated words, or shapes that do not fit together.

    Example:
        >>> kv = KeyedVectors(["king", "queen", "pea"], [[1.0, 0.1], [0.9, 0.2], [0.0, 1.0]])
        >>> kv.most_similar("king", topn=1)[0][0]
        'queen'
    """

    # Makes vectors that are composed of n-grams: set by subword_vectors, which stands above.
    _of_ngrams: ClassVar[Callable[..., KeyedVectors]]

    # Similarity

    def distance(self, w1: str | int, w2: str | int) -> float:
        """1 - cosine of two words."""
        return 1 - self.similarity(w1, w2)

    def distances(
        self, word_or_vector: Key, other_words: str | int | Sequence[str | int] = ()
    ) -> np.ndarray:
        """1 - cosine of a word or vector [D] to each of `other_words`, or to all words.

        Returns:
            float32 [len(other_words)], or [V] when `other_words` is empty.
        """
        query, other_words = unit(self._vector_of(word_or_vector)), _as_list(other_words)
        if not other_words:
            return 1 - cosines(self.vectors, query, self.norms)
        rows = [self.get_index(word) for word in other_words]
        return 1 - cosines(self.vectors[rows], query, self.norms[rows])

    @staticmethod
    def cosine_similarities(vector_1, vectors_all) -> np.ndarray:
        """Cosines of a vector [D] to each row of a matrix [N, D] -> [N], of its dtype.

        Raises:
            ValueError: for other shapes.
        """
        vector, matrix = np.asarray(vector_1), np.asarray(vectors_all)
        if matrix.ndim != 2 or vector.shape != matrix.shape[1:]:
            raise ValueError(
                "cosine_similarities: vector_1 must be [D] and vectors_all [N, D], "
                f"got {vector.shape} and {matrix.shape}"
            )
        norms = np.maximum(np.linalg.norm(matrix, axis=1), EPSILON)
        return matrix @ vector / (norms * max(np.linalg.norm(vector), EPSILON))

    def n_similarity(
        self, ws1: str | int | Sequence[str | int], ws2: str | int | Sequence[str | int]
    ) -> float:
        """Cosine of the mean vectors of two lists of words; unknown words are left out.

        A single word is a list of one.

        Raises:
            ZeroDivisionError: when a list is empty.
            KeyError: when a list has no known word.
        """
        ws1, ws2 = _as_list(ws1), _as_list(ws2)
        if not (ws1 and ws2):
            raise ZeroDivisionError("n_similarity: both lists must have words, got an empty one")
        for words in (ws1, ws2):
            if not any(word in self for word in words):
                raise KeyError(f"no key of {list(words)!r} present")
        mean1 = self.get_mean_vector(ws1, pre_normalize=False)
        mean2 = self.get_mean_vector(ws2, pre_normalize=False)
        return cosine(mean1, mean2)

    def get_mean_vector(
        self,
        keys: Key | Sequence[Key],
        weights: Sequence[float] | None = None,
        pre_normalize: bool = True,
        post_normalize: bool = False,
        ignore_missing: bool = True,
    ) -> np.ndarray:
        """Weighted mean of the vectors of `keys`, float32 [D].

        Args:
            keys: words, rows or vectors [D], at least one; or one of them.
            weights: one per key; the sum is divided by the sum of their absolute values.
            pre_normalize: scale the vectors of words (not vectors given as such) to length 1.
            post_normalize: scale the mean to length 1.
            ignore_missing: leave unknown words out instead of raising KeyError.
        """
        keys = _as_list(keys)
        if not keys:
            raise ValueError("get_mean_vector: keys must hold at least one key, got none")
        scale = np.ones(len(keys)) if weights is None else np.asarray(weights)
        if scale.shape != (len(keys),):
            raise ValueError(f"get_mean_vector: weights must be [N={len(keys)}], got {scale.shape}")
        mean = np.zeros(self.vector_size, dtype=np.float32)
        total = 0.0
        for key, weight in zip(keys, scale.astype(np.float32), strict=True):
            if isinstance(key, np.ndarray):
                vector = self._vector_of(key)
            elif key in self or not ignore_missing:
                vector = self.get_vector(key, norm=pre_normalize)
            else:
                continue
            mean += weight * vector
            total += abs(float(weight))
        if total > 0:
            mean /= np.float32(total)
        return unit(mean) if post_normalize else mean

    def most_similar(
        self,
        positive=None,
        negative=None,
        topn: int | None = 10,
        clip_start: int = 0,
        clip_end: int | None = None,
        restrict_vocab: int | None = None,
        indexer: Any = None,
    ):
        """The words with the largest cosine to the mean of some words minus others.

        The query is the mean of the unit vectors of `positive` and the negated ones of
        `negative` (3CosAdd: Mikolov et al. 2013, "Linguistic regularities"). Words of the query
        are not returned.

        Args:
            positive, negative: a key, or a list of keys or ``(key, weight)`` pairs; the weight
                replaces 1 or -1.
            topn: how many words; None for the cosines of all words.
            clip_start, clip_end: search these rows only.
            restrict_vocab: search the first rows only; overrides the clip arguments.
            indexer: an object that searches instead, by ``most_similar(vector, topn)``.

        Returns:
            ``[(word, cosine), ...]`` best first; with ``topn=None`` float32 [rows searched].

        Raises:
            KeyError: naming the first unknown word.
            ValueError: when there are no keys, or a vector is not [D].
        """
        topn = _whole(topn)
        if topn is not None and topn < 1:
            return []
        keys, weights = [], []
        for items, default in ((_as_list(positive), 1.0), (_as_list(negative), -1.0)):
            for item in items:
                pair = isinstance(item, tuple | list) and len(item) == 2
                key, weight = item if pair else (item, default)
                keys.append(key)
                weights.append(weight)
        if not keys:
            raise ValueError("most_similar: positive or negative must hold a key, got none")
        mean = self.get_mean_vector(keys, weights, post_normalize=True, ignore_missing=False)
        if indexer is not None and topn is not None:
            return indexer.most_similar(mean, topn)
        rows = slice(clip_start, clip_end or len(self))
        if restrict_vocab:
            rows = slice(0, restrict_vocab)
        if topn is None:
            return cosines(self.vectors[rows], mean, self.norms[rows])
        own = self._own(keys)
        return self._nearest(mean, topn, own, rows)

    def similar_by_key(self, key, topn=10, restrict_vocab=None):
        """`most_similar` for one word."""
        return self.most_similar(positive=[key], topn=topn, restrict_vocab=restrict_vocab)

    def similar_by_word(self, word, topn=10, restrict_vocab=None):
        """`most_similar` for one word."""
        return self.similar_by_key(word, topn, restrict_vocab)

    def similar_by_vector(self, vector, topn=10, restrict_vocab=None):
        """`most_similar` for a vector [D]; no word is left out."""
        return self.most_similar([np.asarray(vector)], topn=topn, restrict_vocab=restrict_vocab)

    def analogy(self, a: str, b: str, c: str, topn: int = 1, restrict_vocab: int | None = None):
        """Completes "a is to b as c is to ...": the words nearest to b - a + c.

        Example: ``kv.analogy("man", "woman", "son")`` -> ``[("daughter", 0.93)]``.
        """
        return self.most_similar([b, c], [a], topn=topn, restrict_vocab=restrict_vocab)

    def most_similar_cosmul(
        self,
        positive=None,
        negative=None,
        topn: int | None = 10,
        restrict_vocab: int | None = None,
    ):
        """Like `most_similar`, by products of cosines instead of sums.

        Each cosine is shifted to 0..1; the score is the product over `positive` divided by the
        product over `negative` plus 1e-6 (3CosMul: Levy and Goldberg 2014, eq. 4).
        """
        topn = _whole(topn)
        if topn is not None and topn < 1:
            return []
        positive, negative = _as_list(positive), _as_list(negative)
        if not positive:
            raise ValueError("most_similar_cosmul: positive must hold a key, got none")
        rows = slice(0, restrict_vocab or len(self))

        def product(keys):
            scores = np.ones(len(self.vectors[rows]), dtype=np.float32)
            for key in keys:
                # A vector given as such is not scaled, as in most_similar.
                given = isinstance(key, np.ndarray)
                query = self._vector_of(key) if given else self.get_vector(key, norm=True)
                scores *= (1 + cosines(self.vectors[rows], query, self.norms[rows])) / 2
            return scores

        scores = product(positive) / (product(negative) + np.float32(1e-6))
        return self._named(scores, topn, positive + negative)

    def relative_cosine_similarity(self, wa: str | int, wb: str | int, topn: int = 10) -> float:
        """Cosine of two words as a share of the sum of those of the `topn` nearest to the first.

        Leeuwenberg et al. 2016, eq. 1: above 0.1 with ``topn=10`` they are nearer than most.

        Raises:
            ValueError: when the first word has no neighbours.
        """
        nearest_to_first = self.similar_by_word(wa, topn)
        if not nearest_to_first:
            raise ValueError(f"relative_cosine_similarity: topn must be >= 1, got {topn}")
        return self.similarity(wa, wb) / sum(cosine for _, cosine in nearest_to_first)

    def most_similar_to_given(self, key1: str | int, keys_list: str | Sequence[str]) -> str:
        """The key of `keys_list` most similar to `key1`."""
        keys_list = _as_list(keys_list)
        return keys_list[int(np.argmin(self.distances(key1, keys_list)))]

    def rank_by_centrality(
        self, words: Sequence[str | int], use_norm: bool = True
    ) -> list[tuple[float, str | int]]:
        """``(cosine to the mean of all, word)`` of known words, most central first.

        Raises:
            ValueError: when no word is known. TypeError: a string instead of a list of words.
        """
        if isinstance(words, str):
            raise TypeError(
                f"rank_by_centrality, doesnt_match: words must be a list of words, got {words!r}"
            )
        known = [word for word in words if word in self]
        if len(known) < len(words):
            unknown = [word for word in words if word not in self]
            warnings.warn(f"unknown words left out: {', '.join(map(repr, unknown))}", stacklevel=2)
        if not known:
            raise ValueError("rank_by_centrality: words must hold a known word, got none")
        vectors = np.stack([self.get_vector(word, norm=use_norm) for word in known])
        mean = self.get_mean_vector(list(vectors), post_normalize=True)
        central = (vectors.astype(np.float32, copy=False) @ mean).tolist()
        return sorted(zip(central, known, strict=True), reverse=True)

    def doesnt_match(self, words: Sequence[str | int]) -> str | int:
        """The word furthest from the mean of all of them; unknown words are left out."""
        return self.rank_by_centrality(words)[-1][1]

    def closer_than(self, key1: str | int, key2: str | int) -> list[str]:
        """The words that are closer to `key1` than `key2` is, in row order."""
        distances, row = self.distances(key1), self.get_index(key2, -1)
        limit = distances[row] if row >= 0 else self.distance(key1, key2)
        own = self._own([key1])
        return [
            self.index_to_key[row] for row in np.flatnonzero(distances < limit) if row not in own
        ]

    def rank(self, key1: str | int, key2: str | int) -> int:
        """1 + the number of words closer to `key1` than `key2` is."""
        return len(self.closer_than(key1, key2)) + 1

    # Evaluation

    def evaluate_word_pairs(
        self,
        pairs: str | os.PathLike,
        delimiter: str | None = None,
        encoding: str = "utf8",
        restrict_vocab: int | None = 300_000,
        case_insensitive: bool = True,
        dummy4unknown: bool = False,
        infer_unknown: bool = False,
    ) -> tuple[Correlation, Correlation, float]:
        """Correlation of cosines with human judgements of word pairs.

        Args:
            pairs: file of ``word1 word2 score`` lines; ``#`` starts a comment, lines without a
                score are skipped.
            delimiter: between the three fields; default a tab in lines that have one, else any
                white space.
            restrict_vocab: use the first rows only.
            case_insensitive: compare spellings in upper case; the first row wins.
            dummy4unknown: count pairs with unknown words as similarity 0 instead of skipping them.
            infer_unknown: take the vectors of words by their n-grams, where there are any; gensim
                has no such argument, and leaves such words out.

        Returns:
            ``(pearson, spearman, unknown)``: two ``(statistic, two-sided p-value)`` pairs and the
            share of pairs with unknown words in percent.

        Raises:
            ValueError: when no pair can be used.
        """
        scores = evaluation.score_pairs(
            self,
            pairs,
            delimiter=delimiter,
            encoding=encoding,
            restrict_vocab=restrict_vocab,
            case_insensitive=case_insensitive,
            dummy4unknown=dummy4unknown,
            infer_unknown=infer_unknown,
        )
        return scores.pearson, scores.spearman, 100 * scores.unknown / scores.pairs

    def evaluate_word_analogies(
        self,
        analogies: str | os.PathLike,
        restrict_vocab: int | None = 300_000,
        case_insensitive: bool = True,
        dummy4unknown: bool = False,
        similarity_function: str = "most_similar",
    ) -> tuple[float, list[dict]]:
        """Accuracy on analogy questions "a is to b as c is to expected".

        A question is right when the word with the largest cosine to b - a + c (unit vectors),
        spellings of a, b and c left out, is a spelling of the expected word. Questions with
        unknown words are skipped.

        Args:
            analogies: file of ``a b c expected`` lines below ``: section`` headings.
            restrict_vocab: use the first rows only.
            case_insensitive: compare spellings in upper case; the first row wins.
            dummy4unknown: count questions with unknown words as wrong instead.
            similarity_function: "most_similar", or "most_similar_cosmul" for the largest score of
                that method.

        Returns:
            ``(accuracy, sections)``: 0..1 over all questions, and a dict per section and one for
            the total, with ``section`` (name), ``correct`` and ``incorrect`` (lists of questions).
        """
        sections = evaluation.score_analogies(
            self,
            analogies,
            restrict_vocab=restrict_vocab,
            case_insensitive=case_insensitive,
            dummy4unknown=dummy4unknown,
            similarity_function=similarity_function,
        )
        total = evaluation.AnalogySection("Total accuracy")
        for section in sections:
            total.correct += section.correct
            total.incorrect += section.incorrect
        return total.accuracy, [
            {"section": s.name, "correct": s.correct, "incorrect": s.incorrect}
            for s in (*sections, total)
        ]

    # Other homes

    @classmethod
    def load_word2vec_format(
        cls,
        fname: str | os.PathLike,
        fvocab: str | os.PathLike | None = None,
        binary: bool = False,
        encoding: str = "utf8",
        unicode_errors: str = "strict",
        limit: int | None = None,
        datatype: Any = np.float32,
        no_header: bool = False,
    ) -> KeyedVectors:
        """Load a word2vec file; `load_vectors` recognises the format by itself.

        Args:
            fvocab: file of ``word count`` lines to take counts from; words that it has not have 0.
            binary: whether it is word2vec's binary.
            encoding: of the words in both files; one that writes ASCII as it is.
            unicode_errors: "strict", "replace", "ignore" or "skip", in both; see `load_vectors`.
            limit: read the first rows only.
            datatype: float32, float16 or float64, the type of the matrix in memory.
            no_header: the text file has no ``V D`` line (GloVe).

        Raises:
            ValueError: naming the file and the row. It is an EOFError too for a file that is cut
                short, and a UnicodeDecodeError for a word that is not in the encoding.
            NotImplementedError: `no_header` of a binary file.
        """
        if binary and no_header:
            raise NotImplementedError(
                "load_word2vec_format: no_header is of text files; binary ones have a header"
            )
        kv = load_vectors(
            fname,
            format="binary" if binary else "glove" if no_header else "text",
            limit=limit,
            dtype=datatype,
            errors=unicode_errors,
            encoding=encoding,
        )
        if fvocab is not None:
            words, counts = read_vocabulary(
                fvocab, encoding=encoding, errors=unicode_errors, columns=True
            )
            if counts is None:
                raise ValueError(f"{fvocab}: rows must be '<word> <count>'")
            known = dict(zip(words, counts.tolist(), strict=True))
            kv.expandos["count"] = np.array([known.get(w, 0) for w in kv.index_to_key], np.int64)
        return kv

    def vectors_for_all(
        self, keys: Iterable[str], allow_inference: bool = True, copy_vecattrs: bool = False
    ) -> KeyedVectors:
        """The vectors of words, each once, in the order of the words; unknown ones are left out.

        Args:
            keys: words.
            allow_inference: take row numbers too, and what else a subclass finds vectors of.
            copy_vecattrs: keep counts (see :meth:`get_vecattr`) and other attributes too; they are
                zero for what is no word here.
        """
        known = self if allow_inference else self.key_to_index
        words = [word for word in dict.fromkeys(_as_list(keys)) if word in known]
        rows = np.array([self.get_index(word, -1) for word in words], dtype=np.int64)
        matrix = np.empty((len(words), self.vector_size), self.vectors.dtype)
        matrix[rows >= 0] = self.vectors[rows[rows >= 0]]
        for row in np.flatnonzero(rows < 0):
            matrix[row] = self.get_vector(words[row])
        chosen = KeyedVectors(words, matrix, dtype=self.vectors.dtype)
        if copy_vecattrs:
            made_up = np.arange(len(self), 0, -1)
            for name, values in {"count": made_up, **self.expandos}.items():
                chosen.expandos[name] = moved(values, rows)
        return chosen

    def intersect_word2vec_format(
        self,
        fname: str | os.PathLike,
        lockf: float = 0.0,
        binary: bool = False,
        encoding: str = "utf8",
        unicode_errors: str = "strict",
    ) -> int:
        """Take over the vectors that a word2vec file has for words that are here; others stay.

        Args:
            fname, binary, encoding, unicode_errors: As of :meth:`load_word2vec_format`.
            lockf: What steps of training are multiplied by for these words, in `vectors_lockf`: 0
                leaves their vectors as they are in the file, 1 trains them like others.

        Returns:
            How many words took a vector.

        Raises:
            ValueError: vectors of another size; a ``lockf`` that is negative or not finite.
        """
        lockf = real("intersect_word2vec_format", "lockf", lockf)
        found = KeyedVectors.load_word2vec_format(
            fname, binary=binary, encoding=encoding, unicode_errors=unicode_errors
        )
        return self._take_over(found, lockf)

    def _take_over(self, found: WordVectors, lockf: float) -> int:
        """Set the vectors of words that are here to those found; returns how many."""
        if found.vector_size != self.vector_size:
            raise ValueError(
                f"the vectors must have {self.vector_size} numbers each, got {found.vector_size}"
            )
        words = [word for word in self.index_to_key if word in found.key_to_index]
        if words:
            self.add_vectors(words, found[words], replace=True)
            factors = np.broadcast_to(self.vectors_lockf, len(self)).copy()
            factors[[self.key_to_index[word] for word in words]] = lockf
            self.vectors_lockf = factors
        return len(words)

    def wmdistance(
        self, document1: Sequence[str], document2: Sequence[str], norm: bool = True
    ) -> float:
        """Word Mover's Distance of two documents: how far the words of one travel to the other.

        Args:
            document1, document2: lists of words; unknown ones are left out.
            norm: scale the vectors to length 1 first.

        Returns:
            The distance; 0 where all words have the same vector, infinite where a document has no
            known word.

        Raises:
            ImportError: POT is not installed (``pip install pot``).
        """
        return word_movers_distance(self, document1, document2, norm=norm)

    def save(
        self,
        fname: str | os.PathLike,
        separately: Any = None,
        sep_limit: int = 10 * 1024**2,
        ignore: Any = frozenset(),
        pickle_protocol: int = 4,
    ) -> None:
        """Save vectors, words, counts and attributes as one safetensors file, whatever its suffix.

        gensim's method of this name writes a pickle; neither reads the other's file. For files that
        both read there is `save_word2vec_format`.

        Args:
            fname: The file.
            separately, sep_limit, ignore, pickle_protocol: Of gensim's pickles; without effect.
        """
        save_vectors(self, fname, format="safetensors")

    @classmethod
    def load(cls, fname: str | os.PathLike, mmap: str | None = None) -> KeyedVectors:
        """Load what `save` wrote, or any other file that `load_vectors` knows.

        Args:
            fname: The file.
            mmap: Map the vectors instead of reading them, when not None.

        Raises:
            ValueError: for damaged files and for Python pickles, which are never opened.
        """
        return load_vectors(fname, mmap=mmap is not None)

    def save_word2vec_format(
        self,
        fname: str | os.PathLike,
        fvocab: str | os.PathLike | None = None,
        binary: bool = False,
        total_vec: int | None = None,
        write_header: bool = True,
        prefix: str = "",
        append: bool = False,
        sort_attr: str = "count",
    ) -> None:
        """Save as word2vec text or binary.

        Args:
            fvocab: also write ``word count`` lines (what `sort_attr` names) to this file.
            total_vec: the number of rows that the header promises, where others are appended.
            write_header: False leaves the ``V D`` line out (GloVe); binary only to append.
            prefix: put before every word.
            append: to what the files hold already.
            sort_attr: rows go by this attribute, descending; in the order of `index_to_key` where
                words have none of that name.

        Raises:
            ValueError: naming a word that the format cannot hold; `fvocab` without the attribute.
        """
        if binary and not write_header and not append:
            raise ValueError("save_word2vec_format: write_header must be True for binary files")
        values = self.expandos.get(sort_attr)
        if fvocab is not None and values is None:
            raise ValueError(
                f"save_word2vec_format: fvocab needs the attribute {sort_attr!r} of words, and "
                "there is none"
            )
        if None in self.index_to_key:
            row = self.index_to_key.index(None)  # type: ignore[arg-type]
            raise ValueError(f"save_word2vec_format: row {row} has no word yet")
        words, vectors = self.index_to_key, self.vectors
        if values is not None and (values[1:] > values[:-1]).any():
            order = sorted(range(len(words)), key=values.__getitem__, reverse=True)
            words, vectors = [words[row] for row in order], vectors[order]
            values = values[order]
        if prefix:
            words = [prefix + word for word in words]
        if fvocab is not None:
            write_vocabulary(fvocab, words, values, append=append)
        total = len(self) if total_vec is None else total_vec
        save_rows(
            fname,
            words,
            vectors,
            binary=binary,
            total=total if write_header else None,
            append=append,
        )

    def to_gensim(self):
        """The same vectors as ``gensim.models.KeyedVectors``, sharing float32 memory.

        Raises:
            ImportError: when gensim is not installed.
        """
        from gensim.models import KeyedVectors as GensimKeyedVectors

        kv = GensimKeyedVectors(self.vector_size)
        kv.index_to_key = list(self.index_to_key)
        kv.key_to_index = dict(self.key_to_index)
        kv.vectors = np.require(self.vectors, np.float32, "W")  # those of a GloVe are read-only
        kv.next_index = len(self)
        kv.expandos = {name: values.copy() for name, values in self.expandos.items()}
        return kv

    @classmethod
    def from_gensim(cls, kv) -> KeyedVectors:
        """The same vectors as a gensim ``KeyedVectors``, sharing float32 memory."""
        ours = cls(kv.index_to_key, kv.vectors)
        ours.expandos = {name: np.array(values) for name, values in kv.expandos.items()}
        return ours

    def to_embedding(
        self, freeze: bool = True, padding_idx: int | None = None, sparse: bool = False
    ) -> torch.nn.Embedding:
        """The vectors as a `lexforge.nn.Embedding`, float32 weight [V, D].

        A frozen layer shares the memory of `vectors`; one that trains gets a copy.
        """
        from lexforge.layers.embedding import Embedding

        vectors = self.vectors.astype(np.float32, copy=False)
        if not freeze or not vectors.flags.writeable:
            vectors = vectors.copy()
        return Embedding.from_pretrained(
            torch.from_numpy(vectors), freeze=freeze, padding_idx=padding_idx, sparse=sparse
        )

    def _vector_of(self, key: Key) -> np.ndarray:
        """The vector [D] of a key, or the one that is given."""
        if isinstance(key, str | Integral):
            return self.get_vector(key)
        vector = np.asarray(key)
        if vector.shape != (self.vector_size,):
            raise ValueError(f"a vector must be [D={self.vector_size}], got {vector.shape}")
        return vector

    def _own(self, keys: Sequence[Key]) -> list[int]:
        """The rows of those keys that are words or row numbers of the table."""
        rows = [self.get_index(key, -1) for key in keys if not isinstance(key, np.ndarray)]
        return [row for row in rows if row >= 0]

    def _named(self, scores: np.ndarray, topn: int | None, keys: Sequence[Key], start: int = 0):
        """The `topn` best words without the query's, or all scores."""
        if topn is None:
            return scores
        own = [row - start for row in self._own(keys)]
        rows, best = nearest(scores, topn, own)
        return self._pairs(rows + start, best)

    def _nearest(self, queries: np.ndarray, topn: int, own, searched: slice):
        """What `knn` finds among some rows."""
        first, last, _ = searched.indices(len(self))
        rows = {"first": first, "last": max(first, last)}
        found = knn(self.vectors, queries, int(topn), own, norms=self.norms, **rows)
        if queries.ndim == 1:
            return self._pairs(*found)
        return [self._pairs(*each) for each in zip(*found, strict=True)]

    def _pairs(self, rows: np.ndarray, scores: np.ndarray) -> list[tuple[str, float]]:
        """``(word, score)`` of rows, as far as there are any."""
        return [
            (self.index_to_key[row], score)
            for row, score in zip(rows.tolist(), scores.tolist(), strict=True)
            if row >= 0
        ]

    def most_similar_batch(
        self,
        keys: Sequence[Key],
        topn: int = 10,
        clip_start: int = 0,
        clip_end: int | None = None,
        restrict_vocab: int | None = None,
    ) -> list[list[tuple[str, float]]]:
        """`most_similar` for each of many words or vectors [D], in one search for all.

        The answers are those of `most_similar`, to the bit. gensim has no such method.

        Args:
            keys: N words, rows or vectors; or an array [N, D] of vectors. A word or row is not
                among its own answers.
            topn: how many words for each.
            clip_start, clip_end: search these rows only.
            restrict_vocab: search the first rows only; overrides the clip arguments.

        Returns:
            N lists ``[(word, cosine), ...]``, each best first.

        Raises:
            KeyError: naming the first unknown word.

        Example:
            >>> kv = KeyedVectors(["king", "queen", "pea"], [[1.0, 0.1], [0.9, 0.2], [0.0, 1.0]])
            >>> [answers[0][0] for answers in kv.most_similar_batch(["king", "pea"], topn=1)]
            ['queen', 'queen']
        """
        keys = _as_list(keys)
        if not keys or topn < 1:
            return [[] for _ in keys]
        queries = [
            self.get_mean_vector([key], post_normalize=True, ignore_missing=False) for key in keys
        ]
        own = [self._own([key]) for key in keys]
        rows = slice(0, restrict_vocab) if restrict_vocab else slice(clip_start, clip_end or None)
        return self._nearest(np.stack(queries), topn, own, rows)


def _whole(topn: Any) -> int | None:
    """A number of words as Python's: numpy's small ones end at 255."""
    if topn is None:
        return None
    try:
        return operator.index(topn)
    except TypeError:
        raise TypeError(f"topn must be an integer or None, got {topn!r}") from None


class OwnedVectors(KeyedVectors):
    """The vectors of a model, on the memory of its table: the numbers that it trains and saves.

    Numbers may be set, in place or all at once, where the model says so; words are the model's.
    Copies and pickles are a :class:`KeyedVectors` of their own.

    Args:
        words, vectors, counts: As of :class:`KeyedVectors`; ``vectors`` is the model's memory.
        owner: What the model is called, for messages.
        computed: What the vectors are computed from, if they are; they cannot be set then.
    """

    def __init__(self, words, vectors, counts=None, *, owner: str, computed: str = ""):
        self._owner, self._computed = owner, computed
        super().__init__(words, vectors, counts)

    @property
    def owner(self) -> str:
        """What the model is called."""
        return self._owner

    @property
    def vectors(self) -> np.ndarray:
        """The matrix [V, D], the model's own."""
        if not self._computed:
            return self._vectors
        view = self._vectors.view()
        view.flags.writeable = False
        return view

    @vectors.setter
    def vectors(self, matrix) -> None:
        self._settable()
        matrix = np.asarray(matrix)
        if matrix.shape != self._vectors.shape:
            raise ValueError(
                f"{self._owner}: wv.vectors must be {list(self._vectors.shape)} as the model's "
                f"table, got {list(matrix.shape)}"
            )
        self._vectors[:] = matrix
        self.refresh()

    @property
    def vectors_lockf(self) -> np.ndarray:
        """What steps of training are multiplied by, float32: [V], or [1] for all rows alike."""
        return self._lockf

    @vectors_lockf.setter
    def vectors_lockf(self, factors: Any) -> None:
        self._settable()
        GrowingVectors.vectors_lockf.__set__(self, factors)  # type: ignore[attr-defined]

    def refresh(self, matrix: np.ndarray | None = None) -> None:
        """The model's: its numbers have changed, or are these now."""
        if matrix is not None:
            self._vectors[:] = matrix
        self.fill_norms(force=True)

    def rebase(self, words: list[str], matrix: np.ndarray, counts: np.ndarray) -> None:
        """The model's: it has other words now, on other memory; attributes go with their words."""
        old = [self.key_to_index.get(word, -1) for word in words]
        self._move(words, matrix, np.array(old, dtype=np.int64), counts)

    def add_vectors(self, keys, weights, extras=None, replace: bool = False) -> None:
        """Set vectors of words that the model has; see :meth:`KeyedVectors.add_vectors`.

        Raises:
            ValueError: for a word that it has not.
        """
        keys = _as_list(keys)
        if new := [key for key in keys if key not in self.key_to_index]:
            raise ValueError(
                f"{self._owner}: wv has the words of the model, and {new[0]!r} is none of them: "
                "build_vocab(..., update=True) adds words, as does a copy: copy.copy(model.wv)"
            )
        self._settable()
        super().add_vectors(keys, weights, extras, replace)

    def sort_by_descending_frequency(self) -> None:
        """Nothing: a model's words are in this order."""

    def _settable(self) -> None:
        if self._computed:
            raise ValueError(f"{self._owner}: wv is {self._computed}, and cannot be set")

    def __reduce__(self):
        words, vectors = list(self.index_to_key), np.array(self._vectors)
        return _free, (words, vectors, dict(self.expandos), self.vectors_lockf)


def _free(
    words: list[str],
    vectors: np.ndarray,
    expandos: dict[str, np.ndarray],
    lockf: np.ndarray | float = 1.0,
) -> KeyedVectors:
    """Vectors that belong to no model."""
    free = KeyedVectors(words, vectors)
    free.expandos = {name: values.copy() for name, values in expandos.items()}
    free.vectors_lockf = np.array(lockf)
    return free


def load_vectors(
    path: str | os.PathLike,
    format: str = "auto",
    limit: int | None = None,
    dtype: str = "float32",
    errors: str = "strict",
    mmap: bool = False,
    *,
    encoding: str = "utf-8",
    allow_nonfinite: bool = False,
    threads: int | None = None,
) -> KeyedVectors:
    """Load word vectors, whatever file they are in.

    Args:
        path: a file (text and binary ones may be compressed with gzip, bzip2, xz or zip) or a
            checkpoint folder.
        format: one of `FORMATS`; "auto" recognises it from the content.
        limit: read the first rows only.
        dtype: "float32", "float16" or "float64", the type of the matrix in memory.
        errors: what to do with a token that is not in the encoding: "strict" raises, "replace" puts
            U+FFFD for the bad bytes, "ignore" leaves them out, "skip" the whole row.
        mmap: map the matrix instead of reading it (safetensors, npy, checkpoint). Mapped vectors
            are not checked for NaN, as that would read all of them.
            A file that is cut short while it is mapped ends the process with signal 7 when what is
            gone is looked at; replacing or removing it does no harm.
        encoding: of the words in text, binary and GloVe files, and in the vocabulary file beside an
            array; one that writes ASCII as it is, such as latin-1 or gb18030.
        allow_nonfinite: accept NaN and infinities.
        threads: for parsing text; default those of torch, at most 8.

    Returns:
        Vectors [V, D] with their words, and counts where the format has them. Of rows with the
        same token the first is kept, with one warning that tells how many were dropped. Where there
        are rows of n-grams (fastText models, and what `SubwordVectors.save` wrote) they are a
        `SubwordVectors`, which has a vector for any word.

    Raises:
        ValueError: naming the file and, where there is one, the row (from 1, header not counted).
            It is an EOFError too for text and binary files that are cut short, and a
            UnicodeDecodeError for a token that is not in the encoding.
        FileNotFoundError: when there is no such file.
    """
    table = read_table(
        path,
        format,
        limit,
        dtype,
        errors,
        mmap,
        encoding=encoding,
        allow_nonfinite=allow_nonfinite,
        threads=threads,
    )
    try:
        if table.ngrams is None:
            kv = KeyedVectors(table.words, table.vectors, table.counts, dtype=table.vectors.dtype)
        else:
            own, rows, index, composition = table.ngrams
            kv = KeyedVectors._of_ngrams(table.words, own, rows, index, table.counts, composition)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    kv.expandos.update(table.attributes)
    return kv
