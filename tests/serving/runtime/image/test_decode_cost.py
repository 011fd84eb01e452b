"""What decoding costs is known beforehand, and is bounded."""

import io
import struct
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tiny_model import card_facts

from serving.runtime.card import ClassificationCard
from serving.runtime.errors import ImageError
from serving.runtime.image import photo as photo_module
from serving.runtime.image.decode import decode
from serving.runtime.image.header import Pixels, read_header
from serving.runtime.image.photo import Photo
from serving.runtime.image.placement import Box, crop_rect
from serving.runtime.image.preprocess import cut_resize, decode_crop_resize
from serving.runtime.work import AbandonedError, Work

CARD = ClassificationCard.model_validate(card_facts())


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def noise(width: int, height: int, mode: str = "RGB") -> Image.Image:
    small = np.random.default_rng(3).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height)).convert(mode)


# Runs in a process of its own: the peak of this one says nothing. Prints bytes.
_PEAK = """
import sys
from serving.runtime.image.decode import decode
data, small = (bytes.fromhex(line) for line in sys.stdin.read().split())
def status(name):
    return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name))
decode(small)
open("/proc/self/clear_refs", "w").write("5")
before = status("VmRSS")
pixels = decode(data)
print((status("VmHWM") - before) * 1024)
"""


@pytest.mark.parametrize(
    ("mode", "kind", "options", "most"),
    [
        ("RGBA", "PNG", {}, 8),
        ("P", "PNG", {"transparency": 0}, 8),
        ("LA", "PNG", {}, 8),
        ("I;16", "PNG", {}, 8),
        ("RGBA", "WEBP", {"lossless": True}, 17),
        ("P", "GIF", {}, 8),
        ("CMYK", "TIFF", {"compression": "tiff_lzw"}, 8),
        ("RGB", "JPEG", {"progressive": True, "subsampling": 0}, 9),
        ("RGB", "JPEG", {}, 3.5),
    ],
)
def test_a_format_takes_no_more_memory_than_it_is_counted_for(
    mode: str, kind: str, options: dict[str, Any], most: float
) -> None:
    data = encoded(Image.new(mode, (2000, 2000)), kind, **options)
    small = encoded(Image.new(mode, (16, 16)), kind, **options)
    done = subprocess.run(
        [sys.executable, "-c", _PEAK], input=f"{data.hex()} {small.hex()}", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    side, strip = 2000, 16 * 2**20
    assert int(done.stdout) < most * side**2 + strip
    for allowed, fits in ((max(most, 10) * 1.1 * side**2, True), (min(most, 3) * 0.9 * side**2, False)):
        try:
            crops(data, [None, (0, 0, 60, 60)], CARD, work=Work(int(allowed)))
            assert fits
        except ImageError as error:
            assert error.reason == "too_large" and not fits


def test_a_large_jpeg_is_allowed_where_the_model_needs_it_small() -> None:
    data = encoded(noise(4000, 3000), "JPEG")
    work = Work(max_memory=4_000_000)
    crops(data, [None], CARD, work=work)
    with pytest.raises(ImageError, match="decoding this JPEG of 4000 x 3000 pixels takes 34 MiB; 4 MiB are allowed"):
        crops(data, [(0, 0, 30, 30)], CARD, work=work)


def crops(data: bytes, boxes: list[Box | None], card: ClassificationCard, *, work: Work | None = None) -> list[Pixels]:
    photo, rule = Photo(data, work), card.crop
    rects = [crop_rect(photo.upright, box, rule, card.input) for box in boxes]
    return [cut_resize(photo, rect, card.input, rule.min_decode) for rect in rects]


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_picture_is_decoded_once_for_each_scale_and_each_face_is_as_alone(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    data = encoded(noise(900, 700), kind)
    boxes: list[Any] = [None, (0, 0, 900, 700), (10, 20, 50, 60), (300, 200, 20, 20), (5, 5, 150, 150)] * 8
    alone = [decode_crop_resize(data, box, CARD) for box in boxes]
    scales: list[int] = []
    stored = photo_module.stored_pixels

    def count(data: bytes, header: Any, eighths: int, *rest: Any) -> Any:
        scales.append(eighths)
        return stored(data, header, eighths, *rest)

    monkeypatch.setattr(photo_module, "stored_pixels", count)
    np.testing.assert_array_equal(crops(data, boxes, CARD), alone)
    assert len(scales) == len(set(scales)) == (1 if kind == "PNG" else 4)


def test_work_that_is_abandoned_ends_between_faces() -> None:
    with pytest.raises(AbandonedError):
        crops(encoded(noise(90, 70), "PNG"), [None], CARD, work=Work(abandoned=True))


def test_a_jpeg_with_too_many_scans_is_refused() -> None:
    data = encoded(noise(800, 600, "L"), "JPEG", progressive=True)
    last = data.rfind(b"\xff\xda")
    repeated = data[:last] + data[last:-2] * 7000 + b"\xff\xd9"
    with pytest.raises(ImageError, match="scans; at most 6666 are decoded") as caught:
        decode(repeated)
    assert caught.value.reason == "too_large"
    decode(data)


def webp(kind: bytes, width: int, height: int) -> bytes:
    """A WebP of nothing but its header."""
    if kind == b"VP8X":
        content = bytes(4) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    elif kind == b"VP8L":
        content = b"\x2f" + struct.pack("<I", width - 1 | (height - 1) << 14) + bytes(4)
    else:
        content = bytes(3) + b"\x9d\x01\x2a" + struct.pack("<HH", width, height)
    chunk = kind + struct.pack("<I", len(content)) + content
    return b"RIFF" + struct.pack("<I", len(chunk) + 4) + b"WEBP" + chunk


@pytest.mark.parametrize("kind", [b"VP8X", b"VP8L", b"VP8 "])
def test_the_canvas_of_a_webp_is_checked_before_libwebp_makes_it(monkeypatch: pytest.MonkeyPatch, kind: bytes) -> None:
    monkeypatch.setattr(Image, "open", lambda *args, **kwargs: pytest.fail("libwebp must not see it"))
    with pytest.raises(ImageError, match="16383 x 16000 pixels") as caught:
        read_header(webp(kind, 16383, 16000))
    assert caught.value.reason == "too_large"


@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"lossless": True, "exif": b"Exif\0\0MM\0*"}])
def test_webp_of_every_kind_is_read_with_its_own_size(options: dict[str, Any]) -> None:
    assert decode(encoded(noise(91, 70), "WEBP", **options)).shape == (70, 91, 3)
