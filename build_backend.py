"""The build as pip sees it: setuptools, against the torch that is already installed.

pip builds in an environment of its own, and would fetch a torch into it, gigabytes of it, though
any torch from 2.10 on will do, the one beside which Lexforge is to run among them. So torch is
asked for only where there is none.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress

TORCH, SETUPTOOLS = (2, 10), (77,)
SMALL_TORCH = "pip install torch --index-url https://download.pytorch.org/whl/cpu"
OUTSIDE = """
import importlib.metadata, sys
print(importlib.metadata.version("torch"), *filter(None, sys.path), sep="\\n")
"""


def at_least(version: str, least: tuple[int, ...]) -> bool:
    """Whether "2.13.0+cpu" is (2, 10) or later."""
    numbers = [int(part) for part in version.split("+")[0].split(".")[:2] if part.isdigit()]
    return tuple(numbers) >= least


def torch_outside() -> list[str]:
    """Where this Python, outside pip's environment for the build, finds its packages.

    Returns:
        Empty where there is no torch among them that serves.
    """
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONPATH", "PYTHONNOUSERSITE")  # which is how pip shuts them out
    }
    done = subprocess.run(
        [sys.executable, "-c", OUTSIDE],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    version, *paths = done.stdout.splitlines() or [""]
    return paths if done.returncode == 0 and at_least(version, TORCH) else []


def _installed(name: str) -> str | None:
    with suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(name)
    return None


def missing(installed: Callable[[str], str | None] = _installed) -> str | None:
    """What to say where a build cannot be; `installed` gives the version of a package."""
    for name, least, advice in (
        ("setuptools", SETUPTOOLS, "pip install --upgrade setuptools ninja"),
        ("torch", TORCH, f"{SMALL_TORCH} (for the CPU alone, 200 MB), or plain pip install torch"),
    ):
        version = installed(name)
        if version is None or not at_least(version, least):
            wanted = ".".join(map(str, least))
            return (
                f"lexforge: building needs {name} {wanted} or later, "
                f"got {version or 'none'}: {advice}"
            )
    return None


def _setuptools():
    if importlib.util.find_spec("torch") is None:
        sys.path += [path for path in torch_outside() if path not in sys.path]
    if complaint := missing():
        raise SystemExit(complaint)
    from setuptools import build_meta

    return build_meta


def get_requires_for_build_wheel(config_settings=None):
    """What pip installs for a build besides what pyproject.toml says."""
    return [] if torch_outside() else [f"torch>={'.'.join(map(str, TORCH))}"]


get_requires_for_build_editable = get_requires_for_build_sdist = get_requires_for_build_wheel


def prepare_metadata_for_build_wheel(*args, **kwargs):
    """See PEP 517, as for all below."""
    return _setuptools().prepare_metadata_for_build_wheel(*args, **kwargs)


def prepare_metadata_for_build_editable(*args, **kwargs):
    return _setuptools().prepare_metadata_for_build_editable(*args, **kwargs)


def build_wheel(*args, **kwargs):
    return _setuptools().build_wheel(*args, **kwargs)


def build_editable(*args, **kwargs):
    return _setuptools().build_editable(*args, **kwargs)


def build_sdist(*args, **kwargs):
    return _setuptools().build_sdist(*args, **kwargs)
