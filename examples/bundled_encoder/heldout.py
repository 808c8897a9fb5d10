"""Applies the rule of heldout.toml to the icon sets and writes the list it gives, heldout.json."""

import argparse
import hashlib
import json
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from objects import object_name

HERE = Path(__file__).parent
ICON_SETS = {"game-icons": "icons/game_icons.jsonl", "mdi": "icons/material_design_icons.jsonl"}
EMOJI = "emoji/emoji_corpus.jsonl"


def read_rule() -> dict[str, Any]:
    """The rule, phrases and styles of heldout.toml."""
    return tomllib.loads((HERE / "heldout.toml").read_text(encoding="utf-8"))


def read_categories() -> dict[str, dict[str, dict[str, str]]]:
    """Source to file (emoji: name) to policy to "match", "ambiguous" or "lookalike"."""
    found: dict[str, dict[str, dict[str, str]]] = json.loads((HERE / "categories.json").read_text(encoding="utf-8"))
    return {source: files for source, files in found.items() if source != "schema"}


def held_out_objects() -> frozenset[str]:
    """Every object that training never draws, from the committed list."""
    listed = json.loads((HERE / "heldout.json").read_text(encoding="utf-8"))
    by_hand = {object_name(name) for names in read_rule()["objects"].values() for name in names}
    return frozenset(by_hand.union(*(files.keys() for files in listed["objects"].values())))


def apply_rule(data: Path) -> dict[str, dict[str, list[str]]]:
    """Source to held-out object to its files, by the rule, from the icon sets under `data`."""
    rule, categories = read_rule(), read_categories()
    by_hand = {object_name(name) for names in rule["objects"].values() for name in names}
    drawn_as_emoji = {object_name(row["name"]) for row in _rows(data / EMOJI)}
    files: dict[str, dict[str, list[str]]] = {}
    shares: dict[str, float] = {}
    for source, path in ICON_SETS.items():
        files[source] = {}
        for row in _rows(data / path):
            name = object_name(row["name"])
            files[source].setdefault(name, []).append(row["file"])
            share = _share(rule["share"][source], categories[source].get(row["file"], {}))
            shares[name] = max(share, shares.get(name, 0.0))
    drawn = {name for name in shares if name not in drawn_as_emoji and _fraction(rule["salt"] + name) < shares[name]}
    held_out = drawn | by_hand
    return {
        source: {n: sorted(f) for n, f in sorted(found.items()) if n in held_out} for source, found in files.items()
    }


def _share(shares: Mapping[str, float], kinds: Mapping[str, str]) -> float:
    matched = [shares[policy] for policy, kind in kinds.items() if kind == "match"]
    return max(matched, default=shares["benign"])


def _fraction(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


def _rows(path: Path) -> Iterable[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def main() -> None:
    """Write heldout.json beside this file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    found = apply_rule(parser.parse_args().data)
    text = json.dumps({"schema": "held-out/v1", "objects": found}, indent=0, ensure_ascii=False)
    (HERE / "heldout.json").write_text(text + "\n", encoding="utf-8")
    for source, objects in found.items():
        print(f"{source}: {len(objects)} objects, {sum(map(len, objects.values()))} files held out")


if __name__ == "__main__":
    main()
