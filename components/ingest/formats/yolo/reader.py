"""YOLO detection and pose data: images, and for each a text with one row per face."""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Literal

from pydantic import Field

from components.ingest.formats.class_names import ClassNames, class_names
from components.ingest.formats.listing import Listing, Options, Record, image_paths
from components.ingest.formats.yolo.dataset import (
    DatasetYaml,
    find_dataset,
    find_lists,
    label_paths,
    other_label_paths,
    split_of_folders,
    splits_of_yaml,
)
from components.ingest.formats.yolo.names import described_classes, find_names, names_files
from components.ingest.formats.yolo.rows import LabelRow, is_label_text, looks_like_pose, parse_row
from components.ingest.sources.source import Source
from components.shared.dataset.annotations import Face
from serving.runtime.errors import InputError

_OTHER_FILES = (".txt", ".yaml", ".yml", ".cache", ".names", ".labels", "obj.data")


class YoloOptions(Options):
    """Options of YOLO data.

    Attributes:
        data: the data set's yaml below the source; by default the only one that describes a data set, or none.
        names: the names of the classes, in order, when no file has them, or to override it.
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


def read_yolo(source: Source, options: YoloOptions) -> Listing:
    """Find the pictures of a YOLO data set and their faces.

    Splits are those of the yaml, of Darknet's `obj.data` or of lists of images, or else the names of folders
    (`images/train/`, `train/images/`). The label file of `images/train/a.jpg` is `labels/train/a.txt`. An image with an
    empty label file, or with none, is background, as the format has it; the missing files are counted. One whose rows
    are all damaged is dropped, not background; a damaged row is a lost face, and a class without a name a lost label.
    Raises InputError when there is no label file at all, or none with a row.
    """
    listing = Listing()
    dataset = find_dataset(source, options.data)
    images = image_paths((path for path in source.paths if not path.lower().endswith(_OTHER_FILES)), listing)
    texts = {path for path in source.paths if path.lower().endswith(".txt")}
    label_of = _label_files(images, texts)
    owned = set(label_of.values())
    dataset = dataset or find_lists(source, images, owned)
    splits = _splits(source, dataset, images, listing)
    labels = dict(source.stream({label_of[image] for image in splits if image in label_of}))
    if not labels:
        raise InputError(
            f"{source.uri}: no label file; expected labels/<split>/<name>.txt for images/<split>/<name>.jpg "
            f"(images in folders named after their classes are read by the format 'class_folder')"
        )
    keypoints = options.kpt_shape or (dataset.keypoints if dataset else None)
    parsed = {path: _rows(path, data, keypoints, listing) for path, data in sorted(labels.items())}
    if keypoints is None and looks_like_pose(labels.values()):
        raise InputError(
            f"{source.uri}: every row has equally many columns, and the numbers behind the box are points in it, "
            f"keypoints; say how many, and how many numbers each has, with the option 'kpt_shape', such as [5, 2]"
        )
    if all(rows == [] for rows in parsed.values()):
        raise InputError(
            f"{source.uri}: no face in any image: {len(labels)} label files, all empty; expected a row "
            "'class x_center y_center width height' for each face, in shares of the image from 0 to 1"
        )
    used = Counter(row.category for rows in parsed.values() for row in rows or ())
    names = find_names(source, dataset, options.names, owned, used, listing)
    named = {names[number] for number in used if number in names}
    classes = class_names(names.values(), named, options.attribute, listing)
    listing.layout.append(described_classes(names, used, classes.attribute))
    _add_records(splits, label_of, parsed, names, classes, options, listing)
    lists = {entry for _, entry in dataset.entries} if dataset else set()
    others = texts - labels.keys() - lists - set(names_files(source, dataset, owned))
    _count_other_texts(source, others, owned, listing)
    return listing


def _add_records(
    splits: Mapping[str, str | None],
    label_of: Mapping[str, str],
    parsed: Mapping[str, list[LabelRow] | None],
    names: Mapping[int, str],
    classes: ClassNames,
    options: YoloOptions,
    listing: Listing,
) -> None:
    """List the images with the faces of their rows."""
    without = sum(image not in label_of for image in splits)
    if without:
        listing.layout.append(f"{without} of {len(splits)} images have no label file, which means background")
    has_labels = bool(names) or len({row.category for rows in parsed.values() for row in rows or ()}) > 1
    for image in splits:
        label = label_of.get(image)
        rows = parsed.get(label) if label is not None else []
        if rows is None:
            listing.dropped.add("bad_label_file", image)
            continue
        if not rows:
            reason = "no_label_file" if label is None else "background"
            (listing.notes if options.background == "keep" else listing.skipped).add(reason, image)
            if options.background == "skip":
                continue
        found = tuple(_face(row, names, classes, has_labels, image, listing) for row in rows)
        listing.records.append(Record(image, found, split=splits[image], normalized=True))


def _label_files(images: Collection[str], texts: Collection[str]) -> dict[str, str]:
    """Return the label file of each image that has one."""
    files = {}
    folded: dict[str, str] = {}
    for image in images:
        path = next((path for path in label_paths(image) if path in texts), None)
        if path is None:
            folded = folded or {text.casefold(): text for text in texts}
            path = next((folded[path] for path in other_label_paths(image) if path in folded), None)
        if path is not None:
            files[image] = path
    return files


def _count_other_texts(source: Source, texts: Collection[str], owned: Collection[str], listing: Listing) -> None:
    """Count label files without an image as dropped images, and other texts as files that do not belong to the data."""
    outside = [path for path in texts if path not in owned and "/labels/" not in f"/{path}"]
    rows = {path for path, data in source.stream(outside) if is_label_text(data)}
    for path in sorted(texts):
        if path not in owned and ("/labels/" in f"/{path}" or path in rows):
            listing.dropped.add("missing_image", path)
        else:
            listing.skipped.add("label_of_a_skipped_image" if path in owned else "not_an_image_name", path)


def _splits(source: Source, dataset: DatasetYaml | None, images: list[str], listing: Listing) -> dict[str, str | None]:
    """Return the split of each image of the data set, in the order of the paths."""
    if dataset is None or not dataset.entries:
        inside = [path for path in images if "/images/" in f"/{path}"]
        for path in sorted(set(images) - set(inside)) if inside else ():
            listing.skipped.add("not_below_images", path)
        listing.layout.append("splits are the folders called after them")
        return {path: split_of_folders(path) for path in inside or images}
    split_of = splits_of_yaml(source, dataset, images, listing)
    if not split_of:
        raise InputError(
            f"{source.uri}/{dataset.path}: its folders contain no images: "
            f"{', '.join(entry for _, entry in dataset.entries)}"
        )
    listed = ", ".join(f"{split} {entry}" for split, entry in dataset.entries)
    listing.layout.append(f"splits are those of {dataset.path}: {listed}")
    return dict(split_of)


def _rows(path: str, data: bytes, keypoints: tuple[int, int] | None, listing: Listing) -> list[LabelRow] | None:
    """Return the rows of a label file that can be read, each once; None when there are rows and none can be."""
    lines = [line for line in data.decode("utf-8-sig", errors="replace").splitlines() if line.strip()]
    rows: dict[LabelRow, None] = {}
    for number, line in enumerate(lines, start=1):
        try:
            row = parse_row(line, keypoints)
        except ValueError as error:
            listing.lost.add("bad_row", f"{path}, row {number}: {error}")
            continue
        if row in rows:
            listing.notes.add("duplicate_row", f"{path}, row {number}")
        elif row.kind != "box":
            listing.notes.add("extra_columns" if row.kind == "extra" else "polygon", f"{path}, row {number}")
        rows[row] = None
    return list(rows) if rows or not lines else None


def _face(
    row: LabelRow, names: Mapping[int, str], classes: ClassNames, has_labels: bool, image: str, listing: Listing
) -> Face:
    attributes = {}
    name = names.get(row.category)
    if name is None:
        if has_labels:
            listing.lost.add("class_without_name", f"{image} (class {row.category})")
    elif classes.attribute is not None:
        if name in classes.values:
            attributes = {classes.attribute: classes.values[name]}
        else:
            listing.lost.add("unknown_class", f"{image} ({name} is no {classes.attribute})")
    return Face(0, row.box, attributes, row.keypoints, row.score)
