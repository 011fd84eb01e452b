"""Whether an image can be used: decoded once, hashed, and compared with the type that its name says."""

import hashlib
import posixpath
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from serving.runtime.errors import ImageError
from serving.runtime.image.decode import decode_with_header
from serving.runtime.image.header import Header
from serving.runtime.image.photo_types import BEGINNING_BYTES, BY_SUFFIX

SIDE = 8
# Pictures are hashed at this size: decoded smaller, a resized copy no longer has nearly the same hash.
_HASH_PIXELS = 128

ADVICE = {
    "damaged_member": "copy the archive again",
    "device": "put a file in its place",
    "empty": "copy it again",
    "link": "put the file itself in its place",
    "not_an_image": "look at what it is; a download may have failed",
    "photo_without_suffix": "give its name the suffix of its type, such as .jpg",
    "too_large": "save it smaller",
    "truncated": "copy it again",
    "unsupported": "convert it to JPEG, PNG or HEIC",
}
"""What to do about images that cannot be used, by reason."""


@dataclass(frozen=True, slots=True)
class Checks:
    """Header and hashes of a usable image, and what the decoder warned of ("" for a sound one)."""

    header: Header
    sha256: str
    dhash: str
    warning: str


def check_image(data: bytes) -> Checks | ImageError:
    """Decode and hash an image, or return why it cannot be used. A reduced decode still reads all of it."""
    try:
        pixels, header, warning = decode_with_header(data, min_height=_HASH_PIXELS, min_width=_HASH_PIXELS)
    except ImageError as error:
        return error
    return Checks(header, hashlib.sha256(data).hexdigest(), dhash(pixels), warning)


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


def is_other_type(path: str, data: bytes) -> bool:
    """Tell whether the content begins unlike that of its extension, as a PNG that is called `.jpg` does."""
    named = BY_SUFFIX.get(posixpath.splitext(path)[1].lower())
    return named is not None and not named.beginning.match(data[:BEGINNING_BYTES])
