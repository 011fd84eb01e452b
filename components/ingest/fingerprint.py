"""The perceptual hash of a picture: 128 bits."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 8


def dhash(pixels: NDArray[np.uint8]) -> str:
    """Return the difference hash of an upright picture, uint8 (H, W, 3) RGB, as 32 hex digits.

    The picture is shrunk to 9 x 9 gray cells. A bit says whether a cell is brighter than its left neighbor (64 bits,
    the upper 8 rows), then than the one above it (64 bits, the left 8 columns). Scaling and recompression change few
    bits; about half the bits of two unlike pictures differ.
    """
    gray = Image.fromarray(pixels).convert("L").resize((SIDE + 1, SIDE + 1), Image.Resampling.BOX)
    cells = np.asarray(gray, dtype=np.int16)
    across = cells[:SIDE, 1:] > cells[:SIDE, :-1]
    down = cells[1:, :SIDE] > cells[:-1, :SIDE]
    return np.packbits(np.concatenate([across.ravel(), down.ravel()])).tobytes().hex()
