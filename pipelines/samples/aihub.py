"""Drawn sample data in the layouts of AI Hub's Korean emotion data, the same bytes for the same seed.

Every person has one photo of each of the seven emotions. Some are untidy in the ways of the real data: annotators who
disagree, boxes that are turned inside out, photos that lie on their side, names in decomposed letters, label files in
three encodings, photos and label records without each other, and files that are neither.
"""

import hashlib
import io
import json
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

from components.shared.output_folder import complete_folder
from pipelines.samples.cp949_zip import write_cp949_zip
from pipelines.samples.drawing.expression import EXPRESSIONS, weakened
from pipelines.samples.drawing.face import draw_portrait
from pipelines.samples.drawing.person import draw_person
from serving.runtime.errors import InputError

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
# What an emotion is taken for.
_ALIKE = {
    "anger": "pain",
    "anxiety": "embarrass",
    "embarrass": "anxiety",
    "happy": "normal",
    "normal": "sad",
    "pain": "sad",
    "sad": "pain",
}
# EXIF orientation of a photo that is shown upright, and the turn that undoes it.
_ON_THEIR_SIDE = {
    3: Image.Transpose.ROTATE_180,
    6: Image.Transpose.ROTATE_90,
    8: Image.Transpose.ROTATE_270,
}


@dataclass(frozen=True, slots=True)
class _Photo:
    """A photo of the data: where it belongs, its file, and its label record (None: it has none)."""

    split: Split
    emotion: str
    name: str
    data: bytes
    record: dict[str, Any] | None


def draw_aihub_sample(folder: Path, *, layout: Layout, persons: int = PERSONS, seed: int = 0) -> int:
    """Draws the photos of `persons` persons below `folder`, which must be new or empty; it appears whole or not at all.

    `folders` is what a team works with: `<emotion>/raw/<split>`, `<emotion>/labeled/<split>` and `test_set`.
    `archives` is what AI Hub hands out: ZIP archives of photos and of label files with Korean names, in CP949, for
    training and validation; what would be the test set is part of the latter. The photos are the same in both.

    Every eighth person is in validation and every eighth in test. Returns the number of photos.

    Raises:
        InputError: when `folder` has something in it, `persons` is not positive, or the layout is unknown.
    """
    if persons < 1:
        raise InputError(f"persons: expected at least 1, got {persons}")
    if layout not in _LAYOUTS:
        raise InputError(f"unknown layout '{layout}'; known: {', '.join(_LAYOUTS)}")
    with complete_folder(folder) as root:
        photos = [photo for index in range(persons) for photo in _draw_person(index, seed)]
        _LAYOUTS[layout](root, photos)
        (root / ".DS_Store").write_bytes(b"\x00\x00\x00\x01Bud1")
    return len(photos)


def _draw_person(index: int, seed: int) -> Iterator[_Photo]:
    """Draws the seven photos of the person number `index`; every draw depends on the seed and the number only."""
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
    """What three annotators say: mostly the emotion that is drawn, and boxes that differ by a few pixels."""
    said = {}
    for who in "ABC":
        draw = rng.random()
        vote = KOREAN[emotion] if draw < 0.8 else KOREAN[_ALIKE[emotion]] if draw < 0.95 else "알수없음"
        left, top, right, bottom = (round(value + float(rng.uniform(-2, 2)), 2) for value in face)
        if serial % 100 == 49:
            left = top = right = bottom = 0.0
        elif who == "A" and serial % 9 == 4:
            left, right = right, left
        boxes = {"minX": left, "minY": top, "maxX": right, "maxY": bottom}
        said[f"annot_{who}"] = {"boxes": boxes, "faceExp": vote, "bg": background}
    return said


def _encode(picture: Image.Image, rng: np.random.Generator) -> bytes:
    """Encodes a photo as JPEG; one of ten is stored on its side with the EXIF orientation that puts it right."""
    exif = Image.Exif()
    if rng.random() < 0.1:
        orientation, turn = list(_ON_THEIR_SIDE.items())[rng.integers(len(_ON_THEIR_SIDE))]
        exif[0x0112] = orientation
        picture = picture.transpose(turn)
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=92, exif=exif)
    return buffer.getvalue()


def _lists(photos: list[_Photo]) -> dict[tuple[Split, str], list[_Photo]]:
    lists: dict[tuple[Split, str], list[_Photo]] = {}
    for photo in photos:
        lists.setdefault((photo.split, photo.emotion), []).append(photo)
    return lists


def _records(photos: list[_Photo], emotion: str) -> list[dict[str, Any]]:
    """The label records of photos, and one of a photo that was not handed out."""
    gone = {"filename": f"{'0' * 64}_남_20_{KOREAN[emotion]}_도심 환경_20201201114828-000-000.jpg"}
    return [*(photo.record for photo in photos if photo.record), {**gone, "faceExp_uploader": KOREAN[emotion]}]


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
    """The record under the names of the published schema."""
    published = {key: value for key, value in record.items() if not key.startswith("annot_")}
    for who in "ABC":
        if f"annot_{who}" in record:
            said = record[f"annot_{who}"]
            boxes = [{**said["boxes"], "label": said["faceExp"]}]
            published[f"faceBB_{who}"] = [{"boxes": boxes, "entireLabel": said["bg"]}]
    return published


_LAYOUTS = {"folders": _write_folders, "archives": _write_archives}
