"""Fixtures shared by all tests: the device under test, seeds, real data, slow marks."""

from __future__ import annotations

import os
import random
import signal
import sys
from pathlib import Path
from types import SimpleNamespace

# torch's threads look at this once: those that wait are to sleep. Where two processes of tests
# share two cores, they would take the time of those that work.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import pytest
import torch

import lexforge
from lexforge import _library

# A shell starts background jobs with interrupts ignored, and children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


# A tree of its own, which test_contributing.py puts together.
collect_ignore = ["example_op"]


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="also run the tests marked slow")
    parser.addoption(
        "--seed", type=int, default=0, metavar="N", help="draw other numbers in every test"
    )
    parser.addoption(
        "--fuzz-seconds", type=float, default=0.5, help="of damaged files for each reader"
    )


def pytest_collection_modifyitems(config, items):
    data = os.environ.get("LEXFORGE_DATA")
    for item in items:
        if "slow" in item.keywords and not config.getoption("--slow"):
            item.add_marker(pytest.mark.skip(reason="slow: run with --slow"))
        if "real_data" in item.keywords and not data:
            item.add_marker(pytest.mark.skip(reason="LEXFORGE_DATA is not set"))
        if getattr(item, "obj", None) and getattr(item.obj, "is_hypothesis_test", False):
            import hypothesis

            hypothesis.seed(config.getoption("--seed"))(item.obj)


def device_names() -> list[str]:
    """The devices this process can test: the PTX device alone (tests/ptx), or cpu and cuda."""
    if _library.emulated():
        return ["cuda_emulated"]
    return ["cpu", "cuda"] if lexforge.cuda_usable else ["cpu"]


def seed_of_tests() -> int:
    """``--seed``; scripts that a test starts have it in their environment (common/isa.py)."""
    return int(os.environ["LEXFORGE_TEST_SEED"])


def other(seed: int) -> int:
    """The seed that takes the place of one that a test has chosen; 63 bits, as torch takes them."""
    return (seed + 1000 * seed_of_tests()) % 2**63


class OtherGenerator(torch.Generator):
    def manual_seed(self, seed):
        return super().manual_seed(other(seed))


def seed_everything() -> None:
    seed = seed_of_tests()
    torch.manual_seed(seed % 2**63)
    np.random.seed(seed % 2**32)
    random.seed(seed)


def draw_others() -> None:
    """Generators of this process draw from other seeds, where ``--seed`` is not 0."""
    if seed_of_tests():
        rng = np.random.default_rng
        np.random.default_rng = lambda seed=None: rng(other(seed) if type(seed) is int else seed)
        torch.Generator = OtherGenerator


def pytest_configure(config):
    os.environ["LEXFORGE_TEST_SEED"] = str(config.getoption("--seed"))
    draw_others()


def pytest_fixture_setup(fixturedef):
    if fixturedef.scope != "function":  # made for whichever test comes first
        seed_everything()


@pytest.fixture(autouse=True)
def the_same_draws():
    """What a test draws is the same every time, and something else under another ``--seed``.

    That changes the seeds of generators too.
    """
    seed_everything()


@pytest.fixture(params=device_names())
def device(request) -> torch.device:
    """A torch device; for the PTX device tensors live on the CPU and CUDA kernels run on them."""
    return torch.device("cuda" if request.param == "cuda" else "cpu")


@pytest.fixture
def data_folder() -> Path:
    """The folder of real data sets (tests that use it are marked real_data)."""
    return Path(os.environ["LEXFORGE_DATA"])


@pytest.fixture
def fake_notebook(monkeypatch) -> list[list[dict[str, str]]]:
    """As if this ran in a notebook: the outputs made, each a list of what it showed in turn."""
    outputs: list[list[dict[str, str]]] = []

    def display(content, raw, display_id):
        assert raw and display_id
        outputs.append([content])
        return SimpleNamespace(update=lambda content, raw: outputs[-1].append(content))

    shell = SimpleNamespace(kernel=object(), events=Events())
    ipython = SimpleNamespace(get_ipython=lambda: shell, version_info=(9, 0, 0))
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", SimpleNamespace(display=display))
    return outputs


class Events:
    """Those of a notebook's shell, as far as anyone here listens."""

    def __init__(self) -> None:
        self.listeners: dict[str, list] = {}

    def register(self, event, function) -> None:
        self.listeners.setdefault(event, []).append(function)

    def unregister(self, event, function) -> None:
        self.listeners[event].remove(function)

    def trigger(self, event) -> None:
        for function in list(self.listeners.get(event, [])):
            function()
