"""The archives that pip builds and installs: nothing is missing from them.

`make package` runs the test that builds; a build takes a minute or two.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import tarfile
import threading
import venv
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]
TRAINING = """
import lexforge
model = lexforge.Word2Vec([["ice", "cold", "water"], ["steam", "hot", "water"]] * 50,
                          vector_size=8, min_count=1, epochs=2, workers=1, seed=1)
print(lexforge.__version__, lexforge.__file__, model.wv["water"].shape)
"""


def run(*command: str | Path, **options) -> str:
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, check=False, **options
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def load(name: str) -> ModuleType:
    """One of the files of the build at the root, as a module."""
    spec = importlib.util.spec_from_file_location(f"lexforge_{name}", ROOT / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def tracked(*folders: str) -> list[str]:
    """What git knows under those folders."""
    return run("git", "-C", ROOT, "ls-files", *folders).split()


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """A copy of the repository's files, so that a build leaves nothing here."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    folder = tmp_path_factory.mktemp("tree")
    for name in tracked():
        target = folder / name
        if (ROOT / name).exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
    return folder


def test_a_body_is_compiled_for_each_instruction_set(tmp_path, monkeypatch):
    """setup.py writes the files, and leaves those alone that would be the same."""
    monkeypatch.chdir(ROOT)
    setup = load("setup")
    paths = [Path(path) for path in setup.instruction_set_sources(tmp_path)]
    isas = ("baseline", "avx2", "avx512", "avx512_bf16")
    assert [p.name for p in paths if p.name.startswith("attention_cpu")] == [
        f"attention_cpu_{isa}.cpp" for isa in isas
    ]
    assert {p.name for p in paths} >= {f"probe_cpu_{isa}.cpp" for isa in isas[:3]}
    assert not (tmp_path / "probe_cpu_avx512_bf16.cpp").exists()
    of_text = [Path(path) for path in setup.instruction_set_sources(tmp_path, text=True)]
    assert {p.name for p in of_text} == {f"bpe_split_cpu_{isa}.cpp" for isa in isas[:3]}
    assert not {*of_text} & {*paths}
    assert (tmp_path / "attention_cpu_avx512_bf16.cpp").read_text().splitlines() == [
        "#define LEXFORGE_ISA avx512::bf16",
        "#define LEXFORGE_ISA_AVX512",
        "#define LEXFORGE_ISA_AVX512_BF16",
        '#include "attention/attention_cpu_impl.h"',
    ]
    os.utime(paths[0], (1, 1))
    paths[1].write_text("// of another version")
    setup.instruction_set_sources(tmp_path)
    assert paths[0].stat().st_mtime == 1
    assert paths[1].read_text().startswith("#define LEXFORGE_ISA")


def test_all_schemas_are_one_source(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    source = Path(load("setup").schema_source(tmp_path))
    named = {line.split('"')[1] for line in source.read_text().splitlines()}
    assert named == {str(path.relative_to("csrc")) for path in Path("csrc").rglob("*_schema.cpp")}


def archive(tree: Path, kind: str, folder: Path, **environment: str) -> Path:
    """An sdist or wheel of the tree, by the build backend that pyproject.toml names."""
    code = f"import build_backend as b; print(b.build_{kind}({str(folder)!r}))"
    variables = {**os.environ, **environment}
    return folder / run(sys.executable, "-c", code, cwd=tree, env=variables).split()[-1]


@pytest.mark.parametrize(
    ("versions", "message"),
    [
        ({}, "building needs setuptools 77 or later, got none: pip install --upgrade setuptools"),
        ({"setuptools": "65.5.0", "torch": "2.13.0"}, "setuptools 77 or later, got 65.5.0"),
        ({"setuptools": "84.2.1"}, "building needs torch 2.10 or later, got none: pip install tor"),
        ({"setuptools": "84.2.1", "torch": "2.9.1+cu128"}, "torch 2.10 or later, got 2.9.1+cu128"),
        ({"setuptools": "77", "torch": "2.10.0a0+git1"}, None),
        ({"setuptools": "78.1", "torch": "3.0"}, None),
    ],
)
def test_what_a_build_lacks_is_told_in_one_line(versions, message):
    told = load("build_backend").missing(versions.get)
    if message is None:
        assert told is None
    else:
        assert message in told and "\n" not in told


def test_setup_without_anything_is_refused_in_one_line():
    """-S: no package is installed."""
    done = subprocess.run(
        [sys.executable, "-S", "setup.py", "build_ext"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
    )
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert "lexforge: building needs torch: pip install" in done.stderr


def test_pip_fetches_torch_for_a_build_only_where_there_is_none(monkeypatch):
    backend = load("build_backend")
    monkeypatch.setenv("PYTHONPATH", "/as/pip/shuts/them/out")
    monkeypatch.setenv("PYTHONNOUSERSITE", "1")
    beside_torch = Path(importlib.util.find_spec("torch").origin).parents[1]
    assert beside_torch in map(Path, backend.torch_outside())
    assert backend.get_requires_for_build_wheel() == []
    monkeypatch.setattr(backend, "torch_outside", lambda: [])
    assert backend.get_requires_for_build_editable() == ["torch>=2.10"]


def test_without_ninja_files_are_compiled_at_once(monkeypatch):
    """C++ side by side, CUDA one after another; objects in the order of their sources."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("MAX_JOBS", "2")
    together, calls = threading.Barrier(2, timeout=30), []

    class Compiler:
        def compile(self, sources, output_dir=None):
            calls.append((sources, output_dir))
            if sources[0].endswith(".cpp"):
                together.wait()  # which a single one would do for ever
            return [source.rpartition(".")[0] + ".o" for source in sources]

    compiler = Compiler()
    load("setup").compile_in_parallel(compiler)
    sources = ["b.cpp", "a.cpp", "d.cpp", "c.cpp"]
    assert compiler.compile(sources, output_dir="o") == ["b.o", "a.o", "d.o", "c.o"]
    assert sorted(calls) == [([source], "o") for source in sorted(sources)]
    assert compiler.compile(["x.cu", "y.cu"]) == ["x.o", "y.o"]
    assert calls[-1][0] == ["x.cu", "y.cu"]


def test_sdist_holds_all_sources(tree, tmp_path):
    """It once held neither headers nor CUDA files, and could not be built."""
    with tarfile.open(archive(tree, "sdist", tmp_path)) as sdist:
        names = {name.split("/", 1)[1] for name in sdist.getnames() if "/" in name}
    wanted = {
        *tracked("csrc", "pyext"),
        "setup.py",
        "build_backend.py",
        "pyproject.toml",
        "README.md",
        "LICENSE",
    }
    assert sorted(wanted - names) == []


def test_version_is_written_once(tree, tmp_path):
    import lexforge

    assert archive(tree, "sdist", tmp_path).name == f"lexforge-{lexforge.__version__}.tar.gz"


COMPILER = """#!{python}
import os, shutil, sys
target = sys.argv[sys.argv.index("-o") + 1] if "-o" in sys.argv else ""
made = target.replace({tree!r}, {root!r}, 1)
if target.endswith(".o") and os.path.exists(made):
    shutil.copyfile(made, target)
else:
    os.execvp("c++", ["c++", *sys.argv[1:]])
"""


def quick_compiler(tree: Path) -> dict[str, str]:
    """The variables of a build of the tree that need not take long.

    What the repository's own build has compiled of the same files, in the same place, is copied
    from there. If there was none since a file was changed, all is compiled quickly: what is in the
    archives is looked at here, and how fast it is elsewhere.
    """
    files = [*tracked("csrc"), "setup.py"]
    assert all((tree / name).read_bytes() == (ROOT / name).read_bytes() for name in files)
    record = ROOT / "pyext" / "lexforge" / "_build.json"
    changed = max((ROOT / name).stat().st_mtime for name in files)
    if not record.exists() or record.stat().st_mtime < changed:
        return {"LEXFORGE_CXXFLAGS": "-O0"}
    compiler = tree / "g++"
    compiler.write_text(COMPILER.format(python=sys.executable, tree=str(tree), root=str(ROOT)))
    compiler.chmod(0o755)
    return {"CXX": str(compiler), "CCACHE_DISABLE": "1"}


@pytest.fixture(scope="module")
def wheel(tree, tmp_path_factory) -> Path:
    """The wheel that pip builds from the source archive: whoever installs that gets this."""
    folder = tmp_path_factory.mktemp("wheel")
    sdist = archive(tree, "sdist", folder)
    with tarfile.open(sdist) as content:
        content.extractall(folder)
    unpacked = folder / sdist.name.removesuffix(".tar.gz")
    return archive(unpacked, "wheel", folder, **quick_compiler(unpacked))


@pytest.mark.slow
def test_one_wheel_serves_every_python(wheel, tmp_path):
    """No version of Python or of its ABI in the names, no symbol of Python in the libraries."""
    python, abi, platform = wheel.stem.split("-")[2:]
    assert (python, abi) == ("py3", "none") and platform != "any"
    with zipfile.ZipFile(wheel) as content:
        libraries = [name for name in content.namelist() if name.endswith(".so")]
        content.extractall(tmp_path)
        assert {"lexforge/py.typed", "lexforge/_build.json"} <= set(content.namelist())
    assert {name.removeprefix("lexforge/").split(".")[0] for name in libraries} >= {
        "_ops_cpu",
        "_text_native",
    }
    for name in libraries:
        assert "cpython" not in name
        symbols = run("nm", "--dynamic", "--undefined-only", tmp_path / name).split()
        assert [symbol for symbol in symbols if symbol.lstrip("_").startswith("Py")] == []


@pytest.mark.slow
def test_wheel_trains_in_an_empty_environment(wheel, tmp_path):
    venv.create(tmp_path / "empty", with_pip=True)
    python = tmp_path / "empty" / "bin" / "python"
    # The locked versions of what it needs: pip would choose another torch.
    lock = (ROOT / "requirements-dev.txt").read_text().split()
    names = {"torch", "numpy", "safetensors", "tokenizers", "typer"}
    needed = [line for line in lock if line.split("==")[0] in names]
    run(python, "-m", "pip", "install", "--quiet", "--no-compile", *needed, "rich", wheel)
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    printed = run(python, "-c", TRAINING, cwd=tmp_path, env=environment)
    assert str(tmp_path / "empty") in printed
    assert "(8,)" in printed
    assert "CPU kernels" in run(python.parent / "lexforge", "info", cwd=tmp_path, env=environment)
