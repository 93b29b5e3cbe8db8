"""Whether the CUDA op library can be loaded by a torch that has CUDA; known without a GPU.

cuda-check compiles the objects; here they are linked as setup.py links them. Every symbol that is
left must be found in what the library needs, where libtorch brings libtorch_cuda, and it must load
beside a stand-in for libtorch_cuda that was opened as torch opens its own: for itself alone.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import torch
from torch.utils import cpp_extension

ROOT = Path(__file__).resolve().parents[2]
COMPILER = os.environ.get("CXX", "g++")

LOAD = """
import ctypes, sys
from pathlib import Path
import torch
from lexforge import _library

library, *stand_ins = sys.argv[1:]
for stand_in in stand_ins:
    ctypes.CDLL(stand_in, ctypes.RTLD_LOCAL)
_library._open_cuda(Path(library))
kernels = torch._C._dispatch_get_registrations_for_dispatch_key("CUDA")
assert any(name.startswith("lexforge::") for name in kernels), "it registers no kernel"
"""


def run(*command: str, **options) -> str:
    """The output of a command; raises with its errors."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, **options)
    if done.returncode != 0:
        raise RuntimeError(f"{shlex.join(command[:4])} ...\n{done.stderr[-4000:]}")
    return done.stdout


def link(objects: list[Path], target: Path, setup: ModuleType, home: str) -> Path:
    """The library of the objects, linked with what setup.py tells the linker."""
    options = setup.torch_extension("_ops_cuda", [], **setup.cuda_link_options(home))
    run(
        *[COMPILER, "-shared", "-o", str(target), *map(str, objects)],
        *(f"-L{folder}" for folder in options.library_dirs),
        *(f"-Wl,-rpath,{folder}" for folder in options.runtime_library_dirs),
        *(f"-l{name}" for name in options.libraries),
        *options.extra_link_args,
    )
    return target


def needed(library: Path) -> list[str]:
    """The names of the libraries that the dynamic linker opens for this one."""
    return re.findall(r"\(NEEDED\).*\[(.+)\]", run("readelf", "-d", str(library)))


def symbols(library: Path, which: str) -> set[str]:
    """Names without versions: ``which`` is --defined-only or --undefined-only. Weak ones that are
    undefined are left out: they may stay so."""
    lines = [line.split() for line in run("nm", "-D", which, str(library)).splitlines()]
    return {line[-1].partition("@")[0] for line in lines if line[-2] not in ("w", "v")}


def of_libtorch_cuda() -> set[str]:
    """What torch's stable interface has of CUDA: its header declares it for CUDA builds alone."""
    header = "torch/csrc/inductor/aoti_torch/c/shim.h"
    paths = [path for folder in cpp_extension.include_paths() if (path := Path(folder, header))]
    text = next(path.read_text() for path in paths if path.exists())
    for_cuda = re.findall(r"#ifdef USE_CUDA\n(.*?)#endif", text, re.DOTALL)
    return set(re.findall(r"\baoti_torch_\w+(?=\()", "".join(for_cuda)))


def unprovided(library: Path, folders: list[str]) -> set[str]:
    """Undefined symbols that nothing the library needs will define.

    Args:
        library: to look at.
        folders: where the needed libraries lie that are not the system's.
    """
    left = symbols(library, "--undefined-only")
    for name in needed(library):
        places = [path for folder in folders if (path := Path(folder, name)).exists()]
        system = Path(run(COMPILER, f"-print-file-name={name}").strip())
        if places or system.is_absolute():
            left -= symbols(next(iter(places), system), "--defined-only")
        if name == "libtorch.so":
            left -= of_libtorch_cuda()
    return left


def stub(folder: Path, name: str, source: str, *options: str) -> Path:
    """A small shared library of C++ source, with its name for the dynamic linker."""
    (folder / f"{name}.cpp").write_text(source)
    target = folder / f"{name}.so"
    run(
        *[COMPILER, "-shared", "-fPIC", "-o", str(target), str(folder / f"{name}.cpp")],
        *[f"-Wl,-soname,{name}.so", *options],
    )
    return target


def libtorch_cuda(folder: Path) -> Path:
    """A stand-in with the symbols of :func:`of_libtorch_cuda`."""
    functions = (f'extern "C" int {name}() {{ return 1; }}\n' for name in of_libtorch_cuda())
    return stub(folder, "libtorch_cuda", "".join(functions))


def check_library(library: Path, folder: Path, setup: ModuleType, home: str) -> str:
    """Looks for the providers of a CUDA op library's symbols, and loads it.

    Args:
        library: as setup.py links it.
        folder: for the stand-in.
        setup: setup.py.
        home: the toolkit.

    Returns:
        What is wrong, or nothing.
    """
    try:
        runtime = setup.cuda_link_options(home)["library_dirs"]
        if missing := unprovided(library, [*cpp_extension.library_paths(), *runtime]):
            return "nothing that _ops_cuda needs defines " + ", ".join(sorted(missing))
        # A torch that has CUDA has loaded the real one when it was imported.
        stand_ins = [] if torch.version.cuda else [libtorch_cuda(folder)]
        paths = os.pathsep.join([*runtime, os.environ.get("LD_LIBRARY_PATH", "")])
        environment = {
            **{k: v for k, v in os.environ.items() if k != "LEXFORGE_OPS_LIBRARY"},
            **{"LD_LIBRARY_PATH": paths, "PYTHONPATH": str(ROOT / "pyext")},
        }
        run(sys.executable, "-c", LOAD, *map(str, [library, *stand_ins]), env=environment)
    except RuntimeError as error:
        return str(error)
    return ""


def check(objects: list[Path], folder: Path, setup: ModuleType, home: str) -> str:
    """The same for the library of these objects, of every source and position-independent."""
    try:
        library = link(objects, folder / "_ops_cuda.so", setup, home)
    except RuntimeError as error:
        return str(error)
    return check_library(library, folder, setup, home)
