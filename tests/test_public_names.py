"""The names under `lexforge` that users import."""

import subprocess
import sys

import lexforge


def test_public_modules_are_there_after_a_plain_import():
    code = (
        "import lexforge; lexforge.bert.BertConfig; lexforge.d2l.Vocab; lexforge.nn.Embedding; "
        "lexforge.ops.attention; lexforge.ops.linear; lexforge.vectors.KeyedVectors; "
        "lexforge.models.KeyedVectors; lexforge.models.word2vec.LineSentence; "
        "lexforge.gpt.GPTConfig; "
        "assert {'bert', 'd2l', 'nn', 'ops', 'Word2Vec'} <= set(dir(lexforge))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_plain_import_does_not_wait_for_torch():
    faces = "lexforge.bert, lexforge.gpt, lexforge.nn, lexforge.optim"
    code = f"import sys, lexforge, {faces}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_exists():
    faces = (lexforge.bert, lexforge.d2l, lexforge.gpt, lexforge.nn, lexforge.ops, lexforge.optim)
    for module in (lexforge, lexforge.models, lexforge.models.word2vec, *faces):
        for name in module.__all__:
            assert getattr(module, name) is not None
