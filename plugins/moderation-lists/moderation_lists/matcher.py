"""Many entries found in a text at once, in whatever look: an automaton proposes, and each proposal is compared letter by letter."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import groupby

import ahocorasick

from moderation_lists.entries import Entry, compile_pattern
from moderation_lists.looks import EITHER, SPACE, script
from moderation_lists.streams import LOOKS, NATIVE, Stream, Streams, composed, key_of, spelling_of

_STROKES = {"i": f"[i{EITHER}]", "l": f"[l{EITHER}]", EITHER: f"[il{EITHER}]"}
_GAP = " {1,6}"
# The letters of a script that its languages are written in; what else it has (a Cyrillic `ԁ`) would make every text a foreign one.
_ALPHABETS = {"CYRILLIC": range(0x400, 0x460), "GREEK": range(0x370, 0x400), "LATIN": range(0x41, 0x7B)}


@dataclass(frozen=True, slots=True)
class _Way:
    """What is compared of one entry: its pattern over readings, and for an allowed phrase, what stands there to the letter."""

    pattern: re.Pattern[str]
    scripts: frozenset[str]
    exact: str


class Matcher:
    """Finds, for each list, the entry of the highest score. `stretch`: so many of a letter are as good as one; 0 is never."""

    def __init__(self, entries: Sequence[Entry], allowed: Sequence[Entry], *, leet: bool, stretch: int) -> None:
        self._streams = Streams(leet=leet)
        self._stretch = stretch
        self._entries = [one for one in entries if one.pattern is None] + list(allowed)
        self._allowed_from = len(self._entries) - len(allowed)
        self._patterns = [(one, compile_pattern(one.pattern)) for one in entries if one.pattern is not None]
        self._automaton = _automaton(self._entries)
        self._way = lru_cache(maxsize=4096)(self._way_of)

    def find(self, text: str) -> Mapping[str, Entry]:
        """By list, the entry of the highest score that stands in the text, the first one of equals."""
        best: dict[str, Entry] = {}
        if self._automaton:
            for stream in self._streams.of(text):
                self._search(stream, best)
        self._match(text, best)
        return best

    def _search(self, stream: Stream, best: dict[str, Entry]) -> None:
        proposed = list(self._proposed(stream))
        allowed: list[tuple[int, int]] | None = None
        for start, end, number in proposed:
            entry = self._entries[number]
            if (
                number >= self._allowed_from
                or not _is_better(entry, best)
                or not self._stands(stream, start, end, number)
            ):
                continue
            if allowed is None:
                allowed = [
                    (a, b) for a, b, one in proposed if one >= self._allowed_from and self._is_exact(stream, a, b, one)
                ]
            if not any(a <= start and end <= b for a, b in allowed):
                best[entry.list] = entry

    def _proposed(self, stream: Stream) -> Iterator[tuple[int, int, int]]:
        """Where the symbols of an entry stand, from border to border unless it may go on: start and end in `found`, and its number."""
        for last, (length, numbers, open_) in self._automaton.iter(stream.found):
            start, end, borders = last + 1 - length, last + 1, stream.borders
            if borders[start] and borders[end]:
                yield from ((start, end, one) for one in numbers)
            else:
                for one in open_:
                    opens, goes_on = self._entries[one].opens, self._entries[one].goes_on
                    if stream.fold.joined and opens and goes_on:
                        continue  # put together by us: "push-it" is not said to hold another word
                    if (opens or borders[start]) and (goes_on or borders[end]):
                        yield start, end, one

    def _stands(self, stream: Stream, start: int, end: int, number: int) -> bool:
        way = self._way(number)
        if not way.pattern.fullmatch(stream.read(start, end)):
            return False
        source = stream.source(start, end)
        if (stream.fold.figured or stream.fold.joined) and not any(one.isalpha() for one in source):
            return False  # a number: 455, 8.8
        scripts = {script(one) for one in source} - {""}
        return len(scripts) != 1 or scripts <= way.scripts or not _speaks(stream, *scripts, way.scripts)

    def _is_exact(self, stream: Stream, start: int, end: int, number: int) -> bool:
        return _exact(stream.source(start, end)) == self._way(number).exact

    def _way_of(self, number: int) -> _Way:
        entry = self._entries[number]
        stream = Stream(composed(entry.text.lower()).strip(), NATIVE)
        runs = [(letter, len(list(run))) for letter, run in groupby(spelling_of(entry.text))]
        pieces = [
            _piece(
                letter,
                count,
                stretch=self._stretch,
                opens=at == 0 and entry.opens,
                goes_on=at == len(runs) - 1 and entry.goes_on,
            )
            for at, (letter, count) in enumerate(runs)
        ]
        scripts = frozenset(script(one) for one in stream.text) - {""}
        return _Way(re.compile("".join(pieces)), scripts, _exact(stream.sources))

    def _match(self, text: str, best: dict[str, Entry]) -> None:
        """By the patterns, in the text as it is and as it looks."""
        if not self._patterns:
            return
        shown = composed(text).translate(LOOKS)
        contents = [one.encode() for one in {text: None, shown: None}]
        for entry, pattern in self._patterns:
            if _is_better(entry, best) and any(pattern.search(one) for one in contents):
                best[entry.list] = entry


def _automaton(entries: Sequence[Entry]) -> ahocorasick.Automaton | None:
    """Finds keys: of each its length, the numbers of the entries that have it, and of those among them that are parts of words."""
    numbers: dict[str, list[int]] = {}
    for number, one in enumerate(entries):
        numbers.setdefault(key_of(one.text), []).append(number)
    made = ahocorasick.Automaton()
    for key, known in numbers.items():
        open_ = tuple(one for one in known if entries[one].opens or entries[one].goes_on)
        made.add_word(key, (len(key), tuple(known), open_))
    made.make_automaton()
    return made if numbers else None


def _is_better(entry: Entry, best: Mapping[str, Entry]) -> bool:
    known = best.get(entry.list)
    return known is None or (-entry.score, entry.line) < (-known.score, known.line)


def _piece(letter: str, count: int, *, stretch: int, opens: bool, goes_on: bool) -> str:
    """A run of an entry: as many of its letter, or so many that they only stretch it. Where the word goes on, others of it may follow."""
    if letter == SPACE:
        return _GAP
    one = _STROKES.get(letter) or re.escape(letter)
    if opens or goes_on:
        others = f"{_STROKES[EITHER]}*" if letter in _STROKES else ""  # of which the rest of the word may begin
        return f"{others if opens else ''}{one}{{{count},}}{others if goes_on else ''}"
    if not stretch or letter.isdigit():
        return f"{one}{{{count}}}"
    return f"(?:{one}{{{max(stretch, count)},}}|{one}{{{count}}})"


def _exact(source: str) -> str:
    return " ".join(source.casefold().split())


def _speaks(stream: Stream, foreign: str, own: frozenset[str]) -> bool:
    """Whether the text has a letter of a foreign script that looks like none of the entry's own: then a word wholly in it is a word of its own."""
    looks = _looks(own)
    return any(
        script(source) == foreign and symbol not in looks
        for symbol, source in zip(stream.symbols, stream.sources, strict=True)
    )


@cache
def _looks(scripts: frozenset[str]) -> frozenset[str]:
    """The symbols of the letters of these scripts."""
    codes = (code for one in scripts for code in _ALPHABETS.get(one, range(0x10000)) if script(chr(code)) == one)
    return frozenset(symbol for code in codes for symbol in NATIVE.symbols[code])
