"""Writes the manifests of the shipped text policy and of its audit from two public collections of sentences.

    python examples/text_policies/texts.py --data $MODERATION_DATA --out policies

`insults`: Surge AI's 1,000 comments (MIT), half of them toxic as people judged them. The audit: sentences made from templates and
identity terms (Conversation AI, Apache-2.0), the same sentence with many terms: a cluster is the sentence, a group the term.
"""

import argparse
import csv
import gzip
import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
    folder = arguments.out / "data"
    folder.mkdir(parents=True, exist_ok=True)
    for name, found in rows.items():
        text = "".join(json.dumps(row, separators=(",", ":"), ensure_ascii=False) + "\n" for row in found)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
        print(f"{name}: {len(found)} rows, {sum(row['target'] for row in found)} violating")


if __name__ == "__main__":
    main()
