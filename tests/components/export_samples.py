"""Data sets to export, and how an exported tree is read again."""

import io
import json
from dataclasses import replace

import numpy as np
from hypothesis import strategies as st
from PIL import Image as Picture

from components.export_dataset.export_dataset import export_dataset
from components.ingest.ingest import ingest
from components.shared.dataset.annotations import Annotations, Face, Image, read_annotations, write_annotations
from components.shared.dataset.archive import ArchiveWriter
from components.shared.dataset.info import DatasetInfo
from pipelines.samples.aihub import KOREAN

EMOTIONS = ["anger", "anxiety", "embarrass", "happy", "normal", "pain", "sad"]
SPLITS = ["train", "val", "test"]
BOX = (3.25, 4.5, 20.125, 1 / 3 + 9)


def jpeg(seed, width=40, height=30, orientation=1, kind="JPEG"):
    pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
    exif = Picture.Exif()
    exif[0x0112] = orientation
    data = io.BytesIO()
    Picture.fromarray(pixels).save(data, kind, exif=exif)
    return data.getvalue()


def photos():
    """Two persons per split and class, with Korean names, a rotated photo, equal names in all classes."""
    for at, (emotion, korean) in enumerate(KOREAN.items()):
        for number, split in enumerate(SPLITS):
            seed = 10 * at + number
            turned = number == 1
            name = f"{korean}/사진 & {split}.{'JPG' if number else 'png'}"
            size = (30, 40) if turned else (40, 30)
            image = Image(
                id=seed + 1,
                file_name=name,
                width=size[0],
                height=size[1],
                faces=(Face(seed + 101, BOX, {"emotion": emotion, "age": 30, "votes": ["x"]}),),
                person=f"p{seed}",
                split=split,
            )
            yield image, jpeg(seed, orientation=(1, 6, 3)[number], kind="JPEG" if number else "PNG")


def store(folder, pairs, info=None):
    pairs = list(pairs)
    with ArchiveWriter(folder / "images") as writer:
        for image, data in pairs:
            writer.add(image.file_name, data)
    write_annotations(
        Annotations(tuple(image for image, _ in pairs), DatasetInfo.model_validate(info or {})),
        folder / "annotations.json",
    )
    return folder


def labeled(number, attributes, split="train", **more):
    """One image with one face, and its bytes."""
    face = Face(number, (1, 1, 9, 9), attributes)
    return Image(number, f"{number}.jpg", 40, 30, (face,), split=split, **more), jpeg(number)


def contents(folder):
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def export(data, output, **arguments):
    return export_dataset(data / "images", data / "annotations.json", output, **arguments)


def again(tree, out, format_name, **options):
    """Read an exported tree; the images by the names they have in it."""
    ingest(str(tree), out / "images", out / "annotations.json", format=format_name, options=options)
    return {image.file_name: image for image in read_annotations(out / "annotations.json").images}


def mapper(tree):
    return json.loads((tree / "filename_mapper.json").read_text(encoding="utf-8"))


def originals(data):
    return {image.file_name: image for image in read_annotations(data / "annotations.json").images}


sizes = st.sampled_from([(40, 30), (30, 40), (7, 64)])


@st.composite
def data_sets(draw):
    """Images with no, one or several faces, some without box, label, person or split."""
    images, face_id = [], 0
    for number in range(draw(st.integers(1, 5))):
        width, height = draw(sizes)
        faces = []
        for _ in range(draw(st.integers(0, 3))):
            face_id += 1
            left, top = draw(st.floats(0, width - 1)), draw(st.floats(0, height - 1))
            box = (left, top, draw(st.floats(1e-3, 1)) * (width - left), draw(st.floats(1e-3, 1)) * (height - top))
            attributes = draw(
                st.fixed_dictionaries(
                    {},
                    optional={
                        "emotion": st.sampled_from(EMOTIONS),
                        "age": st.integers(0, 100),
                        "gender": st.sampled_from(["male", "female"]),
                        "votes": st.lists(st.sampled_from([*EMOTIONS, "unknown"]), max_size=3),
                        "background": st.text("가나 /&x", max_size=5),
                    },
                )
            )
            faces.append(Face(face_id, box, attributes))
        if len(faces) == 1 and draw(st.booleans()):
            faces = [replace(faces[0], box=None)]
        images.append(
            Image(
                id=number + 1,
                file_name=f"{draw(st.sampled_from(sorted(KOREAN.values())))}/{number}.jpg",
                width=width,
                height=height,
                faces=tuple(faces),
                person=draw(st.sampled_from([None, "a", "사람", "3"])),
                split=draw(st.sampled_from([None, *SPLITS])),
            )
        )
    same = draw(st.booleans())
    return [(image, jpeg(0 if same else image.id, image.width, image.height)) for image in images]
