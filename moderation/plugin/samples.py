"""What plugins are shown to see what they do: content on which they break, and vectors that are made up."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Sequence
from io import BytesIO

import numpy as np

from moderation.encoder.base import Vectors
from moderation.item import Modality, Part

WIDTH = 512  # of made vectors, where nobody says how wide an encoder's are
TEXTS = ("a walk in the park", "Grüße aus Köln", "buy now")
# Texts and files on which detectors break: empty, endless, of no language, cut off, and not what they seem.
HOSTILE_TEXTS = (
    "",
    " ",
    "\x00",
    "a" * 100_000,
    "\u202e\u200b\ufeff",
    "\U0001f3f4\u200d\u2620\ufe0f" * 50,
    "%s{}\\N",
    "<b>",
)
# A second of MP4 (MPEG-4), two pictures of 16 by 16 pixels: a grey that grows lighter.
_VIDEO = (
    "c-nmvyG{Z@a1KN)EFhwxK!XW3L{KiqSQ+dnOsupJ3lDZLT)6ef?Q)665DE(|{17{%(J!E~wet)72Me6tJHmp(Was8Rvoo^?06AM+cO339fEY-M"
    "XtK^;1pt<8pHienMl1nfyh198<b5rXE!KOQVk4QoWj_G%3iG@GBU~1=2uwiyTcH8+jKP@nnwG0D7h-to!nfMUUx>D<8ULG2)}CMI-@2&?0Sc4|"
    "jx<MIF2)g2UKMM6GU8as<QbXny{hnZpoCJ3xc<lzIE3n+XDE9$>x#Hk`WQXtT-nHE0;ZDc*DR3GmLop3wKkT!zMBtu<B*Gni~JWCoM=8DxZ+^O"
    "C}h(qs3EP*^q7Y1aERYa$_ZBk@AvyB7`A})D4!0Ks8J?RvxCC3yxrTwN|@Zp!{G5AR^cv|X`=XYYz57IvuqxeE4$_*#uza<g@*8>@rT)DWiHfe"
    "M)yQN**xU1<EEyMY>H;kb`#msksftTPxIeKY;=i`D?MjaQ3;#+`f%mG)#<qUC`wNFMz)@WCljvY&tr{-h<(}ESH+Zl{Q@u8aKr"
)
HOSTILE_FILES = (b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"not a picture", bytes(10_000))


def hostile_parts(modalities: frozenset[Modality]) -> list[Part]:
    """Hostile content as parts of these modalities."""
    texts = [Part.text(one) for one in HOSTILE_TEXTS] if Modality.TEXT in modalities else []
    return texts + [Part(one, file) for one in sorted(modalities - {Modality.TEXT}) for file in HOSTILE_FILES]


def hostile_references(scheme: str) -> tuple[str, ...]:
    """What is no reference at all, of a fetcher's scheme."""
    return "", f"{scheme}:", f"{scheme}://", f"{scheme}://\x00", f"{scheme}://" + "a" * 10_000


def made_video() -> bytes:
    """A short video, as an MP4 file."""
    return zlib.decompress(base64.b85decode(_VIDEO))


def made_vectors(parts: Sequence[Part], width: int) -> Vectors:
    """Vectors that follow from the content and from nothing else, float16 [n, width], L2-normalised."""
    vectors = np.zeros((len(parts), width), dtype=np.float16)
    for row, part in enumerate(parts):
        drawn = np.random.default_rng(int(part.digest[:16], 16)).normal(size=width)
        vectors[row] = (drawn / np.linalg.norm(drawn)).astype(np.float16)
    return vectors


def made_pictures(count: int) -> list[bytes]:
    """Small pictures of one colour each, as PNG files."""
    from PIL import Image  # a worker that is shown no such picture does without

    pictures = []
    for number in range(count):
        file = BytesIO()
        Image.new("RGB", (32, 32), (number * 37 % 256, 90, 160)).save(file, "PNG")
        pictures.append(file.getvalue())
    return pictures
