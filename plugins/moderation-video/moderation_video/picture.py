"""A frame as a picture as it is shown: upright, in the shape of its pixels, eight bits of sRGB, scaled down, a JPEG file."""

from __future__ import annotations

import io

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray
from PIL import Image

QUALITY = 95

_PQ, _HLG = 16, 18  # transfer functions by their numbers in ITU-T H.273: SMPTE ST 2084, ARIB STD-B67
_WHITE = 203.0  # candela a square metre of diffuse white in HDR (ITU-R BT.2408)
_HLG_PEAK = 1000.0
_TURNS = {90: Image.Transpose.ROTATE_90, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_270}
# Linear BT.2020 to linear BT.709 (ITU-R BT.2087).
_NARROWER = np.array([[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]])


def jpeg(frame: VideoFrame, *, longest_side: int, ratio: float = 1.0) -> bytes:
    """The file. `longest_side` bounds its sides in pixels, of which each is shown `ratio` times as wide as high; else nothing is scaled."""
    scale = min(1.0, longest_side / max(frame.width * ratio, frame.height))
    width, height = max(1, round(frame.width * ratio * scale)), max(1, round(frame.height * scale))
    hdr = frame.color_trc in {_PQ, _HLG}
    scaled = frame.reformat(width, height, "rgb48le" if hdr else "rgb24", interpolation="AREA")
    pixels = scaled.to_ndarray()
    image = Image.fromarray(_to_srgb(pixels, frame.color_trc) if hdr else pixels)
    turn = _TURNS.get(round(frame.rotation / 90) * 90 % 360)
    file = io.BytesIO()
    (image if turn is None else image.transpose(turn)).save(file, "JPEG", quality=QUALITY, subsampling=0)
    return file.getvalue()


def _to_srgb(pixels: NDArray[np.uint16], transfer: int) -> NDArray[np.uint8]:
    """HDR of BT.2020, uint16 [h, w, 3], as sRGB; what is brighter than white is rolled off (Reinhard, extended)."""
    signal = pixels / 65535.0
    light = (_from_pq(signal) if transfer == _PQ else _from_hlg(signal)) / _WHITE
    peak = 1000.0 / _WHITE
    light = light * (1 + light / peak**2) / (1 + light)
    linear = np.clip(2 * light @ _NARROWER.T, 0.0, 1.0)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(255 * srgb).astype(np.uint8)


def _from_pq(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    """Candela a square metre, SMPTE ST 2084."""
    root = signal ** (1 / 78.84375)
    return 10_000 * (np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)) ** (1 / 0.1593017578125)


def _from_hlg(signal: NDArray[np.float64]) -> NDArray[np.float64]:
    """Candela a square metre on a display of 1000, ITU-R BT.2100, its system gamma of 1.2 by channel."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)
    return _HLG_PEAK * scene**1.2
