"""Vectors as float32 tiles of one shape, and their products with columns: what a row gives never hangs on the rows beside it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

# BLAS takes rows by twelve where a processor has AVX2 alone, and what is left over in another order of sums; 48 leaves nothing over there, nor where
# it takes them by 24, 16, 8 or 4.
TILE_ROWS, TILE_COLUMNS = 48, 8
TILES_PER_BLOCK = 16
ROWS_PER_BLOCK = TILE_ROWS * TILES_PER_BLOCK

Vectors = NDArray[np.float16]
Floats = NDArray[np.float32]


def products(embeddings: Vectors, strips: Floats, shift: Floats) -> Iterator[tuple[slice, Floats]]:
    """Rows, and what the columns make of them, whole tiles at a time: the last rows may be padding. Overwritten by the next."""
    out = room(len(shift), len(embeddings))
    for rows, tiles in blocks(embeddings, 0, len(embeddings)):
        yield rows, project(tiles, strips, shift, out)


def blocks(embeddings: Vectors, start: int, stop: int) -> Iterator[tuple[slice, Floats]]:
    """Blocks of whole tiles, float32 [tiles, 48, d], with the rows they hold; the last tile is padded with zeros."""
    width = embeddings.shape[1]
    buffer = np.zeros((tiles_of(stop - start) * TILE_ROWS, width), np.float32)
    for first in range(start, stop, ROWS_PER_BLOCK):
        rows = slice(first, min(first + ROWS_PER_BLOCK, stop))
        count = rows.stop - rows.start
        padded = -(-count // TILE_ROWS) * TILE_ROWS
        to_float32(embeddings[rows], buffer[:count])
        buffer[count:padded] = 0.0
        yield rows, buffer[:padded].reshape(-1, TILE_ROWS, width)


def as_strips(columns: NDArray[np.float64]) -> Floats:
    """Columns, given as rows [columns, d], in strips [strips, d, 8], the last one filled up with zeros."""
    strips = -(-len(columns) // TILE_COLUMNS)
    padded = np.zeros((strips * TILE_COLUMNS, columns.shape[1]), np.float32)
    padded[: len(columns)] = columns
    return np.ascontiguousarray(padded.reshape(strips, TILE_COLUMNS, -1).transpose(0, 2, 1))


def room(columns: int, rows: int) -> Floats:
    """Memory for the products of one block of so many rows. To be made once: fresh memory for every block costs more than the exponentials."""
    return np.empty((tiles_of(rows), TILE_ROWS, columns), np.float32)


def tiles_of(rows: int) -> int:
    """How many tiles a block of so many rows has."""
    return min(-(-rows // TILE_ROWS), TILES_PER_BLOCK)


def project(tiles: Floats, strips: Floats, shift: Floats, out: Floats) -> Floats:
    """Every column less its shift, for every row, float32 [rows, columns], in `out`: one product of fixed shape per tile and strip.

    One large product would be no faster and its bits would depend on how many rows and columns came together.
    """
    used = out[: len(tiles)]
    for index, strip in enumerate(strips):
        np.matmul(tiles, strip, out=used[:, :, index * TILE_COLUMNS : (index + 1) * TILE_COLUMNS])
    np.subtract(used, shift, out=used)
    return used.reshape(-1, len(shift))


def to_float32(embeddings: Vectors, out: Floats) -> None:
    """The float32 values of finite float16 vectors, exactly, into `out` of the same shape.

    About five times as fast as numpy's own cast: sign and magnitude are moved into place as integers, and one multiplication by a
    power of two, which is exact for subnormals too, sets the exponent. Infinities and NaN come out as large numbers,
    so callers must have refused them before.
    """
    bits = out.view(np.int32)
    np.copyto(bits, embeddings.view(np.int16))
    np.left_shift(bits, 13, out=bits)
    np.bitwise_and(bits, np.int32(-0x70002000), out=bits)
    np.multiply(out, np.float32(2.0**112), out=out)
