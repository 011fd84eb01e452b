"""Writing the files of an export: images under ASCII names, folders of classes, JSON, and the table of names."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

from components.shared.dataset.annotations import Image
from components.shared.dataset.archive import ImageArchive
from components.shared.dataset.export.choice import SPLITS, Choice, Remarks
from components.shared.dataset.label_spaces import LabelSpace
from components.shared.progress import progress
from serving.runtime.errors import ImageError, InputError

Convert = Callable[[bytes], tuple[bytes, str]]
"""From a picture's file to the one that is written and its suffix; raises ImageError."""

MAPPER = "filename_mapper.json"
_WRITERS = 8
_BATCH = 64
_DIGITS = 16
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def ascii_names(images: Iterable[Image], archive: ImageArchive) -> dict[int, str]:
    """Return a file name for the id of every image: the first 16 digits of the content's SHA-256, and the extension.

    Equal contents, and digests that begin alike, are told apart by a number in the order of the original names, so
    that no two names are equal without their extensions. The extension is in lower case.
    """
    names: dict[int, str] = {}
    used: dict[str, int] = {}
    for image in sorted(images, key=lambda image: image.file_name):
        digest = image.sha256 or hashlib.sha256(archive.read(image.file_name)).hexdigest()
        stem = digest[:_DIGITS]
        count = used[stem] = used.get(stem, 0) + 1
        suffix = PurePosixPath(image.file_name).suffix.lower()
        number = f"-{count}" if count > 1 else ""
        names[image.id] = f"{stem}{number}{suffix if re.fullmatch(r'[.][a-z0-9]+', suffix) else ''}"
    return names


def class_folders(labels: Sequence[str]) -> list[str]:
    """Return a folder name for each class label: the label where it is a plain name, else spelled out or numbered.

    `worn/male/<30` becomes `worn_male_below_30`; a label in another script, or one that another label equals but for
    upper and lower case, becomes `class_00`, `class_01`, ... No two names are equal.
    """
    spelled = [label.replace("/", "_").replace(">=", "from_").replace("<", "below_") for label in labels]
    counts = Counter(name.lower() for name in spelled)
    plain = [counts[name.lower()] == 1 and _PLAIN.fullmatch(name) is not None for name in spelled]
    prefix = "class_"
    while any(f"{prefix}{index:02d}" in counts for index, is_plain in enumerate(plain) if not is_plain):
        prefix += "_"
    return [name if plain[index] else f"{prefix}{index:02d}" for index, name in enumerate(spelled)]


def write_class_tree(
    folder: Path, chosen: Sequence[Choice], archive: ImageArchive, space: LabelSpace, remarks: Remarks
) -> dict[str, str]:
    """Write the images and return their paths below the folder by their names in the archive.

    A split with images has a folder for every class, with or without images: loaders number the folders.
    """
    chosen = list(chosen)
    folders = class_folders(space.class_labels)
    names = ascii_names((choice.image for choice in chosen), archive)
    paths = {}
    for choice in chosen:
        assert choice.category is not None
        path = f"images/{choice.split}/{folders[choice.category]}/{names[choice.image.id]}"
        paths[choice.image.file_name] = path
    for split, members in by_split(chosen).items():
        used = {choice.category for choice in members}
        for index, name in enumerate(folders):
            (folder / "images" / split / name).mkdir(parents=True)
            if index not in used:
                remarks.notes.add("class_without_images", f"{split}/{space.class_labels[index]}")
    write_images(folder, archive, [choice.image for choice in chosen], paths)
    return paths


def write_images(
    folder: Path,
    archive: ImageArchive,
    images: Sequence[Image],
    paths: Mapping[str, str],
    *,
    convert: Convert | None = None,
) -> dict[str, str]:
    """Copy images out of the archive, to the path of each one's name below the folder; return the paths.

    They are unchanged but for what `convert` changes; their suffix follows it.

    Raises:
        OtherPictureError: the archive has another picture of that name.
        InputError: a picture cannot be converted.
        OSError: a file cannot be written; the error names it.
    """
    for parent in {(folder / path).parent for path in paths.values()}:
        parent.mkdir(parents=True, exist_ok=True)

    def copy(start: int) -> dict[str, str]:
        written = {}
        for image in images[start : start + _BATCH]:
            data, path = archive.read(image.file_name, image.sha256), paths[image.file_name]
            if convert is not None:
                try:
                    data, suffix = convert(data)
                except ImageError as error:
                    raise InputError(f"{archive.folder}: '{image.file_name}': {error}") from error
                path = f"{path.partition('.')[0]}{suffix}"
            write_file(folder / path, data)
            written[image.file_name] = path
        return written

    with ThreadPoolExecutor(_WRITERS) as pool:
        done = pool.map(copy, range(0, len(images), _BATCH))
        return dict(progress((item for batch in done for item in batch.items()), "export", len(images)))


def write_file(path: Path, data: bytes) -> None:
    """Write a file. Raises OSError with its name, also when the disk is full."""
    try:
        path.write_bytes(data)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def write_json(path: Path, document: Mapping[str, Any], *, ascii_only: bool) -> None:
    """Write a JSON object with sorted keys, the members of its lists one a line.

    Plain ASCII is also read correctly by tools that guess the encoding.
    """
    encode = json.JSONEncoder(sort_keys=True, ensure_ascii=ascii_only, allow_nan=False).encode
    parts = []
    for key, value in sorted(document.items()):
        lines = ",\n".join(map(encode, value)) if isinstance(value, list) else encode(value)
        parts.append(f"{encode(key)}: [\n{lines}\n]" if isinstance(value, list) else f"{encode(key)}: {lines}")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, ("{" + ",\n".join(parts) + "}\n").encode())


def write_mapper(
    folder: Path, paths: Mapping[str, str], chosen: Iterable[Choice], space: LabelSpace, remarks: Remarks
) -> None:
    """Write which file is which image (`name` and `original`), its split and class, and what was left out and why.

    `source` is the name an image had before it came into the archive, where that is another one, `sha256` that of its
    bytes.
    """
    entries = []
    for choice in chosen:
        index = choice.category
        entry = {
            "name": paths[choice.image.file_name],
            "original": choice.image.file_name,
            "split": choice.split,
            "class": None if index is None else space.class_labels[index],
        }
        for key in ("source", "sha256"):
            if (value := getattr(choice.image, key)) is not None:
                entry[key] = value
        entries.append(entry)
    document = {"label_space": space.name, "images": entries, "left_out": remarks.left_out.examples}
    write_json(folder / MAPPER, document, ascii_only=False)


def by_split(chosen: Iterable[Choice]) -> dict[str, list[Choice]]:
    """Return the images of each split that has any."""
    splits: dict[str, list[Choice]] = {split: [] for split in SPLITS}
    for choice in chosen:
        splits[choice.split].append(choice)
    return {split: members for split, members in splits.items() if members}
