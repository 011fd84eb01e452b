"""Trees of files as folders and as archives of every kind."""

import hashlib
import io
import json
import os
import tarfile
import unicodedata
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from components.ingest.ingest import ingest
from components.shared.dataset.annotations import read_annotations
from components.shared.dataset.archive import ImageArchive

KINDS = ("stored.zip", "deflated.zip", ".tar", ".tar.gz", ".tgz")


def picture(seed=0, kind="JPEG"):
    pixels = np.random.default_rng(seed).integers(0, 255, (24, 20, 3), dtype=np.uint8)
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, kind)
    return data.getvalue()


def nfd(text):
    return unicodedata.normalize("NFD", text)


class RawZipInfo(zipfile.ZipInfo):
    """A member whose name is written as given bytes, with or without the flag that says UTF-8."""

    raw = b""
    raw_flags = 0

    def _encodeFilenameFlags(self):  # noqa: N802
        return self.raw, self.raw_flags


def write_zip(file, tree, compression=zipfile.ZIP_STORED, flags=0):
    """Write members in the given order; a name in bytes is written as it is."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(file, "w") as archive:
        for number, (name, data) in enumerate(tree.items()):
            info = RawZipInfo(f"{number}")
            info.raw = name if isinstance(name, bytes) else name.encode()
            info.raw_flags = flags if isinstance(name, bytes) else 0x800
            info.compress_type = compression
            archive.writestr(info, data)
    return file


def write_tar(file, tree, kind="", **options):
    file.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(file, f"w:{kind}", **options) as archive:
        for name, data in tree.items():
            info = tarfile.TarInfo(name if isinstance(name, str) else name.decode("utf-8", "surrogateescape"))
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file


def write_folder(folder, tree):
    for name, data in tree.items():
        file = Path(os.fsdecode(os.fsencode(folder) + b"/" + (name if isinstance(name, bytes) else name.encode())))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
    return folder


def pack(file, tree, kind):
    """Write a tree as one archive of a kind; `file` has no suffix."""
    target = file.with_name(file.name + "." + kind.rpartition(".")[2].replace("gz", "tar.gz").replace("ttar.", "t"))
    if kind.endswith("zip"):
        return write_zip(target, tree, zipfile.ZIP_STORED if kind == "stored.zip" else zipfile.ZIP_DEFLATED)
    return write_tar(target, tree, "gz" if "gz" in kind else "")


def contents(source):
    return dict(source.stream(source.paths))


def tree():
    """Class folders with a manifest, texts, junk and odd names."""
    files = {f"{split}/{mood}/{number:02}.jpg": picture(10 * len(mood) + number)
             for split in ("train", "test") for mood in ("기쁨", "상처") for number in range(4)}  # fmt: skip
    files |= {
        "train/기쁨/스포츠 관람 & 레저.PNG": picture(99, "PNG"),
        "train/기쁨/broken.jpg": b"no image",
        "train/기쁨/._00.jpg": b"twin",
        "__MACOSX/train/기쁨/._00.jpg": b"twin",
        ".DS_Store": b"x",
        "train/.ipynb_checkpoints/00.jpg": picture(5),
        "labels/기쁨.json": json.dumps([{"filename": "한글"}], ensure_ascii=False).encode("cp949"),
        "notes.txt": b"",
        "manifest.csv": b"path,emotion,xmin,ymin,xmax,ymax\n" + "train/기쁨/00.jpg,기쁨,1,2,9,8\n".encode(),
    }
    return files


def facts(out):
    """The annotations but for what names the source."""
    data = read_annotations(out / "annotations.json")
    images = ImageArchive(out / "images")
    assert all(hashlib.sha256(images.read(image.file_name)).hexdigest() == image.sha256 for image in data.images)
    return data.images, data.info.model_copy(update={"source": None}), sorted(images.names)


def run(uri, out, **options):
    ingest(str(uri), out / "images", out / "annotations.json", **options)
    return facts(out)


FORMATS = {
    "class_folder": {"format": "class_folder", "options": {"attribute": "emotion", "max_dropped": 0.2}},
    "manifest": {"format": "manifest"},
}
