"""Composes the demo's pictures from drawings held out of training, deals their objects to splits, and writes the manifests.

    python examples/demo_pictures/compose.py --data $MODERATION_DATA --out policies

The same icons, rules and library versions give the same bytes. Rendering needs resvg_py, which the demo itself does not.
"""

import argparse
import hashlib
import json
import re
import shutil
import tarfile
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drawings import POLICIES, Drawing, Thing, read_rules, read_things
from scene import draw_scene, to_webp

ARCHIVES = {"game-icons": "game_icons_svg.tar.xz", "mdi": "material_design_icons_svg.tar.xz"}
LICENCES = {
    "game-icons": ("license.txt", "LICENSE.game-icons.txt"),
    "mdi": ("LICENSE", "LICENSE.material-design-icons.txt"),
}
BENIGN_FOR_ALCOHOL = 600  # a policy that has just begun: few targets of either kind
USES = ("fit", "certify", "stream")


@dataclass(frozen=True, slots=True)
class Picture:
    """One composed picture as a manifest tells it, with the targets of its object."""

    split: str
    name: str
    sha256: str
    thing: Thing
    drawing: Drawing
    attributes: Mapping[str, str]

    def row(self, policy: str | None) -> dict[str, Any]:
        """The picture's line in a manifest of `policy`; None is the background bank, which breaks no policy."""
        return {
            "path": f"../pictures/{self.split}/{self.name}",
            "sha256": self.sha256,
            "target": policy is not None and self.thing.targets[policy] is True,
            "cluster": self.thing.name,
            "attributes": dict(self.attributes),
            "source": f"{self.drawing.source}:{self.drawing.file}",
            "licence": self.drawing.licence,
        }


def deal(things: Sequence[Thing], rules: Mapping[str, Any]) -> dict[str, list[Thing]]:
    """Split name to its objects: each object in one split, in an order that only its name and the salt decide."""
    plan, salt = rules["splits"], rules["salt"]
    kinds: dict[str, list[Thing]] = defaultdict(list)
    splits: dict[str, list[Thing]] = {name: [] for name in plan["order"]}
    by_hand = set(plan["test_benign"])
    splits["test"] += [thing for thing in things if thing.name in by_hand]
    for thing in sorted((t for t in things if t.name not in by_hand), key=lambda thing: _hash(salt + thing.name)):
        kinds[next((policy for policy in POLICIES if thing.targets[policy]), "benign")].append(thing)
    for kind, members in kinds.items():
        left = list(members)
        # The bank and the test cases must break no policy and be a matter of opinion under none.
        for name in plan["order"]:
            wanted = len(left) if name == "certify" else plan[kind].get(name, 0)
            clear = [t for t in left if name not in {"background", "test"} or None not in t.targets.values()][:wanted]
            splits[name] += clear
            left = [thing for thing in left if thing not in clear]
    return {name: sorted(members, key=lambda thing: thing.name) for name, members in splits.items()}


def compose(splits: Mapping[str, Sequence[Thing]], rules: Mapping[str, Any], icons: Path, out: Path) -> list[Picture]:
    """Draw every scene into `out`/pictures and tell what was drawn."""
    svgs = {source: _read_svgs(icons / archive) for source, archive in ARCHIVES.items()}
    pictures = []
    for split, things in splits.items():
        folder = out / "pictures" / split
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for thing in things:
            for number in range(rules["splits"]["scenes"][split]):
                drawing = thing.drawings[number % len(thing.drawings)]
                image, scene = draw_scene(
                    svgs[drawing.source][drawing.file], f"{rules['salt']}{split}/{thing.name}/{number}"
                )
                content = to_webp(image)
                name = f"{re.sub(r'[^a-z0-9]+', '-', thing.name)}{f'-{number + 1}' if number else ''}.webp"
                (folder / name).write_bytes(content)
                attributes = {"drawn_by": drawing.source, "background": scene.background, "frame": scene.frame}
                if thing.lookalike:
                    attributes["lookalike"] = "yes"
                pictures.append(Picture(split, name, hashlib.sha256(content).hexdigest(), thing, drawing, attributes))
    return pictures


def write_manifests(pictures: Sequence[Picture], salt: str, folder: Path) -> dict[str, int]:
    """Write background.jsonl and, for each policy and use, <policy>.<use>.jsonl; returns the number of rows of each."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = {"background": [one.row(None) for one in pictures if one.split == "background"]}
    for policy in POLICIES:
        for use in USES:
            known = [one for one in pictures if one.split == use and one.thing.targets[policy] is not None]
            if policy == "alcohol" and use == "certify":
                known = _few(known, policy, salt)
            if any(one.thing.targets[policy] for one in known):
                rows[f"{policy}.{use}"] = [one.row(policy) for one in known]
    for name, lines in rows.items():
        text = "".join(json.dumps(line, separators=(",", ":"), ensure_ascii=False) + "\n" for line in lines)
        (folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    return {name: len(lines) for name, lines in rows.items()}


def write_attribution(pictures: Iterable[Picture], icons: Path, folder: Path) -> None:
    """The licences of both icon sets, and for each author the drawings that stand in a picture."""
    for source, (member, name) in LICENCES.items():
        with tarfile.open(icons / ARCHIVES[source]) as archive:
            found = archive.extractfile(member)
            (folder / name).write_bytes(found.read() if found else b"")
    used: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    for picture in pictures:
        drawing = picture.drawing
        used[drawing.source, drawing.licence, drawing.author].add(drawing.file)
    lines = [*_ATTRIBUTION_HEAD]
    for (source, licence, author), files in sorted(used.items()):
        names = ", ".join(sorted(Path(file).stem for file in files))
        lines += ["", f"## Icons made by {author} ({source}, {licence})", "", names]
    (folder / "ATTRIBUTION.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


_ATTRIBUTION_HEAD = (
    "# Who drew what",
    "",
    "Every picture here was composed by `examples/demo_pictures/compose.py` from one drawing of one of two icon sets, coloured, turned,",
    "scaled and set on a background that the script draws itself. Each line of `../data/*.jsonl` names the drawing and its licence.",
    "",
    "- game-icons (game-icons.net): Creative Commons Attribution 3.0, <https://creativecommons.org/licenses/by/3.0/>, except two authors",
    "  who gave theirs under CC0 1.0; the set's own statement is `LICENSE.game-icons.txt`. Pictures made from a drawing under CC BY 3.0 are",
    "  offered under CC BY 3.0 as well; naming this file and the drawing's author is enough.",
    "- Material Design Icons (Pictogrammers): Apache License 2.0 (the text is the repository's `LICENSE`); the set's own statement is",
    "  `LICENSE.material-design-icons.txt`. Pictures made from them are offered under Apache-2.0.",
)


def _few(pictures: Sequence[Picture], policy: str, salt: str) -> list[Picture]:
    benign = sorted(
        (one for one in pictures if not one.thing.targets[policy]), key=lambda one: _hash(salt + one.thing.name)
    )
    kept = {one.thing.name for one in benign[:BENIGN_FOR_ALCOHOL]}
    return [one for one in pictures if one.thing.targets[policy] or one.thing.name in kept]


def _read_svgs(archive: Path) -> dict[str, str]:
    with tarfile.open(archive) as members:
        svgs = {}
        for member in members:
            found = members.extractfile(member) if member.name.endswith(".svg") else None
            if found:
                svgs[member.name] = found.read().decode("utf-8")
        return svgs


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def main() -> None:
    """Compose everything and say what was made."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds icons/")
    parser.add_argument("--out", type=Path, default=Path("policies"))
    arguments = parser.parse_args()
    icons, rules = arguments.data / "icons", read_rules()
    splits = deal(read_things(icons), rules)
    pictures = compose(splits, rules, icons, arguments.out)
    rows = write_manifests(pictures, rules["salt"], arguments.out / "data")
    write_attribution(pictures, icons, arguments.out / "pictures")
    for split, things in splits.items():
        counts = ", ".join(f"{sum(t.targets[p] is True for t in things)} {p}" for p in POLICIES)
        print(f"{split}: {len(things)} objects ({counts})")
    print("; ".join(f"{name}: {count} rows" for name, count in rows.items()))


if __name__ == "__main__":
    main()
