"""YOLO detection and pose data: images, and for each a text with one row per face."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import Field

from components.ingest.formats.class_names import ClassNames, class_names
from components.ingest.formats.listing import Listing, Options, Record, image_paths
from components.ingest.formats.yolo_dataset import DatasetYaml, find_yaml, label_paths, split_of_folders, splits_of_yaml
from components.ingest.sources.source import Source
from components.shared.dataset.annotations import Box, Face, Keypoint
from serving.runtime.errors import InputError

Kind = Literal["box", "extra", "polygon"]
# Boxes may reach beyond their image a little; larger numbers are pixels.
_MAX_SHARE = 2.0


class YoloOptions(Options):
    """Options of YOLO data.

    Attributes:
        data: the data set's yaml below the source; by default the only one that describes a data set, or none.
        names: the names of the classes, in order, when there is no yaml, or to override it.
        kpt_shape: points and numbers per point of a pose data set whose yaml does not state them.
        attribute: the attribute that the classes are values of; by default `emotion` for the seven emotions, nothing
            for the one class `face`, and `label` for everything else.
        background: whether images without any face are kept (a detector learns from them) or left out.
    """

    data: str | None = None
    names: tuple[str, ...] = ()
    kpt_shape: tuple[int, int] | None = None
    attribute: str | None = Field(default=None, pattern=r"^[A-Za-z_]\w*$")
    background: Literal["keep", "skip"] = "keep"


@dataclass(frozen=True, slots=True)
class LabelRow:
    """One row: its class, its box (left, top, width, height) and keypoints as shares of the image, and a confidence.

    `kind` tells what the box was made from. Rows that differ only in keypoints or score are equal.
    """

    category: int
    box: Box
    kind: Kind
    keypoints: tuple[Keypoint, ...] | None = field(default=None, compare=False)
    score: float | None = field(default=None, compare=False)


def read_yolo(source: Source, options: YoloOptions) -> Listing:
    """Find the pictures of a YOLO data set and their faces.

    Splits are those of the yaml, or else the names of folders (`images/train/`, `train/images/`). The label file of
    `images/train/a.jpg` is `labels/train/a.txt`. An image with an empty label file, or with none, is background, as
    the format has it; the missing files are counted. One whose rows are all damaged is dropped, not background.
    Raises InputError when there is no label file at all.
    """
    listing = Listing()
    dataset = find_yaml(source, options.data)
    images = image_paths(
        (path for path in source.paths if not path.endswith((".txt", ".yaml", ".yml", ".cache"))), listing
    )
    splits = _splits(source, dataset, images, listing)
    texts = {path for path in source.paths if path.endswith(".txt")}
    label_of = {image: next((path for path in label_paths(image) if path in texts), None) for image in splits}
    labels = dict(source.stream(texts.intersection(label_of.values())))
    if not labels:
        raise InputError(
            f"{source.uri}: no label file; expected labels/<split>/<name>.txt for images/<split>/<name>.jpg "
            f"(images in folders named after their classes are read by the format 'class_folder')"
        )
    keypoints = options.kpt_shape or (dataset.keypoints if dataset else None)
    names = dict(enumerate(options.names)) or (dataset.names if dataset else {})
    classes = class_names(names, options.attribute)
    parsed = {path: _rows(path, data, keypoints, listing) for path, data in sorted(labels.items())}
    for image in splits:
        label = label_of[image]
        rows = parsed.get(label) if label is not None else []
        if rows is None:
            listing.dropped.add("bad_label_file", image)
            continue
        if not rows:
            reason = "no_label_file" if label is None else "background"
            (listing.notes if options.background == "keep" else listing.skipped).add(reason, image)
            if options.background == "skip":
                continue
        faces = tuple(_face(row, names, classes, image, listing) for row in rows)
        listing.records.append(Record(image, faces, split=splits[image], normalized=True))
    for path in sorted(texts.difference(label_of.values())):
        if "/labels/" in f"/{path}" and not path.endswith("/classes.txt"):
            listing.dropped.add("missing_image", path)
        else:
            listing.skipped.add("not_an_image_name", path)
    return listing


def _splits(source: Source, dataset: DatasetYaml | None, images: list[str], listing: Listing) -> dict[str, str | None]:
    """Return the split of each image of the data set, in the order of the paths."""
    if dataset is None or not dataset.entries:
        inside = [path for path in images if "/images/" in f"/{path}"]
        for path in sorted(set(images) - set(inside)) if inside else ():
            listing.skipped.add("not_below_images", path)
        return {path: split_of_folders(path) for path in inside or images}
    split_of = splits_of_yaml(source, dataset, images, listing)
    if not split_of:
        raise InputError(
            f"{source.uri}/{dataset.path}: its folders contain no images: "
            f"{', '.join(entry for _, entry in dataset.entries)}"
        )
    for path in images:
        if path not in split_of:
            listing.skipped.add("in_no_split_of_the_yaml", path)
    return {path: split_of[path] for path in images if path in split_of}


def _rows(path: str, data: bytes, keypoints: tuple[int, int] | None, listing: Listing) -> list[LabelRow] | None:
    """Return the rows of a label file that can be read, each once; None when there are rows and none can be."""
    lines = [line for line in data.decode("utf-8-sig", errors="replace").splitlines() if line.strip()]
    rows: dict[LabelRow, None] = {}
    for number, line in enumerate(lines, start=1):
        try:
            row = parse_row(line, keypoints)
        except ValueError as error:
            listing.notes.add("bad_row", f"{path}, row {number}: {error}")
            continue
        if row in rows:
            listing.notes.add("duplicate_row", f"{path}, row {number}")
        elif row.kind != "box":
            listing.notes.add("extra_columns" if row.kind == "extra" else "polygon", f"{path}, row {number}")
        rows[row] = None
    return list(rows) if rows or not lines else None


def _face(row: LabelRow, names: Mapping[int, str], classes: ClassNames, image: str, listing: Listing) -> Face:
    if row.category not in names and (names or row.category > 0):
        listing.notes.add("unknown_class", f"{image} (class {row.category})")
    attributes = {}
    if classes.attribute is not None and row.category in classes.values:
        attributes = {classes.attribute: classes.values[row.category]}
    return Face(0, row.box, attributes, row.keypoints, row.score)


def parse_row(text: str, keypoints: tuple[int, int] | None) -> LabelRow:
    """Read one row.

    `keypoints` is the `kpt_shape` of a pose data set, (points, numbers per point). With it a row has 5 columns, or 5
    and all the keypoints. Without it:

    - 5 columns are a box, and of 6 the last is a confidence.
    - More columns are a box with unused keypoints when everything after the box is zero, as files have that were
      written for a face detector with keypoints: no polygon has its corners there.
    - Any other row with an odd number of columns is a polygon, and the box is the one around its corners.

    Raises ValueError, saying why, on any other row.
    """
    category, *shares = (float(word) for word in text.split())
    if not all(abs(share) <= _MAX_SHARE for share in shares):
        raise ValueError("a value is not a share of the image's width or height")
    if category < 0 or not category.is_integer():
        raise ValueError("the class is not an integer from 0 on")
    kind = _kind(shares, keypoints)
    if kind == "polygon":
        left, top, right, bottom = min(shares[::2]), min(shares[1::2]), max(shares[::2]), max(shares[1::2])
        box = (left, top, right - left, bottom - top)
    else:
        x, y, width, height = shares[:4]
        box = (x - width / 2, y - height / 2, width, height)
    if not (box[2] > 0 and box[3] > 0):
        raise ValueError("the box is empty")
    points = _keypoints(shares[4:], keypoints[1]) if keypoints and len(shares) > 4 else None
    return LabelRow(int(category), box, kind, points, shares[4] if len(shares) == 5 and not keypoints else None)


def _kind(shares: Sequence[float], keypoints: tuple[int, int] | None) -> Kind:
    count = len(shares)
    if count == 4:
        return "box"
    if keypoints is not None:
        expected = 4 + keypoints[0] * keypoints[1]
        if count != expected:
            raise ValueError(f"{count + 1} columns, expected 5 or {expected + 1}")
        return "box"
    if count == 5:
        return "box"
    if count > 5 and not any(shares[4:]):
        return "extra"
    if count >= 6 and count % 2 == 0:
        return "polygon"
    raise ValueError(f"{count + 1} columns, expected 5")


def _keypoints(values: Sequence[float], numbers: int) -> tuple[Keypoint, ...]:
    """Return points of x, y and, where there are three numbers, visibility; negative coordinates are not labeled."""
    points = []
    for start in range(0, len(values), numbers):
        x, y, *rest = values[start : start + numbers]
        labeled = 2 if min(x, y) >= 0 else 0
        points.append(Keypoint(x, y, max(round(rest[0]), 0) if rest else labeled))
    return tuple(points)
