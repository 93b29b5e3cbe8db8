"""``lexforge glove``: its stages and files, resuming, and the original tool's options."""

import json
import signal
import time

import numpy as np
import pytest

from lexforge import Cooccurrence, GloVe, cooccurrence, load_vectors
from planted import synonym_score

QUICK = ("--min-count", 1, "--vector-size", 16, "--epochs", 2, "--window", 5)
CHECKPOINT = {"config.json", "vocab.txt", "model.safetensors", "trainer_state.json"}


@pytest.fixture(scope="module")
def counts(corpus_file):
    return cooccurrence(corpus_file, window=5, min_count=1)


@pytest.fixture
def stanford(counts, tmp_path):
    """Counts and vocabulary as the original tool writes them."""
    counts.save_stanford(tmp_path / "cooccurrence.bin")
    counts.vocab.save(tmp_path / "vocab.txt")
    return tmp_path / "cooccurrence.bin", tmp_path / "vocab.txt"


def test_learns_and_tells(invoke, corpus_file, tmp_path):
    out, log = tmp_path / "out", tmp_path / "log.jsonl"
    result = invoke(
        "glove", corpus_file, "--out", out, "--min-count", 1, "--vector-size", 32, "--window", 5,
        "--x-max", 10, "--bias-rate", 1, "--log-json", log,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert result.stdout == ""  # everything told goes to standard error
    assert "210 words, 15.1 k pairs of them meet within 5 words (241 kB of counts)" in result.stderr
    assert "epoch 25/25" in result.stderr and "entries/s" in result.stderr
    assert f"lexforge similar {out}" in result.stderr
    assert f"lexforge ratios {out / 'counts'} " in result.stderr
    assert {path.name for path in out.iterdir()} == {*CHECKPOINT, "counts"}
    assert synonym_score(GloVe.load(out).wv) >= 0.95
    assert synonym_score(load_vectors(out)) >= 0.95
    records = [json.loads(line) for line in log.read_text().splitlines()]
    assert records[-1]["entries"] == 25 * Cooccurrence.load(out / "counts").nnz
    losses = [record["loss"] for record in records if record["loss"] is not None]
    assert losses[-1] < 0.1 and records[-1]["entries_per_second"] > 0


def test_hints_work(invoke, corpus_file, tmp_path):
    """The commands that are suggested at the end can be copied."""
    result = invoke("glove", corpus_file, "--out", tmp_path, *QUICK)
    tries = [line[5:].split()[1:] for line in result.stderr.splitlines() if line[:5] == "try: "]
    assert [words[0] for words in tries] == ["similar", "ratios"]
    for words in tries:
        assert invoke(*words).exit_code == 0


def test_one_word(invoke, tmp_path):
    (tmp_path / "c.txt").write_text("word word word\n" * 20)
    arguments = ("glove", tmp_path / "c.txt", "--min-count", 1, "--epochs", 1, "--vector-size", 4)
    result = invoke(*arguments, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    assert GloVe.load(tmp_path / "out").wv.index_to_key == ["word"]


def test_quiet(invoke, corpus_file, tmp_path):
    result = invoke("glove", corpus_file, "--out", tmp_path / "out", "--quiet", *QUICK)
    assert result.exit_code == 0 and result.output == ""


def test_options_reach_the_model(invoke, corpus_file, tmp_path):
    result = invoke(
        "glove", corpus_file, "--out", tmp_path, "--vector-size", 10, "--window", 3, "--x-max", 7,
        "--alpha", 0.5, "--eta", 0.03, "--epochs", 2, "--min-count", 2, "--max-vocab-size", 150,
        "--symmetric", 0, "--distance-weighting", 0, "--optimizer", "rowwise", "--grad-clip", 5,
        "--vectors", "context", "--seed", 7, "--lowercase", "--workers", 1, "--memory", "100MB",
        "--device", "cpu",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    config = json.loads((tmp_path / "config.json").read_text())
    expected = {
        "vector_size": 10, "window": 3, "x_max": 7, "alpha": 0.5, "learning_rate": 0.03,
        "epochs": 2, "min_count": 2, "max_vocab_size": 150, "symmetric": False,
        "distance_weighting": False, "optimizer": "rowwise", "grad_clip": 5, "vectors": "context",
        "seed": 7, "lowercase": True, "vocabulary_size": 150,
    }  # fmt: skip
    assert {name: config[name] for name in expected} == expected
    counts = Cooccurrence.load(tmp_path / "counts")
    assert (counts.window, counts.symmetric, counts.distance_weighting) == (3, False, False)


def test_same_result_as_the_library(invoke, corpus_file, counts, tmp_path):
    invoke("glove", corpus_file, "--out", tmp_path, *QUICK)
    model = GloVe(counts, vector_size=16, epochs=2)
    assert np.array_equal(GloVe.load(tmp_path).wv.vectors, model.wv.vectors)


@pytest.mark.parametrize(
    "format, name",
    [
        ("text", "vectors.txt"),
        ("binary", "vectors.bin"),
        ("glove", "vectors.glove.txt"),
        ("safetensors", "vectors.safetensors"),
    ],
)
@pytest.mark.parametrize("vectors", ["sum", "word"])
def test_vector_files(invoke, corpus_file, tmp_path, format, name, vectors):
    options = ("--format", format, "--vectors", vectors)
    result = invoke("glove", corpus_file, "--out", tmp_path, *options, *QUICK)
    assert result.exit_code == 0, result.output
    assert name in result.stderr
    written, model = load_vectors(tmp_path / name), GloVe.load(tmp_path)
    assert written.index_to_key == model.vocabulary.words
    assert np.array_equal(written.vectors, model.keyed_vectors(vectors).vectors)


# -- counts ---------------------------------------------------------------------------------------


def test_counts_are_made_once(invoke, corpus_file, tmp_path):
    train = ("glove", corpus_file, "--out", tmp_path, *QUICK)
    triplets = tmp_path / "counts" / "triplets.bin"
    assert invoke(*train).exit_code == 0
    written = triplets.stat().st_ino
    # Another run on the same counts; then one that needs others.
    result = invoke(*train, "--overwrite", "--seed", 2, "--vector-size", 8)
    assert result.exit_code == 0 and triplets.stat().st_ino == written
    result = invoke(*train, "--overwrite", "--window", 3)
    assert result.exit_code == 0 and triplets.stat().st_ino != written
    assert "within 3 words" in result.stderr


def test_counts_of_others(invoke, counts, stanford, tmp_path):
    """Files and folders of counts, ours and the original tool's, give the same model."""
    counts.save(tmp_path / "folder")
    binary, vocabulary = stanford
    expected = GloVe(counts, vector_size=16, epochs=2)
    for number, source in enumerate(
        (
            ("--cooccurrence", tmp_path / "folder"),
            ("--cooccurrence", binary, "--vocab-file", vocabulary),
            ("-input-file", binary, "-vocab-file", vocabulary),
        )
    ):
        out = tmp_path / f"out{number}"
        result = invoke("glove", *source, "--out", out, "--vector-size", 16, "--epochs", 2)
        assert result.exit_code == 0, result.output
        assert np.array_equal(GloVe.load(out).wv.vectors, expected.wv.vectors)
        # Of a file of others there is a copy in the folder, for a resume.
        assert {path.name for path in out.iterdir()} - CHECKPOINT == (
            {"counts"} if number else set()
        )
        assert ("within 5 words" in result.stderr) == (number == 0)  # the file does not tell


def test_given_words(invoke, corpus_file, tmp_path):
    words = tmp_path / "words.txt"
    words.write_text("a0 10\nb0 9\nc0_1 8\nc0_2 7\n")
    out = tmp_path / "out"
    result = invoke("glove", corpus_file, "--vocab-file", words, "--out", out, *QUICK)
    assert result.exit_code == 0 and GloVe.load(out).vocabulary.words == [
        "a0", "b0", "c0_1", "c0_2",
    ]  # fmt: skip


# -- wrong use ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["{corpus}"], "--out"),
        (["--out", "x"], "give a CORPUS"),
        (["--out", "x", "--resume"], "give a CORPUS"),
        (["{corpus}", "--cooccurrence", "y", "--out", "x"], "either a CORPUS to count or"),
        (["--cooccurrence", "{corpus}", "--out", "x"], "needs its words: --vocab-file"),
        (["--cooccurrence", "/usr", "--vocab-file", "v", "--out", "x"], "have their own words"),
        (["--cooccurrence", "/nowhere", "--out", "x"], "there is no file or folder /nowhere"),
        (["{corpus}", "-save-file", "x", "--resume"], "--resume needs --out"),
        (["{corpus}", "--out", "x", "--resume", "--overwrite"], "excludes --overwrite"),
        (["{corpus}", "--out", "{corpus}"], "--out must be a folder"),
        (["{corpus}", "-save-file", "absent/x"], "there is no folder absent for x"),
        (["{corpus}", "--out", "x", "--log-json", "absent/log"], "there is no folder absent"),
        (["{corpus}", "--out", "x", "--window", "0"], "window"),
        (["{corpus}", "--out", "x", "--format", "pickle"], "format"),
        (["{corpus}", "--out", "x", "--vectors", "both"], "vectors"),
        (["{corpus}", "-save-file", "x", "-model", "3"], "-model"),
        (["{corpus}", "-save-file", "x", "-save-gradsq", "1"], "go with -save-file and -binary"),
        (["{corpus}", "--out", "x", "-checkpoint-every", "5"], "goes with -save-file"),
        (["--cooccurrence", "/usr", "--window", "5", "--out", "x"], "--window is for counting"),
        (["{corpus}", "-save-file", "x", "--format", "text"], "--format goes with --out"),
        (["{corpus}", "--out", "x", "-init-param-file", "y"], "needs its words, --vocab-file"),
        (["{corpus}", "--out", "x", "-init-gradsq-file", "y"], "goes with -init-param-file"),
    ],
)
def test_wrong_usage(invoke, corpus_file, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    result = invoke("glove", *(a.format(corpus=corpus_file) for a in arguments))
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["/nowhere.txt", "--out", "{out}"], "nowhere.txt"),
        (["{corpus}", "--out", "{out}", "--min-count", "100000"], "--min-count 100000"),
        (["{corpus}", "--out", "{out}", "--resume"], "holds no checkpoint"),
        (["{corpus}", "--out", "{out}", "--device", "abacus"], "auto, cpu or cuda, got 'abacus'"),
        (["{corpus}", "--out", "{out}", "--eta", "inf"], "--eta must be finite"),
        (["{corpus}", "--out", "{out}", "--x-max", "0"], "--x-max must be above 0"),
        (["{corpus}", "--out", "{out}", "--seed", "9" * 20], "seed must be <="),
        (["{corpus}", "--out", "{out}", "--window", "43"], "window"),
        (["{corpus}", "--out", "{out}", "--memory", "some"], "memory must be like '512MB'"),
        (["{corpus}", "--out", "{out}", "--memory", "1KB"], "memory must be at least"),
        (["{corpus}", "--out", "{corpus}/out"], "--out must be a folder"),
        (["--cooccurrence", "/usr", "--out", "{out}"], "holds no co-occurrence counts"),
        (["{corpus}", "--vocab-file", "/nowhere", "--out", "{out}"], "nowhere"),
        (["{corpus}", "-save-file", "{out}", "-seed", "x"], "-seed"),
        (
            [
                *("{corpus}", "--optimizer", "adam"),
                *("-save-file", "{out}", "-binary", "1", "-save-gradsq", "1"),
            ],
            "gradient sums are those of --optimizer adagrad",
        ),
    ],
)
def test_failures(invoke, corpus_file, tmp_path, arguments, message):
    out = tmp_path / "out"
    result = invoke("glove", *(a.format(corpus=corpus_file, out=out) for a in arguments))
    assert result.exit_code in (1, 2)
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert message in line
    assert not out.exists()


def test_damaged_counts(invoke, stanford, tmp_path):
    """Truncated, with a pair twice, of another vocabulary, with counts that are none."""
    path, vocabulary = stanford
    good = path.read_bytes()
    records = np.frombuffer(good, np.dtype([("row", "<i4"), ("col", "<i4"), ("value", "<f8")]))
    zero, outside = records.copy(), records.copy()
    zero["value"][3], outside["col"][-1] = 0, 211
    for content, message in (
        (good[:-1], "truncated"),
        (b"", "truncated"),
        (records[[1, 0, 1]].tobytes(), "each pair of words must come once"),
        (zero.tobytes(), "values must be finite and > 0"),
        (outside.tobytes(), "words must be 1 to 210"),
    ):
        path.write_bytes(content)
        result = invoke(
            "glove", "--cooccurrence", path, "--vocab-file", vocabulary, "--out", tmp_path / "out"
        )
        assert result.exit_code == 1 and message in result.stderr
        assert not (tmp_path / "out").exists()


def test_more_than_fits_into_memory(invoke, corpus_file, tmp_path, monkeypatch):
    """Refused before it is allocated; the counts are made and stay."""
    monkeypatch.setattr("lexforge.models.glove.model.available_memory", lambda: 1000)
    result = invoke("glove", corpus_file, "--out", tmp_path / "out", *QUICK)
    assert result.exit_code == 1 and "GB are free" in result.stderr
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["counts"]


def test_another_run_is_not_overwritten(invoke, corpus_file, tmp_path):
    train = ("glove", corpus_file, "--out", tmp_path, *QUICK)
    assert invoke(*train).exit_code == 0
    before = (tmp_path / "model.safetensors").read_bytes()
    result = invoke(*train, "--seed", 2)
    assert result.exit_code == 2 and "--resume" in result.output and "--overwrite" in result.output
    assert (tmp_path / "model.safetensors").read_bytes() == before
    result = invoke(*train, "--resume", "--format", "text")
    assert result.exit_code == 0 and "nothing to resume" in result.stderr
    assert (tmp_path / "vectors.txt").exists()  # what a kill just before the end left undone
    assert invoke(*train, "--seed", 2, "--overwrite").exit_code == 0
    assert (tmp_path / "model.safetensors").read_bytes() != before


# -- stopping and resuming ------------------------------------------------------------------------

LONG = ("--min-count", 1, "--vector-size", 64, "--epochs", 150, "--window", 5)


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_stopped_and_resumed(invoke, spawn, corpus_file, tmp_path, number, code):
    """A stopped run says how to go on, and the resumed one ends as if nothing had happened."""
    whole, out, log = tmp_path / "whole", tmp_path / "out", tmp_path / "log.jsonl"
    assert invoke("glove", corpus_file, "--out", whole, "--workers", 2, *LONG).exit_code == 0

    # Hundreds of checkpoints, so that the signal comes long before the end on any machine.
    often = ("--checkpoint-every", 1e-6)
    process = spawn("glove", corpus_file, "--out", out, "--log-json", log, *often, *LONG)
    deadline = time.monotonic() + 60
    while not (out / "trainer_state.json").exists():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    command = f"lexforge glove {corpus_file} --out {out} --resume"
    assert err.splitlines()[-1] == f"stopped and saved; continue with: {command}"
    state = json.loads((out / "trainer_state.json").read_text())
    assert 0 < state["done"] < state["total"]
    assert {path.name for path in out.iterdir()} == {*CHECKPOINT, "counts"}

    for changes, message in (
        (("--window", 9), "window is 9, 5 in the run"),
        (("--eta", 0.01), "--eta is 0.01, 0.05 in the run"),
        (("--optimizer", "adam"), "optimizer is adam, adagrad in the run"),
    ):
        result = invoke("glove", corpus_file, "--out", out, "--resume", *changes)
        assert result.exit_code == 1 and message in result.stderr
    other = tmp_path / "other.txt"
    other.write_text(corpus_file.read_text() + "a0 a1\n")
    result = invoke("glove", other, "--out", out, "--resume")
    assert result.exit_code == 1 and "counts entries is" in result.stderr

    # As printed: options that are not repeated are those of the run.
    resume = [*command.split()[1:], "--workers", 1, "--log-json", log]
    result = invoke(*resume)
    assert result.exit_code == 0, result.output
    for name in ("model.safetensors", "vocab.txt", "config.json"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()
    entries = [json.loads(line)["entries"] for line in log.read_text().splitlines()]
    assert entries == sorted(entries) and entries[-1] == state["total"]


def test_resume_from_kept_counts(invoke, spawn, corpus_file, tmp_path):
    """The corpus need not be named again."""
    out = tmp_path / "out"
    process = spawn(
        "glove", corpus_file, "--out", out, "--checkpoint-every", 1e-6, "--quiet", *LONG
    )
    while not (out / "trainer_state.json").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.communicate(timeout=60)
    counted = (out / "counts" / "triplets.bin").stat().st_ino
    for source in ([], [corpus_file]):
        result = invoke("glove", *source, "--out", out, "--resume")
        assert result.exit_code == 0 and GloVe.load(out).state.finished
        assert (out / "counts" / "triplets.bin").stat().st_ino == counted


def test_stopped_while_counting(invoke, spawn, tmp_path):
    """The command that was stopped, given again, goes on; with --resume too."""
    rng = np.random.default_rng(0)
    corpus, out = tmp_path / "corpus.txt", tmp_path / "out"
    with corpus.open("w") as file:
        for _ in range(30):
            words = rng.zipf(1.2, size=20_000) % 3000
            file.write(" ".join(f"w{word}" for word in words) + "\n")
    train = ("glove", corpus, "--out", out, "--vector-size", 4, "--epochs", 1, "--window", 15)
    process = spawn(*train)
    deadline = time.monotonic() + 60
    while not (out / "counts").exists():
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.001)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    if process.returncode == 0:
        pytest.skip("the machine counted before it could be stopped")
    assert process.returncode == 130
    assert "the same command goes on from here" in err or "stopped and saved" in err
    kept = (out / "counts").exists()  # stopped at once it has kept nothing to go on with
    for again in ((*train, "--resume") if kept else train, (*train, "--resume")):
        result = invoke(*again)
        assert result.exit_code == 0, result.output
    assert GloVe.load(out).state.finished


# -- as the original tool -------------------------------------------------------------------------


@pytest.mark.parametrize("binary", [0, 1, 2])
def test_as_the_original_tool(invoke, stanford, tmp_path, binary):
    counts, vocabulary = stanford
    stem = tmp_path / "vectors"
    options = (
        "-input-file", counts, "-vocab-file", vocabulary, "-vector-size", 20, "-threads", 1,
        "-iter", 2, "-eta", 0.04, "-alpha", 0.7, "-x-max", 10, "-grad-clip", 50, "-memory", "1.5",
        "-seed", 3, "-verbose", 2,
    )  # fmt: skip
    result = invoke(
        "glove", *options, "-save-file", stem, "-binary", binary, "-model", 0, "-write-header", 1
    )
    assert result.exit_code == 0, result.output
    model = GloVe(
        Cooccurrence.load_stanford(counts, vocabulary), vector_size=20, epochs=2,
        learning_rate=0.04, alpha=0.7, x_max=10, grad_clip=50, seed=3,
    )  # fmt: skip
    everything = np.concatenate([table.numpy() for table in model._parameters()], axis=1)
    assert (tmp_path / "vectors.txt").exists() == (binary != 1)
    assert (tmp_path / "vectors.bin").exists() == (binary != 0)
    if binary != 1:
        assert (tmp_path / "vectors.txt").read_bytes().startswith(b"211 42\n")
        text = load_vectors(tmp_path / "vectors.txt")
        assert np.array_equal(text.vectors[:-1], everything) and "<unk>" in text
    if binary != 0:
        numbers = np.fromfile(tmp_path / "vectors.bin").reshape(2, 210, 21)
        assert np.array_equal(np.concatenate(list(numbers), axis=1), everything)


def test_name_of_a_folder_for_files(invoke, stanford, tmp_path):
    """vectors.txt can stand beside a folder called vectors."""
    (tmp_path / "vectors").mkdir()
    options = ("-input-file", stanford[0], "-vocab-file", stanford[1], "-iter", 1)
    result = invoke("glove", *options, "-save-file", tmp_path / "vectors")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "vectors.txt").is_file()


def test_original_options_of_counting(invoke, corpus_file, tmp_path):
    result = invoke(
        "glove", corpus_file, "--out", tmp_path, "-window-size", 4, "-min-count", 2, "-max-vocab",
        100, "-symmetric", 0, "-distance-weighting", 0, "-memory", 1, "-iter", 1, "-vector-size", 8,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    counts = Cooccurrence.load(tmp_path / "counts")
    assert (counts.window, counts.symmetric, counts.distance_weighting) == (4, False, False)
    assert len(counts.vocab) == 100


def test_going_on_from_its_files(invoke, counts, stanford, tmp_path):
    binary, vocabulary = stanford
    first = GloVe(counts, vector_size=20, epochs=3)
    first.save_stanford_binary(tmp_path / "v.bin", tmp_path / "g.bin")
    source = ("-input-file", binary, "-vocab-file", vocabulary, "-save-file", tmp_path / "new")
    start = ("-load-init-param", 1, "-init-param-file", tmp_path / "v.bin")
    sums = ("-load-init-gradsq", 1, "-init-gradsq-file", tmp_path / "g.bin")
    more = ("-iter", 1, "-binary", 1, "-save-gradsq", 1)
    result = invoke("glove", *source, *start, *sums, *more)
    assert result.exit_code == 0 and "gradient sums start afresh" not in result.stderr
    expected = GloVe.load_stanford(tmp_path / "v.bin", counts.vocab, tmp_path / "g.bin", epochs=1)
    expected.train(counts)
    expected.save_stanford_binary(tmp_path / "same.bin", tmp_path / "same_sums.bin")
    assert (tmp_path / "new.bin").read_bytes() == (tmp_path / "same.bin").read_bytes()
    assert (tmp_path / "gradsq.bin").read_bytes() == (tmp_path / "same_sums.bin").read_bytes()
    result = invoke("glove", *source, *start, *more)
    assert result.exit_code == 0 and "warning: without -init-gradsq-file" in result.stderr
    (tmp_path / "v.bin").write_bytes((tmp_path / "v.bin").read_bytes()[:-8])
    result = invoke("glove", *source, *start, *sums, *more)
    assert result.exit_code == 1 and "truncated" in result.stderr


def test_files_of_passes(invoke, stanford, tmp_path):
    counts, vocabulary = stanford
    result = invoke(
        "glove", "-input-file", counts, "-vocab-file", vocabulary, "-vector-size", 8, "-iter", 5,
        "-save-file", tmp_path / "vec", "-binary", 2, "-checkpoint-every", 2,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    names = {path.name for path in tmp_path.iterdir()} - {path.name for path in stanford}
    stems = ("vec.002", "vec.004", "vec")
    assert names == {f"{stem}.{ending}" for stem in stems for ending in ("txt", "bin")}
    numbers = [np.fromfile(tmp_path / f"{stem}.bin") for stem in stems]
    assert not np.array_equal(numbers[0], numbers[1])
    model = GloVe(Cooccurrence.load_stanford(counts, vocabulary), vector_size=8, epochs=4)
    model.save_stanford_binary(tmp_path / "four.bin")
    assert np.array_equal(np.fromfile(tmp_path / "four.bin"), numbers[1])


@pytest.mark.real_data
def test_data_set_by_name(invoke, tmp_path):
    """The Penn Treebank has <unk> for its rare words, which is a word like others."""
    result = invoke("glove", "ptb", "--out", tmp_path, "--epochs", 1, "--vector-size", 16)
    assert result.exit_code == 0, result.output
    assert "9,858 words, 3.5 M pairs of them meet within 15 words" in result.stderr
    assert "<unk>" in load_vectors(tmp_path)
