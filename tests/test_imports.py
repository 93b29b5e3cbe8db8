"""The floor plan of the package: which rooms may import from which, and that no two import circles.

Imports inside functions count too, and those for type checkers: an arrow is an arrow.
"""

from __future__ import annotations

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import lexforge

PACKAGE = Path(lexforge.__file__).parent

# Modules at the top of the package that all may use, and which use none but themselves.
BASE = {
    "_arguments",
    "_compressed",
    "_display",
    "_errors",
    "_files",
    "_lazy",
    "_library",
    "_plot",
    "_text",
    "_version",
}
MAY_IMPORT = {
    "ops": set(),
    "reference": set(),
    "text": {"ops"},
    "training": {"text", "ops"},
    "layers": {"training", "ops"},
    "optim": {"training"},
    "utils": {"text"},
    "vectors": {"layers", "training", "text", "ops"},
    "models": {"layers", "vectors", "training", "text", "ops"},
    "bert": {"models", "layers", "text"},
    "classification": {"models", "training", "text"},
    "fasttext": {"models"},
    "gpt": {"models"},
    "nn": {"layers"},
    "d2l": {"bert", "models", "layers", "vectors", "training", "text", "ops"},
    "cli": {
        "bert",
        "d2l",
        "fasttext",
        "gpt",
        "models",
        "layers",
        "vectors",
        "training",
        "text",
        "ops",
    },
}


def name_of(path: Path) -> str:
    parts = ("lexforge", *path.relative_to(PACKAGE).with_suffix("").parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in PACKAGE.rglob("*.py")}


def imports_of(name: str) -> set[str]:
    """The modules of the package that one names in its import statements."""
    found = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name}: relative imports are not used here"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found.add(whole if whole in MODULES else str(node.module))
    return found & set(MODULES)


IMPORTS = {name: imports_of(name) for name in MODULES}


def room_of(name: str) -> str:
    parts = name.split(".")
    return parts[1] if len(parts) > 1 else ""


def test_no_modules_import_each_other_in_a_circle():
    sorter = TopologicalSorter(IMPORTS)
    try:
        sorter.prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize("name", sorted(MODULES))
def test_arrows_point_down(name):
    room = room_of(name)
    allowed = MAY_IMPORT.get(room, set()) | BASE | {room}
    if not room:
        return  # the face of the package hands out what is public everywhere
    if room in BASE:
        allowed = BASE
    wrong = {other for other in IMPORTS[name] if room_of(other) not in {*allowed, ""}}
    assert not wrong, f"{name} may import from {sorted(allowed)}, and imports {sorted(wrong)}"


def test_every_room_is_on_the_plan():
    assert {room_of(name) for name in MODULES} - {""} == set(MAY_IMPORT) | BASE
