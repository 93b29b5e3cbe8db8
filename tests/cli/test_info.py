"""``lexforge info``."""

import json

import torch

import lexforge


def test_text(invoke):
    result = invoke("info")
    assert result.exit_code == 0
    assert lexforge.__version__ in result.stdout and torch.__version__ in result.stdout
    assert lexforge.cpu_capability() in result.stdout
    assert ("with bfloat16" in result.stdout) == lexforge.build_info()["cpu_has_bf16"]
    assert lexforge.build_info()["cuda_state"] in result.stdout


def test_json(invoke):
    facts = json.loads(invoke("info", "--json").stdout)
    assert facts["lexforge"] == lexforge.__version__
    assert facts["cpu_capability"] in ("baseline", "avx2", "avx512")
    assert not facts["cpu_has_bf16"] or facts["cpu_capability"] == "avx512"
    assert facts["cuda_usable"] == lexforge.cuda_usable
    assert facts["threads"] == torch.get_num_threads()
