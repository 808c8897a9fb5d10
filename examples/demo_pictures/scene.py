"""Draws one scene: a drawing in one or two colours, turned and placed, on a background, sometimes as a sticker, with small extras."""

import io
import math
import random
from collections.abc import Callable
from dataclasses import dataclass

import resvg_py
from PIL import Image, ImageChops, ImageColor, ImageDraw, ImageFilter

Colour = tuple[int, int, int]
GROUND = 4  # scenes are drawn this many times too large, then reduced: smooth edges without anti-aliased drawing
_BLACK_SQUARE = '<path d="M0 0h512v512H0z"/>'


@dataclass(frozen=True, slots=True)
class Scene:
    """How one scene was made, as words for the manifest."""

    background: str
    frame: str


def draw_scene(svg: str, seed: str) -> tuple[Image.Image, Scene]:
    """The scene that `seed` makes of a one-colour drawing: an RGB picture of 96 to 128 px, and how it was made."""
    chance = random.Random(seed)
    size = chance.choice([96, 112, 128])
    side = size * GROUND
    palette = _Palette.pick(chance)
    background = chance.choice(sorted(_BACKGROUNDS))
    frame = chance.choices(["plain", "sticker", "badge", "bubble"], weights=[5, 3, 1, 1])[0]
    picture = _BACKGROUNDS[background](side, palette, chance)
    _extras(picture, palette, chance)
    mask = _placed(_silhouette(svg, side), side, chance, shrink={"badge": 0.86, "bubble": 0.92}.get(frame, 1.0))
    _FRAMES[frame](picture, mask, palette, chance)
    return picture.resize((size, size), Image.Resampling.LANCZOS), Scene(background, frame)


def to_webp(picture: Image.Image) -> bytes:
    """The picture as the bytes of a small WebP file."""
    out = io.BytesIO()
    picture.save(out, "WEBP", quality=68, method=6)
    return out.getvalue()


@dataclass(frozen=True, slots=True)
class _Palette:
    ink: Colour
    second: Colour
    ground: Colour
    ground2: Colour
    accent: Colour

    @classmethod
    def pick(cls, chance: random.Random) -> "_Palette":
        """Colours whose ink stands out: light on dark or dark on light, any hue."""
        dark_ink = chance.random() < 0.62
        hue, ground_hue = chance.uniform(0, 360), chance.uniform(0, 360)
        grey = chance.random() < 0.35
        saturation = 8 if grey else chance.uniform(35, 90)
        ink = _hsl(hue, saturation, chance.uniform(8, 34) if dark_ink else chance.uniform(84, 98))
        second = _hsl(hue + chance.choice([0, 24, 180]), min(saturation + 12, 95), 42 if dark_ink else 70)
        lights = (
            (chance.uniform(70, 96), chance.uniform(66, 94))
            if dark_ink
            else (chance.uniform(14, 44), chance.uniform(12, 46))
        )
        ground = _hsl(ground_hue, chance.uniform(5, 75), lights[0])
        ground2 = _hsl(ground_hue + chance.uniform(-60, 60), chance.uniform(5, 75), lights[1])
        accent = _hsl(chance.uniform(0, 360), 80, 55)
        return cls(ink, second, ground, ground2, accent)


def _hsl(hue: float, saturation: float, lightness: float) -> Colour:
    red, green, blue = ImageColor.getrgb(f"hsl({hue % 360:.0f},{saturation:.0f}%,{lightness:.0f}%)")[:3]
    return red, green, blue


def _silhouette(svg: str, side: int) -> Image.Image:
    """The drawing as a mask, cut to its content; game-icons stand white on a black square, which goes."""
    image = Image.open(
        io.BytesIO(bytes(resvg_py.svg_to_bytes(svg_string=svg.replace(_BLACK_SQUARE, ""), width=side, height=side)))
    )
    mask = image.convert("RGBA").getchannel("A")
    box = mask.getbbox()
    if box is None:
        raise ValueError("the drawing is empty")
    return mask.crop(box)


def _placed(mask: Image.Image, side: int, chance: random.Random, *, shrink: float) -> Image.Image:
    """The silhouette mirrored, turned, scaled to 70 to 94 per cent of the scene, and put somewhere it fits."""
    if chance.random() < 0.5:
        mask = mask.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    mask = mask.rotate(chance.gauss(0, 9), Image.Resampling.BICUBIC, expand=True)
    mask = mask.crop(mask.getbbox())
    scale = chance.uniform(0.7, 0.94) * shrink * side / max(mask.size)
    mask = mask.resize(
        (max(1, round(mask.width * scale)), max(1, round(mask.height * scale))), Image.Resampling.BICUBIC
    )
    room = ((side - mask.width) * shrink, (side - mask.height) * shrink)
    spot = [round((side - m) / 2 + r * chance.uniform(-0.4, 0.4)) for m, r in zip(mask.size, room, strict=True)]
    out = Image.new("L", (side, side))
    out.paste(mask, (spot[0], spot[1]))
    return out


def _gradient(side: int, palette: _Palette, chance: random.Random) -> Image.Image:
    ramp = Image.linear_gradient("L").rotate(chance.choice([0, 90, 180, 270])).resize((side, side))
    return Image.composite(
        Image.new("RGB", (side, side), palette.ground), Image.new("RGB", (side, side), palette.ground2), ramp
    )


def _radial(side: int, palette: _Palette, _chance: random.Random) -> Image.Image:
    ramp = Image.radial_gradient("L").resize((side, side))
    return Image.composite(
        Image.new("RGB", (side, side), palette.ground2), Image.new("RGB", (side, side), palette.ground), ramp
    )


def _flat(side: int, palette: _Palette, _chance: random.Random) -> Image.Image:
    return Image.new("RGB", (side, side), palette.ground)


def _blobs(side: int, palette: _Palette, chance: random.Random) -> Image.Image:
    picture = Image.new("RGB", (side, side), palette.ground)
    pen = ImageDraw.Draw(picture)
    for colour in (
        palette.ground2,
        _mix(palette.ground, palette.ground2),
        _mix(palette.ground2, palette.accent, 0.25),
        palette.ground2,
    ):
        x, y, r = chance.uniform(0, side), chance.uniform(0, side), chance.uniform(0.15, 0.4) * side
        pen.ellipse((x - r, y - r, x + r, y + r), fill=colour)
    return picture.filter(ImageFilter.GaussianBlur(side / 12))


def _stripes(side: int, palette: _Palette, chance: random.Random) -> Image.Image:
    picture = Image.new("RGB", (side * 2, side * 2), palette.ground)
    pen = ImageDraw.Draw(picture)
    step = side // chance.choice([5, 7, 9])
    for x in range(0, side * 2, 2 * step):
        pen.rectangle((x, 0, x + step, side * 2), fill=_mix(palette.ground, palette.ground2, 0.6))
    picture = picture.rotate(chance.uniform(0, 180))
    return picture.crop((side // 2, side // 2, side // 2 + side, side // 2 + side))


def _dots(side: int, palette: _Palette, chance: random.Random) -> Image.Image:
    picture = Image.new("RGB", (side, side), palette.ground)
    pen = ImageDraw.Draw(picture)
    step = side // chance.choice([6, 8, 11])
    radius = step * chance.uniform(0.14, 0.3)
    for row, y in enumerate(range(0, side + step, step)):
        for x in range(-(step // 2) * (row % 2), side + step, step):
            pen.ellipse(
                (x - radius, y - radius, x + radius, y + radius), fill=_mix(palette.ground, palette.ground2, 0.75)
            )
    return picture


def _paper(side: int, palette: _Palette, chance: random.Random) -> Image.Image:
    sheet = _mix(palette.ground, (252, 250, 243) if sum(palette.ground) > 380 else (24, 28, 34), 0.7)
    picture = Image.new("RGB", (side, side), sheet)
    pen = ImageDraw.Draw(picture)
    line, step = _mix(sheet, palette.ground2, 0.7), side // chance.choice([7, 9, 12])
    for at in range(step, side, step):
        pen.line((0, at, side, at), fill=line, width=max(1, side // 160))
        if step < side // 8:
            pen.line((at, 0, at, side), fill=line, width=max(1, side // 160))
    return picture


def _horizon(side: int, palette: _Palette, chance: random.Random) -> Image.Image:
    picture = _gradient(side, palette, chance)
    pen = ImageDraw.Draw(picture)
    base, swing, phase = side * chance.uniform(0.62, 0.85), side * chance.uniform(0.01, 0.06), chance.uniform(0, 6)
    hills = [(x, base + swing * math.sin(phase + 7 * x / side)) for x in range(0, side + 8, 8)]
    pen.polygon([(0, side), *hills, (side, side)], fill=_mix(palette.ground, palette.ground2, chance.uniform(0.3, 1)))
    return picture


def _mix(one: Colour, other: Colour, share: float = 0.5) -> Colour:
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def _extras(picture: Image.Image, palette: _Palette, chance: random.Random) -> None:
    """Up to four small shapes near the rim: what stickers and listings carry beside their subject."""
    side, pen = picture.width, ImageDraw.Draw(picture)
    for _ in range(chance.choice([0, 0, 1, 2, 3, 4])):
        r = side * chance.uniform(0.025, 0.07)
        x, y = (chance.choice([chance.uniform(0.03, 0.16), chance.uniform(0.84, 0.97)]) * side for _ in range(2))
        colour = chance.choice([palette.accent, palette.second, palette.ground2])
        kind = chance.choice(["dot", "ring", "star", "spark", "heart", "bar"])
        if kind == "dot":
            pen.ellipse((x - r, y - r, x + r, y + r), fill=colour)
        elif kind == "ring":
            pen.ellipse((x - r, y - r, x + r, y + r), outline=colour, width=max(2, round(r / 3)))
        elif kind == "bar":
            pen.rounded_rectangle((x - 2 * r, y - r / 2, x + 2 * r, y + r / 2), radius=r / 2, fill=colour)
        elif kind == "heart":
            pen.ellipse((x - r, y - r, x, y), fill=colour)
            pen.ellipse((x, y - r, x + r, y), fill=colour)
            pen.polygon([(x - r, y - r * 0.4), (x + r, y - r * 0.4), (x, y + r)], fill=colour)
        else:
            points, inner = (5, 0.45) if kind == "star" else (4, 0.2)
            corners = [(math.pi * i / points, r if i % 2 == 0 else r * inner) for i in range(2 * points)]
            pen.polygon([(x + d * math.sin(a), y - d * math.cos(a)) for a, d in corners], fill=colour)


def _plain(picture: Image.Image, mask: Image.Image, palette: _Palette, chance: random.Random) -> None:
    if chance.random() < 0.3:  # a soft shadow
        shadow = ImageChops.offset(mask, picture.width // 40).filter(ImageFilter.GaussianBlur(picture.width / 60))
        picture.paste(_mix(palette.ground, (0, 0, 0), 0.5), (0, 0), shadow.point(lambda v: v // 2))
    _ink(picture, mask, palette, chance)


def _sticker(picture: Image.Image, mask: Image.Image, palette: _Palette, chance: random.Random) -> None:
    """A die-cut sticker: a white rim around the shape, its inside filled, a shadow below."""
    small = mask.resize((mask.width // GROUND, mask.height // GROUND), Image.Resampling.BOX)
    rim = small.filter(ImageFilter.MaxFilter(2 * chance.choice([2, 3, 4]) + 1)).resize(
        mask.size, Image.Resampling.BICUBIC
    )
    shadow = ImageChops.offset(rim, picture.width // 50).filter(ImageFilter.GaussianBlur(picture.width / 70))
    picture.paste((20, 20, 30), (0, 0), shadow.point(lambda v: v // 3))
    picture.paste((255, 255, 255), (0, 0), rim)
    dark = _Palette(_mix(palette.second, (0, 0, 0), 0.45) if sum(palette.ink) > 380 else palette.ink, *_rest(palette))
    _ink(picture, mask, dark, chance)


def _badge(picture: Image.Image, mask: Image.Image, palette: _Palette, chance: random.Random) -> None:
    side, pen = picture.width, ImageDraw.Draw(picture)
    edge = side * chance.uniform(0.04, 0.08)
    box = (edge, edge, side - edge, side - edge)
    fill = _mix(palette.ground, palette.ground2, 0.2)
    if chance.random() < 0.5:
        pen.ellipse(box, fill=fill, outline=palette.ink, width=side // 40)
    else:
        pen.rounded_rectangle(box, radius=side * 0.18, fill=fill, outline=palette.ink, width=side // 40)
    _ink(picture, mask, palette, chance)


def _bubble(picture: Image.Image, mask: Image.Image, palette: _Palette, chance: random.Random) -> None:
    side, pen = picture.width, ImageDraw.Draw(picture)
    left = chance.random() < 0.5
    x = side * (0.2 if left else 0.8)
    fill = (255, 255, 255) if sum(palette.ink) < 380 else _mix(palette.ground, (0, 0, 0), 0.35)
    pen.polygon([(x, side * 0.97), (x - side * 0.08, side * 0.8), (x + side * 0.1, side * 0.8)], fill=fill)
    pen.rounded_rectangle((side * 0.04, side * 0.06, side * 0.96, side * 0.86), radius=side * 0.14, fill=fill)
    _ink(picture, ImageChops.offset(mask, 0, -side // 25), palette, chance)


def _rest(palette: _Palette) -> tuple[Colour, Colour, Colour, Colour]:
    return palette.second, palette.ground, palette.ground2, palette.accent


def _ink(picture: Image.Image, mask: Image.Image, palette: _Palette, chance: random.Random) -> None:
    """The drawing itself, in one colour or in two that run into each other."""
    one = Image.new("RGB", picture.size, palette.ink)
    if chance.random() < 0.4:
        ramp = Image.linear_gradient("L").rotate(chance.choice([0, 90, 180, 270])).resize(picture.size)
        other = Image.new("RGB", picture.size, _mix(palette.ink, palette.second, 0.6))
        one = Image.composite(one, other, ramp)
    picture.paste(one, (0, 0), mask)


_BACKGROUNDS: dict[str, Callable[[int, _Palette, random.Random], Image.Image]] = {
    "blobs": _blobs,
    "dots": _dots,
    "flat": _flat,
    "gradient": _gradient,
    "horizon": _horizon,
    "paper": _paper,
    "radial": _radial,
    "stripes": _stripes,
}
_FRAMES: dict[str, Callable[[Image.Image, Image.Image, _Palette, random.Random], None]] = {
    "plain": _plain,
    "sticker": _sticker,
    "badge": _badge,
    "bubble": _bubble,
}
