"""The data of a training: read from the annotations, and unpacked into the folders that ultralytics reads."""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.shared.dataset.annotations import Annotations, read_annotations
from components.shared.dataset.archive import ImageArchive
from components.shared.dataset.crops import digest_with_crops, has_crops, on_crops
from components.shared.dataset.export.choice import ExportOptions, Remarks, choose
from components.shared.dataset.export.faces import write_face_tree
from components.shared.dataset.export.readable import as_yolo_reads
from components.shared.dataset.export.yolo import YAML, export_yolo_detection
from components.shared.dataset.face_classes import FaceClasses
from components.shared.dataset.label_spaces import LabelSpace, label_space
from components.shared.dataset.text import some
from components.train_yolo.config import YoloConfig
from serving.runtime.errors import InputError
from serving.runtime.image.header import Pixels
from serving.runtime.image.photo import Photo
from serving.runtime.image.placement import Box, Keypoints, eye_points, place
from serving.runtime.image.preprocess import cut_placed

SPLITS = ("train", "val")
"""The splits that a training reads."""

_NAMES = "names.json"
_ALONE = ExportOptions(unsplit="skip")
_LEAST = {"train": 2, "val": 1}

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Data:
    """What the annotations say; `images` is the archive with the pictures, that of the crops where there are any."""

    annotations: Annotations
    images: Path
    space: LabelSpace | None
    digest: str
    cropped: bool

    @property
    def leaks(self) -> bool:
        """True where one person or picture is known to be in several splits."""
        return self.annotations.info.leaks


@dataclass(frozen=True, slots=True)
class Unpacked:
    """A data set in files: `address` is what ultralytics takes for it, `counts` says what is in it."""

    address: Path
    counts: dict[str, Any]


def read_data(config: YoloConfig, images: Path, annotations: Path, crops: Path | None = None) -> Data:
    """Read the annotations, of the crops where there are any.

    Raises:
        InputError: a split has too few faces, or for a detector too few with a box, a face lies outside its picture or
            its attributes cannot be understood, or there are crops and the task is detect.
    """
    content = read_annotations(annotations)
    cropped = has_crops(crops)
    if cropped and crops is not None:
        if config.task == "detect":
            raise InputError(f"{crops}: a detector is trained on whole photos; leave the crops out")
        content, images = on_crops(content, crops), crops
    space = label_space(config.label_space) if config.label_space else None
    _check(content, space, needs_boxes=config.task == "detect")
    return Data(content, images, space, digest_with_crops(annotations, crops), cropped)


def unpack(config: YoloConfig, data: Data, folder: Path) -> Unpacked:
    """Write the pictures and labels of the splits train and val into a folder, as ultralytics reads them.

    Photos for a detector keep their bytes where ultralytics reads what serving reads; a face for a classifier is
    cut as in serving. What is left out is logged and counted.

    Raises:
        InputError: nothing is left of a split, or a picture cannot be used.
        OSError: the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    remarks, archive = Remarks(), ImageArchive(data.images)
    chosen = choose(data.annotations, data.space, _ALONE, remarks, SPLITS)
    counts: dict[str, Any]
    if config.task == "detect":
        kept, paths = export_yolo_detection(
            folder, chosen, archive, data.space, remarks, splits=SPLITS, convert=as_yolo_reads
        )
        faces = {split: sum(len(choice.faces) for choice in kept if choice.split == split) for split in SPLITS}
        images = {split: sum(choice.split == split for choice in kept) for split in SPLITS}
        counts = {"images": images, "faces": faces}
        names = {path: name for name, path in paths.items()}
    else:
        by_label = write_face_tree(
            folder,
            chosen,
            archive,
            config.labels,
            lambda photo, box, points: cut(config, photo, box, points),
            remarks,
            keypoint_names=data.annotations.keypoint_names,
        )
        counts, names = {"faces": {split: sum(by_label.get(split, {}).values()) for split in SPLITS}}, {}
        missing = [label for label, count in by_label.get("train", {}).items() if not count]
        if missing:
            log.warning("no face of the train split is %s: it cannot be learned", ", ".join(missing))
    counts["left_out"] = dict(sorted(remarks.left_out.counts.items()))
    if remarks.left_out.total:
        log.warning("left out: %s", remarks.left_out)
    for split, count in counts["faces"].items():
        if count < _LEAST[split]:
            raise InputError(f"{_too_few(split, count, data.space)}: {remarks.left_out or 'nothing was left out'}")
    log.info("unpacked: %s", "; ".join(f"{split}, {_amounts(counts, split)}" for split in SPLITS))
    written = json.dumps({"labels": config.labels, "names": names}, ensure_ascii=False)
    (folder / _NAMES).write_text(written, encoding="utf-8")
    return Unpacked(folder / (YAML if config.task == "detect" else "images"), counts)


def cut(config: YoloConfig, photo: bytes, box: Box | None, points: Keypoints) -> Pixels:
    """Return what a classifier sees of a face, uint8 (imgsz, imgsz, 3) RGB: the same in training and in serving."""
    decoded = Photo(photo)
    placement = place(decoded.upright, box, config.crop, config.input, eye_points(points))
    return cut_placed(decoded, placement, config.input, config.crop.min_decode)


def labels_of(address: Path) -> dict[int, str]:
    """Return the names of the classes of an unpacked data set."""
    return dict(enumerate(_notes(address)["labels"]))


def check_loaded(address: Path, split: str, pictures: Sequence[str], faces: int | None = None) -> None:
    """Raise InputError unless ultralytics has loaded all of a split: what it cannot read it drops.

    Args:
        address: of the unpacked data set.
        split: the split.
        pictures: the paths that it has loaded.
        faces: how many boxes; None for faces that are pictures of their own.
    """
    folder = address.parent
    files = (path for path in (folder / "images" / split).rglob("*.*") if path.suffix != ".npy")  # its own cache
    written = {str(path.relative_to(folder)) for path in files}
    loaded = {str(Path(path).resolve().relative_to(folder.resolve())) for path in pictures}
    if missing := sorted(written - loaded):
        names: Mapping[str, str] = _notes(address)["names"]
        listed = some([names.get(path, path) for path in missing])
        raise InputError(f"ultralytics cannot read {len(missing)} of {len(written)} pictures of {split}: {listed}")
    if faces is None:
        return
    # It drops the second of two equal rows.
    rows = sum(len(set(path.read_text().splitlines())) for path in (folder / "labels" / split).glob("*.txt"))
    if faces != rows:
        raise InputError(f"ultralytics has loaded {faces} faces of the split {split}, and there are {rows}")


def _check(annotations: Annotations, space: LabelSpace | None, *, needs_boxes: bool) -> None:
    class_of = FaceClasses(space) if space is not None else None
    counts, unboxed = dict.fromkeys(SPLITS, 0), dict.fromkeys(SPLITS, 0)
    for image in annotations.images:
        if image.split not in counts:
            continue
        without = sum(face.box is None for face in image.faces) if needs_boxes else 0
        unboxed[image.split] += without
        for face in image.faces:
            if face.box is not None and _outside(face.box, image.width, image.height):
                numbers = ", ".join(f"{value:g}" for value in face.box)
                raise InputError(
                    f"{image.file_name}, face {face.id}: its box ({numbers}) lies outside the picture, which is "
                    f"{image.width} x {image.height} pixels; correct the annotations"
                )
            try:
                counts[image.split] += not without and (class_of is None or class_of(face) is not None)
            except InputError as error:
                raise InputError(f"{image.file_name}, face {face.id}: {error}") from error
    for split, count in counts.items():
        if count < _LEAST[split]:
            if unboxed[split]:
                raise InputError(
                    f"{unboxed[split]} faces of the split {split} have no box; a detector needs boxes: take "
                    "annotations that have them, or find them with detect_faces"
                )
            raise InputError(
                f"{_too_few(split, count, space)}: check that the annotations went through split"
                f"{'' if space is None else ', and label_space'}"
            )


def _amounts(counts: Mapping[str, Any], split: str) -> str:
    return " and ".join(f"{counts[kind][split]} {kind}" for kind in ("images", "faces") if kind in counts)


def _outside(box: Box, width: int, height: int) -> bool:
    x, y, box_width, box_height = box
    return x >= width or y >= height or x + box_width <= 0 or y + box_height <= 0


def _too_few(split: str, count: int, space: LabelSpace | None) -> str:
    kind = "" if space is None else f" with a label of '{space.name}'"
    return f"the split {split} has {count} faces{kind}, and a training needs {_LEAST[split]} or more"


def _notes(address: Path) -> Any:
    return json.loads((address.parent / _NAMES).read_text(encoding="utf-8"))
