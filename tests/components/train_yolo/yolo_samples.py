"""A tiny data set of drawn faces in photos, and descriptions of tiny networks."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image as PilImage
from PIL import ImageDraw

from components.shared.dataset.annotations import Annotations, Face, Image, write_annotations
from components.shared.dataset.archive import ArchiveWriter
from components.shared.dataset.info import DatasetInfo
from components.train_yolo.config import YoloConfig, resolve_config

EMOTIONS = ("happy", "sad", "anger")
SPACE = f"emotion:{','.join(EMOTIONS)}"
TINY_DETECTOR = """
nc: 1
backbone:
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, Conv, [32, 3, 2]]
  - [-1, 1, Conv, [32, 3, 2]]
head:
  - [[2, 3, 4], 1, Detect, [nc]]
"""
TINY_CLASSIFIER = """
nc: 3
backbone:
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, Conv, [32, 3, 2]]
head:
  - [-1, 1, Classify, [nc]]
"""


def draw(faces: list[tuple[int, int, int, int]], emotions: list[str], rng: np.random.Generator) -> bytes:
    """A photo of noise, 96 x 80 pixels, with faces whose mouth and color depend on the emotion."""
    canvas = PilImage.fromarray(rng.integers(20, 90, (80, 96, 3), dtype=np.uint8))
    pen = ImageDraw.Draw(canvas)
    for (x, y, width, height), emotion in zip(faces, emotions, strict=True):
        skin = {"happy": (240, 200, 160), "sad": (150, 190, 240), "anger": (240, 120, 110)}[emotion]
        pen.ellipse((x, y, x + width, y + height), fill=skin)
        for eye in (0.3, 0.7):
            pen.ellipse(
                (x + eye * width - 2, y + 0.35 * height - 2, x + eye * width + 2, y + 0.35 * height + 2), fill=0
            )
        mouth = (x + 0.25 * width, y + 0.6 * height, x + 0.75 * width, y + 0.85 * height)
        pen.arc(mouth, *((0, 180) if emotion == "happy" else (180, 360)), fill=(120, 20, 20), width=2)
    buffer = io.BytesIO()
    canvas.save(buffer, "JPEG", quality=92)
    return buffer.getvalue()


def write_dataset(folder: Path, *, train: int = 16, val: int = 8) -> None:
    """Photos with one or two faces, one without any, and test ones whose files do not exist."""
    rng = np.random.default_rng(0)
    images, number, face_id = [], 0, 0
    with ArchiveWriter(folder / "images") as writer:
        for split, count in (("train", train), ("val", val), ("test", 2)):
            for index in range(count):
                number += 1
                boxes = [(4 + int(rng.integers(12)), 8 + int(rng.integers(20)), 36, 44)]
                if index % 3 == 0:
                    boxes.append((54 + int(rng.integers(6)), 10 + int(rng.integers(20)), 32, 40))
                if split == "train" and index == 1:
                    boxes = []
                emotions = [EMOTIONS[(index + at) % len(EMOTIONS)] for at in range(len(boxes))]
                name = f"{split}/{number}.jpg"
                if split != "test":
                    writer.add(name, draw(boxes, emotions, rng))
                faces = []
                for box, emotion in zip(boxes, emotions, strict=True):
                    face_id += 1
                    faces.append(Face(face_id, tuple(map(float, box)), {"emotion": emotion}))
                images.append(Image(number, name, 96, 80, tuple(faces), person=str(number), split=split))
    write_annotations(Annotations(tuple(images), DatasetInfo(format="drawn")), folder / "annotations.json")


def config(folder: Path, **entries: Any) -> YoloConfig:
    """The configuration of a training of seconds; the descriptions are written into the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "detector.yaml").write_text(TINY_DETECTOR)
    (folder / "classifier.yaml").write_text(TINY_CLASSIFIER)
    task = entries.get("task", "detect")
    kind = "detector" if task == "detect" else "classifier"
    defaults: dict[str, Any] = {
        "model": str(folder / f"{kind}.yaml"),
        "epochs": 2,
        "batch": 8,
        "imgsz": 64,
        "device": "cpu",
        "plots": False,
        **({"label_space": SPACE} if task == "classify" else {}),
    }
    return resolve_config(defaults | entries)
