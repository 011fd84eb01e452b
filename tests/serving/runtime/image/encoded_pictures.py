"""Pictures in every format and mode, and a model card for them."""

import io
from typing import Any

import numpy as np
from PIL import Image

from serving.runtime.card import ClassificationCard

ORIENTATION = 274
# How a viewer shows stored pixels, written out a second time with other numpy calls than the code under test.
SHOWN = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: np.transpose(a, (1, 0, 2)),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(np.transpose(a, (1, 0, 2)), 2),
    8: np.rot90,
}


def smooth(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A picture without symmetry whose detail is coarse, as photos mostly are."""
    coarse = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def encode(
    picture: np.ndarray | Image.Image, kind: str = "JPEG", orientation: int | None = None, **options: Any
) -> bytes:
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    if orientation is not None:
        exif = Image.Exif()
        exif[ORIENTATION] = orientation
        options["exif"] = exif
    if kind == "JPEG":
        options = {"quality": 95, "subsampling": 0} | options
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def difference(a: np.ndarray, b: np.ndarray) -> float:
    assert a.shape == b.shape
    return float(np.abs(a.astype(np.float64) - b.astype(np.float64)).mean())


def card(height: int = 32, width: int = 24, **crop: float) -> ClassificationCard:
    return ClassificationCard.model_validate(
        {
            "name": "tiny",
            "label_space": "mask",
            "heads": [{"name": "mask", "labels": ["worn", "incorrect", "absent"]}],
            "input": {"height": height, "width": width},
            "crop": crop,
            "normalization": {"mean": [0, 0, 0], "std": [1, 1, 1]},
            "leaks": False,
            "versions": {},
            "dataset_digest": "",
            "training_digest": "",
        }
    )


RAMP = np.tile(np.linspace(0, 255, 48).astype(np.uint8), (32, 1))
COLOR = np.stack([RAMP, RAMP[:, ::-1], np.full_like(RAMP, 90)], axis=2)


def half_transparent(mode: str) -> Image.Image:
    image = Image.fromarray(COLOR).convert("L" if mode == "LA" else "RGB")
    image.putalpha(Image.fromarray(np.repeat(np.uint8([[0], [255]]), 16, axis=0).repeat(48, axis=1)))
    return image


def laid_on_white(opaque: np.ndarray) -> np.ndarray:
    shown = opaque.copy()
    shown[:16] = 255
    return shown


GRAY = np.stack([RAMP] * 3, axis=2)
PALETTE = Image.fromarray(COLOR).quantize(16, dither=Image.Dither.NONE)
TABLE = {
    "jpeg": (encode(COLOR), COLOR, 3),
    "jpeg 4:2:0": (encode(COLOR, subsampling=2), COLOR, 6),
    "jpeg progressive": (encode(COLOR, progressive=True), COLOR, 3),
    "jpeg gray": (encode(RAMP), GRAY, 1),
    "jpeg cmyk": (encode(Image.fromarray(COLOR).convert("CMYK")), COLOR, 4),
    "jpeg rgb": (encode(COLOR, keep_rgb=True), COLOR, 2),
    "png rgb": (encode(COLOR, "PNG"), COLOR, 0),
    "png gray": (encode(RAMP, "PNG"), GRAY, 0),
    "png 1 bit": (encode(Image.fromarray(RAMP > 127), "PNG"), np.where(GRAY > 127, 255, 0), 0),
    "png 16 bit gray": (encode(RAMP.astype(np.uint16) * 256 + 77, "PNG"), GRAY, 0),
    "png palette": (encode(PALETTE, "PNG"), np.asarray(PALETTE.convert("RGB")), 0),
    "png rgba": (encode(half_transparent("RGBA"), "PNG"), laid_on_white(COLOR), 0),
    "png la": (
        encode(half_transparent("LA"), "PNG"),
        laid_on_white(np.stack([np.asarray(Image.fromarray(COLOR).convert("L"))] * 3, axis=2)),
        0,
    ),
    "png color key": (
        encode(np.zeros((4, 4, 3), np.uint8), "PNG", transparency=(0, 0, 0)),
        np.full((4, 4, 3), 255, np.uint8),
        0,
    ),
    "bmp": (encode(COLOR, "BMP"), COLOR, 0),
    "bmp gray": (encode(RAMP, "BMP"), GRAY, 0),
    "webp lossless": (encode(COLOR, "WEBP", lossless=True), COLOR, 0),
    "webp": (encode(COLOR, "WEBP", quality=95), COLOR, 6),
    "webp rgba": (encode(half_transparent("RGBA"), "WEBP", lossless=True), laid_on_white(COLOR), 0),
    "gif": (encode(PALETTE, "GIF"), np.asarray(PALETTE.convert("RGB")), 0),
    "gif, first frame": (
        encode(PALETTE, "GIF", save_all=True, append_images=[Image.new("RGB", PALETTE.size, "red")]),
        np.asarray(PALETTE.convert("RGB")),
        0,
    ),
    "ppm": (encode(COLOR, "PPM"), COLOR, 0),
    "pgm": (encode(RAMP, "PPM"), GRAY, 0),
    "pgm 16 bit": (encode(RAMP.astype(np.uint16) * 256 + 77, "PPM"), GRAY, 0),
    "tiff": (encode(COLOR, "TIFF"), COLOR, 0),
    "tiff lzw": (encode(COLOR, "TIFF", compression="tiff_lzw"), COLOR, 0),
    "tiff 16 bit gray": (encode(RAMP.astype(np.uint16) * 256 + 77, "TIFF"), GRAY, 0),
    "tiff cmyk": (encode(Image.fromarray(COLOR).convert("CMYK"), "TIFF"), COLOR, 1),
}
