"""read_labelled and read_texts: every form, what it gives, and what each refusal says."""

from __future__ import annotations

import csv
import gzip
import io
import json
import lzma
import os
import tarfile
import warnings
import zipfile
from pathlib import Path

import pytest

from lexforge.text.classification import read_labelled, read_texts
from lexforge.text.classification.texts import INFERENCE

DATA = Path(os.environ.get("LEXFORGE_DATA", ""))
HEAD = "gold_label\tsentence1\tsentence2\n"
PARSED = (
    "gold_label\tsentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\tsentence2_parse"
    "\tsentence1\tsentence2\tcaptionID\tlabel1\tlabel2\n"
)


@pytest.fixture
def write(tmp_path):
    def write(name, content):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.fixture
def imdb(write, tmp_path):
    for split in ("train", "test"):
        for folder in ("neg", "pos"):
            for number in range(3):
                write(f"aclImdb/{split}/{folder}/{number}_1.txt", f"{split} {folder}\n{number} é")
    write("aclImdb/train/unsup/0_0.txt", "no one knows")
    write("aclImdb/train/urls_neg.txt", "not a review")
    write("aclImdb/README", "not a review")
    return tmp_path / "aclImdb"


def rows(texts):
    seconds = texts.second or [None] * len(texts)
    names = [texts.names[row] for row in texts.labels]
    return list(zip(texts.first, seconds, names, strict=True))


# -- folders and archives


def test_imdb_folder(imdb):
    texts = read_labelled(imdb)
    assert texts.names == ("negative", "positive") and texts.labels.tolist() == [0] * 3 + [1] * 3
    assert texts.first[0] == "train neg\n0 é" and texts.second is None
    assert read_labelled(imdb, "test").first[5] == "test pos\n2 é"
    assert read_labelled(imdb / "train", names=("positive", "negative")).labels[0] == 1
    unlabelled = read_texts(imdb, "unsup")
    assert unlabelled.first == ["no one knows"] and unlabelled.labels is None
    assert read_texts(imdb, "test").first == read_labelled(imdb, "test").first


@pytest.mark.parametrize("mode", ["", "gz", "xz", "bz2"])
def test_archive_is_as_its_folder(imdb, tmp_path, mode):
    path = tmp_path / f"aclImdb.tar{'.' if mode else ''}{mode}"
    with tarfile.open(path, f"w:{mode}") as archive:
        # In the order that the file system gives them in, not sorted.
        for file in sorted(imdb.rglob("*"), reverse=True):
            archive.add(file, file.relative_to(tmp_path), recursive=False)
    for split in (None, "train", "test"):
        assert rows(read_labelled(path, split)) == rows(read_labelled(imdb, split))
    assert read_texts(path, "unsup").first == ["no one knows"]
    with pytest.raises(ValueError, match=r"must hold dev/<class>/<file>, and holds .*test, train"):
        read_labelled(path, "dev")
    path.write_bytes(path.read_bytes()[: -path.stat().st_size // 2])
    with pytest.raises(ValueError, match=f"{path.name}: damaged or truncated"):
        read_labelled(path)


def test_folder_per_class(write, tmp_path):
    for name in ("sport", "arts", "science"):
        write(f"news/{name}/1.txt", f"of {name}")
    write("news/.hidden/1.txt", "no")
    write("news/sport/.DS_Store", b"\xff\xfe")
    texts = read_labelled(tmp_path / "news")
    assert texts.names == ("arts", "science", "sport") and texts.labels.tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match=r"news/sport/1.txt: label must be one of arts, science;?"):
        read_labelled(tmp_path / "news", names=["arts", "science"])
    write("news/sport/2.txt", b"ok\nnot \xff\xfe utf")
    with pytest.raises(ValueError, match=r"sport/2.txt: line 2 must be text in UTF-8, got b'not"):
        read_labelled(tmp_path / "news")
    assert read_labelled(tmp_path / "news", errors="replace").first[-1][-6:] == "\ufffd\ufffd utf"
    assert read_labelled(tmp_path / "news", encoding="latin-1").first[-1] == "ok\nnot ÿþ utf"


def test_folder_of_one_class(write, tmp_path):
    write("news/sport/1.txt", "a")
    with pytest.raises(ValueError, match=r"news: must hold at least 2 classes, got 1 texts"):
        read_labelled(tmp_path / "news")
    assert read_labelled(tmp_path / "news", names=("arts", "sport")).labels.tolist() == [1]
    (tmp_path / "news" / "arts").mkdir()
    with pytest.raises(ValueError, match=r"news/arts: must hold the texts of a class, and h"):
        read_labelled(tmp_path / "news")


def test_folder_of_tables(write, tmp_path):
    write("set/train.csv", "text,label\na,x\nb,y\n")
    write("set/snli_1.0_dev.txt", HEAD + "neutral\ta\tb\n")
    assert rows(read_labelled(tmp_path / "set")) == [("a", None, "x"), ("b", None, "y")]
    assert rows(read_labelled(tmp_path / "set", "dev", names=INFERENCE)) == [("a", "b", "neutral")]
    with pytest.raises(
        FileNotFoundError, match=r"or table 'test'; it holds snli_1.0_dev.txt, train"
    ):
        read_labelled(tmp_path / "set", "test")
    with pytest.raises(FileNotFoundError, match="it holds nothing"):
        (tmp_path / "empty").mkdir()
        read_labelled(tmp_path / "empty")


@pytest.mark.parametrize(
    "members",
    [["snli_1.0/snli_1.0_train.txt", "snli_1.0/snli_1.0_dev.txt"], ["good/1.txt", "bad/1.txt"]],
)
def test_zip_of_several_files_must_be_unpacked(tmp_path, members):
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for member in members:
            archive.writestr(member, HEAD + "neutral\ta\tb\n")
    with pytest.raises(ValueError, match=f"x.zip: a zip file must hold one file.*{members[0]}"):
        read_labelled(path)
    with tarfile.open(tmp_path / "x.tgz", "w:gz") as archive:
        archive.add(path, "snli_1.0/snli_1.0_train.txt")
    with pytest.raises(ValueError, match=r"x.tgz: must hold train/<class>/.* must be unpacked"):
        read_labelled(tmp_path / "x.tgz")


def test_zip_of_one_file_is_read(tmp_path):
    path = tmp_path / "x.csv.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.csv", "text,label\na,1\nb,0\n")
    assert rows(read_labelled(path)) == [("a", None, "1"), ("b", None, "0")]


# -- SNLI


def test_snli(write):
    text = PARSED + (
        "neutral\t( ( Two women ) . )\t( They  rest )\t(ROOT)\t(ROOT)\tTwo women.\tThey rest"
        "\t1#0\tneutral\t\n"
        "-\t( No one )\t( knows )\t(R)\t(R)\tNo one\tknows\t1#1\tneutral\tentailment\n"
        "entailment\t( A )\t( B )\t(R)\t(R)\tA\tB\t2\n"  # MultiNLI ends rows early
    )
    path = write("snli_1.0_train.txt", text)
    raw = [("Two women.", "They rest", "neutral"), ("A", "B", "entailment")]
    assert rows(read_labelled(path)) == raw
    assert read_labelled(path).names == INFERENCE and read_labelled(path).labels.tolist() == [2, 0]
    parsed = {"text": "sentence1_binary_parse", "second": "sentence2_binary_parse"}
    assert rows(read_labelled(path, **parsed))[0] == ("Two women .", "They rest", "neutral")
    assert read_texts(path).second == ["They rest", "knows", "B"]
    lines = [dict(zip(text.split("\n")[0].split("\t"), row.split("\t"), strict=False))
             for row in text.split("\n")[1:-1]]  # fmt: skip
    json_path = write("snli.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    assert rows(read_labelled(json_path)) == raw
    assert rows(read_labelled(json_path, **parsed)) == rows(read_labelled(path, **parsed))


def test_multinli(write, tmp_path):
    fields = PARSED.split("\t")[:7]
    fields += ["promptID", "pairID", "genre", *(f"label{number}" for number in range(1, 6))]
    judged = [
        ["neutral", "A", "B", "31193", "31193n", "government", "neutral", "", "", "", ""],
        ["-", "C", "D", "101457", "101457e", "telephone", "neutral", "entailment", "", "", ""],
        ["contradiction", "E", "F", "134793", "134793c", "fiction", "contradiction"],
    ]  # the last one ends early
    lines, objects = ["\t".join(fields)], []
    for gold, *others in judged:
        cells = [gold, "( x )", "( y )", "(R)", "(R)", *others]
        lines.append("\t".join(cells))
        objects.append(
            dict(zip(fields[:10], cells, strict=False)) | {"annotator_labels": cells[10:]}
        )
    write("multinli_1.0/multinli_1.0_train.txt", "\n".join(lines) + "\n")
    write("multinli_1.0/multinli_1.0_dev_matched.txt", "\n".join(lines) + "\n")
    path = write("m.jsonl", "".join(json.dumps(each) + "\n" for each in objects))
    folder = tmp_path / "multinli_1.0"
    expected = [("A", "B", "neutral"), ("E", "F", "contradiction")]
    assert rows(read_labelled(path)) == expected
    for split in ("train", "dev_matched", "matched"):
        assert rows(read_labelled(folder, split)) == expected


@pytest.mark.parametrize(
    "text, message",
    [
        (HEAD + "neutral\ta\tb\nneutral\ta\n", "line 3 must have 3 columns .* got 2"),
        (HEAD + "neutral\ta\tb\tc\n", r"line 2 must have 3 columns \(gold_label, sent.* got 4"),
        (HEAD + "\ta\tb\n", "line 2: label is missing in column gold_label"),
        (PARSED + "neutral\ta\tb\tc\td\te\n", "line 2 must have 10 columns .* got 6"),
        (HEAD + "neutral\ta\tb\n", "at least 2 classes, got 1 texts of 'neutral' alone"),
        (HEAD, "holds no texts$"),
        (HEAD + "-\ta\tb\n", "holds no texts that have a label"),
        ("", "the file is empty"),
        ("a\tb\nc\td\n", "line 1: no column has a usual name of a text; name it .*of a, b"),
        ("text\tb\nc\td\n", "line 1: no column has a usual name of a label; name it .*text, b"),
        ("text\ttext\tlabel\na\tb\tc\n", "column 'text' is there 2 times"),
    ],
)
def test_tables_that_are_wrong(write, text, message):
    with pytest.raises(ValueError, match=rf"x\.tsv: .*{message}|x\.tsv: {message}"):
        read_labelled(write("x.tsv", text))


def test_unknown_label(write):
    path = write("x.tsv", HEAD + "neutral\ta\tb\nmaybe\ta\tb\n")
    assert read_labelled(path).names == ("maybe", "neutral")
    with pytest.raises(
        ValueError, match=r"x.tsv: line 3: label must be one of entailment, .*neutral, got 'maybe'"
    ):
        read_labelled(path, names=INFERENCE)


# -- tables


def test_csv_of_the_module(write):
    """Quotes, commas and line breaks in columns; a byte order mark; Windows line ends."""
    content = io.StringIO(newline="")
    texts = ['He said "no", twice', "two\nlines", "plain é", " blank "]
    writer = csv.writer(content)
    writer.writerow(["id", "review", "sentiment"])
    writer.writerows([n, text, "pos" if n % 2 else "neg"] for n, text in enumerate(texts))
    path = write("x.csv", "\ufeff" + content.getvalue())
    read = read_labelled(path)
    assert list(read.first) == texts and read.labels.tolist() == [0, 1, 0, 1]
    packed = write("x.csv.gz", gzip.compress(path.read_bytes()))
    assert rows(read_labelled(packed)) == rows(read)
    utf16 = write("y.csv", path.read_text("utf-8-sig").encode("utf-16"))
    assert rows(read_labelled(utf16)) == rows(read)


def test_quotes_of_tab_separated_files(write):
    """Both kinds of files: with quotes around texts that hold some, and with quotes as they are."""
    written = HEAD + 'neutral\t"A ""sign"" here"\tb\nentailment\t"No!" he said\t"Yes!"\n'
    path = write("x.tsv", written)
    assert read_labelled(path).first == ['A "sign" here', '"No!" he said']
    assert read_labelled(path).second == ["b", '"Yes!"']
    assert read_labelled(path, quotes=False).first[0] == '"A ""sign"" here"'
    quoted = write("y.tsv", '"text"\t"label"\n"a\tb\nc"\t"x"\n"d"\t"y"\n')
    assert rows(read_labelled(quoted, quotes=True)) == [("a\tb\nc", None, "x"), ("d", None, "y")]
    with pytest.raises(ValueError, match=r"x.tsv: line 3 must begin a row of TSV: '\t' expected"):
        read_labelled(path, quotes=True)
    unquoted = write("z.csv", 'text,label\n"a,x\nb",y\n')
    assert read_labelled(unquoted, quotes=False).first == ['"a', 'b"']


def test_columns(write):
    path = write("x.csv", "a,b,c,d\n1,2,x,4\n5,6,y,8\n")
    assert rows(read_labelled(path, text="b", label="c")) == [("2", None, "x"), ("6", None, "y")]
    assert rows(read_labelled(path, text="b", second="d", label="c"))[1] == ("6", "8", "y")
    by_number = write("y.csv", "x,one\ny,two\n")
    assert rows(read_labelled(by_number, text=1, label=0)) == [
        ("one", None, "x"), ("two", None, "y"),
    ]  # fmt: skip
    for options, message in (
        ({"text": "z"}, "text must be a column of the file, got 'z'; there are a, b, c, d"),
        ({"text": "b", "label": "z"}, "label must be a column of the file, got 'z'"),
        ({"text": "b", "second": "z", "label": "c"}, "second must be a column of the file"),
        ({"text": 1, "label": 9}, "column 9 is not there: rows have 4, from 0"),
        ({"text": 1}, "label must be a column's number too"),
    ):
        with pytest.raises(ValueError, match=message):
            read_labelled(path, **options)


@pytest.mark.parametrize(
    "text, message",
    [
        ("text,label\na,x\nb\n", "line 3 must have 2 columns .* got 1"),
        ('text,label\na,x\n"b,y\nc,x\n', "line 3 must begin a row of CSV: unexpected end of data"),
        ("text,label\na,x\n\nb,\n", "line 4: label is missing in column label"),
        ("text,label\na,x\n\nb, \n", "line 4: label is missing in column label"),
        (b"text,label\na,x\nb\xff,y\n", "invalid UTF-8 in line 3"),
        ("text,label\n".encode("utf-16-le") * 9, "UTF-16 without a byte order mark"),
        (b"\x89PNG\r\n\x1a\n", "a picture: a corpus is text"),
    ],
)
def test_csv_that_is_wrong(write, text, message):
    with pytest.raises(ValueError, match=message) as caught:
        read_labelled(write("x.csv", text))
    assert "x.csv" in str(caught.value)


def test_a_field_without_end(write):
    path = write("x.csv", 'text,label\n"' + "a" * 200_000 + '",x\n')
    with pytest.raises(ValueError, match=r"line 2 .*field limit.*csv.field_size_limit raises it"):
        read_labelled(path)


def test_other_encodings(write):
    path = write("x.csv", "text,label\né,x\nb,y\n".encode("latin-1"))
    assert read_labelled(path, encoding="latin-1").first == ["é", "b"]
    assert read_labelled(path, errors="replace").first == ["\ufffd", "b"]


# -- JSON lines


def test_json_lines(write):
    path = write("x.jsonl", '{"text": "a", "label": 1}\n\n{"text": "é", "label": 0, "more": []}\n')
    assert rows(read_labelled(path)) == [("a", None, "1"), ("é", None, "0")]
    assert read_labelled(path).names == ("0", "1")
    assert rows(read_labelled(write("x.txt", path.read_bytes()))) == rows(read_labelled(path))
    packed = write("x.jsonl.xz", lzma.compress(path.read_bytes()))
    assert rows(read_labelled(packed)) == rows(read_labelled(path))


@pytest.mark.parametrize(
    "text, message",
    [
        ('{"text": "a", "label": 1}\n["a"]\n', "line 2 .*must be a JSON object, got list"),
        ('{"text": "a", "label": 1}\n{"text"', "line 2 .*must be JSON"),
        ('{"text": "a"}\n', "line 1: no key has a usual name of a label; .* of text"),
        ('{"text": 1, "label": 1}\n', "line 1: text must be a string, got 1"),
        ('{"text": "a", "label": null}\n', "line 1: label label is missing, got None"),
        (
            '{"text": "a", "label": 1}\n{"text": "b"}\n',
            "line 2: must have the key 'label', got",
        ),
    ],
)
def test_json_lines_that_are_wrong(write, text, message):
    with pytest.raises(ValueError, match=message):
        read_labelled(write("x.jsonl", text))


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("name", ["x.json", "x.txt"])
def test_one_json_array(write, name, indent):
    objects = [{"text": "a", "label": 1}, {"text": "é\n", "label": 0, "more": []}]
    path = write(name, json.dumps(objects, indent=indent))
    assert rows(read_labelled(path)) == [("a", None, "1"), ("é\n", None, "0")]
    assert read_texts(path).first == ["a", "é\n"]


@pytest.mark.parametrize(
    "text, message",
    [
        ("[]", "x.json: holds no texts"),
        ('[{"text": "a", "label": 1}, ["b"]]', "item 2: must be a JSON object, got list"),
        ('[{"text": "a", "label": 1}, {"text": "b"}]', "item 2: must have the key 'label'"),
        ('[{"text": "a", "label": "x"}, {"text": "b", "label": "y"}', "must be JSON: "),
    ],
)
def test_arrays_that_are_wrong(write, text, message):
    with pytest.raises(ValueError, match=message):
        read_labelled(write("x.json", text))


# -- all of them


def test_empty_texts(write):
    path = write("x.csv", "text,label\na,x\n ,y\nb,y\n,x\n")
    with pytest.warns(UserWarning, match=r"x.csv: 2 empty texts are left out, .*x.csv: line 3"):
        assert read_labelled(path).first == ["a", "b"]
    with pytest.raises(ValueError, match="line 3: the text is empty"):
        read_labelled(path, empty="refuse")
    assert read_labelled(path, empty="keep").first == ["a", " ", "b", ""]
    assert read_texts(path).first == ["a", " ", "b", ""]
    pair = write("y.tsv", HEAD + "neutral\ta\t \nentailment\ta\tb\nneutral\ta\tb\n")
    with pytest.warns(UserWarning, match="1 empty texts"):
        assert len(read_labelled(pair)) == 2


def test_several_sources(write):
    one, two = write("x.csv", "text,label\na,x\n"), write("y.jsonl", '{"text": "b", "label": "y"}')
    assert rows(read_labelled([one, two])) == [("a", None, "x"), ("b", None, "y")]
    pairs = write("z.tsv", HEAD + "neutral\ta\tb\n")
    with pytest.raises(ValueError, match=r"z.tsv: line 2: must hold single texts as before, n"):
        read_labelled([one, pairs])


def test_texts_without_labels(write):
    path = write("x.txt", "first text\n\nthird\ttext\r\nlast")
    assert read_texts(path).first == ["first text", "", "third\ttext", "last"]
    assert read_texts(path, form="lines").labels is None
    pairs = write("y.tsv", "premise\thypothesis\na\tb\n")
    assert read_texts(pairs).second == ["b"]
    assert read_texts(write("y.txt", HEAD + "-\ta\tb\n")).second == ["b"]
    with pytest.raises(ValueError, match=r"line 3 must have 1 columns .* got 2"):
        read_texts(path, form="tsv", text=0)


@pytest.mark.parametrize(
    "source, options, error, message",
    [
        (
            "nowhere.csv",
            {},
            FileNotFoundError,
            r"no such file or folder: nowhere.csv \(data sets",
        ),
        (
            [],
            {},
            TypeError,
            r"source must be a data set's name, a path or a list .* got \[\]",
        ),
        (5, {}, TypeError, "source must be .* got 5"),
        ("imdb:dev", {}, ValueError, "split one of train, test, unsup, got 'imdb' and 'dev'"),
        ("imdb:unsup", {}, ValueError, r"imdb:unsup has no labels \(read_texts reads it\)"),
        ("x", {"form": "xml"}, ValueError, "form must be one of csv, tsv, jsonl, got 'xml'"),
        ("x", {"form": "lines"}, ValueError, "form must be one of csv, tsv, jsonl, got 'lines'"),
        ("x", {"errors": "skip"}, ValueError, "errors must be one of strict, replace"),
        ("x", {"empty": "no"}, ValueError, "empty must be one of drop, keep, refuse"),
        ("x", {"names": ["a"]}, ValueError, "names must be of at least 2 classes"),
        ("x", {"names": "ab"}, TypeError, "names must be a sequence of str"),
    ],
)
def test_arguments(source, options, error, message):
    with pytest.raises(error, match=message):
        read_labelled(source, **options)


def test_a_file_has_no_splits_and_no_form(write):
    path = write("x.txt", "some text\n")
    with pytest.raises(ValueError, match="split must be None for a file, got 'dev'"):
        read_labelled(path, "dev")
    with pytest.raises(ValueError, match=r"x.txt: must be a table or JSON lines; .*form="):
        read_labelled(path)


# -- data sets by name


def test_data_sets_by_name(write, tmp_path, monkeypatch, imdb):
    monkeypatch.setenv("LEXFORGE_DATA", str(tmp_path))
    monkeypatch.setenv("LEXFORGE_CACHE", str(tmp_path / "cache"))
    with pytest.warns(UserWarning, match=r"imdb:test has 25,000 examples, and .*aclImdb holds 6"):
        assert read_labelled("imdb:test").first[0] == "test neg\n0 é"
    write("snli/snli_dev.tsv", HEAD + "neutral\ta\tb\n")
    write("snli_1.0/snli_1.0_dev.txt", PARSED + "neutral\ta\tb\tc\td\tA\tB\n")
    with pytest.warns(UserWarning, match=r"snli:dev has 9,842 examples, and .*snli_1.0_dev.txt"):
        assert read_labelled("snli", "dev").first == ["A"]
    (tmp_path / "snli_1.0" / "snli_1.0_dev.txt").unlink()
    with pytest.warns(UserWarning, match="snli_dev.tsv holds 1 of them"):
        assert read_labelled("snli", "dev").names == INFERENCE


@pytest.mark.real_data
@pytest.mark.parametrize(
    "name, counts",
    [
        ("snli:dev", [3329, 3278, 3235]),
        ("snli:test", [3368, 3237, 3219]),
    ],
)
def test_real_snli(name, counts):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        texts = read_labelled(name)
    assert texts.names == INFERENCE and texts.counts.tolist() == counts
    assert not any(text.startswith('"') and '""' in text for text in texts.first)


@pytest.mark.real_data
def test_real_parts_of_snli_and_mnli():
    with pytest.warns(UserWarning, match="snli:train has 549,367 examples, and .* 18,000 of them"):
        assert read_labelled("snli").counts.tolist() == [6015, 6086, 5899]
    both = read_labelled([DATA / "snli/snli_train_18k.tsv", DATA / "snli/snli_extra_2k.tsv"])
    assert len(both) == 20_000
    with pytest.warns(UserWarning, match="mnli:train"):
        assert read_labelled("mnli").counts.tolist() == [2427, 2277, 2166]
    sample = DATA / "snli" / "original_format_sample"
    for name in ("dev.txt", "dev.jsonl"):
        texts = read_labelled(
            sample / f"snli_1.0_{name}",
            text="sentence1_binary_parse",
            second="sentence2_binary_parse",
        )
        assert texts.first[0] == "Two women are embracing while holding to go packages ."
        assert texts.counts.tolist() == [4, 3, 3]


@pytest.mark.real_data
def test_real_imdb():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        texts = read_labelled("imdb")
    assert texts.names == ("negative", "positive") and texts.counts.tolist() == [12_500, 12_500]
