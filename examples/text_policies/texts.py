"""Writes the manifests of the shipped text policies and of their audits from public collections of sentences.

    python examples/text_policies/texts.py --data $MODERATION_DATA --out policies

`insults`: Surge AI's 1,000 comments (MIT), half of them toxic as people judged them. The audit: sentences made from templates and
identity terms (Conversation AI, Apache-2.0), the same sentence with many terms: a cluster is the sentence, a group the term.

`hate`: Davidson et al.'s tweets (MIT), found by a list of words, judged by three people or more as hateful, offensive only, or neither;
names of users and links are masked. The audit sets those that hold spellings of African American English beside the others.

`hateful-emoji`: HatemojiBuild (CC BY 4.0), written to fool classifiers, in pairs that differ in little and in their target.
"""

import argparse
import csv
import gzip
import hashlib
import html
import json
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from moderation.compiler.near import near_duplicates
from moderation.item import Part
from moderation.settings import ImageLimits

SALT = "moderation-text-policies-1:"
FIT_SHARE = 0.4
LONGEST = 700  # characters: what the sentence encoder can read whole
# Terms of several kinds; each is compared with each other in the very same sentences.
TERMS = (
    "american", "asian", "black", "blind", "buddhist", "catholic", "christian", "deaf", "elderly", "female", "gay", "heterosexual", "jewish",
    "lesbian", "male", "mexican", "middle aged", "muslim", "old", "straight", "transgender", "white", "young",
)  # fmt: skip
SENTENCES = 140
COMMENTS, TEMPLATES = "surge-ai/toxicity", "conversationai/unintended-ml-bias-analysis"
TWEETS, EMOJI = "t-davidson/hate-speech-and-offensive-language", "HannahKirk/Hatemoji"
# Spellings of words that linguists name as marks of African American English. A proxy: nobody was asked, and others write so too.
SPELLINGS = re.compile(
    r"\b(finna|iont|tryna|dat|dis|dey|dem|wit|gon|bouta|ova|naw|nun|sumn|mane|imma|dats|thang)\b", re.IGNORECASE
)
# How many tweets of a kind each split takes, in the order of filling: hateful or not, and by the spelling in the audit.
DEALT = {
    (True, "fit"): 200,
    (True, "certify"): 250,
    (False, "fit"): 400,
    (False, "certify"): 900,
    (False, "background"): 150,
    (False, "test"): 150,
}
AUDITED = {(True, "marked"): 60, (True, "other"): 150, (False, "marked"): 300, (False, "other"): 300}
PAIRS = {"fit": 200, "certify": 300, "background": 150}  # of the background, which breaks no policy, only one half


def comments(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The split and the row of every comment that the encoder can read whole, each text once."""
    seen = set()
    with path.open(encoding="utf-8", newline="") as file:
        for number, row in enumerate(csv.DictReader(file)):
            text = row["text"].strip()
            plain = re.sub(r"\W+", " ", text.lower()).strip()
            if not plain or plain in seen or len(text) > LONGEST:
                continue
            seen.add(plain)
            split = "fit" if place(plain) < FIT_SHARE else "certify"
            yield (
                split,
                line(
                    text, target=row["is_toxic"] == "Toxic", cluster=f"comment {number}", source=COMMENTS, licence="MIT"
                ),
            )


def sentences(path: Path) -> Iterator[dict[str, Any]]:
    """SENTENCES sentences, half of them violating, each with every term."""
    filled: dict[tuple[str, bool], dict[str, str]] = defaultdict(dict)
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            for term in TERMS:
                if row["phrase"].endswith(f" {term}") and row["template"] in {"name_adj", "being_adj", "you_are_adj"}:
                    frame = row["phrase"].removesuffix(term)
                    if not any(
                        other != term and other.endswith(f" {term}") and row["phrase"].endswith(other)
                        for other in TERMS
                    ):
                        filled[frame, row["toxicity"] == "toxic"][term] = row["phrase"]
    whole = {key: found for key, found in filled.items() if len(found) == len(TERMS)}
    for target in (True, False):
        frames = sorted((key for key in whole if key[1] is target), key=lambda key: place(key[0]))
        for key in frames[: SENTENCES // 2]:
            for term, phrase in sorted(whole[key].items()):
                yield line(
                    phrase,
                    target=target,
                    cluster=f"sentence {key[0].strip()}",
                    source=TEMPLATES,
                    licence="Apache-2.0",
                    identity=term,
                )


def tweets(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """The split and the row of each tweet that is used: by what its text says, in an order that only the text and the salt decide."""
    kinds: dict[bool, dict[str, tuple[str, str]]] = {True: {}, False: {}}
    with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            text = masked(row["tweet"])
            if plain := re.sub(r"\W+", " ", text.lower()).strip():
                kinds[row["class"] == "0"].setdefault(plain, (text, f"tweet {row['']}"))
    for target, found in kinds.items():
        left = iter(sorted(found, key=place))
        for split in ("fit", "certify", "background", "test"):
            for plain in islice(left, DEALT.get((target, split), 0)):
                text, cluster = found[plain]
                yield split, line(text, target=target, cluster=cluster, source=TWEETS, licence="MIT")
        wanted = {spelling: AUDITED[target, spelling] for spelling in ("marked", "other")}
        for plain in left:
            text, cluster = found[plain]
            spelling = "marked" if SPELLINGS.search(text) else "other"
            if wanted[spelling]:
                wanted[spelling] -= 1
                told = {"target": target, "cluster": cluster, "source": TWEETS, "licence": "MIT", "spelling": spelling}
                yield "audit", line(text, **told)


def masked(tweet: str) -> str:
    """A tweet without what names a user or a page, and without the retweet's mark."""
    text = html.unescape(html.unescape(tweet))
    text = re.sub(r"https?://\S*|\bt\.co/\S*", "[link]", re.sub(r"@\w+", "@user", text))
    return " ".join(re.sub(r"^(RT @user:? ?)+", "", text.strip()).split())


def pairs(paths: Iterable[Path]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The split and the rows of each pair that is used; a pair is a cluster, and of one text in two pairs the first stays."""
    rows: dict[str, Mapping[str, str]] = {}
    for path in paths:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            rows |= {row["entry_id"]: row for row in csv.DictReader(file)}
    whole = [one for one in rows.values() if one["entry_id"] < one["matched_id"] in rows]
    left = iter(sorted(whole, key=lambda one: place(one["text"])))
    for split, count in PAIRS.items():
        for one in islice(left, count):
            for row in (one, rows[one["matched_id"]]):
                told = {"cluster": f"pair {one['entry_id']}", "source": EMOJI, "licence": "CC-BY-4.0"}
                target = row["label_gold"] == "1"
                if not (target and split == "background"):
                    yield split, line(row["text"].strip(), target=target, **told)


def told_apart(rows: list[tuple[str, dict[str, Any]]]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows that are not nearly an earlier one of another cluster, quoted or cut."""
    twice = near_duplicates([Part.text(row["text"]) for _, row in rows], limits=ImageLimits())
    dropped = {later for one, later in twice if rows[one][1]["cluster"] != rows[later][1]["cluster"]}
    yield from (row for number, row in enumerate(rows) if number not in dropped)


def line(text: str, *, target: bool, cluster: str, source: str, licence: str, **attributes: str) -> dict[str, Any]:
    """One row of a manifest."""
    return {
        "text": text, "target": target, "cluster": cluster, "attributes": {"language": "en", **attributes}, "source": source,
        "licence": licence,
    }  # fmt: skip


def place(text: str) -> float:
    """Where a text falls in [0, 1), by nothing but itself and the salt."""
    return int.from_bytes(hashlib.sha256((SALT + text).encode()).digest()[:8], "big") / 2**64


def main() -> None:
    """Write everything and say how much."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds text/")
    parser.add_argument("--out", type=Path, default=Path("policies"))
    arguments = parser.parse_args()
    rows = defaultdict(list)
    for split, row in comments(arguments.data / "text/surge_toxicity_1000.csv"):
        rows[f"insults.{split}"].append(row)
    rows["insults.audit"] = list(sentences(arguments.data / "text/identity_sentence_templates_en.csv.gz"))
    builds = [arguments.data / f"text/hatemoji_build_{part}.csv.gz" for part in ("train", "validation", "test")]
    for policy, found in (
        ("hate", tweets(arguments.data / "text/davidson_tweets_24783.csv.gz")),
        ("hateful-emoji", pairs(builds)),
    ):
        for split, row in told_apart(list(found)):
            rows[f"{policy}.{split}"].append(row)
    folder = arguments.out / "data"
    folder.mkdir(parents=True, exist_ok=True)
    for name, found in rows.items():
        text = "".join(json.dumps(row, separators=(",", ":"), ensure_ascii=False) + "\n" for row in found)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
        print(f"{name}: {len(found)} rows, {sum(row['target'] for row in found)} violating")


if __name__ == "__main__":
    main()
