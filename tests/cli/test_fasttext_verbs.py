"""lexforge fasttext skipgram, supervised, predict, ...: fastText's own program, line by line."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import signal
import subprocess
import time
import zipfile

import numpy as np
import pytest

from fasttext_models import model
from lexforge import load_vectors
from lexforge._text import WordBytes
from lexforge.training.progress import Progress
from lexforge.vectors.formats.fasttext import read_fasttext, write_fasttext

QUIET = ["-thread", 1, "-verbose", 0]
DUMPED = """\
dim 2
ws 5
epoch 3
minCount 1
neg 5
wordNgrams 1
loss softmax
model sup
bucket 0
minn 0
maxn 0
lrUpdateRate 100
t 0.0001
"""


def zipped(data):
    with io.BytesIO() as file:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("lines.txt", data)
        return file.getvalue()


@pytest.fixture
def classifier(tmp_path):
    """Of which all numbers can be told by head: a line is the mean of its words and of </s>."""
    words = WordBytes.of([b"a", b"b", b"</s>"])
    file = model(
        **{"model": 3, "loss": 3},
        words=words,
        counts=np.array([5, 4, 3]),
        labels=WordBytes.of([b"__label__x", "__label__ÿ".encode()]),
        label_counts=np.array([5, 4]),
        **{"dim": 2, "bucket": 0, "minn": 0, "maxn": 0},
        input=np.array([[2, 0], [0, 2], [0, 0]], np.float32),
        output=np.eye(2, dtype=np.float32),
    )
    write_fasttext(tmp_path / "c.bin", file)
    return tmp_path / "c.bin"


@pytest.fixture
def vectors(tmp_path):
    """Of words with n-grams."""
    write_fasttext(tmp_path / "v.bin", model())
    return tmp_path / "v.bin"


@pytest.fixture
def lines(tmp_path):
    path = tmp_path / "lines.txt"
    path.write_text("__label__x a\n__label__ÿ b\n__label__ÿ a\n\nnew __label__z\n__label__x a b a")
    return path


@pytest.fixture
def call(invoke):
    """What a verb prints."""

    def run(*arguments, input=None):
        result = invoke("fasttext", *arguments, input=input)
        assert result.exit_code == 0, result.stderr
        return result.stdout

    return run


def test_predict(call, classifier, lines):
    found = call("predict", classifier, lines).splitlines()
    assert found == [f"__label__{label}" for label in "xÿxÿÿx"]
    assert call("predict", classifier, "-", input=lines.read_bytes()).splitlines() == found


def test_predict_prob(call, classifier):
    """1 / (1 + e^-1) = 0.731059, and 0.00001 is added, as the original does."""
    printed = call("predict-prob", classifier, "-", 2, input=b"a\nb a b a b\nc\n\n")
    assert printed.splitlines() == [
        "__label__x 0.731069 __label__ÿ 0.268951",
        "__label__ÿ 0.58258 __label__x 0.41744",
        "__label__ÿ 0.50001 __label__x 0.50001",
        "__label__ÿ 0.50001 __label__x 0.50001",
    ]
    # What is less probable is left out: the line stays.
    assert call("predict-prob", classifier, "-", 2, 0.75, input=b"a\nb b") == (
        "\n__label__ÿ 0.880807\n"
    )


def test_all_labels(call, classifier):
    """As fastText's tutorial asks for them, and for those above a threshold."""
    assert call("predict", classifier, "-", -1, input=b"a\n") == "__label__x __label__ÿ\n"
    assert call("predict", classifier, "-", "-1", 0.5, input=b"a\n") == "__label__x\n"


def test_test(call, classifier, lines):
    """Of five lines with something to predict from, four have labels that the model knows."""
    assert call("test", classifier, lines) == "N\t4\nP@1\t0.75\nR@1\t0.75\n"
    assert call("test", classifier, "-", 2, input=lines.read_bytes()) == (
        "N\t4\nP@2\t0.5\nR@2\t1\n"
    )
    nothing = call("test", classifier, "-", 1, 0.99, input=b"__label__x a\n")
    assert nothing == "N\t1\nP@1\tnan\nR@1\t0\n"


def test_test_label(call, classifier, lines):
    assert call("test-label", classifier, lines) == (
        "F1-Score : 0.800000  Precision : 0.666667  Recall : 1.000000   __label__x\n"
        "F1-Score : 0.666667  Precision : 1.000000  Recall : 0.500000   __label__ÿ\n"
        "N\t4\nP@1\t0.750\nR@1\t0.750\n"
    )
    printed = call("test-label", classifier, "-", 1, 0.99, input=b"__label__x a\n")
    assert "F1-Score : --------  Precision : --------  Recall : --------   __label__ÿ" in printed


def numbers(vector) -> str:
    return "".join(f"{number:.5g} " for number in vector.tolist())


def test_print_word_vectors(call, vectors):
    file = read_fasttext(vectors)
    printed = call("print-word-vectors", vectors, input="the\tdogs\n\n東京 \x0b</s>".encode())
    assert printed.splitlines() == [
        f"{word} {numbers(file.word_vector(word))}" for word in ("the", "dogs", "東京", "</s>")
    ]


def test_print_sentence_vectors(call, vectors, classifier):
    first, second = (read_fasttext(vectors).word_vector(word) for word in ("the", "cat"))
    mean = first / np.linalg.norm(first) / 2 + second / np.linalg.norm(second) / 2
    printed = call("print-sentence-vectors", vectors, input=b"the cat\n\nthe")
    unit = first / np.linalg.norm(first)
    found = [np.array(line.split(), float) for line in printed.splitlines()]
    for each, expected in zip(found, (mean, np.zeros(4), unit), strict=True):
        np.testing.assert_allclose(each, expected, rtol=1e-4, atol=1e-6)
    assert call("print-sentence-vectors", classifier, input=b"a b b\n\nb") == "0.5 1 \n0 0 \n0 2 \n"


def test_print_ngrams(call, vectors, classifier):
    file = read_fasttext(vectors)
    printed = call("print-ngrams", vectors, "the").splitlines()
    ngrams = ["the", "<t", "<th", "<the", "th", "the", "the>", "he", "he>", "e>"]
    assert [line.split()[0] for line in printed] == ngrams
    assert printed[0] == f"the {numbers(file.input[0])}"
    rows = file.subwords.ngram_rows("the") + len(file.words)
    assert printed[1:] == [
        f"{ngram} {numbers(file.input[row])}" for ngram, row in zip(ngrams[1:], rows, strict=True)
    ]
    assert call("print-ngrams", classifier, "a") == "a 2 0 \n"


def test_nn(call, vectors):
    printed = call("nn", vectors, 2, input=b"the dogs\n")
    assert printed.count("Query word? ") == 3 and printed.endswith("Query word? ")
    first, second = (part.splitlines() for part in printed.split("Query word? ")[1:3])
    assert len(first) == len(second) == 2
    word, score = first[0].rsplit(" ", 1)
    assert word != "the" and score == f"{float(score):.6g}"


def test_analogies(call, vectors):
    printed = call("analogies", vectors, 1, input="the cat é 東京 the".encode())
    lines = printed.splitlines()
    assert lines[0] == f"Loading model {vectors}"
    assert lines[1].startswith("Query triplet (A - B + C)? ")
    assert lines[2:] == ["Query triplet (A - B + C)? "]
    assert lines[1].removeprefix("Query triplet (A - B + C)? ").split()[0] not in (
        "the",
        "cat",
        "é",
    )


def test_dump(call, classifier):
    assert call("dump", classifier, "args") == DUMPED
    assert call("dump", classifier, "dict") == (
        "5\na 5 word\nb 4 word\n</s> 3 word\n__label__x 5 label\n__label__ÿ 4 label\n"
    )
    assert call("dump", classifier, "input") == "3 2\n2 0\n0 2\n0 0\n"
    assert call("dump", classifier, "output") == "2 2\n1 0\n0 1\n"


def test_bytes_that_are_no_text_come_out_as_they_went_in(invoke, vectors):
    result = invoke("fasttext", "print-word-vectors", vectors, input=b"\xff\x80bad\xfe\n")
    assert result.stdout_bytes.startswith(b"\xff\x80bad\xfe ")


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress, zipped])
def test_compressed_text(call, spawn, classifier, vectors, lines, tmp_path, compress):
    """It is read as what it holds, whatever its name and wherever it comes from."""
    packed = tmp_path / "packed.txt"
    packed.write_bytes(compress(lines.read_bytes()))
    calls = [
        *([verb, classifier, "DATA", k] for verb in ("predict", "predict-prob") for k in (1, 2)),
        *([verb, classifier, "DATA"] for verb in ("test", "test-label")),
        *([f"print-{kind}-vectors", path] for kind in ("word", "sentence")
          for path in (classifier, vectors)),
    ]  # fmt: skip
    for arguments in calls:
        expected = call(*[lines if each == "DATA" else each for each in arguments],
                        input=lines.read_bytes())  # fmt: skip
        assert expected
        streamed = ["-" if each == "DATA" else each for each in arguments]
        assert call(*streamed, input=packed.read_bytes()) == expected
        if "DATA" in arguments:
            assert call(*[packed if each == "DATA" else each for each in arguments]) == expected
    # A pipe cannot be read twice; a zip file is known from its end.
    process = spawn("fasttext", "predict", classifier, "-", stdin=subprocess.PIPE, text=False)
    assert (
        process.communicate(packed.read_bytes())[0] == call("predict", classifier, lines).encode()
    )


def test_the_mark_in_front_of_a_text_is_no_part_of_it(call, classifier, lines, tmp_path):
    expected = call("test", classifier, lines)
    for encoding in ("utf-8-sig", "utf-16"):
        (tmp_path / "marked.txt").write_text(lines.read_text(), encoding=encoding)
        assert call("test", classifier, tmp_path / "marked.txt") == expected


@pytest.mark.parametrize(
    "data, message",
    [
        (gzip.compress(b"a b\n" * 99)[:-9], "damaged or truncated gzip file"),
        (gzip.compress(bz2.compress(b"a b\n")), "bzip2 data inside a compressed file"),
        (b"\x93NUMPY" + bytes(50), "a numpy array"),
        ("a b\n".encode("utf-16-le") * 50, "UTF-16 without a byte order mark (50% of its first"),
        (bytes(range(32)) * 50, "control characters"),
    ],
    ids=["cut short", "twice compressed", "numbers", "UTF-16", "controls"],
)
def test_what_is_no_text(invoke, classifier, tmp_path, data, message):
    (tmp_path / "data").write_bytes(data)
    for given, name in ((tmp_path / "data", tmp_path / "data"), ("-", "standard input")):
        result = invoke("fasttext", "predict", classifier, given, input=data)
        assert result.exit_code == 1 and f"{name}: " in result.stderr
        assert message in result.stderr, result.stderr


def test_words_of_other_encodings_are_bytes(call, invoke, classifier, vectors, tmp_path):
    data = "né à ça été\n".encode("latin-1") * 50
    assert call("predict", classifier, "-", input=data) == "__label__ÿ\n" * 50
    result = invoke("fasttext", "print-word-vectors", vectors, input=data)
    assert result.stdout_bytes.startswith(b"n\xe9 ")


def test_lines_are_answered_one_by_one(spawn, classifier):
    """Nothing waits for as much as is looked at of a file."""
    process = spawn("fasttext", "predict", classifier, "-", stdin=subprocess.PIPE, text=False)
    process.stdin.write(b"a\n")
    process.stdin.flush()
    assert process.stdout.readline() == b"__label__x\n"
    assert process.communicate(b"b\n")[0] == "__label__ÿ\n".encode()


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    path = tmp_path_factory.mktemp("labelled") / "train.txt"
    random = np.random.default_rng(0)
    lines = []
    for i in range(300):
        label = "ab"[i % 2]
        lines.append(f"__label__{label} " + " ".join(random.choice([f"{label}1", f"{label}2"], 4)))
    path.write_text("\n".join(lines) + "\n")
    return path


def test_supervised_test_and_quantize(call, labelled, tmp_path):
    base = tmp_path / "m"
    options = [*("-dim", 4, "-epoch", 20, "-lr", 0.5), *("-wordNgrams", 2, "-bucket", 50), *QUIET]
    call("supervised", "-input", labelled, "-output", base, *options, "-saveOutput")
    assert call("test", f"{base}.bin", labelled) == "N\t300\nP@1\t1\nR@1\t1\n"
    words = load_vectors(f"{base}.vec")
    assert words.vector_size == 4 and set(words.index_to_key) == {"</s>", "a1", "a2", "b1", "b2"}
    file = read_fasttext(f"{base}.bin")
    np.testing.assert_allclose(words["a1"], file.word_vector("a1"), rtol=1e-4)
    assert load_vectors(f"{base}.output").index_to_key == ["__label__a", "__label__b"]
    call("quantize", "-output", base, "-qnorm")
    assert call("test", f"{base}.ftz", labelled) == "N\t300\nP@1\t1\nR@1\t1\n"
    retrain = ["-input", labelled, "-cutoff", 6, "-retrain", "-epoch", 3, "-thread", 1]
    call("quantize", "-output", base, *retrain, "-verbose", 0)
    assert len(read_fasttext(f"{base}.ftz").input) == 6
    assert call("dump", f"{base}.bin", "args").splitlines()[6:8] == ["loss softmax", "model sup"]


@pytest.mark.parametrize("verb", ["skipgram", "cbow"])
def test_word_vectors(call, labelled, tmp_path, verb):
    base = tmp_path / "m"
    options = ["-dim", 4, "-minCount", 1, "-bucket", 50, "-minn", 2, "-maxn", 3, *QUIET]
    call(verb, "-input", labelled, "-output", base, *options, "-loss", "hs", "-epoch", 1)
    file = read_fasttext(f"{base}.bin")
    assert (file.dim, file.bucket, file.minn, file.maxn) == (4, 50, 2, 3)
    assert call("dump", f"{base}.bin", "args").splitlines()[6:8] == [
        "loss hs", "model " + {"skipgram": "sg", "cbow": "cbow"}[verb],
    ]  # fmt: skip
    lines = (tmp_path / "m.vec").read_text().splitlines()
    assert lines[0] == "4 4"
    word = lines[1].split()[0]
    assert lines[1] == f"{word} {numbers(file.word_vector(word))}"


LONG = ["-dim", 8, "-minCount", 1, "-bucket", 50, "-epoch", 100, *QUIET]


def killed(spawn, arguments, folder):
    """As soon as there is a checkpoint."""
    process = spawn(*arguments, "-checkpoint-every", 1e-6)
    deadline = time.monotonic() + 60
    while not (folder / "trainer_state.json").exists():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.communicate()


def stopped(invoke, arguments, again):
    """By a signal that comes with the first look at the run."""
    update, left = Progress.update, [signal.SIGTERM]

    def told(progress, state):
        if left:
            signal.raise_signal(left.pop())
        update(progress, state)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Progress, "update", told)
        result = invoke(*arguments)
    assert result.exit_code == 143, result.output
    assert result.stderr.splitlines()[-1] == f"stopped and saved; continue with: {again}"


@pytest.mark.parametrize(
    "verb, end", [("supervised", killed), ("skipgram", stopped), ("cbow", killed)]
)
def test_a_resumed_run(call, invoke, spawn, labelled, tmp_path, verb, end):
    """It writes the files of one that nothing happened to, and nothing else is left."""
    base, log = tmp_path / "m", tmp_path / "log"
    given = ["-input", labelled, "-output"]
    told = [*LONG, "-lrUpdateRate", 7, "--log-json", log]
    call(verb, *given, tmp_path / "whole", *told)
    again = f"lexforge fasttext {verb} -input {labelled} -output {base} --resume"
    arguments = ["fasttext", verb, *given, base, *told]
    if end is killed:
        killed(spawn, arguments, tmp_path / "m.checkpoint")
    else:
        stopped(invoke, arguments, again)
    assert not list(tmp_path.glob("m.*n"))  # neither .bin nor .vec
    for more, message in (
        ([], "holds an interrupted run: continue it with --resume, or --overwrite it"),
        (["--resume", "--overwrite"], "--resume excludes --overwrite"),
        (["--resume", "-dim", 5], "cannot resume with other settings: -dim is 5, 8 in the run"),
    ):
        result = invoke("fasttext", verb, *given, base, *more)
        assert result.exit_code and message in result.stderr, result.output
    other = {"supervised": "cbow", "skipgram": "supervised", "cbow": "skipgram"}[verb]
    result = invoke("fasttext", other, *given, base, "--resume")
    assert f"model is {other}, {verb} in the run" in result.stderr
    call(*again.split()[2:], *QUIET)
    for end in ("bin", "vec"):
        assert (tmp_path / f"m.{end}").read_bytes() == (tmp_path / f"whole.{end}").read_bytes()
    assert {path.name for path in tmp_path.iterdir()} - {"log"} == {
        *("m.bin", "m.vec", "whole.bin", "whole.vec"),
    }


def test_lines_without_label_or_without_words(call, labelled, tmp_path):
    """Words of the first count; the others are the end of a line, as in the original."""
    whole = labelled.read_text()
    text = tmp_path / "text"
    text.write_text("__label__a\n" + whole + "a1 only here\n\n__label__b\n")
    options = ["-dim", 4, "-epoch", 20, "-lr", 0.5, *QUIET]
    call("supervised", "-input", text, "-output", tmp_path / "m", *options)
    told = call("dump", tmp_path / "m.bin", "dict").splitlines()
    assert {"only 1 word", "__label__a 151 label", "__label__b 151 label"} < set(told)
    found = call("predict", tmp_path / "m.bin", text).splitlines()
    assert found[1:301] == [line.split()[0] for line in whole.splitlines()]
    assert call("test", tmp_path / "m.bin", text).startswith("N\t302\n")


def test_one_label(call, tmp_path):
    (tmp_path / "t").write_text("__label__a x y\n__label__a z\n" * 9)
    call("supervised", "-input", tmp_path / "t", "-output", tmp_path / "m", "-dim", 4, *QUIET)
    assert call("predict-prob", tmp_path / "m.bin", "-", 3, input=b"x\n") == "__label__a 1.00001\n"


@pytest.mark.parametrize(
    "line, code, message",
    [
        ("cbow -input t -output m --resume", 1, "m.checkpoint holds no checkpoint: no run to"),
        ("supervised -input c.bin -output c", 2, "c.bin is read, and cannot be written to"),
        ("skipgram -input t -output m -dimm 5", 2, "-dimm; did you mean -dim"),
        ("supervised -input t -output m -wordngrams 2", 2, "-wordngrams; did you mean -wordNgrams"),
        ("cbow -input t", 2, "give both -input FILE and -output NAME"),
        ("skipgram -input - -output m", 2, "-input must be a file"),
        ("skipgram -input nowhere -output m", 1, "no such file or folder: nowhere"),
        ("skipgram -input t -output no/m", 2, "there is no folder no for m.bin"),
        ("skipgram -input t -output m -loss softmax", 2, "-loss must be one of ns, hs"),
        ("supervised -input t -output m -loss hinge", 2, "-loss must be one of softmax, ova"),
        ("supervised -input t -output m -dim 0", 2, "-dim must be greater than or equal to 1"),
        ("supervised -input t -output m -autotune-validation v", 2, "there is no autotuning here"),
        ("skipgram -input t -output m -pretrainedVectors p -dim 3", 1, "got 2"),
        ("cbow -input t -output m -pretrainedVectors p -dim 3", 1, "got 2"),
        ("supervised -input t -output m -pretrainedVectors p -dim 3", 1, "numbers each, got 2"),
        ("supervised -input p -output m", 1, "p has no labels: none of its words begins with '__l"),
        ("supervised -input l -output m", 1, "no line of the corpus l has a label and a word"),
        ("supervised -input one -output m -loss hs", 1, "needs two labels or more"),
        ("supervised -input one -output m -loss ns", 1, "needs two labels or more"),
        ("quantize -input t", 2, "give -output NAME"),
        ("quantize -output m -retrain", 2, "-retrain needs the training text"),
        ("quantize -output m", 1, "m.bin"),
        ("predict c.bin", 2, "DATA is missing"),
        ("predict c.bin nowhere", 1, "nowhere: No such file"),
        ("predict c.bin t 0", 2, "K must be -1 or at least 1, got 0"),
        ("test c.bin t -2", 2, "K must be -1 or at least 1, got -2"),
        ("predict c.bin t --k", 2, "there is no option --k"),
        ("predict t t", 1, "t: "),
        ("test v.bin t", 1, "needs to be supervised"),
        ("nn c.bin 0", 2, "K must be greater than or equal to 1"),
        ("dump c.bin words", 2, "WHAT must be one of args, dict, input, output, got 'words'"),
        ("print-ngrams c.bin", 2, "WORD is missing"),
    ],
)
def test_wrong_use(invoke, classifier, vectors, monkeypatch, line, code, message):
    monkeypatch.chdir(classifier.parent)
    (classifier.parent / "t").write_text("__label__x a a b\n__label__y b\n" * 20)
    (classifier.parent / "p").write_text("2 2\na 1 2\nb 3 4\n")
    (classifier.parent / "l").write_text("__label__x __label__y")
    (classifier.parent / "one").write_text("__label__x a\n")
    before = sorted(classifier.parent.iterdir())
    result = invoke("fasttext", *line.split())
    assert result.exit_code == code, result.output
    assert message in result.stderr and len(result.stderr.strip().splitlines()) == 1
    assert sorted(classifier.parent.iterdir()) == before


def test_help(invoke):
    listed = invoke("fasttext", "--help").stdout
    for verb in ("skipgram", "supervised", "predict-prob", "print-sentence-vectors", "train"):
        assert verb in listed
    shown = invoke("fasttext", "supervised", "--help").stdout
    assert "-wordNgrams" in shown and "-autotune" not in shown and "[default: 0.1]" in shown
