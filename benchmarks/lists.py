"""Lists of words: how fast texts are searched, and which disguises of an entry are found, beside a loop over all entries and two peers.

Entries, texts and disguises are drawn with a seed. The peers, where they are installed: flashtext, better-profanity. One thread each.
"""

from __future__ import annotations

import argparse
import importlib.util
import random
import re
import sys
import time
from collections.abc import Callable, Iterable
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "plugins" / "moderation-lists"))

from moderation_lists.entries import Entry
from moderation_lists.matcher import Matcher

SEED = 7
VOWELS, CONSONANTS = "aeiou", "bcdfghjklmnprstvwz"
CYRILLIC = str.maketrans("aceopxyi", "асеорхуі")
LEET = str.maketrans("aeostb", "430578")
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
    """Prints a table of times by number of entries, and one of what is found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 10_000, 100_000])
    parser.add_argument("--texts", type=int, default=2000, help="texts of 20 words each")
    arguments = parser.parse_args()
    makers: dict[str, tuple[Callable[[list[str]], Find], int]] = {"ours": (_ours, 10**9), "a loop": (_loop, 10_000)}
    if importlib.util.find_spec("flashtext"):
        makers["flashtext"] = (_flashtext, 10**9)
    if importlib.util.find_spec("better_profanity"):
        makers["better-profanity"] = (_better_profanity, 10_000)

    rng = random.Random(SEED)
    vocabulary = _words(rng, max(arguments.sizes) + 20_000)
    listed, said = vocabulary[:-20_000], vocabulary[-20_000:]
    texts = [" ".join(rng.choices(said, k=20)) for _ in range(arguments.texts)]
    for size in arguments.sizes:
        for name, (make, most) in makers.items():
            if size <= most:
                begun = time.perf_counter()
                find = make(listed[:size])
                made = time.perf_counter() - begun
                few = texts if name in ("ours", "flashtext") else texts[:50]
                print(
                    f"{size:>7} entries  {name:<17} {_seconds(find, few) * 1e6:>10.0f} µs a text of {len(texts[0])} characters, made in {made:.2f} s"
                )

    words = [word for word in listed[:100] if len(word) >= 5 and all(a != b for a, b in pairwise(word))]
    finds = {name: make(words) for name, (make, _) in makers.items()}
    for title, kinds in (("found", DISGUISES), ("found, and other words", OTHERS)):
        print(f"\n{title:<32}" + "".join(f"{name:>18}" for name in finds))
        for kind, disguise in kinds.items():
            shares = (sum(find(f"buy {disguise(word)} now") for word in words) / len(words) for find in finds.values())
            print(f"{kind:<32}" + "".join(f"{share:>18.0%}" for share in shares))


if __name__ == "__main__":
    main()
