"""Pictures in HEIC, written by pillow-heif: what reads them (pi-heif) cannot write."""

import io

import numpy as np
import pillow_heif
from PIL import Image

_ORIENTATION = 274


def heic(picture: np.ndarray | Image.Image, orientation: int = 1) -> bytes:
    """Encode as HEIC; an orientation is written as a turn of the container and in the EXIF data, as cameras do."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    exif = Image.Exif()
    exif[_ORIENTATION] = orientation
    file = pillow_heif.from_pillow(image)
    file[0].info["exif"] = exif.tobytes()
    buffer = io.BytesIO()
    file.save(buffer, quality=95, chroma=444)
    assert orientation in (1, 2, 4) or b"irot" in buffer.getvalue()
    return buffer.getvalue()
