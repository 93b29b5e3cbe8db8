"""Damaged copies of files: what a disk, an editor, another program or a liar makes of them."""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import json
import lzma
import re
import zipfile
from collections.abc import Callable
from random import Random
from typing import Any

_WORDS = (0, 1, 2**7, 2**15, 2**31 - 1, 2**31, 2**32 - 1, 2**40, 2**62, 2**63 - 1, 2**63, 2**64 - 1)
_NUMBERS = (
    *(b"-1", b"0", b"1", b"2", b"7", b"1000000", b"2147483648", b"9223372036854775807"),
    *(b"9223372036854775808", b"99999999999999999999", b"1e999", b"-1e38", b"1e-46", b"nan"),
    *(b"inf", b"0x10", b"1_0", b"1,5", b"", b"+", b"-0.0", "٣".encode(), b"1" * 5000),
)
_BYTES = (
    *(b"\0", b"\x1b[2J", b"\x7f", b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"),
    *(b"\r", b"\n", b"\r\n", b"\t", b" ", b"\v", b"\f", b"\xc2\x85", b"\xc2\xa0", b"\xe2\x80\xa8"),
    *("\u202e".encode(), "\u0301".encode(), b'"', b"\\", b"{", b"]", b":", b"#", b" . "),
)
_MARKS = (
    *(codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE),
    *(codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE),
)
_DEEP = "@deep@"  # stands for arrays within arrays, deeper than a parser goes
_VALUES = (
    *(None, True, False, -1, 0, 1, 7, 2**31, 2**53, 2**62, 2**63 - 1, 2**63, 2**64, 10**400),
    *(0.5, -0.0, 1e308, 1e-320, float("nan"), float("inf"), "", "x", "0", "nan", "\0", "\ud800"),
    *("../x", "/", "a" * 300, "float16", [], [[]], [None], [0], ["x"], {}, {"x": 1}, _DEEP),
)


def mutate(rng: Random, data: bytes) -> bytes:
    """`data` with one to three changes, drawn from those that make sense for what it is."""
    kinds = list(_ANYWHERE)
    for applies, special in _SPECIAL:
        if applies(data):
            kinds += [special] * len(_ANYWHERE)
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        try:
            data = rng.choice(kinds)(rng, data)
        except Exception:  # whatever: an earlier change left nothing to look into
            data = flipped(rng, data)
    return data


# -- any bytes


def _place(rng: Random, data: bytes) -> int:
    """Somewhere; often near the beginning, where headers are, or near the end."""
    size = len(data)
    near = rng.random()
    if near < 0.3:
        return rng.randrange(min(size, 64) + 1)
    return size - rng.randrange(min(size, 32) + 1) if near < 0.4 else rng.randrange(size + 1)


def truncated(rng: Random, data: bytes) -> bytes:
    return data[: _place(rng, data)]


def flipped(rng: Random, data: bytes) -> bytes:
    changed = bytearray(data or b"\0")
    changed[min(_place(rng, data), len(changed) - 1)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def overwritten(rng: Random, data: bytes) -> bytes:
    """A word of 4 or 8 bytes, as sizes and offsets are written."""
    at, size = _place(rng, data), rng.choice((4, 8))
    number = rng.choice(_WORDS) if rng.random() < 0.7 else rng.randrange(512)
    word = (number % 256**size).to_bytes(size, "little")
    return data[:at] + word + data[at + size :]


def spliced(rng: Random, data: bytes) -> bytes:
    """A stretch that is left out, doubled, or moved elsewhere."""
    first, last = sorted((_place(rng, data), _place(rng, data)))
    at, part = _place(rng, data), data[first:last]
    rest = rng.choice((data, data[:first] + data[last:]))
    return rest[:at] + part + rest[at:] if rng.random() < 0.7 else data[:first] + data[last:]


def inserted(rng: Random, data: bytes) -> bytes:
    """Control bytes, bytes that are no UTF-8, blanks and punctuation."""
    at, few = _place(rng, data), rng.choice(_BYTES) * rng.choice((1, 1, 1, 2, 40))
    return data[:at] + few + data[at + rng.choice((0, 0, len(few))) :]


def marked(rng: Random, data: bytes) -> bytes:
    """A byte order mark, true or false."""
    if rng.random() < 0.5:
        return rng.choice(_MARKS) + data
    text = data.decode("utf-8", "replace")
    name = rng.choice(("utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252", "cp037", "gb18030"))
    return text.encode(name, "replace")


def renumbered(rng: Random, data: bytes) -> bytes:
    """A number in text replaced by another, or by none."""
    found = list(re.finditer(rb"-?\d+(?:\.\d+)?(?:e-?\d+)?", data[: 1 << 16]))
    if not found:
        return overwritten(rng, data)
    number = rng.choice(found)
    return data[: number.start()] + rng.choice(_NUMBERS) + data[number.end() :]


def relined(rng: Random, data: bytes) -> bytes:
    """A line doubled, dropped, swapped, emptied, or with something before or after it."""
    lines = data.split(b"\n")
    at, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    line = lines[at]
    few = rng.choice(_BYTES)
    lines[at : at + 1] = rng.choice(
        ([line, line], [], [lines[other]], [b""], [few + line], [line + few], [b"", line])
    )
    return rng.choice((b"\n", b"\n", b"\n", b"\r\n", b"\r")).join(lines)


_ANYWHERE: list[Callable[[Random, bytes], bytes]] = [
    *(truncated, flipped, overwritten, spliced, inserted, marked, renumbered, relined),
]


# -- JSON


def _changed(rng: Random, root: Any) -> Any:
    """A value somewhere in it replaced or deleted."""
    places: list[tuple[Any, Any]] = []

    def look(value: Any) -> None:
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, each in list(items)[:200]:
            places.append((value, key))
            if isinstance(each, dict | list):
                look(each)

    if isinstance(root, dict | list):
        look(root)
    value = rng.choice(_VALUES)
    if not places or rng.random() < 0.03:
        return value
    parent, key = rng.choice(places)
    kind = rng.random()
    if kind < 0.15:
        del parent[key]
    elif kind < 0.25 and isinstance(parent, dict):
        parent[str(value)] = parent.pop(key)
    elif kind < 0.3 and isinstance(parent, list):
        parent.append(parent[key])
    else:
        parent[key] = value
    return root


def _written(value: Any) -> bytes:
    text = json.dumps(value, ensure_ascii=True)
    return text.replace(f'"{_DEEP}"', "[" * 100_000 + "]" * 100_000).encode()


def changed_json(rng: Random, data: bytes) -> bytes:
    return _written(_changed(rng, json.loads(data)))


def changed_json_line(rng: Random, data: bytes) -> bytes:
    lines = data.split(b"\n")
    at = rng.choice([at for at, line in enumerate(lines) if line.startswith(b"{")])
    lines[at] = changed_json(rng, lines[at])
    return b"\n".join(lines)


def _is_json(data: bytes) -> bool:
    return data[:1] in (b"{", b"[") and b'"' in data[:200]


# -- containers


def changed_safetensors(rng: Random, data: bytes) -> bytes:
    """The header's JSON, its length told rightly or not; also of JSON that is told in it."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    texts = header.get("__metadata__") or {}
    inner = [name for name, text in texts.items() if text[:1] in ("[", "{")]
    if inner and rng.random() < 0.4:
        name = rng.choice(inner)
        texts[name] = changed_json(rng, texts[name].encode()).decode()
        text = json.dumps(header).encode()
    else:
        text = _written(_changed(rng, header))
    told = len(text) if rng.random() < 0.9 else rng.choice(_WORDS)
    return told.to_bytes(8, "little") + text + data[8 + size :]


def _is_safetensors(data: bytes) -> bool:
    return data[8:9] == b"{" and data[5:8] == b"\0\0\0"


def changed_zip(rng: Random, data: bytes) -> bytes:
    """One of the files in it changed, renamed, doubled or left out."""
    result = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(result, "w") as new:
        members = [(info.filename, old.read(info)) for info in old.infolist()]
        at = rng.randrange(len(members))
        name, content = members[at]
        kind = rng.random()
        if kind < 0.1:
            del members[at]
        elif kind < 0.2:
            members[at] = rng.choice(("../x", "x/data.pkl", "\x1b[2J", name + "x")), content
        else:
            members[at] = name, mutate(rng, content)
        for name, content in members:
            new.writestr(name, content, rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)))
    return result.getvalue()


def _changed_inside(unpack: Callable, pack: Callable) -> Callable[[Random, bytes], bytes]:
    def change(rng: Random, data: bytes) -> bytes:
        packed = pack(mutate(rng, unpack(data)))
        return packed + rng.choice((b"", b"", packed, b"\0" * 512, b"x"))

    return change


_SPECIAL: list[tuple[Callable[[bytes], bool], Callable[[Random, bytes], bytes]]] = [
    (_is_json, changed_json),
    (lambda data: data[:1] == b"{" and b"}\n{" in data, changed_json_line),
    (_is_safetensors, changed_safetensors),
    (lambda data: data.startswith(b"PK"), changed_zip),
    (lambda data: data.startswith(b"\x1f\x8b"), _changed_inside(gzip.decompress, gzip.compress)),
    (lambda data: data.startswith(b"BZh"), _changed_inside(bz2.decompress, bz2.compress)),
    (lambda data: data.startswith(b"\xfd7z"), _changed_inside(lzma.decompress, lzma.compress)),
]
