"""The names under `lexforge` that users import."""

import subprocess
import sys

import lexforge


def test_public_modules_are_there_after_a_plain_import():
    code = (
        "import lexforge; lexforge.bert.BertConfig; lexforge.d2l.Vocab; "
        "lexforge.ops.attention; lexforge.ops.linear; lexforge.vectors.KeyedVectors; "
        "lexforge.models.KeyedVectors; lexforge.models.word2vec.LineSentence; "
        "assert {'bert', 'd2l', 'ops', 'Word2Vec'} <= set(dir(lexforge))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_plain_import_does_not_wait_for_torch():
    code = "import sys, lexforge, lexforge.bert; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_public_name_exists():
    word2vec = lexforge.models.word2vec
    for module in (lexforge, lexforge.bert, lexforge.d2l, lexforge.models, lexforge.ops, word2vec):
        for name in module.__all__:
            assert getattr(module, name) is not None
