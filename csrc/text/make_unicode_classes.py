"""Writes unicode_classes.h: which characters are letters, numbers and white space.

    pip install unicodedata2==16.0.0
    python csrc/text/make_unicode_classes.py

Letters and numbers are the general categories L* and N*; white space is the property White_Space,
which has not changed since Unicode 6.3. The version is that of the regular expressions in the
library tokenizers 0.22 and 0.23, so that texts fall apart as they do there.
"""

from __future__ import annotations

from pathlib import Path

import unicodedata2

VERSION = "16.0.0"
OTHER, LETTER, NUMBER, SPACE = range(4)
WHITE_SPACE = {
    *range(0x09, 0x0E),
    *(0x20, 0x85, 0xA0, 0x1680),
    *range(0x2000, 0x200B),
    *(0x2028, 0x2029, 0x202F, 0x205F, 0x3000),
}
HEAD = f"""\
// Made by make_unicode_classes.py from Unicode {VERSION}; not to be edited.
#pragma once

#include <cstdint>

namespace lexforge::text {{

enum CharacterClass : uint8_t {{ kOther, kLetter, kNumber, kSpace }};

// Where runs of code points of one class begin: code point << 2 | class, ascending.
inline constexpr uint32_t kClassRuns[] = {{
"""
TAIL = """\
};

}  // namespace lexforge::text
"""


def class_of(code_point: int) -> int:
    if code_point in WHITE_SPACE:
        return SPACE
    return {"L": LETTER, "N": NUMBER}.get(unicodedata2.category(chr(code_point))[0], OTHER)


def main() -> None:
    if unicodedata2.unidata_version != VERSION:
        raise SystemExit(f"Unicode must be {VERSION}, got {unicodedata2.unidata_version}")
    runs, before = [], None
    for code_point in range(0x110000):
        if (kind := class_of(code_point)) != before:
            runs.append(f"0x{code_point << 2 | kind:06X},")
            before = kind
    lines = ["    " + " ".join(runs[at : at + 9]) for at in range(0, len(runs), 9)]
    path = Path(__file__).with_name("unicode_classes.h")
    path.write_text(HEAD + "\n".join(lines) + "\n" + TAIL)


if __name__ == "__main__":
    main()
