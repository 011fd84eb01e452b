"""Images that are no plain RGB photo, through the whole of ingest: kept unchanged, or dropped with a reason."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from components.ingest.ingest import FORMATS, ingest
from components.shared.dataset.annotations import read_annotations
from components.shared.dataset.archive import ImageArchive
from serving.runtime.errors import InputError
from serving.runtime.image.decode import decode

GRAY = np.random.default_rng(0).integers(0, 256, (24, 36), dtype=np.uint8)
COLOR = np.random.default_rng(1).integers(0, 256, (24, 36, 3), dtype=np.uint8)


def encode(image, kind, **options):
    data = io.BytesIO()
    Image.fromarray(image).save(data, kind, **options) if isinstance(image, np.ndarray) else image.save(data, kind)
    return data.getvalue()


def bomb(side):
    """A PNG of a few bytes that says it is `side` x `side` pixels."""
    data = bytearray(encode(GRAY, "PNG"))
    data[16:24] = struct.pack(">II", side, side)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)


PHOTO = Image.fromarray(COLOR)
KEPT = {
    "16_bit.png": encode(GRAY.astype(np.uint16) * 257, "PNG"),
    "16_bit.tif": encode(GRAY.astype(np.uint16) * 257, "TIFF"),
    "alpha.png": encode(PHOTO.convert("RGBA"), "PNG"),
    "cmyk.jpg": encode(PHOTO.convert("CMYK"), "JPEG"),
    "gray.jpg": encode(GRAY, "JPEG"),
    "gray_alpha.png": encode(PHOTO.convert("LA"), "PNG"),
    "one_bit.png": encode(PHOTO.convert("1"), "PNG"),
    "palette.gif": encode(PHOTO.quantize(8), "GIF"),
    "palette.png": encode(PHOTO.quantize(8), "PNG"),
    "plain.JPG": encode(COLOR, "JPEG"),
    "plain.bmp": encode(COLOR, "BMP"),
    "plain.ppm": encode(COLOR, "PPM"),
    "plain.webp": encode(COLOR, "WEBP"),
}
OTHER_TYPE = {
    "is_bmp.webp": encode(COLOR, "BMP"),
    "is_jpeg.png": encode(COLOR, "JPEG"),
    "is_png.jpg": encode(COLOR, "PNG"),
}
DROPPED = {
    "bomb.png": (bomb(60_000), "too_large"),
    "giant.png": (bomb(2**31 - 1), "too_large"),
    "cut.jpg": (encode(COLOR, "JPEG")[:-60], "truncated"),
    "cut.png": (encode(COLOR, "PNG")[:-60], "truncated"),
    "float.tif": (encode(GRAY.astype(np.float32), "TIFF"), "unsupported"),
    "nothing.jpg": (b"", "empty"),
    "page.jpg": (b"<html><body>404</body></html>", "not_an_image"),
    "postscript.png": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not_an_image"),
    "zip.jpg": (b"PK\3\4" + bytes(90), "not_an_image"),
}


def test_every_image_is_kept_unchanged_or_dropped_with_its_reason(tmp_path):
    files = KEPT | OTHER_TYPE | {name: data for name, (data, _) in DROPPED.items()}
    folder = tmp_path / "raw" / "class"
    folder.mkdir(parents=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)
    report = ingest(
        str(tmp_path / "raw"),
        tmp_path / "images",
        tmp_path / "a.json",
        format="class_folder",
        options={"max_dropped": 0.5, "folders": "<class>"},
    )
    data = read_annotations(tmp_path / "a.json")
    images = ImageArchive(tmp_path / "images")
    kept = KEPT | OTHER_TYPE
    assert [image.file_name for image in data.images] == sorted(f"class/{name}" for name in kept)
    for image in data.images:
        content = images.read(image.file_name)
        assert content == kept[image.file_name.removeprefix("class/")]
        assert (image.height, image.width) == (24, 36)
        assert decode(content).shape == (24, 36, 3)
    assert {reason: sorted(names) for reason, names in data.info.dropped_examples.items()} == {
        reason: sorted(f"class/{name}" for name, (_, why) in DROPPED.items() if why == reason)
        for reason in {why for _, why in DROPPED.values()}
    }
    assert report.dropped == {reason: len(names) for reason, names in data.info.dropped_examples.items()}
    assert data.info.notes_examples == {"other_type_than_named": [f"class/{name}" for name in sorted(OTHER_TYPE)]}
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == files


@pytest.mark.parametrize("format_name", FORMATS)
@pytest.mark.parametrize("files", [{}, {"notes.txt": b"x", ".DS_Store": b"x", "a/._b.jpg": b"x", "Thumbs.db": b"x"}])
def test_a_source_without_images_is_one_error_in_every_format(tmp_path, format_name, files):
    (tmp_path / "raw").mkdir()
    for name, data in files.items():
        (tmp_path / "raw" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "raw" / name).write_bytes(data)
    with pytest.raises(InputError, match=r"raw") as caught:
        ingest(str(tmp_path / "raw"), tmp_path / "images", tmp_path / "a.json", format=format_name)
    assert len(str(caught.value)) < 600
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]
