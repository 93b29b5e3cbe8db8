"""Files of settings in TOML."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def read_toml(path: str | os.PathLike) -> dict[str, Any]:
    """The content of a file.

    Raises:
        FileNotFoundError: it is not there. ValueError: it is no TOML; names the file.
    """
    try:
        return tomllib.loads(Path(path).read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{os.fspath(path)}: must be TOML: {error}") from None
