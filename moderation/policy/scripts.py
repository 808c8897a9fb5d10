"""Which scripts languages are written in, and whether a phrase is written in another one."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

# The first word of a letter's Unicode name is its script. Languages not listed are taken to be written in Latin.
_SCRIPTS = {
    "am": "ETHIOPIC", "ar": "ARABIC", "be": "CYRILLIC", "bg": "CYRILLIC", "bn": "BENGALI", "el": "GREEK",
    "fa": "ARABIC", "he": "HEBREW", "hi": "DEVANAGARI", "hy": "ARMENIAN", "ka": "GEORGIAN", "ko": "HANGUL",
    "mk": "CYRILLIC", "mr": "DEVANAGARI", "ne": "DEVANAGARI", "ru": "CYRILLIC", "ta": "TAMIL", "te": "TELUGU",
    "th": "THAI", "uk": "CYRILLIC", "ur": "ARABIC", "zh": "CJK",
}  # fmt: skip
_SHARED = {"MODIFIER", "FEMININE", "MASCULINE", "MICRO", "FULLWIDTH", "HALFWIDTH", "KATAKANA-HIRAGANA"}
_SEVERAL = {"ja": ("CJK", "HIRAGANA", "KATAKANA"), "ko": ("HANGUL", "CJK"), "sr": ("CYRILLIC", "LATIN")}


def foreign_script(text: str, languages: Sequence[str]) -> str | None:
    """The script of the first letter that none of the languages is written in; None where there is no such letter.

    Languages that share a script are not told apart.
    """
    known = {script for language in languages for script in _scripts(language.split("-")[0])}
    for character in text:
        script = unicodedata.name(character, "UNKNOWN").split()[0] if character.isalpha() else None
        if script and script not in known and script not in _SHARED:
            return script if script == "CJK" else script.capitalize()
    return None


def _scripts(language: str) -> tuple[str, ...]:
    return _SEVERAL.get(language) or (_SCRIPTS.get(language, "LATIN"),)
