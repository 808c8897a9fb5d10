"""Changes that must not matter: pictures made grey, mirrored, compressed, cropped or smaller; texts written another way."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Mapping

from PIL import Image, ImageOps

from moderation.encoder.images import decode
from moderation.errors import ItemError
from moderation.item import Modality, Part
from moderation.settings import ImageLimits

CROP = 0.9
JPEG_QUALITY = 60


def changed(part: Part, change: str, swap: Mapping[str, str]) -> Part | None:
    """The part with one of the changes that test files name; None where the change is none for its modality, alters nothing, or cannot be made.

    Pictures are written without further loss (PNG), but for `jpeg60`. `swap` replaces whole words, in lower and upper case.
    """
    if part.modality is Modality.IMAGE:
        return _picture(part, change)
    if part.modality is Modality.VIDEO:
        return None
    text = part.content.decode("utf-8", errors="replace")
    if change == "swap":
        words = {word.casefold(): other for word, other in swap.items()}
        pattern = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
        altered = re.sub(rf"\b(?:{pattern})\b", lambda found: words[found[0].casefold()], text, flags=re.IGNORECASE)
    else:
        altered = _TEXTS[change](text) if change in _TEXTS else text
    return Part.text(altered, name=part.name) if altered != text else None


def _picture(part: Part, change: str) -> Part | None:
    maker = _PICTURES.get(change)
    if maker is None:
        return None
    try:
        picture = decode(part.content, ImageLimits())  # as the encoder sees it: upright, on white
    except ItemError:
        return None
    altered, buffer = maker(picture), io.BytesIO()
    if change == "jpeg60":
        altered.save(buffer, "JPEG", quality=JPEG_QUALITY)
        altered = Image.open(buffer)
    else:
        altered.save(buffer, "PNG")
    same = altered.size == picture.size and altered.tobytes() == picture.tobytes()
    return None if same else Part.image(buffer.getvalue(), name=part.name)


def _crop(picture: Image.Image) -> Image.Image:
    left, top = (round(side * (1.0 - CROP) / 2.0) for side in picture.size)
    return picture.crop((left, top, picture.width - left, picture.height - top))


def _half(picture: Image.Image) -> Image.Image:
    return picture.resize(
        (max(picture.width // 2, 1), max(picture.height // 2, 1)), Image.Resampling.BICUBIC, reducing_gap=None
    )


_PICTURES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "grayscale": lambda picture: picture.convert("L").convert("RGB"),
    "mirror": ImageOps.mirror,
    "jpeg60": lambda picture: picture,
    "crop90": _crop,
    "half_size": _half,
}
_TEXTS: dict[str, Callable[[str], str]] = {
    "upper_case": str.upper,
    "no_punctuation": lambda text: re.sub(r"[^\w\s]", "", text),
    "spaced": lambda text: re.sub(r"\s+", "  ", text),
}
