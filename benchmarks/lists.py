"""Lists of words: how fast texts are searched, and which disguises of an entry are found, beside a loop over all entries and two peers.

Entries, texts and disguises are drawn with a seed. The peers, where they are installed: flashtext, better-profanity. One thread each.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import random
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "plugins" / "moderation-lists"))

from moderation_lists.entries import Entry
from moderation_lists.matcher import Matcher

SEED = 7
VOWELS, CONSONANTS = "aeiou", "bcdfghjklmnprstvwz"
CYRILLIC = str.maketrans("aceopxyi", "асеорхуі")
LEET = str.maketrans("aeostb", "430578")
QUICK, MOST = (
    ("ours", "flashtext"),
    10_000,
)  # who is tried with all sizes, and how many entries others are tried with at most
Find = Callable[[str], bool]


def _words(rng: random.Random, count: int) -> list[str]:
    """Different words of two to five syllables."""
    words: dict[str, None] = {}
    while len(words) < count:
        syllables = (
            rng.choice(CONSONANTS) + rng.choice(VOWELS) + rng.choice(["", "", *CONSONANTS])
            for _ in range(rng.randint(2, 5))
        )
        words["".join(syllables)] = None
    return list(words)


def _heaped(word: str, heap: str) -> str:
    return "".join(letter + heap for letter in word)


def _stretched(word: str) -> str:
    return word[0] + word[1] * 4 + word[2:]


DISGUISES: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "capitals": str.upper,
    "bold letters": lambda word: "".join(chr(ord(one) - ord("a") + 0x1D41A) for one in word),
    "Cyrillic letters": lambda word: word.translate(CYRILLIC),
    "accents": lambda word: _heaped(word, "\u0301"),
    "marks heaped on it": lambda word: _heaped(word, "\u0336\u0359\u0308\u0301"),
    "zero-width spaces": "\u200b".join,
    "dots between": ".".join,
    "letters alone": " ".join,
    "stretched": _stretched,
    "figures": lambda word: word.translate(LEET),
}
# What is another word; as a share of those, what is said to be an entry.
OTHERS: dict[str, Callable[[str], str]] = {
    "within a word": lambda word: f"un{word}ing",
    "a letter more": lambda word: word[0] + word[1] * 2 + word[2:],
    "end of one, start of the next": lambda word: f"q{word[:2]} {word[2:]}",
}


def _ours(words: list[str]) -> Find:
    matcher = Matcher(
        [Entry("list", str(number), number, 1.0, word) for number, word in enumerate(words)], [], leet=True, stretch=3
    )
    return lambda text: bool(matcher.find(text))


def _loop(words: list[str]) -> Find:
    patterns = [re.compile(rf"\b{re.escape(word)}\b", re.IGNORECASE) for word in words]
    return lambda text: any(pattern.search(text) for pattern in patterns)


def _flashtext(words: list[str]) -> Find:
    from flashtext import KeywordProcessor

    processor = KeywordProcessor()
    processor.add_keywords_from_list(words)
    return lambda text: bool(processor.extract_keywords(text))


def _better_profanity(words: list[str]) -> Find:
    from better_profanity import Profanity

    profanity = Profanity()
    profanity.load_censor_words(words)
    return lambda text: bool(profanity.contains_profanity(text))


def _seconds(find: Find, texts: Iterable[str]) -> float:
    """Of a text, in the mean."""
    texts = list(texts)
    for text in texts[:20]:
        find(text)
    begun = time.perf_counter()
    for text in texts:
        find(text)
    return (time.perf_counter() - begun) / len(texts)


def main() -> None:
    """Print the figures as JSON: times by number of entries, and shares of what is found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 10_000, 100_000])
    parser.add_argument("--texts", type=int, default=2000, help="texts of 20 words each")
    parser.add_argument("--json", action="store_true", help="on one line")
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    rng = random.Random(SEED)
    vocabulary = _words(rng, max(arguments.sizes) + 20_000)
    listed, said = vocabulary[:-20_000], vocabulary[-20_000:]
    texts = [" ".join(rng.choices(said, k=20)) for _ in range(arguments.texts)]
    makers = _makers()
    rows = [
        {"entries": size, "engine": name, **_timed(make, listed[:size], texts if name in QUICK else texts[:50])}
        for size in arguments.sizes
        for name, make in makers.items()
        if name in QUICK or size <= MOST
    ]
    words = [word for word in listed[:100] if len(word) >= 5 and all(a != b for a, b in pairwise(word))]
    finds = {name: make(words) for name, make in makers.items()}
    result = {
        "load_before": round(load, 1),
        "characters": round(sum(map(len, texts)) / len(texts)),
        "rows": rows,
        "words": len(words),
        "found": {kind: _shares(finds, words, disguise) for kind, disguise in DISGUISES.items()},
        "other_words_found": {kind: _shares(finds, words, other) for kind, other in OTHERS.items()},
    }
    print(json.dumps(result, indent=None if arguments.json else 2))


def _makers() -> dict[str, Callable[[list[str]], Find]]:
    makers = {"ours": _ours, "a loop": _loop}
    if importlib.util.find_spec("flashtext"):
        makers["flashtext"] = _flashtext
    if importlib.util.find_spec("better_profanity"):
        makers["better-profanity"] = _better_profanity
    return makers


def _timed(make: Callable[[list[str]], Find], words: list[str], texts: list[str]) -> dict[str, float]:
    begun = time.perf_counter()
    find = make(words)
    made = time.perf_counter() - begun
    return {"microseconds_a_text": round(_seconds(find, texts) * 1e6), "made_in_seconds": round(made, 2)}


def _shares(finds: Mapping[str, Find], words: list[str], disguise: Callable[[str], str]) -> dict[str, float]:
    return {
        name: round(sum(find(f"buy {disguise(word)} now") for word in words) / len(words), 2)
        for name, find in finds.items()
    }


if __name__ == "__main__":
    main()
