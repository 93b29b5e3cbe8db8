"""Builds the native parts: the op libraries (CPU, and CUDA where wanted) and the text library.

None of them uses a symbol of Python, and of torch only the stable ABI: one wheel serves every
version of Python and torch that pyproject.toml admits.

LEXFORGE_CUDA=auto  CUDA is built when a toolkit is found and this torch has CUDA (default)
LEXFORGE_CUDA=0     never
LEXFORGE_CUDA=1     always, against any torch; fails naming the missing piece
CUDA_HOME           the CUDA toolkit; else nvcc on PATH, the package index's, /usr/local/cuda
TORCH_CUDA_ARCH_LIST  GPUs to build for; 8.0 and 9.0, and PTX for later ones, when unset
MAX_JOBS            compiler processes at a time
LEXFORGE_CXXFLAGS   more flags for C++, which come last: -O0, those of a sanitizer
"""

import json
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from sysconfig import get_platform

try:
    import torch
    from setuptools import Extension, setup
    from setuptools.command.bdist_wheel import bdist_wheel
    from torch.utils import cpp_extension
except ImportError as error:
    raise SystemExit(
        f"lexforge: building needs {error.name}: pip install 'setuptools>=77' ninja 'torch>=2.10'"
    ) from None

ROOT = Path(__file__).parent
CSRC = Path("csrc")
PACKAGE = ROOT / "pyext" / "lexforge"
# Where objects of a build in place stay, so that the next compiles only what changed.
KEPT = Path("build") / f"temp.{get_platform()}-{sys.implementation.cache_tag}"
BIN = Path(sys.executable).parent

WARNINGS = ["-Wall", "-Wextra", "-Werror"] if os.environ.get("LEXFORGE_WERROR") == "1" else []
# The op library uses nothing of torch beyond the stable ABI of 2.10: one build serves later ones.
STABLE_ABI = ["-DTORCH_TARGET_VERSION=0x020a000000000000"]
# As system headers, torch's own do not trip our warnings.
TORCH_HEADERS = [flag for path in cpp_extension.include_paths() for flag in ("-isystem", path)]
# Messages of failed checks name their file; it is the repository's, not this machine's.
SHORT_PATHS = [f"-fmacro-prefix-map={ROOT.resolve()}/="]
MORE_FLAGS = os.environ.get("LEXFORGE_CXXFLAGS", "").split()
CXX_FLAGS = ["-O3", "-g0", "-std=c++20", "-fvisibility=hidden"]
CXX_FLAGS += [*SHORT_PATHS, *WARNINGS, *MORE_FLAGS]
NVCC_FLAGS = ["-O3", "-std=c++20", "-lineinfo", "--extended-lambda"]
# The A100's generation and the H100's, and through PTX what came after. The GPU at hand changes
# nothing: a build on one machine is the build on another.
CUDA_TARGETS = "8.0;9.0+PTX"


def packaged_toolkits() -> list[Path]:
    """The toolkits that pip installed (nvidia/cu13 beside torch), the newest first."""
    found = [folder for path in sys.path for folder in Path(path).glob("nvidia/cu*")]
    versions = [folder for folder in found if folder.name[2:].isdigit()]  # cudnn is none
    return sorted(versions, key=lambda folder: int(folder.name[2:]), reverse=True)


def find_cuda_home() -> str | None:
    """The toolkit folder: CUDA_HOME, else what the nvcc on PATH says of itself, else pip's, else
    the usual place."""
    if home := os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH"):
        return home if (Path(home) / "bin" / "nvcc").exists() else None
    if not (nvcc := shutil.which("nvcc")):
        homes = [*packaged_toolkits(), Path("/usr/local/cuda")]
        return next((str(home) for home in homes if (home / "bin" / "nvcc").exists()), None)
    # The nvcc on PATH may be a wrapper script in some other folder, so its own path proves nothing.
    dry_run = subprocess.run(
        [nvcc, "--dryrun", "-c", "-x", "cu", os.devnull],
        capture_output=True,
        text=True,
        check=False,
    ).stderr
    for line in dry_run.splitlines():
        if line.startswith("#$ TOP="):
            return str(Path(line.removeprefix("#$ TOP=")).resolve())
    return None


def cuda_decision() -> tuple[bool, str]:
    """Whether to build the CUDA kernels, and the reason in one phrase."""
    choice = os.environ.get("LEXFORGE_CUDA", "auto").lower()
    if choice not in {"auto", "0", "1"}:
        raise SystemExit(f"LEXFORGE_CUDA must be auto, 0 or 1, got {choice!r}")
    if choice == "0":
        return False, "LEXFORGE_CUDA=0 at build"
    home = find_cuda_home()
    if choice == "1":
        if not home:
            raise SystemExit(
                "LEXFORGE_CUDA=1 needs the CUDA toolkit, and no nvcc was found: "
                "install it or set CUDA_HOME to its folder"
            )
        return True, "LEXFORGE_CUDA=1"
    if not torch.version.cuda:
        return False, f"torch {torch.__version__} at build had no CUDA"
    if not home:
        return False, "no CUDA toolkit at build (no nvcc on PATH, CUDA_HOME unset)"
    return True, f"toolkit at {home}, torch for CUDA {torch.version.cuda}"


def sources(*suffixes: str, excluding: tuple[str, ...] = ()) -> list[str]:
    """Every matching file under csrc: a new op adds a folder and nothing here."""
    return sorted(
        str(path)
        for path in CSRC.rglob("*")
        if path.name.endswith(suffixes)
        and not path.name.endswith(excluding)
        and path.parent.name != "text"
    )


def written(path: Path, lines: list[str]) -> str:
    """Writes a source file of the build, and returns its name.

    It keeps its date while its content stays, so that nothing is compiled again for nothing.
    """
    text = "\n".join([*lines, ""])
    if not path.exists() or path.read_text() != text:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return str(path)


def instruction_set_sources(folder: Path, text: bool = False) -> list[str]:
    """Writes a file into `folder` for each instruction set of each CPU body: see common/simd.h.

    Those of the text library, or those of the ops.
    """
    found = []
    for body in sorted(CSRC.rglob("*_cpu_impl.h")):
        if (body.parent.name == "text") != text:
            continue
        isas = ["baseline", "avx2", "avx512"]
        if "LEXFORGE_ISA_AVX512_BF16" in body.read_text():
            isas.append("avx512::bf16")
        for isa in isas:
            parts = isa.upper().split("::")
            macros = ["_".join(parts[: n + 1]) for n in range(len(parts))]
            lines = [f"#define LEXFORGE_ISA {isa}"]
            lines += [f"#define LEXFORGE_ISA_{macro}" for macro in macros]
            lines += [f'#include "{body.relative_to(CSRC).as_posix()}"']
            name = body.name.replace("impl.h", f"{isa.replace('::', '_')}.cpp")
            found.append(written(folder / name, lines))
    return found


def schema_source(folder: Path) -> str:
    """Writes a file of all schemas into `folder`: each is a few lines behind torch's headers."""
    root = ROOT.resolve() / CSRC
    schemas = sorted(path.relative_to(root).as_posix() for path in root.rglob("*_schema.cpp"))
    lines = [f'#include "{schema}"' for schema in schemas]
    return written(folder / "schemas.cpp", lines)


def torch_extension(name: str, files: list[str], **options) -> Extension:
    """A shared library of ops: loaded by torch.ops.load_library, never imported."""
    return cpp_extension.CppExtension(
        name, files, include_dirs=[str(ROOT / CSRC)], py_limited_api=True, **options
    )


def cuda_link_options(home: str) -> dict[str, list[str]]:
    """How the CUDA op library is linked: against the runtime of the toolkit, and libtorch.

    Its streams come from libtorch_cuda, which the torch at build may not have. libtorch brings it
    where there is one, and has no symbol of its own, so that the linker must be told to need it.
    A torch loads its libraries for itself only: nothing else would bring them here.
    """
    folders = [path for name in ("lib64", "lib") if (path := Path(home, name)).exists()]
    found = sorted(file for folder in folders for file in folder.glob("libcudart.so*"))
    runtime = found[0] if found else None  # the shortest name; a package has libcudart.so.13 alone
    version = re.search(r"\.so\.(\d+)", runtime.resolve().name) if runtime else None
    return {
        "libraries": [f":{runtime.name}" if runtime else "cudart"],
        "library_dirs": [str(folder) for folder in folders],
        # The runtime among the packages beside ours, for a torch that has none loaded.
        "runtime_library_dirs": [f"$ORIGIN/../nvidia/cu{version[1]}/lib"] if version else [],
        "extra_link_args": ["-Wl,--no-as-needed", "-ltorch"],
    }


def extensions(build_cuda: bool) -> list[Extension]:
    """What setup() builds."""
    built = [
        torch_extension(
            "lexforge._ops_cpu",
            sources(".cpp", excluding=("_cuda.cpp", "_schema.cpp")),
            extra_compile_args={"cxx": CXX_FLAGS + STABLE_ABI + TORCH_HEADERS},
        ),
        Extension(
            "lexforge._text_native",
            [
                *sorted(str(path) for path in (CSRC / "text").glob("*.cpp")),
                str(CSRC / "common" / "cpu_capability.cpp"),
            ],
            include_dirs=[str(ROOT / CSRC)],
            extra_compile_args=[*CXX_FLAGS, "-pthread"],
            language="c++",
            py_limited_api=True,  # loaded by ctypes, never imported: no version in its name
        ),
    ]
    if build_cuda:
        # torch leaves it unset when it has no CUDA itself
        cpp_extension.CUDA_HOME = find_cuda_home()
        os.environ["TORCH_CUDA_ARCH_LIST"] = os.environ.get("TORCH_CUDA_ARCH_LIST") or CUDA_TARGETS
        cuda_flags = ["-DUSE_CUDA", "-isystem", f"{cpp_extension.CUDA_HOME}/include"]
        built.append(
            torch_extension(
                "lexforge._ops_cuda",
                sources("_cuda.cpp", ".cu"),
                extra_compile_args={
                    "cxx": CXX_FLAGS + STABLE_ABI + TORCH_HEADERS + cuda_flags,
                    "nvcc": NVCC_FLAGS,
                },
                **cuda_link_options(cpp_extension.CUDA_HOME),
            )
        )
    return built


def compile_in_parallel(compiler) -> None:
    """Without ninja: the compiler's C++ files at once, as many as MAX_JOBS; setuptools takes turns.

    Not the CUDA files: torch changes the compiler's command for each of them.
    """
    compile_all = compiler.compile

    def compile_each(sources, *args, **kwargs):
        plain = [source for source in sources if not source.endswith(".cu")]
        others = [source for source in sources if source.endswith(".cu")]
        with ThreadPoolExecutor(int(os.environ["MAX_JOBS"])) as pool:
            done = pool.map(lambda source: compile_all([source], *args, **kwargs), plain)
            objects = [name for names in done for name in names]
        return objects + (compile_all(others, *args, **kwargs) if others else [])

    compiler.compile = compile_each


class BuildWithRecord(cpp_extension.BuildExtension):
    """Builds, and leaves a record of the switches beside the libraries for `lexforge info`."""

    def build_extensions(self):
        if not self.use_ninja:
            compile_in_parallel(self.compiler)
        super().build_extensions()

    def run(self):
        if self.inplace:  # pip's folder for an editable install is new every time
            self.build_temp = str(KEPT)
        # Not among the sources that setup() is told: a source distribution has no need of them.
        made = Path(self.build_temp)
        for extension, text in zip(self.extensions, (False, True), strict=False):
            extension.sources += instruction_set_sources(made / "isa", text)
        self.extensions[0].sources.append(schema_source(made))
        super().run()
        build_cuda, cuda_reason = cuda_decision()
        folder = PACKAGE if self.inplace else Path(self.build_lib) / "lexforge"
        if not build_cuda:  # an earlier build's would be loaded beside a newer CPU library
            for path in folder.glob("_ops_cuda*.so"):
                path.unlink()
        record = {
            "cuda": build_cuda,
            "cuda_reason": cuda_reason,
            "cuda_arch_list": os.environ.get("TORCH_CUDA_ARCH_LIST") if build_cuda else None,
            "torch_at_build": torch.__version__,
            "compiler": subprocess.run(
                [*self.compiler.compiler_cxx[:1], "--version"],
                capture_output=True,
                text=True,
                check=False,
            ).stdout.splitlines()[0],
        }
        (folder / "_build.json").write_text(json.dumps(record, indent=2) + "\n")


class AnyPythonWheel(bdist_wheel):
    """py3-none-PLATFORM: abi3 would ask for CPython's ABI, of which nothing is used."""

    def get_tag(self):
        return "py3", "none", super().get_tag()[2]


def main() -> None:
    build_cuda, cuda_reason = cuda_decision()
    print(f"lexforge: CUDA kernels {'on' if build_cuda else 'off'}: {cuda_reason}")
    os.environ.setdefault("MAX_JOBS", str(os.cpu_count() or 1))
    # Where ninja is in an environment that is not activated.
    os.environ["PATH"] = os.pathsep.join([os.environ.get("PATH", os.defpath), str(BIN)])
    build = BuildWithRecord.with_options(use_ninja=True)
    setup(
        ext_modules=extensions(build_cuda),
        cmdclass={"build_ext": build, "bdist_wheel": AnyPythonWheel},
    )


# The checks of the CUDA sources import this file for its flags and its search for the toolkit.
if __name__ == "__main__":
    main()
