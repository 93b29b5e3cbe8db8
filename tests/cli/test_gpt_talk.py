"""lexforge gpt sample and chat: what is written, by pipes and at a terminal."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time

import pytest
import torch

from lexforge.gpt import GPT, Generator, GPTConfig, Template, generate
from lexforge.models.gpt.conversation import Conversation
from lexforge.text.tokenizers.characters import CharacterTokenizer

CHARACTERS = "\n !.:ABHSTUaefghiklnorstuwy?m"


@pytest.fixture(autouse=True)
def one_thread():
    """These models are too small for two."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model of characters, which writes nonsense, and a template it knows the letters of."""
    path = tmp_path_factory.mktemp("gpt") / "model"
    config = GPTConfig(64, len(CHARACTERS), 1, 2, 16, initializer_range=0.4)
    model = GPT(config, seed=1)
    model.tokenizer = CharacterTokenizer(CHARACTERS)
    model.save_pretrained(path)
    template = {"user": "A: {text}\n", "assistant": "B:", "end": "\n", "system": ""}
    (path / "template.json").write_text(json.dumps(template))
    return path


def expected(folder, text, count, **options):
    model = GPT.from_pretrained(folder)
    options = {"temperature": 0.8, "top_k": 200, "seed": 1337} | options
    found = generate(model, [text] * options.pop("samples", 1), count, **options)
    return [text + model.tokenizer.decode(tokens) for tokens in found]


def test_sample(invoke, folder):
    result = invoke("gpt", "sample", folder, "hello", "--max-new-tokens", 12)
    assert result.exit_code == 0, result.output
    assert result.stdout == expected(folder, "hello", 12)[0] + "\n" and result.stderr == ""


def test_samples_one_after_the_other(invoke, folder):
    words = ["--num_samples", 3, "--max_new_tokens", 9, "--seed", 4, "--top_k", 0, "--top-p", 0.9]
    result = invoke("gpt", "sample", folder, "so", *words, "--temperature", 1.5)
    texts = expected(folder, "so", 9, samples=3, seed=4, top_k=None, top_p=0.9, temperature=1.5)
    assert result.stdout == f"\n{'-' * 15}\n".join(texts) + "\n"


@pytest.mark.parametrize("words", [[], ["-"]])
def test_sample_of_standard_input(invoke, folder, words):
    result = invoke("gpt", "sample", folder, *words, "--max-new-tokens", 4, input=b"the\nsea\n")
    assert result.stdout == expected(folder, "the\nsea", 4)[0] + "\n"


def test_sample_of_a_file_and_of_nothing(invoke, folder, tmp_path):
    path = tmp_path / "prompt.txt"
    path.write_bytes(b"\xef\xbb\xbfthe\r\nsea\r\n")
    result = invoke("gpt", "sample", folder, "--file", path, "--max-new-tokens", 4)
    assert result.stdout == expected(folder, "the\nsea", 4)[0] + "\n"
    result = invoke("gpt", "sample", folder, "--max-new-tokens", 4, input=b"")
    assert result.stdout == expected(folder, "\n", 4)[0].removeprefix("\n") + "\n"


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_sample_greedily(invoke, folder, precision):
    words = ["--temperature", 0, "--max-new-tokens", 5, "--precision", precision]
    result = invoke("gpt", "sample", folder, "so", *words)
    assert result.exit_code == 0 and len(result.stdout) == 8


def test_what_cannot_be_sampled(invoke, folder, tmp_path):
    def error(*words, input=None):
        result = invoke("gpt", "sample", *words, input=input)
        assert result.exit_code in (1, 2) and result.stdout == ""
        return result.stderr

    assert "'é' (U+00E9), 'z' (U+007A)" in error(folder, "hé zé")
    assert "standard input: must be UTF-8, got byte 0xff at 2" in error(folder, input=b"h\xff")
    assert "give PROMPT or --file" in error(folder, "h", "--file", tmp_path / "x")
    assert "--top-p must be above 0" in error(folder, "h", "--top-p", 0)
    assert "nowhere" in error(tmp_path / "nowhere", "h")
    bare = tmp_path / "bare"
    GPT(GPTConfig(8, 11, 1, 1, 8), seed=0).save_pretrained(bare)
    assert "has no tokenizer: say where one is, --tokenizer FOLDER" in error(bare, "h")
    assert "no such file" in error(folder, "--file", tmp_path / "nowhere.txt").lower()


def test_a_long_prompt_is_cropped_which_is_said_in_one_line(invoke, folder):
    result = invoke("gpt", "sample", folder, "so" * 40, "--max-new-tokens", 2)
    assert result.exit_code == 0 and len(result.stdout) == 83
    said = "generate: a prompt of 80 tokens is longer than the model's block: its last 64 are taken"
    assert result.stderr.strip() == f"warning: {said}"


def test_a_template_of_other_characters(invoke, folder, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('user = "Q: {text}\\n"\nend = "."\n')
    result = invoke("gpt", "chat", folder, "--template", path, input=b"how\n")
    assert result.exit_code == 1 and result.stdout == ""
    assert "the template does not go with the model: characters must be" in result.stderr
    assert "'Q' (U+0051)" in result.stderr


def test_a_tokenizer_of_another_folder(invoke, folder, tmp_path):
    bare = tmp_path / "bare"
    GPT(GPTConfig(8, len(CHARACTERS), 1, 1, 8), seed=0).save_pretrained(bare)
    words = ["--tokenizer", folder, "--max-new-tokens", 3]
    assert len(invoke("gpt", "sample", bare, "so", *words).stdout) == 6


def answers(folder, *messages, **options):
    generator = Generator(GPT.from_pretrained(folder))
    options = {"temperature": 0.8, "top_k": 200, "seed": 1337} | options
    talk = Conversation(generator, Template.load(folder), **options)
    return ["".join(talk.answer(message)) for message in messages]


def test_chat_through_pipes(invoke, folder, tmp_path):
    """Standard output holds the answers alone; the conversation can be trained on."""
    path = tmp_path / "talk.jsonl"
    script = f"how are\n\n  so?\n/save {path}\n/reset\nhow are\n/seed 5\nso?\n/quit\nnever\n"
    result = invoke("gpt", "chat", folder, "--max-new-tokens", 8, input=script.encode())
    assert result.exit_code == 0, result.output
    first, second = answers(folder, "how are", "so?", max_new_tokens=8)
    lines = result.stdout.split("\n")
    assert lines[:3] == [first, second, first] and len(lines) == 5 and lines[4] == ""
    saved = [json.loads(line) for line in path.read_text().splitlines()]
    assert saved == [
        {"prompt": "how are", "answer": first},
        {"prompt": "so?", "answer": second},
    ]
    assert f"{path}: 2 messages and their answers" in result.stderr


def test_chat_says_once_that_the_beginning_is_left_out(invoke, folder):
    script = b"how are you\n" * 6
    result = invoke("gpt", "chat", folder, "--max-new-tokens", 6, input=script)
    assert result.exit_code == 0 and result.stdout.count("\n") == 6
    assert result.stderr.count("its beginning is left out") == 1


def test_chat_by_another_template(invoke, folder, tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text('user = "U: {text}\\n"\nassistant = "Sa:"\nend = "."\n')
    words = ["--template", path, "--max-new-tokens", 8, "--seed", 3]
    result = invoke("gpt", "chat", folder, *words, input=b"how\n")
    generator = Generator(GPT.from_pretrained(folder))
    options = {"temperature": 0.8, "top_k": 200, "seed": 3, "max_new_tokens": 8}
    (answer,) = ["".join(Conversation(generator, Template.load(path), **options).answer("how"))]
    assert result.stdout == answer + "\n"


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("zoo", "'z'"),
        ("/sing", "there is no command /sing: /help tells those there are"),
        ("/seed many", "/seed must be a whole number, got 'many'"),
        ("/save", "/save must be followed by the name of a file"),
        ("/save model/config.json", "config.json exists: say another file"),
    ],
)
def test_wrong_lines_end_a_pipe(invoke, folder, line, message, monkeypatch):
    monkeypatch.chdir(folder.parent)
    before = (folder / "config.json").read_bytes()
    result = invoke("gpt", "chat", folder, input=line.encode() + b"\nhow\n")
    assert result.exit_code == 1 and message in result.stderr and result.stdout == ""
    assert (folder / "config.json").read_bytes() == before


class Terminal:
    """A command that talks to a terminal, whose other end is here."""

    def __init__(self, *words):
        self.end, own = pty.openpty()
        environment = {**os.environ, "TERM": "dumb", "PYTHONUNBUFFERED": "1"}
        environment["OMP_NUM_THREADS"] = "1"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "lexforge.cli.main", *map(str, words)],
            stdin=own,
            stdout=own,
            stderr=own,
            env=environment,
            start_new_session=True,
        )
        os.close(own)
        self.text = ""

    def read_until(self, wanted, seconds=120):
        """What comes up to a text, which is taken away."""
        end = time.monotonic() + seconds
        os.set_blocking(self.end, False)
        while wanted not in self.text and time.monotonic() < end:
            try:
                self.text += os.read(self.end, 65536).decode(errors="replace")
            except BlockingIOError:
                time.sleep(0.02)
            except OSError:
                break
        assert wanted in self.text, self.text
        before, _, self.text = self.text.partition(wanted)
        return before

    def type(self, text):
        os.write(self.end, text.encode())

    def interrupt(self):
        self.process.send_signal(signal.SIGINT)


def test_chat_at_a_terminal(folder, tmp_path):
    """Ctrl-C stops an answer and not the program; twice at the prompt ends it."""
    long = tmp_path / "long"  # a model whose answers take time
    config = GPTConfig(4096, len(CHARACTERS), 2, 2, 64, initializer_range=0.4)
    model = GPT(config, seed=2)
    model.tokenizer = CharacterTokenizer(CHARACTERS)
    with torch.no_grad():
        model.final_norm.weight.zero_()  # all tokens are alike, but for one that never comes
        model.final_norm.bias.fill_(1.0)
        model.token_embedding.weight[0] = -100.0
    model.save_pretrained(long)
    (long / "template.json").write_text((folder / "template.json").read_text())
    talk = Terminal("gpt", "chat", long, "--max-new-tokens", 4000, "--temperature", 1)
    try:
        talk.read_until("/help tells the commands")
        talk.read_until("> ")
        talk.type("zoo\n")
        talk.read_until("error: characters must be of")
        talk.read_until("> ")
        talk.type("how\n")
        talk.read_until("how\r\n")
        time.sleep(0.3)
        talk.interrupt()
        assert len(talk.read_until("(stopped)")) < 4000
        talk.read_until("> ")
        talk.type("/help\n")
        talk.read_until("/reset")
        talk.read_until("> ")
        talk.interrupt()
        talk.read_until("Ctrl-C once more")
        talk.read_until("> ")
        talk.interrupt()
        assert talk.process.wait(60) == 0
    finally:
        talk.process.kill()
        os.close(talk.end)


def test_end_of_input_at_a_terminal(folder):
    talk = Terminal("gpt", "chat", folder)
    try:
        talk.read_until("> ")
        talk.type("\x04")
        assert talk.process.wait(60) == 0
    finally:
        talk.process.kill()
        os.close(talk.end)
