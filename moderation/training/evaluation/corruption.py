"""Thirteen corruptions of a picture at five severities, each a pure function of picture, severity and seed.

The first nine follow ImageNet-C (Hendrycks and Dietterich 2019; strengths from hendrycks/robustness, Apache-2.0, set for 224 pixels);
haze stands in for its fog. Rotation, crop and occlusion are what people do to a picture before they post it.
"""

from __future__ import annotations

import io
import zlib
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SEVERITIES = (1, 2, 3, 4, 5)
Pixels = NDArray[np.float64]  # [h, w, 3] in [0, 1]
_Corruption = Callable[[Pixels, int, np.random.Generator], Pixels]


def corrupt(image: Image.Image, seed: Sequence[int], *, name: str, severity: int) -> Image.Image:
    """The RGB picture under the corruption `name` at `severity` 1 to 5; of one seed the randomness is alike at all severities."""
    rng = np.random.default_rng([*seed, zlib.crc32(name.encode())])
    pixels = np.asarray(image.convert("RGB"), np.float64) / 255
    return _image(CORRUPTIONS[name](pixels, severity - 1, rng))


def _gaussian_noise(pixels: Pixels, at: int, rng: np.random.Generator) -> Pixels:
    return pixels + rng.normal(size=pixels.shape) * (0.08, 0.12, 0.18, 0.26, 0.38)[at]


def _shot_noise(pixels: Pixels, at: int, rng: np.random.Generator) -> Pixels:
    photons = (60, 25, 12, 5, 3)[at]
    return np.asarray(rng.poisson(pixels * photons) / photons)


def _impulse_noise(pixels: Pixels, at: int, rng: np.random.Generator) -> Pixels:
    struck = rng.random(pixels.shape) < (0.03, 0.06, 0.09, 0.17, 0.27)[at]
    return np.where(struck, rng.random(pixels.shape) < 0.5, pixels)


def _defocus_blur(pixels: Pixels, at: int, _: np.random.Generator) -> Pixels:
    radius = (3, 4, 6, 8, 10)[at]
    y, x = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    return _convolve(pixels, (x**2 + y**2 <= radius**2).astype(np.float64))


def _motion_blur(pixels: Pixels, at: int, rng: np.random.Generator) -> Pixels:
    radius, width = ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))[at]
    angle = rng.uniform(0, np.pi)
    steps = np.arange(-radius, radius + 1)
    kernel = np.zeros((2 * radius + 1, 2 * radius + 1))
    rows, columns = (np.rint(radius + steps * along).astype(int) for along in (np.sin(angle), np.cos(angle)))
    np.add.at(kernel, (rows, columns), np.exp(-(steps**2) / (2 * width**2)))
    return _convolve(pixels, kernel)


def _brightness(pixels: Pixels, at: int, _: np.random.Generator) -> Pixels:
    return pixels + (0.1, 0.2, 0.3, 0.4, 0.5)[at]


def _contrast(pixels: Pixels, at: int, _: np.random.Generator) -> Pixels:
    mean = pixels.mean(axis=(0, 1))
    return np.asarray((pixels - mean) * (0.4, 0.3, 0.2, 0.1, 0.05)[at] + mean)


def _jpeg(pixels: Pixels, at: int, _: np.random.Generator) -> Pixels:
    file = io.BytesIO()
    _image(pixels).save(file, "JPEG", quality=(25, 18, 15, 10, 7)[at])
    return np.asarray(Image.open(file).convert("RGB"), np.float64) / 255


def _pixelate(pixels: Pixels, at: int, _: np.random.Generator) -> Pixels:
    image, share = _image(pixels), (0.6, 0.5, 0.4, 0.3, 0.25)[at]
    small = image.resize((max(1, int(image.width * share)), max(1, int(image.height * share))), Image.Resampling.BOX)
    return np.asarray(small.resize(image.size, Image.Resampling.NEAREST), np.float64) / 255


def _haze(pixels: Pixels, at: int, rng: np.random.Generator) -> Pixels:
    """A bright cloud, smooth noise of four octaves, laid over the picture."""
    height, width = pixels.shape[:2]
    cloud = np.zeros((height, width))
    for octave in range(4):
        grid = rng.random((2 ** (octave + 1) + 1,) * 2).astype(np.float32)
        cloud += np.asarray(Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC)) / 2**octave
    cloud = (cloud - cloud.min()) / max(float(np.ptp(cloud)), 1e-9)
    cover = (0.35, 0.45, 0.55, 0.65, 0.75)[at]
    return np.asarray(pixels * (1 - cover) + cover * (0.6 + 0.4 * cloud[..., None]))


def _rotation(pixels: Pixels, at: int, rng: np.random.Generator) -> Pixels:
    degrees = (5, 10, 20, 30, 45)[at] * rng.choice((-1, 1))
    image = _image(pixels)
    red, green, blue = (int(255 * mean) for mean in pixels.mean(axis=(0, 1)))
    turned = image.rotate(float(degrees), Image.Resampling.BILINEAR, fillcolor=(red, green, blue))
    return np.asarray(turned, np.float64) / 255


def _crop(pixels: Pixels, at: int, rng: np.random.Generator) -> Pixels:
    """A part of each side, somewhere, at the size of the whole."""
    share, (x, y) = (0.9, 0.8, 0.7, 0.6, 0.5)[at], rng.random(2)
    image = _image(pixels)
    left, top = x * (1 - share) * image.width, y * (1 - share) * image.height
    box = (left, top, left + share * image.width, top + share * image.height)
    return np.asarray(image.resize(image.size, Image.Resampling.BILINEAR, box=box), np.float64) / 255


def _occlusion(pixels: Pixels, at: int, rng: np.random.Generator) -> Pixels:
    """A grey patch over a share of the area, in the picture's own proportions."""
    side, (x, y) = (0.05, 0.1, 0.2, 0.3, 0.4)[at] ** 0.5, rng.random(2)
    height, width = pixels.shape[:2]
    top, left = int(y * (1 - side) * height), int(x * (1 - side) * width)
    covered = pixels.copy()
    covered[top : top + round(side * height), left : left + round(side * width)] = 0.5
    return covered


def _convolve(pixels: Pixels, kernel: Pixels) -> Pixels:
    """Convolution with a kernel of odd sides, made to sum to 1; the picture's edges go on beyond it."""
    reach = kernel.shape[0] // 2
    padded = np.pad(pixels, ((reach, reach), (reach, reach), (0, 0)), mode="edge")
    shape = padded.shape[:2]
    spectrum = np.fft.rfft2(padded, axes=(0, 1)) * np.fft.rfft2(kernel / kernel.sum(), shape)[..., None]
    blurred = np.fft.irfft2(spectrum, shape, axes=(0, 1))
    return np.asarray(blurred[2 * reach :, 2 * reach :])


def _image(pixels: Pixels) -> Image.Image:
    return Image.fromarray(np.rint(pixels.clip(0, 1) * 255).astype(np.uint8))


CORRUPTIONS: Mapping[str, _Corruption] = MappingProxyType(
    {
        "gaussian noise": _gaussian_noise,
        "shot noise": _shot_noise,
        "impulse noise": _impulse_noise,
        "defocus blur": _defocus_blur,
        "motion blur": _motion_blur,
        "brightness": _brightness,
        "contrast": _contrast,
        "jpeg": _jpeg,
        "pixelate": _pixelate,
        "haze": _haze,
        "rotation": _rotation,
        "crop": _crop,
        "occlusion": _occlusion,
    }
)
