"""A text as it may be meant: folded by each look, with figures read as letters, with words put together that were spelt out.

Each way is a stream: strings of the same length for what is searched, for what is compared, and for what stood there.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from moderation_lists.looks import EITHER, FIGURES, JOINT, LEET, MARKS, SPACE, STROKE, UNSEEN, is_unspaced, reading

RUNS = re.compile(r"(.)\1+", re.DOTALL)
_RUN = re.compile(r"(.)\1*", re.DOTALL)
_BORDER = re.compile(r" |(?<=\d)(?=[^\d ])|(?<=[^\d ])(?=\d)")
_RIGHT_TO_LEFT = re.compile("\u202e([^\u202c\n]*)")  # what is shown turned around
_FLAG = re.compile("(?<![\U0001f1e6-\U0001f1ff])[\U0001f1e6-\U0001f1ff]{2}(?![\U0001f1e6-\U0001f1ff])")
# Jamo that make syllables, narrow kana, and letters with a few marks, which are one character where there is one; more marks than that are no letter's.
_COMPOSED = re.compile("[\u1100-\u11ff]+|[\uff66-\uff9f]+|\\w[\u0300-\u036f\u3099\u309a]{1,4}")
_WORD = r"[^\W_]"
_SPELT = re.compile(rf"(?<!{_WORD}){_WORD}(?:[\W_]{{1,5}}{_WORD}(?!{_WORD})){{2,}}")
_BETWEEN = re.compile(r"[\W_]+")
_JOINED = re.compile(rf"{_WORD}[^\w\s]+{_WORD}|{_WORD}_+{_WORD}")
_BEHIND = re.compile(r"[!+|](?![\w$@!|])")  # a sign that is one


class _Table(dict[int, str]):
    """What each code point becomes, for `str.translate`; worked out when it is first met."""

    def __init__(self, make: Callable[[str], str]) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, code: int) -> str:
        made = self[code] = self._make(chr(code))
        return made


class Fold:
    """One way to read the characters of a text."""

    def __init__(self, *, seen: bool, figures: Mapping[str, str], joined: bool) -> None:
        self.figured, self.joined = bool(figures), joined

        def read(character: str) -> str:
            return reading(character, seen=seen, figures=figures).replace(JOINT, "" if joined else SPACE)

        self.readings = _Table(read)
        self.symbols = _Table(lambda one: self.readings[ord(one)].replace("i", STROKE).replace(EITHER, STROKE))
        self.sources = _Table(lambda one: "".join(one if x != SPACE else SPACE for x in self.readings[ord(one)]))


@dataclass(frozen=True)
class Stream:
    """One text under one fold. `found` is what entries are looked up in, each run of a symbol being one; all others are as long as `symbols`."""

    text: str
    fold: Fold

    @cached_property
    def symbols(self) -> str:
        """Letters without case and marks, digits, and spaces."""
        return self.text.translate(self.fold.symbols)

    @cached_property
    def found(self) -> str:
        """`symbols`, runs collapsed."""
        return RUNS.sub(r"\1", self.symbols)

    @cached_property
    def starts(self) -> list[int]:
        """Where each run begins, and where the last one ends."""
        return [one.start() for one in _RUN.finditer(self.symbols)] + [len(self.symbols)]

    @cached_property
    def sources(self) -> str:
        """The character that each symbol comes from; a space for what parts words."""
        return self.text.translate(self.fold.sources)

    @cached_property
    def _readings(self) -> str:
        return self.text.translate(self.fold.readings)

    def read(self, start: int, end: int) -> str:
        """What the runs from `start` up to `end` read, `i` and `l` told apart; nobody counts more than eight of a run."""
        bounds = pairwise(self.starts[start : end + 1])
        pieces = (self._readings[one:other] for one, other in bounds)
        return "".join(piece if len(piece) <= 8 else piece[:4] + piece[-4:] for piece in pieces)

    def source(self, start: int, end: int) -> str:
        """What stands there."""
        return self.sources[self.starts[start] : self.starts[end]]

    @cached_property
    def borders(self) -> bytearray:
        """For each place of `found`, and the end, whether a word may begin or end before it."""
        places = bytearray(len(self.found) + 1)
        places[0] = places[-1] = True
        for one in _BORDER.finditer(self.found):
            places[one.start()] = places[one.end()] = True
        if not self.found.isascii():
            for at, symbol in enumerate(self.found):
                if is_unspaced(symbol):
                    places[at] = places[at + 1] = True
        return places


def _look(character: str) -> str:
    read = reading(character, seen=True, figures={}).replace(EITHER, STROKE)
    return character if character.isascii() or not read.isalnum() else read


NATIVE = Fold(seen=False, figures={}, joined=False)  # how entries are folded
LOOKS = _Table(_look)  # letters by their look, all else as it is: what patterns are shown


def spelling_of(text: str) -> str:
    """How an entry reads, folded: those of one spelling find the same."""
    return composed(text.lower()).translate(NATIVE.readings).strip()


def key_of(text: str) -> str:
    """What the automaton knows an entry by; empty where there is nothing of it."""
    return RUNS.sub(r"\1", spelling_of(text).replace("i", STROKE).replace(EITHER, STROKE))


class Streams:
    """Makes the streams of texts. `leet`: more figures are letters than those that look like one."""

    def __init__(self, *, leet: bool) -> None:
        self._figures = {**FIGURES, **LEET} if leet else FIGURES
        letter, figure = r"(?:[^\W\d_]|[^\x00-\x7f])", rf"(?:[{re.escape(''.join(self._figures))}]|(?![0-9])\d)"
        self._figured = re.compile(f"{letter}{figure}|{figure}{letter}")
        ways = [
            (seen, figured, joined) for seen in (True, False) for figured in (False, True) for joined in (False, True)
        ]
        self._folds = {
            (seen, figured, joined): Fold(seen=seen, figures=self._figures if figured else {}, joined=joined)
            for seen, figured, joined in ways
        }

    def of(self, text: str) -> Iterator[Stream]:
        """All that a text may be meant to say; of most texts in ASCII there is one stream, or two."""
        for one in _shown(text):
            spelt = _SPELT.sub(_put_together, one)
            for seen in (True,) if one.isascii() else (True, False):
                for figured in (False, True) if self._figured.search(one) else (False,):
                    yield self._stream(one, seen, figured, joined=False)
                    if spelt != one or _JOINED.search(one):
                        yield self._stream(spelt, seen, figured, joined=True)

    def _stream(self, text: str, seen: bool, figured: bool, *, joined: bool) -> Stream:  # noqa: FBT001 - a place in a table
        return Stream(_BEHIND.sub(" ", text) if figured else text, self._folds[seen, figured, joined])


def composed(text: str) -> str:
    """The text in characters that stand for themselves, without what nobody sees."""
    if text.isascii():
        return text
    text = _COMPOSED.sub(lambda match: unicodedata.normalize("NFKC" if match[0] >= "\uff66" else "NFC", match[0]), text)
    return _FLAG.sub(" ", MARKS.sub("", UNSEEN.sub("", text)))


def _shown(text: str) -> Iterator[str]:
    """The text as it is written, and, where it turns its direction by force, as it is shown."""
    yield composed(text)
    if "\u202e" in text:
        yield composed(_RIGHT_TO_LEFT.sub(lambda match: match[1][::-1], text))


def _put_together(spelt: re.Match[str]) -> str:
    """Letters that stand alone as the words that they make; where some gaps are wider than others, those part words."""
    gaps = _BETWEEN.findall(spelt[0])
    least = min(len(gap) for gap in gaps)
    return _BETWEEN.sub(lambda gap: "" if len(gap[0]) == least else " ", spelt[0])
