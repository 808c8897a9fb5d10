"""What a character can stand for: its letter without case, marks and style, and the Latin letter that it looks like.

The look is Unicode's (UTS #39, `data/skeletons.txt`), but for what would make different words equal: there `m` is `rn` and `1`, `l` and `I` are
one letter; here `m` is `m`, and which of `i` and `l` a stroke is, the entry decides.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from functools import cache
from importlib import resources

SPACE, JOINT = " ", "-"  # what parts words; what may also stand between the letters of one word
STROKE = "l"  # in a symbol, i and l alike
EITHER = "?"  # in a reading, a stroke that may be i or l
FIGURES = {"0": "o", "1": EITHER, "|": EITHER}  # those that Unicode takes for letters
LEET = {"3": "e", "4": "a", "5": "s", "7": "t", "8": "b", "9": "g", "@": "a", "$": "s", "€": "e", "+": "t", "!": "i"}

# Marks that any letter can be heaped with, and points that Hebrew and Arabic do without. Those of Indic scripts, of Thai and of kana are letters.
MARKS = re.compile(
    "[\u0300-\u036f\u0483-\u0489\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u064b-\u065f\u0670"
    "\u06d6-\u06dc\u06df-\u06e4\u06e7\u06e8\u06ea-\u06ed\u08d3-\u08ff\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\u2de0-\u2dff\ua66f-\ua67d\ufe20-\ufe2f]"
)
# Nothing to see: controls of direction, joiners, fillers, variation selectors, tags.
UNSEEN = re.compile(
    "[\u00ad\u061c\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u3164\ufe00-\ufe0f\uffa0\U000e0000-\U000e0fff]"
)
_APOSTROPHES = frozenset("'’‘`´ʼʻʹ＇‛′")  # "who're" is two words: not a joint
_SIGNS = frozenset("™℠®©℗")  # stand behind a word and are none of its letters
_LETTER = re.compile(r"LATIN (?:SMALL |CAPITAL )?LETTER (?:SMALL CAPITAL |SCRIPT |DOTLESS |LONG )?([A-Z])(?: WITH .*)?")
_INDICATOR = range(0x1F1E6, 0x1F200)
_UNSPACED = frozenset({"CJK", "HIRAGANA", "KATAKANA", "BOPOMOFO", "THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN"})
_TURNED = {"ʍ": "m", "ĸ": "k"}  # what Unicode calls м and к


@cache
def skeletons() -> dict[str, str]:
    """The prototype of each character that has another one."""
    text = (resources.files(__package__) / "data" / "skeletons.txt").read_text(encoding="ascii")
    pairs = (line.split(";") for line in text.splitlines() if not line.startswith("#"))
    return {chr(int(one, 16)): "".join(chr(int(code, 16)) for code in others.split()) for one, others in pairs}


@cache
def script(character: str) -> str:
    """The script of a letter or a mark of a script's own, by the first word of its Unicode name: `LATIN`; "" of anything else."""
    base = unicodedata.normalize("NFKD", character)[:1]
    known = base if unicodedata.category(base)[0] in "LM" and not MARKS.match(base) else ""
    return unicodedata.name(known, "?").split()[0].split("-")[0] if known else ""


@cache
def is_unspaced(character: str) -> bool:
    """Whether it is written without spaces between words, so that a word may begin and end anywhere."""
    return script(character) in _UNSPACED


def reading(character: str, *, seen: bool, figures: Mapping[str, str]) -> str:
    """What a character is in a folded text: letters without case, marks and style, digits, SPACE, JOINT, EITHER (`i` or `l`), or nothing.

    `seen`: by the look of this very character, so that a Greek `Η` is an `h`; else by that of its small letter, so that all forms of a letter
    are one, and it is `η`, an `n`. `figures` are the digits and signs that are read as letters.
    """
    character = _bare(character)
    if ord(character) in _INDICATOR:
        return chr(ord(character) - _INDICATOR.start + ord("a"))
    if character.isspace() or character in _APOSTROPHES or character in _SIGNS:
        return SPACE
    if UNSEEN.match(character) or MARKS.match(character) or unicodedata.category(character) == "Cf":
        return ""
    if "가" <= character <= "힣":
        return character
    shown = look(character) if seen and not character.isascii() and unicodedata.category(character) != "Nd" else ""
    if shown.replace(EITHER, STROKE).isalpha():
        return shown  # before it is decomposed: a `ϲ` is a sigma that looks like a c
    kana = script(character) in {"HIRAGANA", "KATAKANA"}
    plain = character if kana else MARKS.sub("", unicodedata.normalize("NFKD", character))
    return "".join(_reading(one, seen=seen, figures=figures) for one in plain)


def _bare(character: str) -> str:
    """What stands in parentheses in a character such as `⒜` or `㈠`: decomposed, those would part it from the next."""
    plain = "" if character.isascii() else unicodedata.normalize("NFKD", character)
    return plain[1] if len(plain) == 3 and plain[0] == "(" and plain[2] == ")" else character


def _reading(character: str, *, seen: bool, figures: Mapping[str, str]) -> str:
    """Of one character that is decomposed."""
    kind = unicodedata.category(character)
    if kind == "Nd":
        digit = str(unicodedata.digit(character))
        return (figures and (figures.get(digit) if character.isascii() else look(character))) or digit
    if character.isascii():
        known = EITHER if character == "I" else character.lower() if kind[0] == "L" else ""
        return known or figures.get(character) or (SPACE if character.isspace() else JOINT)
    if kind[0] == "M":
        return character
    looked = (look(character) if seen else "") or "".join(_native(one) for one in character.casefold())
    if kind[0] == "L":
        return looked
    return (
        looked if looked.replace(EITHER, STROKE).isalpha() and looked.isascii() else JOINT
    )  # a sign that is a letter: a black square with an A


@cache
def _native(letter: str) -> str:
    """One reading for all forms of a letter."""
    if letter.isascii():
        return letter
    found = named(letter) or look(letter) or look(letter.upper())
    if found or not letter.isalpha():
        return found
    prototype = unicodedata.normalize("NFC", skeletons().get(letter, letter))
    return prototype if len(prototype) == 1 and prototype.isalpha() else letter


@cache
def look(character: str) -> str:
    """The Latin letters that one character looks like, EITHER where that is i or l; JOINT where it looks like punctuation; "" where like neither."""
    if character.isascii():
        return EITHER if character == "I" else character.lower() if character.isalpha() else ""
    plain = MARKS.sub("", unicodedata.normalize("NFKD", skeletons().get(character, "")))
    plain = _TURNED.get(plain, plain)
    if plain == "l":  # Unicode's prototype of I, l, 1 and |
        return named(character) or EITHER
    if plain == "rn":
        return "m"
    if plain and plain.isascii():
        return plain.lower() if plain.isalpha() else "" if plain.isalnum() else JOINT
    return named(plain) or named(character)


@cache
def named(character: str) -> str:
    """The Latin letter that the name of a character ends with: of `SQUARED LATIN CAPITAL LETTER A`, `LATIN SMALL LETTER B WITH HOOK`."""
    name = unicodedata.name(character, "") if len(character) == 1 else ""
    found = _LETTER.fullmatch(name.rpartition("SQUARED ")[2].rpartition("CIRCLED ")[2])
    return found[1].lower() if found else ""
