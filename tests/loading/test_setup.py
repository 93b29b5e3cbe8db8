"""What setup.py builds for, and where it finds the CUDA toolkit."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def setup():
    spec = importlib.util.spec_from_file_location("lexforge_setup", ROOT / "setup.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def nothing_installed(monkeypatch, setup):
    """No toolkit in the environment, on PATH or among the packages of this interpreter."""
    for name in ("CUDA_HOME", "CUDA_PATH", "LEXFORGE_CUDA", "TORCH_CUDA_ARCH_LIST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(setup.shutil, "which", lambda name: None)
    monkeypatch.setattr(sys, "path", [])


def toolkit(home: Path, libraries: str, *names: str) -> Path:
    """A folder that looks like a toolkit; the first library is a file, others link to it."""
    for folder in ("bin", "include", libraries):
        (home / folder).mkdir(parents=True)
    (home / "bin" / "nvcc").write_text("")
    for name in names:
        path = home / libraries / name
        path.write_text("") if name == names[0] else path.symlink_to(names[0])
    return home


def test_cuda_home_alone_counts_where_it_is_set(setup, monkeypatch, tmp_path):
    home = toolkit(tmp_path / "toolkit", "lib64")
    monkeypatch.setenv("CUDA_HOME", str(home))
    assert setup.find_cuda_home() == str(home)
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    toolkit(tmp_path / "nvidia" / "cu13", "lib")
    assert setup.find_cuda_home() is None


def test_the_newest_packaged_toolkit_with_a_compiler_is_found(setup, monkeypatch, tmp_path):
    """torch itself brings nvidia/cu13 without nvcc, and folders such as cudnn."""
    first, second = tmp_path / "first", tmp_path / "second"
    toolkit(first / "nvidia" / "cu9", "lib")
    home = toolkit(second / "nvidia" / "cu13", "lib", "libcudart.so.13")
    (first / "nvidia" / "cu14" / "lib").mkdir(parents=True)
    (second / "nvidia" / "cudnn").mkdir()
    monkeypatch.setattr(sys, "path", ["", str(first), str(second), str(tmp_path / "none.zip")])
    assert setup.find_cuda_home() == str(home)
    monkeypatch.setenv("LEXFORGE_CUDA", "1")
    assert setup.cuda_decision() == (True, "LEXFORGE_CUDA=1")


def test_link_options_of_a_packaged_toolkit(setup, tmp_path):
    """Its folder is lib, and the library has no name without a version."""
    home = toolkit(tmp_path / "cu13", "lib", "libcudart.so.13")
    options = setup.cuda_link_options(str(home))
    assert options["libraries"] == [":libcudart.so.13"]
    assert options["library_dirs"] == [str(home / "lib")]
    assert options["runtime_library_dirs"] == ["$ORIGIN/../nvidia/cu13/lib"]
    assert options["extra_link_args"] == ["-Wl,--no-as-needed", "-ltorch"]


def test_link_options_of_an_installed_toolkit(setup, tmp_path):
    names = ("libcudart.so.12.8.90", "libcudart.so.12", "libcudart.so")
    home = toolkit(tmp_path / "cuda", "lib64", *names)
    options = setup.cuda_link_options(str(home))
    assert options["libraries"] == [":libcudart.so"]
    assert options["library_dirs"] == [str(home / "lib64")]
    assert options["runtime_library_dirs"] == ["$ORIGIN/../nvidia/cu12/lib"]


def test_link_options_where_the_system_has_the_runtime(setup, tmp_path):
    options = setup.cuda_link_options(str(toolkit(tmp_path / "cuda", "include2")))
    assert options["libraries"] == ["cudart"]
    assert options["library_dirs"] == options["runtime_library_dirs"] == []


def test_reasons_not_to_build_tell_of_the_build(setup, monkeypatch, tmp_path):
    monkeypatch.setattr(setup, "find_cuda_home", lambda: None)
    monkeypatch.setattr(torch.version, "cuda", None)
    assert setup.cuda_decision() == (False, f"torch {torch.__version__} at build had no CUDA")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    built, reason = setup.cuda_decision()
    assert not built and reason.startswith("no CUDA toolkit at build")
    monkeypatch.setenv("LEXFORGE_CUDA", "0")
    assert setup.cuda_decision() == (False, "LEXFORGE_CUDA=0 at build")
    monkeypatch.setenv("LEXFORGE_CUDA", "1")
    with pytest.raises(SystemExit, match="needs the CUDA toolkit"):
        setup.cuda_decision()


def test_a_visible_gpu_does_not_change_the_targets(setup, monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_HOME", str(toolkit(tmp_path / "cuda", "lib64")))
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "")
    monkeypatch.setattr(setup.cpp_extension, "CUDA_HOME", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.chdir(ROOT)
    setup.extensions(build_cuda=True)
    assert setup.os.environ["TORCH_CUDA_ARCH_LIST"] == "8.0;9.0+PTX"
    flags = setup.cpp_extension._get_cuda_arch_flags()
    assert "-gencode=arch=compute_80,code=sm_80" in flags
    assert "-gencode=arch=compute_90,code=sm_90" in flags
    assert "-gencode=arch=compute_90,code=compute_90" in flags


def test_the_targets_can_be_narrowed(setup, monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_HOME", str(toolkit(tmp_path / "cuda", "lib64")))
    monkeypatch.setenv("TORCH_CUDA_ARCH_LIST", "9.0")
    monkeypatch.setattr(setup.cpp_extension, "CUDA_HOME", None)
    monkeypatch.chdir(ROOT)
    setup.extensions(build_cuda=True)
    assert setup.os.environ["TORCH_CUDA_ARCH_LIST"] == "9.0"
