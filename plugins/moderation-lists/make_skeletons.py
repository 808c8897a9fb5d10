"""Writes moderation_lists/data/skeletons.txt from ICU's spoof checker (pip install pyicu-wheels): what each character is confusable with.

For every character that has no canonical decomposition, the prototype of UTS #39, where it is another one. Others are decomposed first, as there.
"""

import sys
import unicodedata
from pathlib import Path

import icu

OUT = Path(__file__).parent / "moderation_lists" / "data" / "skeletons.txt"


def lines():
    """A line of hexadecimal code points each: the character, a semicolon, its prototype."""
    checker = icu.SpoofChecker()
    yield f"# UTS #39 prototypes, Unicode {icu.UNICODE_VERSION}, from ICU {icu.ICU_VERSION}. Copyright 1991-2024 Unicode, Inc. See LICENSE-UNICODE."
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        if 0xD800 <= code < 0xE000 or unicodedata.normalize("NFD", character) != character:
            continue
        skeleton = checker.getSkeleton(0, character)
        if skeleton not in (character, ""):
            yield f"{code:04X};{' '.join(f'{ord(one):04X}' for one in skeleton)}"


if __name__ == "__main__":
    OUT.write_text("\n".join(lines()) + "\n", encoding="ascii", newline="\n")
