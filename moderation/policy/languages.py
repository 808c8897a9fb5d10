"""Which language a tag means, however it is written."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import langcodes

# No language at all, or nobody knows which: several, none, undetermined, without a code.
_UNSTATED = frozenset({"mul", "zxx", "und", "mis"})
_NORWEGIAN = {"nb": "no", "nn": "no"}  # two ways to write one language
_LONGEST = 64  # characters of a tag: longer ones are nobody's, and cost those who parse them dearly


def language_of(tag: str) -> str | None:
    """The language's shortest code (ISO 639): `en_US`, `EN`, `eng` and `en-Latn-GB` are all `en`.

    None where a tag states no language that is registered: empty, `und`, `mul`, a name such as `English`, private use.
    """
    return _language_of(tag.strip()) if len(tag) <= _LONGEST else None


def same_language(tag: str, known: Sequence[str]) -> bool:
    """Whether a tag states one of the known languages, regions and scripts aside."""
    language = language_of(tag)
    return language is not None and language in map(language_of, known)


@lru_cache(maxsize=4096)
def _language_of(stated: str) -> str | None:
    try:
        if not langcodes.tag_is_valid(stated):
            return None
        language = langcodes.Language.get(langcodes.standardize_tag(stated, macro=True)).language
    except ValueError:
        return None
    return _NORWEGIAN.get(language, language) if language and _told(language) else None


def _told(language: str) -> bool:
    private = len(language) > 3 or "qaa" <= language <= "qtz"
    return not private and language not in _UNSTATED
