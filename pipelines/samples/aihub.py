"""Drawn sample data in the layouts of AI Hub's Korean emotion data, the same bytes for the same seed.

Every person has one photo of each of the seven emotions. They have the defects of the real data: annotators who
disagree, boxes with swapped sides, rotated photos with an EXIF orientation, names in decomposed Unicode, label files in
three encodings, photos without label records and label records without photos, and unrelated files.
"""

import hashlib
import io
import json
import unicodedata
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from pipelines.samples.drawing.expression import EXPRESSIONS, weakened
from pipelines.samples.drawing.face import draw_portrait
from pipelines.samples.drawing.person import draw_person
from serving.runtime.errors import InputError
from serving.runtime.output import whole_folder

PERSONS = 60
KOREAN = {
    "anger": "분노",
    "anxiety": "불안",
    "embarrass": "당황",
    "happy": "기쁨",
    "normal": "중립",
    "pain": "상처",
    "sad": "슬픔",
}
BACKGROUNDS = ("도심 환경", "실외 자연환경", "오락/공연시설", "숙박 및 거주공간", "교통/이동수단(엘리베이터 포함)")

Layout = Literal["folders", "archives"]
Split = Literal["train", "validation", "test"]

_AGES = ((10, 20), (30, 40, 50), (60,))
_SPLITS: tuple[Split, ...] = ("train", "train", "train", "train", "validation", "train", "train", "test")
_ENCODINGS = ("utf-8", "utf-8-sig", "cp949")
# The emotion with which annotators confuse each one.
_CONFUSED_WITH = {
    "anger": "pain",
    "anxiety": "embarrass",
    "embarrass": "anxiety",
    "happy": "normal",
    "normal": "sad",
    "pain": "sad",
    "sad": "pain",
}
# EXIF orientations, and the rotation of the stored pixels that each one undoes.
_ROTATIONS = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}


@dataclass(frozen=True, slots=True)
class _Photo:
    """A photo: split, emotion, file, and label record (None when it has none)."""

    split: Split
    emotion: str
    name: str
    data: bytes
    record: dict[str, Any] | None


def draw_aihub_sample(folder: Path, *, layout: Layout, persons: int = PERSONS, seed: int = 0) -> int:
    """Draws the photos of `persons` persons below `folder`, which must be new or empty; all or none are written.

    `folders` is the layout of an unpacked copy: `<emotion>/raw/<split>`, `<emotion>/labeled/<split>` and `test_set`.
    `archives` is AI Hub's own: ZIP archives of photos and of label files with Korean names, in CP949, for training and
    validation, which includes the test set. The photos are the same in both.

    Every eighth person is in validation and every eighth in test. Returns the number of photos.

    Raises:
        InputError: `folder` is not empty, `persons` is not positive, or the layout is unknown.
    """
    if persons < 1:
        raise InputError(f"persons: expected at least 1, got {persons}")
    if layout not in _LAYOUTS:
        raise InputError(f"unknown layout '{layout}'; known: {', '.join(_LAYOUTS)}")
    with whole_folder(folder) as root:
        photos = [photo for index in range(persons) for photo in _draw_person(index, seed)]
        _LAYOUTS[layout](root, photos)
        (root / ".DS_Store").write_bytes(b"\x00\x00\x00\x01Bud1")
    return len(photos)


def _draw_person(index: int, seed: int) -> Iterator[_Photo]:
    """Draws the seven photos of a person; every draw depends on `seed` and `index` only."""
    rng = np.random.default_rng([seed, index])
    female, band = bool(index % 2), index // 2 % 3
    person = draw_person(female, band, rng)
    identity = hashlib.sha256(f"{seed}-{index}".encode()).hexdigest()
    age = int(rng.choice(_AGES[band]))
    for number, (emotion, korean) in enumerate(KOREAN.items()):
        rng = np.random.default_rng([seed, index, number])
        picture, face = draw_portrait(person, weakened(EXPRESSIONS[emotion], rng), rng)
        background = BACKGROUNDS[rng.integers(len(BACKGROUNDS))]
        gender, upload = "여" if female else "남", f"202012{1 + index % 28:02d}114828-{index:03d}-{number + 1:03d}"
        name = f"{identity}_{gender}_{age}_{korean}_{background.replace('/', '&')}_{upload}.jpg"
        record = {
            "filename": name,
            "gender": gender,
            "age": age,
            "isProf": "전문인" if index % 5 == 0 else "일반인",
            "faceExp_uploader": korean,
            "bg_uploader": background,
            **_annotators(emotion, background, face, index * 7 + number, rng),
        }
        serial = index * 7 + number
        folder = "pain" if emotion == "sad" and serial % 11 == 6 else emotion
        yield _Photo(_SPLITS[index % 8], folder, name, _encode(picture, rng), None if serial % 120 == 59 else record)


def _annotators(
    emotion: str, background: str, face: tuple[float, ...], serial: int, rng: np.random.Generator
) -> dict[str, Any]:
    """The records of three annotators: mostly the drawn emotion, and boxes that differ by a few pixels."""
    records = {}
    for annotator in "ABC":
        draw = rng.random()
        vote = KOREAN[emotion] if draw < 0.8 else KOREAN[_CONFUSED_WITH[emotion]] if draw < 0.95 else "알수없음"
        left, top, right, bottom = (round(value + float(rng.uniform(-2, 2)), 2) for value in face)
        if serial % 100 == 49:
            left = top = right = bottom = 0.0
        elif annotator == "A" and serial % 9 == 4:
            left, right = right, left
        boxes = {"minX": left, "minY": top, "maxX": right, "maxY": bottom}
        records[f"annot_{annotator}"] = {"boxes": boxes, "faceExp": vote, "bg": background}
    return records


def _encode(picture: Image.Image, rng: np.random.Generator) -> bytes:
    """Encodes a photo as JPEG; one of ten is stored rotated, with its EXIF orientation."""
    exif = Image.Exif()
    if rng.random() < 0.1:
        exif[0x0112], rotation = list(_ROTATIONS.items())[rng.integers(len(_ROTATIONS))]
        picture = picture.transpose(rotation)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=92, exif=exif)
    return buffer.getvalue()


def _lists(photos: list[_Photo]) -> dict[tuple[Split, str], list[_Photo]]:
    lists: dict[tuple[Split, str], list[_Photo]] = {}
    for photo in photos:
        lists.setdefault((photo.split, photo.emotion), []).append(photo)
    return lists


def _records(photos: list[_Photo], emotion: str) -> list[dict[str, Any]]:
    """The label records of photos, and one without a photo."""
    missing = {"filename": f"{'0' * 64}_남_20_{KOREAN[emotion]}_도심 환경_20201201114828-000-000.jpg"}
    return [*(photo.record for photo in photos if photo.record), {**missing, "faceExp_uploader": KOREAN[emotion]}]


def _json(records: list[dict[str, Any]], encoding: str) -> bytes:
    return json.dumps(records, ensure_ascii=False, indent=1).encode(encoding)


def _write_folders(root: Path, photos: list[_Photo]) -> None:
    for (split, emotion), group in _lists(photos).items():
        korean, number = KOREAN[emotion], list(KOREAN).index(emotion)
        if split == "test":
            images, labels = root / "test_set" / emotion, root / "test_set" / f"{emotion}.json"
        else:
            images, labels = root / emotion / "raw" / split, root / emotion / "labeled" / split / f"{korean}.json"
        if emotion == "happy" and split == "train":
            images /= f"EMOIMG_{korean}_TRAIN_01"
        images.mkdir(parents=True, exist_ok=True)
        labels.parent.mkdir(parents=True, exist_ok=True)
        for photo in group:
            form: Literal["NFC", "NFD"] = "NFD" if emotion == "embarrass" else "NFC"
            (images / unicodedata.normalize(form, photo.name)).write_bytes(photo.data)
        labels.write_bytes(_json(_records(group, emotion), _ENCODINGS[number % 3]))
        if emotion == "anger":
            (images / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0")
        if emotion == "sad" and split == "validation":
            write_cp949_zip(images / f"EMOIMG_{korean}_VALID.zip", {photo.name: photo.data for photo in group})


def _write_archives(root: Path, photos: list[_Photo]) -> None:
    for split, folder, short, long in (
        ("train", "Training", "TRAIN", "training"),
        ("validation", "Validation", "VALID", "validation"),
    ):
        for emotion, korean in KOREAN.items():
            group = [
                photo for photo in photos if photo.emotion == emotion and (photo.split == "train") == (split == "train")
            ]
            if not group:
                continue
            (root / folder).mkdir(exist_ok=True)
            part = f"{short}_01" if split == "train" else short
            images = {photo.name: photo.data for photo in group} | {"Thumbs.db": b"\xd0\xcf\x11\xe0"}
            write_cp949_zip(root / folder / f"[원천]EMOIMG_{korean}_{part}.zip", images)
            records = _records(group, emotion)
            if emotion == "happy":
                records = [_as_published(record) for record in records]
            data = _json(records, "cp949" if emotion == "anger" else "utf-8")
            name = f"img_emotion_{long}_data({korean}).json"
            write_cp949_zip(root / folder / f"[라벨]EMOIMG_{korean}_{short}.zip", {name: data})


def _as_published(record: dict[str, Any]) -> dict[str, Any]:
    """The record with the keys of the published schema."""
    published = {key: value for key, value in record.items() if not key.startswith("annot_")}
    for annotator in "ABC":
        if annotation := record.get(f"annot_{annotator}"):
            boxes = [{**annotation["boxes"], "label": annotation["faceExp"]}]
            published[f"faceBB_{annotator}"] = [{"boxes": boxes, "entireLabel": annotation["bg"]}]
    return published


class _Cp949Member(zipfile.ZipInfo):
    """A member whose name is in CP949 without the UTF-8 flag, as Korean archivers write it; zipfile writes UTF-8."""

    def _encodeFilenameFlags(self) -> tuple[bytes, int]:  # noqa: N802
        return self.filename.encode("cp949"), self.flag_bits & ~0x800


def write_cp949_zip(path: Path, members: Mapping[str, bytes]) -> None:
    """Writes an uncompressed archive of the members, all of 1980-01-01.

    Raises UnicodeEncodeError when a name has a letter that CP949 lacks.
    """
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(_Cp949Member(name), data)


_LAYOUTS = {"folders": _write_folders, "archives": _write_archives}
