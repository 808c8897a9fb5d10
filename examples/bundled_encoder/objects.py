"""What counts as one object: a drawing's name with its style, variant, number and direction words taken off."""

import re

_NUMBERS = frozenset(
    [
        "zero",
        "one",
        "two",
        "three",
        "four",
        "five",
        "six",
        "seven",
        "eight",
        "nine",
        "ten",
        "eleven",
        "twelve",
        "twenty",
    ]
)
_SUITS = frozenset(
    ["club", "clubs", "diamond", "diamonds", "heart", "hearts", "spade", "spades", "ace", "jack", "queen", "king"]
)
_TRAILING = frozenset(
    # style words of the icon packages, then the states that icon sets draw in a corner of the same picture
    [
        "outline",
        "outlined",
        "off",
        "filled",
        "fill",
        "line",
        "linear",
        "bold",
        "light",
        "thin",
        "duotone",
        "slash",
        "variant",
        "multiple",
        "solid",
        "24px",
        "regular",
        "alt",
        "plus",
        "minus",
        "check",
        "checked",
        "alert",
        "remove",
        "removed",
        "edit",
        "lock",
        "locked",
        "unlock",
        "open",
        "closed",
        "cog",
        "clock",
        "search",
        "cancel",
        "sync",
        "refresh",
        "settings",
        "question",
        "exclamation",
        "add",
        "delete",
        "pause",
        "play",
        "stop",
        "star",
        "start",
        "end",
        "up",
        "down",
        "left",
        "right",
        "top",
        "bottom",
        "back",
        "front",
        "vertical",
        "horizontal",
        "circle",
        "box",
        "square",
        "group",
        "network",
        "marker",
        "key",
        "eye",
        "wrench",
        "small",
        "large",
        "x",
        "cw",
        "ccw",
        "download",
        "upload",
        "share",
        "cross",
    ]
)
_SKIN = re.compile(r"\b(medium light|medium dark|light|medium|dark) skin tone\b")
_KEEP = frozenset(
    {"sword cross", "death star", "sea lion", "open book", "pipe wrench", "traffic light", "stop", "play"}
)


def words(name: str) -> list[str]:
    """The lower-case words of a file name or a caption, in order."""
    return re.findall(r"[a-z0-9]+", name.lower().replace("'", "").replace("’", ""))


def object_name(name: str) -> str:
    """The object a drawing shows, by its name.

    Skin tones, digits and number words go everywhere; trailing style, state and direction words go while something is left.
    """
    text = _SKIN.sub(" ", " ".join(words(name)))
    kept = [w for w in text.split() if w not in _NUMBERS and not re.fullmatch(r"[dx]?\d+", w)]
    if kept and kept[0] in {"card", "cards"}:
        kept = [w for w in kept if w not in _SUITS] or kept
        kept = ["card"] if kept in (["cards"], ["card"]) else kept
    while len(kept) > 1 and kept[-1] in _TRAILING and " ".join(kept) not in _KEEP:
        kept.pop()
    if len(kept) > 1 and kept[0] == "perspective":
        kept = kept[1:]
    return " ".join(kept) if kept else text.strip()
