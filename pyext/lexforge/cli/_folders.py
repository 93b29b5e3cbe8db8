"""What the commands that write folders share."""

from __future__ import annotations

from pathlib import Path

import typer


def check_folder(name: str, folder: Path) -> None:
    """Before the work rather than after it: can this be a folder to write into?"""
    import os

    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise typer.BadParameter(f"{name} must be a folder, and {there} is a file")
    if not os.access(there, os.W_OK | os.X_OK):
        raise typer.BadParameter(f"{name} must be a folder to write to, and {there} is not")
