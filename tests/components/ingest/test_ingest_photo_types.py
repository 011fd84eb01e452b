"""Photos of every type, under every name, loose and in archives: read, or counted as lost with what to do."""

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from heic_pictures import heic
from PIL import Image
from source_trees import KINDS, pack, write_folder

from components.ingest.image_checks import ADVICE
from components.ingest.ingest import ingest
from components.shared.dataset.annotations import read_annotations
from components.shared.dataset.archive import ImageArchive
from serving.runtime.errors import InputError, StorageError
from serving.runtime.image.photo_types import BY_SUFFIX
from serving.runtime.storage import Location, upload

COLOR = np.random.default_rng(1).integers(0, 256, (48, 36, 3), dtype=np.uint8)
SMOOTH = np.asarray(Image.fromarray(COLOR[:5, :5]).resize((640, 480), Image.Resampling.BICUBIC))


def encode(kind, pixels=COLOR, **options):
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, kind, **options)
    return data.getvalue()


JPEG = encode("JPEG")
HEIC = heic(COLOR)
CONTENTS = {
    "JPEG": JPEG,
    "PNG": encode("PNG"),
    "BMP": encode("BMP"),
    "WebP": encode("WEBP"),
    "GIF": encode("GIF"),
    "PNM": encode("PPM"),
    "TIFF": encode("TIFF"),
    "AVIF": encode("AVIF"),
    "HEIC": HEIC,
    "camera raw": encode("TIFF", tiffinfo={254: 1}),
    "JPEG XL": b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(99),
    "JPEG 2000": encode("JPEG2000"),
    "JPEG XR": b"II\xbc\1" + bytes(99),
    "Photoshop": b"8BPS\0\1" + bytes(99),
}
NAMED = {f"{suffix[1:]}{suffix.upper()}": CONTENTS[kind.name] for suffix, kind in BY_SUFFIX.items()}
READ = sorted(f"cat/{name}" for name in NAMED if BY_SUFFIX[Path(name).suffix.lower()].reader)
UNREAD = sorted(f"cat/{name}" for name in NAMED if not BY_SUFFIX[Path(name).suffix.lower()].reader)


def run(source, out, limit=1.0):
    options = {"max_dropped": limit, "folders": "<class>"}
    info = ingest(str(source), out / "images", out / "a.json", format="class_folder", options=options)
    return info, read_annotations(out / "a.json")


def test_every_name_of_a_photo_is_read_or_dropped(tmp_path):
    write_folder(tmp_path / "raw" / "cat", NAMED)
    info, data = run(tmp_path / "raw", tmp_path)
    assert [image.file_name for image in data.images] == READ and len(READ) >= 17
    assert {(image.height, image.width) for image in data.images} == {(48, 36)}
    assert info.dropped == {"unsupported": len(UNREAD)} and len(UNREAD) >= 15
    assert info.skipped == {} and info.notes == {}
    for image in data.images:
        assert ImageArchive(tmp_path / "images").read(image.file_name) == NAMED[image.file_name[4:]]


def test_the_photos_of_a_phone_that_only_names_them_jpeg_are_read(tmp_path):
    write_folder(tmp_path / "raw" / "cat", {"1.jpg": HEIC, "2.JPG": JPEG, "3.heic": JPEG, "4.png": CONTENTS["AVIF"]})
    info, data = run(tmp_path / "raw", tmp_path)
    assert len(data.images) == 4 and info.dropped == {}
    assert info.notes_examples == {"other_type_than_named": ["cat/1.jpg", "cat/3.heic", "cat/4.png"]}


UNNAMED = {
    **{f"cat/{number}": data for number, data in enumerate(CONTENTS.values())},
    "cat/a.bin": JPEG,
    "cat/b.jpg.1": JPEG,
    "cat/c.download": HEIC,
    "cat/d.": JPEG,
    "dog/e.jpg_large": JPEG,
    "f": JPEG,
}
OTHERS = {
    "cat/notes": b"a text",
    "cat/nothing": b"",
    "cat/film.mov": b"\0\0\0\x14ftypqt  " + bytes(99),
    "cat/film.mp4": b"\0\0\0\x18ftypisom" + bytes(99),
    "cat/weights.bin": bytes(999),
    "cat/list.txt": JPEG,
    "cat/.hidden": JPEG,
    "__MACOSX/cat/0": JPEG,
    "Makefile": b"all:\n",
}


@pytest.mark.parametrize("kind", ["folder", "s3", *KINDS])
def test_photos_without_the_name_of_one_are_lost_and_others_are_not(tmp_path, kind, request):
    files = {"cat/good.jpg": JPEG} | UNNAMED | OTHERS
    if kind == "folder":
        source, label = write_folder(tmp_path / "raw", files), ""
    elif kind == "s3":
        bucket = request.getfixturevalue("bucket")
        upload(write_folder(tmp_path / "raw", files), f"s3://{bucket}")
        source, label = f"s3://{bucket}", ""
    else:
        source = pack(tmp_path / "raw", files, kind)
        label = f"{source.name}: "
    info, data = run(source, tmp_path)
    assert [image.file_name for image in data.images] == ["cat/good.jpg"]
    assert info.dropped == {"photo_without_suffix": len(UNNAMED)}
    assert sorted(info.dropped_examples["photo_without_suffix"]) == sorted(f"{label}{path}" for path in UNNAMED)[:20]
    assert sum(info.skipped.values()) == len(OTHERS)
    with pytest.raises(InputError, match=r"20 of 21 images .* photo_without_suffix: give its name the suffix"):
        run(source, tmp_path / "again", 0.5)


DAMAGED = {
    "cut.heic": HEIC[: len(HEIC) // 2],
    "cut.avif": CONTENTS["AVIF"][:-99],
    "empty.heif": b"",
    "page.heic": b"<html>404</html>",
    "random.cr2": bytes(range(256)),
    "cut.jfif": JPEG[: len(JPEG) // 2],
}


def test_what_has_a_name_of_a_photo_and_cannot_be_read_is_dropped(tmp_path):
    write_folder(tmp_path / "raw" / "cat", DAMAGED | {"good.jpg": JPEG})
    info, _ = run(tmp_path / "raw", tmp_path)
    assert info.dropped_examples == {
        "truncated": ["cat/cut.avif", "cat/cut.heic", "cat/cut.jfif"],
        "empty": ["cat/empty.heif"],
        "not_an_image": ["cat/page.heic", "cat/random.cr2"],
    }
    assert set(info.dropped) <= set(ADVICE)


# --- JPEGs that only make the decoder warn -------------------------------------------------------------------------


def test_jpegs_with_their_pixels_are_read_and_noted(tmp_path):
    sound = encode("JPEG", SMOOTH)
    files = {
        "1_sound.jpg": sound,
        "2_no_end.jpg": sound[:-2],
        "3_half_an_end.jpg": sound[:-1],
        "4_zeros.jpg": sound[:-2] + bytes(999),
        "5_more_behind.jpg": sound + b"more",
        "6_cut.jpg": sound[: len(sound) * 2 // 3],
        "7_cut_and_ended.jpg": sound[: len(sound) * 2 // 3] + b"\xff\xd9",
        "8_a_progressive_one.jpg": encode("JPEG", SMOOTH, progressive=True)[:-2],
    }
    write_folder(tmp_path / "raw" / "cat", files)
    info, data = run(tmp_path / "raw", tmp_path)
    assert info.dropped_examples == {"truncated": ["cat/6_cut.jpg", "cat/7_cut_and_ended.jpg"]}
    noted = ["2_no_end.jpg", "3_half_an_end.jpg", "4_zeros.jpg", "8_a_progressive_one.jpg"]
    assert info.notes_examples == {"decoder_warning": [f"cat/{name}" for name in noted]}
    assert len({image.dhash for image in data.images}) == 1
    for image in data.images:
        assert ImageArchive(tmp_path / "images").read(image.file_name) == files[image.file_name[4:]]


# --- links, pipes, and what lies in a folder besides files ---------------------------------------------------------


def test_a_link_that_leads_nowhere_is_lost_alone(tmp_path):
    folder = write_folder(tmp_path / "raw" / "cat", {"good.jpg": JPEG})
    write_folder(tmp_path / "elsewhere", {"real.jpg": JPEG})
    (folder / "linked.jpg").symlink_to(tmp_path / "elsewhere" / "real.jpg")
    (folder / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (folder / "through_a_file.heic").symlink_to(folder / "good.jpg" / "x.jpg")
    (folder / "loop.png").symlink_to(folder / "loop.png")
    (folder / "gone.zip").symlink_to(tmp_path / "nowhere.zip")
    (folder / "gone.txt").symlink_to(tmp_path / "nowhere.txt")
    (folder / "gone_folder").symlink_to(tmp_path / "nowhere")
    os.mkfifo(folder / "pipe.jpg")
    info, data = run(tmp_path / "raw", tmp_path)
    assert [image.file_name for image in data.images] == ["cat/good.jpg", "cat/linked.jpg"]
    assert {reason: sorted(names) for reason, names in info.dropped_examples.items()} == {
        "link": ["cat/gone.jpg", "cat/gone.zip", "cat/loop.png", "cat/through_a_file.heic"],
        "device": ["cat/pipe.jpg"],
    }
    assert info.skipped_examples == {"link": ["cat/gone.txt", "cat/gone_folder"]}
    with pytest.raises(InputError, match=r"5 of 7 images .*; device: .*; link: put the file itself in its place"):
        run(tmp_path / "raw", tmp_path / "again", 0.5)


def test_what_cannot_be_copied_is_still_an_error_of_an_upload(tmp_path):
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    with pytest.raises(StorageError, match=r"gone\.jpg"):
        upload(tmp_path / "raw", str(tmp_path / "copy"))
    with pytest.raises(StorageError, match=r"gone\.jpg"):
        Location(str(tmp_path / "raw")).read("gone.jpg")


# --- as a user runs it ---------------------------------------------------------------------------------------------


def test_the_command_prints_no_line_that_is_not_ours(tmp_path):
    lzw = bytearray(encode("TIFF", compression="tiff_lzw"))
    lzw[200:240] = bytes(byte ^ 0x5A for byte in lzw[200:240])
    palette = io.BytesIO()
    Image.fromarray(COLOR).quantize(16).save(palette, "PNG", transparency=bytes(range(16)))
    files = {
        **{f"good{number}.jpg": JPEG for number in range(9)},
        "libtiff.tif": bytes(lzw),
        "palette.png": palette.getvalue(),
        "exif.jpg": encode("JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xffnonsense"),
        "large.png": encode("PNG", np.zeros((9500, 9500), bool)),
        "phone.heic": HEIC,
        "no_end.jpg": JPEG[:-2],
        "raw.cr2": b"II*\0\x10\0\0\0CR\2\0" + bytes(99),
        "unnamed": JPEG,
    }
    write_folder(tmp_path / "raw" / "cat", files)
    command = [Path(sys.executable).with_name("facet"), "step", "ingest", "--source", tmp_path / "raw"]
    command += ["--images", tmp_path / "images", "--annotations", tmp_path / "a.json"]
    command += ["--format", "class_folder", "--options", "max_dropped=0.5", "--options", "folders=<class>"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    text = done.stdout + done.stderr
    for line in (
        "lost images: 1 photo_without_suffix (cat/unnamed)",
        "lost images: 1 truncated (cat/libtiff.tif)",
        "lost images: 1 unsupported (cat/raw.cr2)",
        "noted: 2 decoder_warning (cat/exif.jpg, cat/no_end.jpg)",
        "unsupported: convert it to JPEG, PNG or HEIC",
    ):
        assert line in text
    for word in ("Warning", "warn(", "site-packages", "LZW", "code not yet", "Decompression", "bomb", "Expecting"):
        assert word not in text, text
