"""Writes the manifests of the gallery's further policies about pictures: the demo's pictures, judged under other rules.

    python examples/gallery_pictures/deal.py --out policies

Nothing is drawn: every picture stands in policies/pictures already, and was never seen in training. targets.toml says what each of them
is under each policy; an object falls into one use (test, fit, exemplars, certify) by its name and the salt alone.
"""

import argparse
import hashlib
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
POLICIES = HERE.parents[1] / "policies"
SOURCES = [f"{policy}.{use}" for policy in ("weapons", "fire", "alcohol") for use in ("fit", "stream", "certify")]
SCENES = {"fit": 2, "exemplars": 2, "test": 1, "certify": 1}  # pictures of one object at most
Row = dict[str, Any]
Split = dict[str, list[str]]  # use to the objects in it


def main() -> None:
    """Write everything and say how much."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=POLICIES)
    folder = parser.parse_args().out / "data"
    folder.mkdir(parents=True, exist_ok=True)
    for name, rows in manifests(read_rules(), read_pictures(POLICIES / "data"), read_background(POLICIES / "data")):
        text = "".join(json.dumps(row, separators=(",", ":"), ensure_ascii=False) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
        objects = {row["cluster"]: row["target"] for row in rows}
        print(f"{name}: {len(rows)} rows of {len(objects)} objects, {sum(objects.values())} violating")


def read_rules() -> dict[str, Any]:
    """What was decided by hand, a policy that adds to another one with the other's violating objects."""
    rules = tomllib.loads((HERE / "targets.toml").read_text(encoding="utf-8"))
    for one in rules.values():
        if isinstance(one, dict) and (other := one.pop("also_violating_under", None)):
            one["violating"] = [*rules[other]["violating"], *one["violating"]]
    return rules


def read_pictures(folder: Path) -> dict[str, list[Row]]:
    """Every picture that the demo's policies fit, certify or stream, as a row, by its object."""
    found: dict[str, dict[str, Row]] = {}
    for name in SOURCES:
        path = folder / f"{name}.jsonl"
        for row in _rows(path) if path.exists() else ():
            found.setdefault(row["cluster"], {}).setdefault(row["path"], row)
    return {
        name: [rows[path] for path in sorted(rows, key=lambda path: (len(path), path))] for name, rows in found.items()
    }


def read_background(folder: Path) -> list[Row]:
    """The ordinary pictures that all policies share."""
    return list(_rows(folder / "background.jsonl"))


def manifests(
    rules: Mapping[str, Any], pictures: Mapping[str, Sequence[Row]], background: Sequence[Row]
) -> Iterator[tuple[str, list[Row]]]:
    """Each manifest's name and rows."""
    for policy, rule in rules.items():
        if policy == "salt":
            continue
        violating, alike = set(rule["violating"]), set(rule["lookalike"])
        for use, objects in deal(policy, rule, pictures, rules["salt"]).items():
            rows = [
                _judged(row, violating=name in violating, alike=name in alike)
                for name in sorted(objects)
                for row in pictures[name][: SCENES[use]]
            ]
            if use == "exemplars":
                yield f"{policy}.violating", [row for row in rows if row["target"]]
                yield f"{policy}.contrast", [row for row in rows if not row["target"]]
            else:
                yield f"{policy}.{use}", rows
        if left_out := set(rule.get("not_ordinary", ())):
            yield f"{policy}.background", [row for row in background if row["cluster"] not in left_out]


def deal(policy: str, rule: Mapping[str, Any], pictures: Mapping[str, Sequence[Row]], salt: str) -> Split:
    """The objects of each use of one policy. Raises KeyError for a name that no picture shows."""
    named = {kind: set(rule[kind]) for kind in ("violating", "lookalike", "ambiguous")}
    if unknown := set().union(*named.values()) - set(pictures):
        raise KeyError(f"{policy}: no picture shows {sorted(unknown)}")
    kinds = {
        "violating": named["violating"],
        "lookalike": named["lookalike"],
        "ordinary": set(pictures).difference(*named.values()),
    }
    split: Split = {}
    for kind, names in kinds.items():
        left = sorted(names, key=lambda name: hashlib.sha256(f"{salt}{policy}/{name}".encode()).digest())
        for use, count in rule[f"{kind}_objects"].items():
            split.setdefault(use, []).extend(left[:count])
            left = left[count:]
        if kind != "ordinary":
            split.setdefault("certify", []).extend(left)
    return split


def _judged(row: Row, *, violating: bool, alike: bool) -> Row:
    attributes = {"drawn_by": row["attributes"]["drawn_by"]} | ({"lookalike": "yes"} if alike else {})
    return {**row, "target": violating, "attributes": attributes}


def _rows(path: Path) -> Iterator[Row]:
    return map(json.loads, path.read_text(encoding="utf-8").splitlines())


if __name__ == "__main__":
    main()
