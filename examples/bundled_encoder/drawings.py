"""Finds every drawing of the recipe: where its SVG or PNG comes from, its name, its object, its words."""

import json
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heldout import read_categories
from objects import object_name, words

EMOJI_STYLES = ("noto", "noto-v1", "twemoji", "fluent-emoji", "fluent-emoji-flat", "fluent-emoji-high-contrast")
MEASURED_STYLES = ("openmoji", "fxemoji")
# Colour icons in many hands: outlined and flat, angular, plump, loose pen. They are what a drawing style never seen has most in common with.
COLOUR_ICON_STYLES = (
    "streamline-color", "streamline-plump-color", "streamline-sharp-color", "streamline-flex-color", "streamline-cyber-color",
    "streamline-freehand-color", "streamline-ultimate-color", "streamline-kameleon-color", "streamline-stickies-color", "flat-color-icons",
)  # fmt: skip
ICON_STYLES = ("tabler", "ph", "lucide", "icon-park", "mingcute", "fa6-solid", "healthicons", *COLOUR_ICON_STYLES)
PACKAGES = EMOJI_STYLES + MEASURED_STYLES + ICON_STYLES

_SKIN = re.compile(r"-(medium-light|medium-dark|light|medium|dark)(-skin-tone)?(-|$)")
_BRAND = re.compile(
    r"^(brand|logo|letter|number|align|layout|box-|square-letter|square-number|circle-letter|circle-number|hexagon)|-logo|-brand"
)
_STYLE_SUFFIX = re.compile(
    r"[- ](outline|outlined|filled|fill|line|bold|light|thin|duotone|solid|24px|variant|alt|alternate|flat|duo|\d+)$"
)
_PH_STYLES = re.compile(r"-(thin|light|bold)$")
# fxemoji writes names without spaces; these are the ones that do not match a Unicode name once spaces are gone.
_FX_NAMES = {
    "sakebottleandcup": "sake", "daggerknife": "dagger", "playingcardblackjoker": "joker", "mahjong": "mahjong red dragon",
    "smokingsymbol": "cigarette", "reversehandmiddlefinger": "middle finger", "hocho": "kitchen knife", "hammer": "hammer",
    "fireengine": "fire engine", "frenchfries": "french fries", "fishcakeswirl": "fish cake with swirl", "forkandknife": "fork and knife with plate",
    "forkknife": "fork and knife", "thumbsup": "thumbs up", "thumbsdown": "thumbs down", "victoryhand": "victory hand", "okgesture": "OK hand",
    "waving": "waving hand", "clap": "clapping hands", "fistedhand": "oncoming fist", "raisedfist": "raised fist", "hand": "raised hand",
    "sidewaysuppointingindex": "index pointing up", "pray": "folded hands", "flexbicep": "flexed biceps", "steamingbowl": "steaming bowl",
    "teacupwithouthandle": "teacup without handle", "hotbeverage": "hot beverage", "babybottle": "baby bottle", "fireworksparkler": "sparkler",
    "sportsmedal": "sports medal", "videogame": "video game", "creditcard": "credit card", "directhit": "bullseye", "electrictorch": "flashlight",
    "fishingpoleandfish": "fishing pole", "shootingstar": "shooting star", "cooking": "cooking", "blowfish": "blowfish",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Drawing:
    """One picture: `svg` text or `png` bytes, exactly one of them set."""

    source: str
    file: str
    name: str
    object: str
    words: tuple[str, ...]
    svg: str | None = None
    png: bytes | None = None


def emoji_drawings(packages: Path, data: Path, style: str) -> Iterator[Drawing]:
    """The base emoji (no skin tone) of one style, named as Unicode names them where the package does."""
    corpus = {r["name"]: r for r in _rows(data / "emoji/emoji_corpus.jsonl") if not r["skin_tones"]}
    by_key = {"-".join(words(name)): name for name in corpus} | {
        "".join(words(name)): name for name in reversed(corpus)
    }
    by_key |= _FX_NAMES if style == "fxemoji" else {}
    for key, svg in _package(packages, style):
        name = by_key.get(key)
        if name is None and (_SKIN.search(key) or style in MEASURED_STYLES):
            continue
        name = name or key.replace("-", " ")
        keywords = tuple(k.replace("_", " ").replace("\xa0", " ") for k in corpus.get(name, {}).get("keywords", ()))
        yield Drawing(source=style, file=key, name=name, object=object_name(name), words=keywords, svg=svg)


def icon_drawings(packages: Path, style: str) -> Iterator[Drawing]:
    """The icons of one package that show a thing: no brands, letters or layout marks, one or two weights of each."""
    for key, svg in _package(packages, style):
        if (
            _BRAND.search(key)
            or (style == "ph" and _PH_STYLES.search(key))
            or (style == "healthicons" and key.endswith("24px"))
        ):
            continue
        name = _plain(key.replace("-", " "))
        yield Drawing(source=style, file=key, name=name, object=object_name(key), words=(), svg=svg)


def shared_icons(data: Path, source: str) -> Iterator[Drawing]:
    """game-icons or Material Design icons, with their aliases, tags and hand-cleaned policy words."""
    stem, tar = {
        "game-icons": ("icons/game_icons", "icons/game_icons_svg.tar.xz"),
        "mdi": ("icons/material_design_icons", "icons/material_design_icons_svg.tar.xz"),
    }[source]
    categories = read_categories()[source]
    rows = {row["file"]: row for row in _rows(data / f"{stem}.jsonl")}
    for file, content in _members(data / tar):
        if (row := rows.get(file)) is None:
            continue
        kinds = categories.get(file, {})
        policy_words = tuple(p.rstrip("s").replace("_", " ") for p, kind in kinds.items() if kind == "match")
        aliases = tuple(_plain(a.replace("-", " ")) for a in row.get("aliases", ()))
        tags = tuple(t.lower() for tag in row.get("tags", ()) for t in re.split(r" / ", tag))
        name = _plain(row["name"])
        yield Drawing(source, file, name, object_name(row["name"]), policy_words + aliases + tags, svg=content.decode())


def tile_drawings(data: Path) -> Iterator[Drawing]:
    """The item tiles of Dungeon Crawl (32 px, CC0); floors, walls and brand marks show no object."""
    rows = {row["file"]: row for row in _rows(data / "icons/dcss_tiles.jsonl")}
    for file, content in _members(data / "icons/dcss_tiles_png32.tar.xz"):
        row = rows.get(file)
        if (
            row is None
            or not row["group"].startswith("item")
            or "brand" in row["group"]
            or row["name"].startswith("i-")
        ):
            continue
        kind = row["group"].split("/")[1]
        name = re.sub(r"^(urand|spwpn|misc) ", "", row["name"])
        yield Drawing("dcss", file, name, object_name(name), (kind,) if kind != "misc" else (), png=content)


def _plain(name: str) -> str:
    while (shorter := _STYLE_SUFFIX.sub("", name)) != name:
        name = shorter
    return name


def _package(packages: Path, style: str) -> Iterator[tuple[str, str]]:
    found = json.loads((packages / "@iconify-json" / style / "icons.json").read_text(encoding="utf-8"))
    for key, icon in found["icons"].items():
        width, height = icon.get("width", found.get("width", 16)), icon.get("height", found.get("height", 16))
        box = f"{icon.get('left', 0)} {icon.get('top', 0)} {width} {height}"
        yield (
            key,
            f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" viewBox="{box}">{icon["body"]}</svg>',
        )


def _members(path: Path) -> Iterator[tuple[str, bytes]]:
    with tarfile.open(path) as archive:
        for member in archive:
            if member.isfile() and (handle := archive.extractfile(member)) is not None:
                yield member.name, handle.read()


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)
