"""The objects that the demo's pictures show: drawings held out from training, each with its targets, author and licence."""

import json
import tomllib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
HELD_OUT = HERE.parent / "bundled_encoder"
POLICIES = ("weapons", "fire", "alcohol")
LISTS = {"game-icons": "game_icons.jsonl", "mdi": "material_design_icons.jsonl"}
_TARGETS = {"match": True, "ambiguous": None}
CC0_AUTHORS = frozenset({"viscious-speed", "zeromancer"})  # license.txt of game-icons names these two


@dataclass(frozen=True, slots=True)
class Drawing:
    """One SVG of one icon set."""

    source: str
    file: str
    author: str

    @property
    def licence(self) -> str:
        """The SPDX name of the drawing's licence."""
        if self.source == "mdi":
            return "Apache-2.0"
        return "CC0-1.0" if self.author in CC0_AUTHORS else "CC-BY-3.0"


@dataclass(frozen=True, slots=True)
class Thing:
    """One object, the unit of evidence: its drawings, and per policy True (violating), False (benign) or None (ambiguous)."""

    name: str
    drawings: tuple[Drawing, ...]
    targets: Mapping[str, bool | None]
    lookalike: bool


def read_rules() -> dict[str, Any]:
    """What was decided by hand."""
    return tomllib.loads((HERE / "targets.toml").read_text(encoding="utf-8"))


def read_things(icons: Path) -> list[Thing]:
    """Every held-out object of the icon lists under `icons` that may stand in a picture, by name."""
    rules = read_rules()
    held_out: dict[str, dict[str, list[str]]] = json.loads((HELD_OUT / "heldout.json").read_text("utf-8"))["objects"]
    categories = json.loads((HELD_OUT / "categories.json").read_text(encoding="utf-8"))
    authors = {source: _authors(icons / file) for source, file in LISTS.items()}
    drawn: dict[str, list[Drawing]] = defaultdict(list)
    kinds: dict[str, list[Mapping[str, str]]] = defaultdict(list)
    for source, objects in held_out.items():
        for name, files in objects.items():
            drawn[name] += [Drawing(source, file, authors[source][file]) for file in files]
            kinds[name] += [categories[source].get(file, {}) for file in files]
    dropped = set(rules["drop"])
    names = [name for name in sorted(drawn) if name not in dropped]
    targets = {
        name: {
            policy: _agree([_TARGETS.get(kind.get(policy, ""), False) for kind in kinds[name]]) for policy in POLICIES
        }
        for name in names
    }
    things = []
    for cluster, members in _clusters(names, rules["same"], drawn, targets).items():
        merged = {policy: _agree([targets[name][policy] for name in members]) for policy in POLICIES}
        lookalike = any("lookalike" in kind.values() for name in members for kind in kinds[name])
        drawings = tuple(drawing for name in members for drawing in drawn[name])
        things.append(Thing(cluster, drawings, merged, lookalike))
    return [thing for thing in things if thing.targets["weapons"] is not None]


def _authors(path: Path) -> dict[str, str]:
    rows = (json.loads(line) for line in path.read_text(encoding="utf-8").splitlines())
    return {row["file"]: row["author"] for row in rows}


def _agree(targets: list[bool | None]) -> bool | None:
    return targets[0] if len(set(targets)) == 1 else None


def _clusters(
    names: list[str],
    same: Mapping[str, Any],
    drawn: Mapping[str, list[Drawing]],
    targets: Mapping[str, Mapping[str, bool | None]],
) -> dict[str, list[str]]:
    """Cluster name to the object names in it: by hand, by first word, by the same words, by all words but one of three."""
    key = {name: name for name in names}
    for group in [*same["weapons"], *same["benign"]]:
        key |= dict.fromkeys([name for name in group if name in key], group[0])
    seen: dict[tuple[str, ...], str] = {}
    for name in names:
        words = name.split()
        violating = any(targets[name].values())
        if key[name] != name or violating:
            continue
        if len(words) > 1 and words[0] in same["first_word"] and all(one.source == "mdi" for one in drawn[name]):
            key[name] = words[0]
            continue
        stems = tuple(sorted(word.rstrip("s") for word in words))
        near = [stems] if len(stems) < 3 else [stems, *(stems[:i] + stems[i + 1 :] for i in range(len(stems)))]
        key[name] = next((seen[one] for one in near if one in seen), name)
        for one in near:
            seen.setdefault(one, key[name])
    clusters: dict[str, list[str]] = defaultdict(list)
    for name in names:
        clusters[key[name]].append(name)
    return clusters
