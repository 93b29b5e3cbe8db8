"""What ``pytest --seed`` takes."""

import random
from pathlib import Path

import numpy as np
import pytest
import torch


@pytest.mark.parametrize("seed", [-1, 2**32 + 5, 2**70 + 5])
def test_every_whole_number_is_a_seed(request, monkeypatch, seed):
    conftest = request.config.pluginmanager.get_plugin(
        str(Path(__file__).parents[1] / "conftest.py")
    )
    draws = []
    for number in (0, seed, seed):
        monkeypatch.setenv("LEXFORGE_TEST_SEED", str(number))
        conftest.seed_everything()
        rng = np.random.default_rng(conftest.other(5))
        generator = torch.Generator().manual_seed(conftest.other(5))
        draws.append(
            (torch.rand(()), np.random.rand(), random.random(), rng.random(),
             torch.rand((), generator=generator))
        )  # fmt: skip
    plain, first, again = draws
    assert first == again and all(a != b for a, b in zip(plain, first, strict=True))
