"""Builds some of the native libraries into a folder, for the torch and the GPU at hand.

    python benchmarks/gpu/build.py FOLDER _ops_cuda [_ops_cpu _text_native]

They come to FOLDER/lexforge, object files to FOLDER-objects, where a later build finds them. The
flags are those of setup.py. LEXFORGE_CUDA, TORCH_CUDA_ARCH_LIST and MAX_JOBS count as there.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def main() -> None:
    into, names = str(Path(sys.argv[1]).resolve()), sys.argv[2:]
    # Where ninja is a package of this Python, its program lies beside the interpreter.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    os.environ.setdefault("MAX_JOBS", str(len(os.sched_getaffinity(0))))
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))

    import setuptools
    from setup import extensions
    from torch.utils.cpp_extension import BuildExtension

    wanted = [
        extension
        for extension in extensions("_ops_cuda" in names)
        if extension.name.removeprefix("lexforge.") in names
    ]
    setuptools.setup(
        ext_modules=wanted,
        cmdclass={"build_ext": BuildExtension.with_options(use_ninja=True)},
        script_args=["build_ext", "--build-lib", into, "--build-temp", f"{into}-objects"],
    )


if __name__ == "__main__":
    main()
