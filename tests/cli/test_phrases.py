"""``lexforge phrases``: text in, text with phrases out."""

import gzip
import os
import threading

import pytest

from lexforge import ENGLISH_CONNECTOR_WORDS, Phrases, Word2Vec
from lexforge.text import resolve_corpus

LINES = ["new york is big", "the bank of england in new york", "", "old new york times is new"]
SMALL = ("--min-count", 1, "--threshold", 0.5)


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "corpus.txt"
    path.write_text("".join(f"{line}\n" for line in LINES * 3))
    return path


def joined(path, times=1, **options):
    """What the classes make of a corpus."""
    sentences = list(resolve_corpus(path))
    for _ in range(times):
        sentences = list(Phrases(sentences, min_count=1, threshold=0.5, **options)[sentences])
    return "".join(" ".join(sentence) + "\n" for sentence in sentences)


def test_joins_and_tells(invoke, corpus, tmp_path):
    out = tmp_path / "out.txt"
    result = invoke("phrases", corpus, "--out", out, *SMALL)
    assert result.exit_code == 0, result.output
    assert result.stdout == "" and "new_york" in out.read_text()
    assert out.read_text() == joined(corpus)
    assert "distinct words and pairs" in result.stderr and "joined" in result.stderr
    assert f"lexforge word2vec {out}" in result.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"corpus.txt", "out.txt"}
    model = Word2Vec(corpus_file=out, vector_size=4, min_count=1, epochs=1, workers=1)
    assert "new_york" in model.wv


def test_options_reach_the_phrases(invoke, corpus, tmp_path):
    out = tmp_path / "out.txt.gz"
    result = invoke(
        "phrases", "-train", corpus, "-output", out, "-min-count", 1, "-threshold", 0.5,
        "--delimiter", "++", "--passes", 2, "--connector-words", "english", "--workers", 2, "-q",
    )  # fmt: skip
    assert result.exit_code == 0 and result.output == ""
    text = gzip.decompress(out.read_bytes()).decode()
    assert text == joined(corpus, 2, delimiter="++", connector_words=ENGLISH_CONNECTOR_WORDS)
    assert "new++york++times" in text
    result = invoke("phrases", corpus, "--out", out, *SMALL[:2], "--scoring", "npmi",
                    "--connector-words", "of,the", "--lowercase")  # fmt: skip
    text = gzip.decompress(out.read_bytes()).decode()
    assert result.exit_code == 0 and text == joined(
        corpus, scoring="npmi", connector_words={"of", "the"}
    )


def test_saved_phrases_are_joined_elsewhere(invoke, corpus, tmp_path):
    first, second, saved = tmp_path / "first", tmp_path / "second", tmp_path / "phrases.json"
    assert invoke("phrases", corpus, "--out", first, *SMALL, "--save", saved).exit_code == 0
    result = invoke("phrases", corpus, "--out", second, "--model", saved)
    assert result.exit_code == 0 and second.read_text() == first.read_text()
    result = invoke("phrases", corpus, "--out", first, *SMALL, "--save", saved, "--passes", 2)
    assert result.exit_code == 0, result.output
    assert invoke("phrases", corpus, "--out", second, "--model", tmp_path / "phrases.1.json",
                  ).exit_code == 0  # fmt: skip
    result = invoke("phrases", second, "--out", "-", "--model", tmp_path / "phrases.2.json", "-q")
    assert result.stdout == first.read_text()


def test_standard_input_pipes_folders_and_compressed_files(invoke, corpus, tmp_path):
    expected = joined(corpus)
    data = corpus.read_bytes()
    result = invoke("phrases", "-", "--out", "-", *SMALL, input=gzip.compress(data))
    assert result.exit_code == 0 and result.stdout == expected
    pipe, folder = tmp_path / "pipe", tmp_path / "folder"
    os.mkfifo(pipe)
    threading.Thread(target=pipe.write_bytes, args=(data,), daemon=True).start()
    assert invoke("phrases", pipe, "--out", "-", *SMALL, "-q").stdout == expected
    folder.mkdir()
    (folder / "a.txt").write_bytes(data)
    for _ in range(2):  # the second time the result lies in the folder
        result = invoke("phrases", folder, "--out", folder / "out.txt", *SMALL)
        assert result.exit_code == 0 and (folder / "out.txt").read_text() == expected


@pytest.mark.parametrize(
    "arguments, code, message",
    [
        (["--out", "out", "--threshold", "0"], 1, "--threshold must be above 0"),
        (["--out", "out", "--scoring", "npmi", "--threshold", "2"], 1, "-1 to 1"),
        (["--out", "out", "--scoring", "best"], 2, "must be one of default, npmi, got 'best'"),
        (["--out", "out", "--min-count", "0"], 2, "got '0'"),
        (["--out", "out", "--delimiter", "a b"], 2, "--delimiter must not be empty, nor hold"),
        (["--out", "out", "--model", "m", "--passes", "2"], 2, "leave out --save and --passes"),
        (["--out", "out", "--model", "m", "--threshold", "2"], 2, "and how to find phrases"),
        (["--out", "out", "--model", "absent.json"], 1, "absent.json: No such file"),
        (["--out", "out", "--model", "corpus.txt"], 1, "must be JSON"),
        (["--out", "absent/out"], 2, "there is no folder absent"),
        (["--out", "out", "-output", "out"], 2, "--out is given twice"),
        (["--out", "corpus.txt"], 2, "is read, and cannot be written to"),
        ([], 2, "say where the text goes"),
    ],
)
def test_wrong_use(invoke, corpus, tmp_path, monkeypatch, arguments, code, message):
    monkeypatch.chdir(tmp_path)
    before = corpus.read_bytes()
    result = invoke("phrases", "corpus.txt", *arguments)
    assert result.exit_code == code, result.output
    assert message in result.stderr and "Traceback" not in result.stderr
    assert os.listdir(tmp_path) == ["corpus.txt"] and corpus.read_bytes() == before


def test_texts_without_words_and_without_phrases(invoke, tmp_path):
    empty, one, out = tmp_path / "empty.txt", tmp_path / "one.txt", tmp_path / "out.txt"
    empty.write_text("\n \n")
    one.write_text("a b\n")
    result = invoke("phrases", empty, "--out", out)
    assert result.exit_code == 1 and "there is no word in" in result.stderr and not out.exists()
    result = invoke("phrases", one, "--out", out)
    assert result.exit_code == 0 and out.read_text() == "a b\n"
    assert "lower --threshold or --min-count" in result.stderr


def test_a_model_is_not_written_over(invoke, tmp_path):
    corpus, model = tmp_path / "c.txt", tmp_path / "m.json"
    corpus.write_text("new york is big\n" * 20)
    first = ("--min-count", 1, "--threshold", 0.1, "--save", model)
    assert invoke("phrases", corpus, "--out", tmp_path / "o.txt", *first).exit_code == 0
    before = model.read_bytes()
    result = invoke("phrases", corpus, "--out", model, "--model", model)
    assert result.exit_code == 2 and "would take the place of --model" in result.output
    assert model.read_bytes() == before
