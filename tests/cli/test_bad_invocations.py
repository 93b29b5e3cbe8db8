"""What cannot work, over all commands: one line that names what is wrong, and nothing changed."""

from __future__ import annotations

import hashlib
import shlex

import pytest
import typer.main

from lexforge.cli.main import app

# Command line, exit code, what its one line says. Files are those of the fixture.
CASES = [
    # Of the command as a whole.
    ("--colour", 2, "there is no option --colour"),
    ("-foo", 2, "there is no option -foo"),
    ("wrd2vec corpus.txt", 2, "'word2vec'"),
    ("bert pretain corpus.txt", 2, "'pretain'"),
    # Options that do not exist are named whole, with the nearest ones that do.
    ("word2vec corpus.txt --out o -foo", 2, "there is no option -foo"),
    ("word2vec corpus.txt --out o -vector-sise 8", 2, "-vector-sise; did you mean -vector-size"),
    ("word2vec corpus.txt --out o --windov=3", 2, "--windov; did you mean --window"),
    ("fasttext corpus.txt --out o --buckets 9", 2, "--buckets; did you mean --bucket"),
    ("glove corpus.txt --out o -xmax 10", 2, "-xmax; did you mean -x-max"),
    ("similar v.txt cat --top 3", 2, "--top; did you mean --topn"),
    ("info -qx", 2, "there is no option -qx"),
    ("bert encode model lines.txt --out x.npy --layer 1", 2, "--layer; did you mean --layers"),
    # Values, by the name that was typed.
    ("word2vec corpus.txt --out o --window", 2, "--window needs a value"),
    ("word2vec corpus.txt --out o --window wide", 2, "--window must be a valid integer, got 'wid"),
    ("word2vec corpus.txt --out o --window 1001", 2, "--window must be less than or equal to 1000"),
    ("word2vec corpus.txt --out o -negative 1001", 2, "-negative must be less than or equal to"),
    ("word2vec corpus.txt --out o -size 0", 2, "-size must be greater than or equal to 1, got '0'"),
    ("word2vec corpus.txt --out o -binary 7", 2, "-binary must be less than or equal to 1, got"),
    ("word2vec corpus.txt --out o --sample 1e308", 1, "--sample must be 0 to 1e+18, got 1e+308"),
    ("word2vec corpus.txt --out o --sample -1", 2, "--sample must be greater than or equal to 0"),
    ("word2vec corpus.txt --out o --ns-exponent 1000", 2, "--ns-exponent must be less than or eq"),
    ("word2vec corpus.txt --out o --lr inf", 1, "--lr must be finite and >= 0, got inf"),
    ("word2vec corpus.txt --out o -alpha nan", 2, "-alpha must be"),
    ("word2vec corpus.txt --out o --epochs 9999999999", 2, "--epochs must be less than or equal"),
    ("word2vec corpus.txt --out o --seed 18446744073709551616", 1, "--seed must be"),
    ("word2vec corpus.txt --out o --workers 0", 2, "--workers must be greater than or equal to 1"),
    ("word2vec corpus.txt --out o --device tpu", 1, "--device must be auto, cpu or cuda"),
    ("word2vec corpus.txt --out o --format zip", 2, "--format must be one of text, binary, glove"),
    ("word2vec corpus.txt --out o -cbow 1 --sg 1", 2, "-cbow"),
    ("word2vec corpus.txt --out o -hs 0 -negative 0", 1, "-hs 0 with -negative 0 is neither"),
    ("fasttext corpus.txt --out o --min-n 7", 1, "--min-n must be <= --max-n 6, got 7"),
    ("fasttext corpus.txt --out o -minn 4 -maxn 2", 1, "-minn must be <= -maxn 2, got 4"),
    ("fasttext corpus.txt --out o --bucket 0", 1, "--bucket must be >= 1 where n-grams share rows"),
    ("fasttext corpus.txt --out o --composition max", 2, "--composition must be one of mean, sum"),
    ("glove corpus.txt --out o --window 43", 1, "--window must be 1 to 42 with --distance-weigh"),
    ("glove corpus.txt --out o --x-max 0", 1, "--x-max must be above 0, got 0"),
    ("glove corpus.txt --out o --memory 3X", 1, "--memory must be like '512MB' or '2GB', got '3X'"),
    ("glove corpus.txt --out o --optimizer sgd", 2, "--optimizer must be one of adagrad, rowwise"),
    ("glove corpus.txt --out o -binary 3", 2, "-binary must be less than or equal to 2, got '3'"),
    ("cooccurrence corpus.txt --out o --window 0", 2, "--window must be greater than or equal"),
    ("phrases corpus.txt --out o --passes 0", 2, "--passes must be greater than or equal to 1"),
    ("bert pretrain corpus.txt --out o --heads 3", 1, "--heads must divide --hidden-size 128"),
    ("bert pretrain corpus.txt --out o --dropout 2", 2, "--dropout must be less than or equal"),
    ("bert pretrain corpus.txt --out o --max-len 2000", 1, "--max-len must be at most"),
    ("bert finetune lines.txt --model . --out o --max-len 4", 2, "--max-len must be greater than"),
    ("bert finetune lines.txt --model . --out o --dev-share 1", 2, "--dev-share must be less than"),
    ("similar v.txt cat --topn 0", 2, "--topn must be greater than or equal to 1, got '0'"),
    ("bert encode model lines.txt --out x.npy --layers one", 2, "--layers must be numbers"),
    ("bert encode model lines.txt --out x.npy --what words", 2, "--what must be one of pooled"),
    ("plot vectors v.txt --out x.png --method lda", 2, "--method must be one of pca, tsne, umap"),
    ("plot loss log.jsonl --out x.png --smoothing 2", 2, "--smoothing must be less than or equal"),
    # What is missing, or does not go together.
    ("word2vec", 2, "--out FOLDER"),
    ("word2vec --out o", 2, "give a CORPUS"),
    ("fasttext corpus.txt", 2, "--out FOLDER (or --bin FILE)"),
    ("fasttext --out o", 2, "give a CORPUS"),
    ("fasttext corpus.txt --out o --bin no/m.bin", 2, "there is no folder no for m.bin"),
    ("fasttext nowhere.txt --out o", 1, "nowhere.txt"),
    ("word2vec corpus.txt -train corpus.txt --out o", 2, "-train"),
    ("word2vec corpus.txt --resume", 2, "--out"),
    ("word2vec corpus.txt --out o --resume --init v.txt", 2, "--init"),
    ("glove corpus.txt", 2, "--out FOLDER"),
    ("glove corpus.txt --cooccurrence counts --out o", 2, "--cooccurrence"),
    ("glove --cooccurrence v.txt --out o", 2, "--vocab-file"),
    ("glove corpus.txt --out o -init-gradsq-file v.txt", 2, "-init-param-file"),
    ("glove corpus.txt -save-file g -save-gradsq 1", 2, "-binary"),
    ("cooccurrence corpus.txt", 2, "--out FOLDER"),
    ("bert pretrain corpus.txt --steps 1 --epochs 1 --out o", 2, "--steps or --epochs"),
    ("bert pretrain corpus.txt --out o --eval-every 2", 2, "--eval-file"),
    ("bert finetune lines.txt --model . --steps 1 --epochs 1 --out o", 2, "--steps or --epochs"),
    ("bert finetune lines.txt --out o", 2, "--model FOLDER is missing"),
    ("bert finetune --model . --out o", 2, "DATA is missing"),
    ("bert finetune lines.txt --resume", 2, "--out"),
    ("bert encode model", 2, "INPUT is missing"),
    ("bert attention model text", 2, "--out is missing"),
    ("similar", 2, "VECTORS is missing"),
    ("similar v.txt --json", 1, "--json"),
    ("analogy v.txt man woman", 2, "C is missing"),
    ("ratios counts", 2, "A is missing"),
    ("convert v.txt", 2, "OUT is missing"),
    ("evaluate v.txt", 1, "--similarity or --analogy"),
    ("plot loss log.jsonl", 2, "--out is missing"),
    ("info extra", 2, "extra"),
    # Files that are not there, are something else, or cannot be written.
    ("word2vec nowhere.txt --out o", 1, "nowhere.txt"),
    ("word2vec empty.txt --out o", 1, "empty.txt"),
    ("word2vec corpus.txt --out v.txt", 2, "v.txt"),
    ("word2vec corpus.txt --out o --log-json no/log", 2, "no"),
    ("word2vec corpus.txt -output .", 2, "a file"),
    ("word2vec corpus.txt --out o --init nowhere.bin", 1, "nowhere.bin"),
    ("word2vec corpus.txt --out o --min-count 9999", 1, "--min-count 9999"),
    ("word2vec corpus.txt --out o --resume", 1, "o"),
    ("glove nowhere.txt --out o", 1, "nowhere.txt"),
    ("glove --cooccurrence nowhere --out o", 2, "nowhere"),
    ("cooccurrence nowhere.txt --out o", 1, "nowhere.txt"),
    ("bert pretrain nowhere.txt --out o", 1, "nowhere.txt"),
    ("bert pretrain corpus.txt --out o --config nowhere", 1, "nowhere"),
    ("bert finetune nowhere.csv --model . --out o", 1, "nowhere.csv"),
    ("bert finetune v.txt --model nowhere --out o", 2, "--model must be a folder, and nowhere is"),
    ("bert encode nowhere lines.txt --out x.npy", 2, "nowhere"),
    ("bert encode . lines.txt --out x.npy", 1, "config.json"),
    ("bert encode . lines.txt --out x.zip", 1, "x.zip"),
    ("bert attention nowhere text --out x.png", 2, "nowhere"),
    ("similar nowhere.bin cat", 1, "nowhere.bin"),
    ("similar empty.txt cat", 1, "empty.txt"),
    ("similar noise.bin cat", 1, "noise.bin"),
    ("similar v.txt cta", 1, "'cta'"),
    ("analogy v.txt cat dog cta", 1, "'cta'"),
    ("ratios nowhere a b c", 1, "nowhere"),
    ("convert v.txt x.docx", 1, "x.docx"),
    ("convert v.txt no/x.bin", 2, "no folder no for x.bin"),
    ("convert v.txt /dev/full --to npy", 1, "/dev/full: No space left on device"),
    ("convert v.txt /dev/full --to text", 1, "/dev/full: No space left on device"),
    ("convert v.txt /dev/full --to safetensors", 1, "/dev/full: No space left on device"),
    ("convert v.txt /proc/x.bin", 1, "/proc/x.bin: "),
    ("convert v.txt o --from gensim --to checkpoint --limit 3", 2, "--limit"),
    ("convert v.txt x.bin --from elf", 1, "'elf'"),
    ("convert v.txt x.npy --dtype int8", 1, "--dtype"),
    ("convert v.txt x.bin --errors none", 1, "--errors"),
    ("evaluate v.txt --similarity nowhere", 1, "nowhere"),
    ("evaluate v.txt --analogy noise.bin", 1, "noise.bin"),
    ("evaluate v.txt --analogy v.txt --json no/x.json", 2, "no folder no for x.json"),
    ("data path nowhere", 2, "nowhere"),
    ("data path text8:dev", 2, "'dev'"),
    ("data list nowhere", 2, "nowhere"),
    ("data fetch nowhere", 2, "nowhere"),
    ("data clean nowhere", 2, "nowhere"),
    ("plot vectors nowhere.bin --out x.png", 1, "nowhere.bin"),
    ("plot vectors v.txt --out x.docx", 1, "x.docx"),
    ("plot loss nowhere.jsonl --out x.png", 1, "nowhere.jsonl"),
    ("plot loss v.txt --out x.png", 1, "v.txt"),
    ("plot confusion nowhere.json --out x.png", 1, "nowhere.json"),
    ("plot confusion v.txt --out x.png", 1, "v.txt"),
    ("fasttext train corpus.txt --out o --min-n 7", 1, "--min-n must be <= --max-n 6, got 7"),
    ("fasttext skipgram -input nowhere.txt -output o", 1, "nowhere.txt"),
    ("fasttext cbow -input nowhere.txt -output o", 1, "nowhere.txt"),
    ("fasttext supervised -input corpus.txt -output o", 1, "has no labels"),
    ("fasttext test noise.bin lines.txt", 1, "noise.bin"),
    ("fasttext test-label noise.bin lines.txt", 1, "noise.bin"),
    ("fasttext predict noise.bin lines.txt", 1, "noise.bin"),
    ("fasttext predict-prob noise.bin lines.txt", 1, "noise.bin"),
    ("fasttext quantize -output nowhere", 1, "nowhere.bin"),
    ("fasttext print-word-vectors noise.bin", 1, "noise.bin"),
    ("fasttext print-sentence-vectors noise.bin", 1, "noise.bin"),
    ("fasttext print-ngrams noise.bin cat", 1, "noise.bin"),
    ("fasttext nn noise.bin", 1, "noise.bin"),
    ("fasttext analogies noise.bin", 1, "noise.bin"),
    ("fasttext dump noise.bin args", 1, "noise.bin"),
    ("sentiment train nowhere.csv --out o", 1, "nowhere.csv"),
    ("sentiment train corpus.txt --out o", 1, "must be a table or JSON lines"),
    ("sentiment train pairs.tsv --out o --min-count 1", 1, "must be of single texts for textcnn"),
    ("sentiment train t.csv --out o --label no", 1, "label must be a column of the file, got 'no'"),
    ("sentiment train one.csv --out o", 1, "must hold at least 2 classes"),
    ("sentiment train t.csv --out o --dev nowhere.csv", 1, "nowhere.csv"),
    ("sentiment train t.csv --out o --dev t.csv --dev-share 0.1", 2, "--dev or --dev-share"),
    ("sentiment train t.csv --out o --dev head.csv", 1, "head.csv: holds no texts"),
    ("sentiment train t.csv --out o --dev odd.csv --min-count 1", 1, "--dev must have labels of"),
    ("sentiment train t.csv --out o --dev-share 1e-4 --min-count 1", 1, "--dev-share must leave"),
    ("sentiment train t.csv --out o --steps 1 --epochs 1", 2, "--steps or --epochs"),
    ("sentiment train t.csv --out o --pool sum", 2, "--pool must be one of max, avg, final"),
    ("sentiment train t.csv --out o --model bert", 2, "--model must be one of textcnn, birnn"),
    ("sentiment train t.csv --out o --kernel-sizes 3,x --min-count 1", 1, "--kernel-sizes must be"),
    ("sentiment train t.csv --out o --model birnn --kernel-sizes 3 --min-count 1", 1,
     "must have fields of"),
    ("sentiment train t.csv --out o --class-weights x", 1, "--class-weights must be balanced or"),
    ("sentiment train t.csv --out o --vectors v.txt --min-count 1", 1, "must have words of"),
    ("sentiment train t.csv --out o --vectors v.txt --embed-size 9 --min-count 1", 1,
     "--vectors must have --embed-size = 9 numbers, got 2"),
    ("sentiment train t.csv --out o --vectors nan.txt --min-count 1", 1, "nan.txt"),
    ("sentiment train t.csv --out o --vectors v.txt --unlabelled t.csv", 2, "--vectors or --unl"),
    ("sentiment train t.csv --out o --unlabelled nowhere.txt", 1, "nowhere.txt"),
    ("sentiment train t.csv --resume", 2, "--resume needs --out"),
    ("sentiment train t.csv --out t.csv", 2, "t.csv"),
    ("sentiment predict nowhere great", 2, "nowhere"),
    ("sentiment predict counts great", 1, "counts holds no checkpoint"),
    ("sentiment evaluate nowhere t.csv", 2, "nowhere"),
    ("sentiment evaluate counts t.csv --json no/x.json", 2, "no folder no for x.json"),
    ("sentiment evaluate counts t.csv --confusion x.docx", 1, "x.docx"),
    ("nli train t.csv --out o --min-count 1", 1, "must be of pairs for decomposable"),
    ("nli train pairs.tsv --out o --num-channels 3", 2, "there is no option --num-channels"),
    ("nli predict nowhere a b", 2, "nowhere"),
    ("nli evaluate nowhere pairs.tsv", 2, "nowhere"),
    ("bpe train corpus.txt --out o --vocab-size 3", 1, "vocab-size"),
    ("bpe encode nowhere lines.txt --out x.npy", 1, "nowhere"),
    ("bpe decode nowhere lines.txt", 1, "nowhere"),
    ("gpt prepare corpus.txt", 2, "--out FOLDER"),
    ("gpt prepare empty.txt --out o", 1, "empty.txt"),
    ("gpt prepare nowhere.txt --out o", 1, "nowhere.txt"),
    ("gpt prepare corpus.txt --out o --tokenizer nowhere", 1, "nowhere"),
    ("gpt prepare corpus.txt --out o --vocab-size 300", 2, "--tokenizer bpe"),
    ("gpt prepare corpus.txt --out o --eval-share 2", 2, "--eval-share must be"),
    ("gpt train", 2, "give DATA"),
    ("gpt train nowhere --out o", 1, "nowhere must hold train.bin"),
    ("gpt train counts --out o", 1, "counts must hold train.bin"),
    ("gpt train nowhere.toml counts --out o", 1, "nowhere.toml"),
    ("gpt train counts --out o --n_layers 2", 2, "--n_layers; did you mean --layers or --n-layer?"),
    ("gpt train counts --out o --n_head 0", 2, "--n_head must be greater than or equal to"),
    ("gpt train counts --out o --init_from here --recipe char", 2, "--recipe"),
    ("gpt train counts --out o --init_from here --resume", 2, "--init-from"),
    ("gpt train counts --init_from resume", 2, "--resume needs --out"),
    ("gpt train counts other --out o", 2, "counts other"),
    ("gpt train train_char.py counts --out o", 2, "settings stand in a TOML file"),
    ("gpt train counts --out o --wandb_log=True", 2, "there is no option --wandb_log"),
    ("gpt finetune", 2, "give PAIRS"),
    ("gpt finetune lines.txt --out o", 2, "--model FOLDER"),
    ("gpt finetune lines.txt --model nowhere --out o", 1, "nowhere"),
    ("gpt sample nowhere text", 1, "nowhere"),
    ("gpt sample nowhere text --num-sample 2", 2, "--num-sample; did you mean --num-samples"),
    ("gpt sample nowhere text --temperature -1", 2, "--temperature must be greater than or equal"),
    ("gpt sample nowhere text --top-p 0", 2, "--top-p must be above 0, got 0"),
    ("gpt sample nowhere text --file lines.txt", 2, "give PROMPT or --file, not both"),
    ("gpt sample counts text", 1, "counts"),
    ("gpt chat nowhere", 1, "nowhere"),
    ("gpt chat nowhere --max-new-tokens 0", 2, "--max-new-tokens must be greater than or equal"),
    ("gpt chat counts --template nowhere.toml", 1, "nowhere.toml"),
    ("demo --out v.txt", 2, "v.txt"),
    ("demo --epochs 0", 2, "--epochs must be greater than or equal to 1"),
]  # fmt: skip


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where the commands run: a corpus, vectors, and what is neither."""
    (tmp_path / "corpus.txt").write_text("the cat and the dog . the dog and the cat\n" * 20)
    (tmp_path / "v.txt").write_text("cat 1 0\ndog 1 0.5\nman 0 1\nwoman 0.1 1\n")
    (tmp_path / "lines.txt").write_text("a cat\n")
    (tmp_path / "log.jsonl").write_text("")
    (tmp_path / "empty.txt").write_bytes(b"")
    (tmp_path / "noise.bin").write_bytes(bytes(range(256)) * 4)
    (tmp_path / "t.csv").write_text("text,label\ngood,1\nbad,0\n")
    (tmp_path / "head.csv").write_text("text,label\n")
    (tmp_path / "odd.csv").write_text("text,label\ngood,7\nbad,0\n")
    (tmp_path / "one.csv").write_text("text,label\ngood,1\nbad,1\n")
    (tmp_path / "nan.txt").write_text("good 1 nan\nbad 1 1\n")
    pairs = "sentence1\tsentence2\tgold_label\na\tb\tneutral\na\ta\tentailment\n"
    (tmp_path / "pairs.tsv").write_text(pairs)
    (tmp_path / "counts").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LEXFORGE_DATA", str(tmp_path / "none"))
    return tmp_path


def contents(folder):
    """Of all files, and the names of all folders."""
    return {
        str(path): hashlib.sha1(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in folder.rglob("*")
    }


@pytest.mark.parametrize("line, code, text", CASES, ids=[case[0] for case in CASES])
def test_one_line_and_nothing_changed(invoke, folder, line, code, text):
    before = contents(folder)
    result = invoke(*shlex.split(line))
    assert result.exit_code == code, result.output
    errors = [each for each in result.stderr.splitlines() if each.startswith("error: ")]
    assert len(errors) == 1 and result.stderr.splitlines()[-1] == errors[0], result.stderr
    assert text in errors[0]
    assert "Traceback" not in result.output and ".cpp" not in result.output
    assert result.stdout == ""
    assert contents(folder) == before


def test_every_command_is_there():
    """So that a new one has its cases."""

    def names(group):
        for name, command in group.commands.items():
            yield from (
                [f"{name} {each}" for each in names(command)]
                if hasattr(command, "commands")
                else [name]
            )

    same = {"plot attention"}  # the same as bert attention
    started = {" ".join(shlex.split(line)[:2]) for line, *_ in CASES}
    for name in set(names(typer.main.get_command(app))) - same:
        assert any(line == name or line.startswith(f"{name} ") for line in started), name
