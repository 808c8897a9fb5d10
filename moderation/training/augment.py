"""Turns RGBA drawings into training pictures, a whole batch at a time: place, restyle, put on a background, damage."""

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor
from torch.nn import functional

LUMA = (0.299, 0.587, 0.114)


class Augment:
    """Augmentation at a `strength` from 0 (centred on a plain background) to 1; every draw comes from the generator given."""

    def __init__(self, generator: Generator, strength: float) -> None:
        self._generator, self._strength = generator, strength

    def __call__(self, drawings: Tensor, size: int, photos: Tensor | None) -> Tensor:
        """Pictures float32 [n, 3, size, size] in 0..1 of `drawings` uint8 [n, s, s, 4]; `photos` float [k, 3, t, t] may lie behind."""
        rgba = self._place(drawings.permute(0, 3, 1, 2).float().div_(255.0), size)
        alpha, colour = rgba[:, 3:], rgba[:, :3] / rgba[:, 3:].clamp_min(1e-3)
        colour, alpha = self._restyle(colour.clamp(0, 1), alpha)
        behind = self._background(len(rgba), size, photos, colour, alpha)
        pictures = torch.lerp(behind, colour, alpha)
        pictures = self._distract(pictures, colour, alpha)
        return self._damage(pictures).clamp_(0.0, 1.0)

    def _uniform(self, n: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        return torch.rand(n, 1, 1, 1, generator=self._generator) * (high - low) + low

    def _chance(self, n: int, share: float) -> Tensor:
        return self._uniform(n) < share

    def _some(self, pictures: Tensor, share: float, change: Callable[[Tensor], Tensor]) -> None:
        """Change a random `share` of the pictures in place; the others cost nothing."""
        rows = self._chance(len(pictures), share).flatten()
        if rows.any():
            pictures[rows] = change(pictures[rows])

    def _mix(self, colour: Tensor) -> Tensor:
        """Other hues: each channel a random blend of all three."""
        mix = torch.eye(3) + torch.randn(len(colour), 3, 3, generator=self._generator) * 0.25
        mix = mix / mix.sum(dim=2, keepdim=True).clamp_min(0.5)
        return torch.einsum("nij,njhw->nihw", mix, colour)

    def _posterise(self, colour: Tensor) -> Tensor:
        levels = torch.floor(self._uniform(len(colour), 2, 6))
        return torch.round(colour * levels) / levels

    def _place(self, rgba: Tensor, size: int) -> Tensor:
        """One affine sampling: scale, turn, shear, flip, shift; colours premultiplied so that edges stay clean."""
        n, s = len(rgba), self._strength
        scale = torch.exp(self._uniform(n, -0.12 - 0.45 * s, 0.05 + 0.25 * s)).flatten()
        widest = torch.where(self._chance(n, 0.1 * s), 3.14, 0.1 + 0.4 * s).flatten()
        angle = self._uniform(n, -1, 1).flatten() * widest
        flip = torch.where(self._chance(n, 0.3), -1.0, 1.0).flatten()
        stretch = torch.exp(self._uniform(n, -0.2, 0.2).flatten() * s)
        shear = self._uniform(n, -0.2, 0.2).flatten() * s
        cos, sin = torch.cos(angle) / scale, torch.sin(angle) / scale
        theta = torch.stack([cos * flip * stretch, (sin + shear) * flip, -sin * stretch, cos], dim=1).reshape(n, 2, 2)
        shift = self._uniform(2 * n, -1, 1).reshape(n, 2, 1) * (0.08 + 0.17 * s)
        premultiplied = torch.cat([rgba[:, :3] * rgba[:, 3:], rgba[:, 3:]], dim=1)
        if premultiplied.shape[-1] >= 2 * size:
            premultiplied = functional.avg_pool2d(premultiplied, 2)
        grid = functional.affine_grid(torch.cat([theta, shift], dim=2), [n, 4, size, size], align_corners=False)
        return functional.grid_sample(premultiplied, grid, mode="bilinear", padding_mode="zeros", align_corners=False)

    def _restyle(self, colour: Tensor, alpha: Tensor) -> tuple[Tensor, Tensor]:
        """Other hues, grey, inverted, few levels, flat silhouettes and outlines; black drawings take a colour of their own."""
        n, s = len(colour), self._strength
        luma = _luma(colour)
        ink = torch.rand(n, 3, 1, 1, generator=self._generator) * torch.where(self._chance(n, 0.4), 0.3, 1.0)
        dark = ((luma * alpha).sum((2, 3), keepdim=True) / alpha.sum((2, 3), keepdim=True).clamp_min(1.0)) < 0.12
        colour = torch.where(dark & self._chance(n, 0.3 + 0.5 * s), colour + ink, colour)
        self._some(colour, 0.5 * s, self._mix)
        self._some(colour, 0.15 * s, lambda part: _luma(part).expand_as(part))
        self._some(colour, 0.12 * s, lambda part: 1.0 - part)
        self._some(colour, 0.12 * s, self._posterise)
        drawn = self._chance(n, 0.12 * s)
        flat = self._chance(n, 0.06 * s)
        rows = drawn.flatten()
        alpha[rows] = (_edges(alpha[rows]) + _edges(_luma(colour[rows]) * alpha[rows])).clamp(0, 1)
        return torch.where(drawn | flat, ink.expand_as(colour), colour).clamp(0, 1), alpha

    def _background(self, n: int, size: int, photos: Tensor | None, colour: Tensor, alpha: Tensor) -> Tensor:
        """Plain, graded, blotched, striped or photographed, kept apart from the drawing in brightness."""
        s, g = self._strength, self._generator
        plain = torch.rand(n, 3, 1, 1, generator=g)
        light = self._uniform(n, 0.85, 1.0)
        plain = torch.where(self._chance(n, 0.55 - 0.25 * s), light.expand_as(plain), plain)
        mean = (_luma(colour) * alpha).sum((2, 3), keepdim=True) / alpha.sum((2, 3), keepdim=True).clamp_min(1.0)
        gap = _luma(plain) - mean
        away = torch.where(mean > 0.5, -1.0, 1.0)
        plain = torch.where(gap.abs() < 0.25, mean + away * self._uniform(n, 0.3, 0.6), plain).clamp(0, 1)
        other = (plain + torch.randn(n, 3, 1, 1, generator=g) * 0.2).clamp(0, 1)
        ramp = torch.linspace(0, 1, size)
        across, angle = torch.stack(torch.meshgrid(ramp, ramp, indexing="ij")), self._uniform(n, 0, 2 * math.pi)
        along = (across[0] * torch.sin(angle) + across[1] * torch.cos(angle)).sub(0.0)
        blotches = functional.interpolate(
            torch.rand(n, 1, 5, 5, generator=g), size=size, mode="bilinear", align_corners=False
        )
        stripes = (torch.sin(along * self._uniform(n, 10, 60)) > 0).float()
        kind = self._uniform(n)
        weight = torch.where(kind < 0.4, along.clamp(0, 1), torch.where(kind < 0.75, blotches, stripes))
        behind = torch.where(
            self._chance(n, 0.15 + 0.45 * s), torch.lerp(plain, other, weight), plain.expand(n, 3, size, size)
        )
        if photos is None:
            return behind
        photos = functional.interpolate(photos, size=size, mode="bilinear", align_corners=False)
        picked = photos[torch.randint(len(photos), (n,), generator=g)]
        return torch.where(self._chance(n, 0.2 * s), picked * self._uniform(n, 0.5, 1.0), behind)

    def _distract(self, pictures: Tensor, colour: Tensor, alpha: Tensor) -> Tensor:
        """Now and then another drawing of the batch, small, in a corner."""
        n, size, s = len(pictures), pictures.shape[-1], self._strength
        small = size // 4
        rolled = torch.cat([colour * alpha, alpha], dim=1).roll(1, dims=0)
        small_one = functional.interpolate(rolled, size=small, mode="area") * self._chance(n, 0.15 * s)
        top, left = (int(torch.randint(2, (1,), generator=self._generator)) * (size - small) for _ in range(2))
        pictures = pictures.clone()
        area = pictures[:, :, top : top + small, left : left + small]
        pictures[:, :, top : top + small, left : left + small] = area * (1 - small_one[:, 3:]) + small_one[:, :3]
        return pictures

    def _damage(self, pictures: Tensor) -> Tensor:
        """Blur, coarse pixels, brightness, contrast, noise, block compression, a hole."""
        n, size, s = len(pictures), pictures.shape[-1], self._strength
        self._some(pictures, 0.15 * s, lambda part: functional.avg_pool2d(part, 3, 1, 1, count_include_pad=False))
        self._some(pictures, 0.12 * s, _coarse)
        contrast, brightness = self._uniform(n, -0.35, 0.35) * s, self._uniform(n, -0.2, 0.2) * s
        pictures = pictures.sub_(0.5).mul_(1 + contrast).add_(0.5 + brightness)
        self._some(pictures, 0.3, lambda part: self._grain(part, 0.08 * s))
        self._some(pictures, 0.2 * s, lambda part: _compress(part, self._uniform(len(part), 0.02, 0.12)))
        row, column = self._uniform(n), self._uniform(n)
        wide = self._uniform(n, 0.1, 0.3)
        axis = torch.linspace(0, 1, size)
        hole = ((axis.view(1, 1, -1, 1) - row).abs() < wide / 2) & ((axis.view(1, 1, 1, -1) - column).abs() < wide / 2)
        filling = torch.rand(n, 3, 1, 1, generator=self._generator)
        return torch.where(hole & self._chance(n, 0.2 * s), filling, pictures)

    def _grain(self, pictures: Tensor, most: float) -> Tensor:
        noise = torch.randn(pictures.shape, generator=self._generator)
        return pictures + noise * self._uniform(len(pictures), 0, most)


def _luma(colour: Tensor) -> Tensor:
    weights = torch.tensor(LUMA).view(1, 3, 1, 1)
    return (colour * weights).sum(dim=1, keepdim=True)


def _edges(plane: Tensor) -> Tensor:
    """How much brightness changes at each pixel (Sobel), about 0..1."""
    kernel = torch.tensor([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 2.0
    slopes = functional.conv2d(plane, torch.stack([kernel, kernel.T])[:, None], padding=1)
    return slopes.pow(2).sum(dim=1, keepdim=True).sqrt()


def _coarse(pictures: Tensor) -> Tensor:
    size = pictures.shape[-1]
    small = functional.interpolate(pictures, size=size // 2, mode="area")
    return functional.interpolate(small, size=size, mode="bilinear", align_corners=False)


def _compress(pictures: Tensor, step: Tensor) -> Tensor:
    """What JPEG does to luminance and colour: 8 x 8 cosine blocks, coarser steps for finer waves."""
    size = pictures.shape[-1] // 8 * 8
    place, wave = torch.arange(8.0), torch.arange(8.0)[:, None]
    basis = torch.cos((2 * place + 1) * wave * math.pi / 16) * 0.5
    basis[0] *= 0.5**0.5
    n, channels, many = *pictures.shape[:2], size // 8
    blocks = pictures[..., :size, :size].reshape(n, channels, many, 8, many, 8).transpose(3, 4)
    waves = torch.einsum("ui,ncabij,vj->ncabuv", basis, blocks, basis)
    steps = step[..., None, None] * (1 + 0.5 * (wave + place))
    waves = torch.round(waves / steps) * steps
    back = torch.einsum("ui,ncabuv,vj->ncabij", basis, waves, basis).transpose(3, 4).flatten(4, 5).flatten(2, 3)
    whole = pictures.clone()
    whole[..., :size, :size] = back
    return whole
