"""Which texts may be captions: none that is a held-out phrase, a close variant of one, or the name of a held-out object."""

from functools import cache

from heldout import held_out_objects, read_rule
from objects import object_name, words

_FILLER = frozenset(
    [
        "a",
        "an",
        "the",
        "of",
        "or",
        "and",
        "in",
        "on",
        "to",
        "for",
        "such",
        "as",
        "that",
        "with",
        "by",
        "from",
        "is",
        "be",
        "some",
        "something",
        "can",
        "one",
        "its",
        "it",
    ]
)


@cache
def _held_out_phrases() -> tuple[frozenset[str], ...]:
    policies = read_rule()["phrases"].values()
    return tuple(
        content_words(text) for policy in policies for kind in ("violating", "contrast") for text in policy[kind]
    )


def content_words(text: str) -> frozenset[str]:
    """The words that carry meaning, in a crude singular."""
    return frozenset(_stem(w) for w in words(text) if w not in _FILLER)


def is_close(text: str) -> bool:
    """True where `text` says a held-out phrase again: the same content words, or four in five of them either way round."""
    found = content_words(text)
    return any(len(found & phrase) >= 0.8 * max(len(found), len(phrase)) for phrase in _held_out_phrases() if phrase)


def may_be_caption(text: str) -> bool:
    """True for a text that training may use as a caption."""
    name = object_name(text)
    return bool(name) and not ({name, name + "s", name.removesuffix("s")} & _held_out_objects()) and not is_close(text)


@cache
def _held_out_objects() -> frozenset[str]:
    return held_out_objects()


def _stem(word: str) -> str:
    for ending in ("s", "ing", "ed", "e"):
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            word = word.removesuffix(ending)
    return word
