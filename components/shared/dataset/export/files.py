"""Writing the files of an export: images under new names, JSON, and the table of names."""

import json
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from components.shared.dataset.archive import ImageArchive
from components.shared.dataset.export.choice import SPLITS, Choice, Remarks
from components.shared.dataset.label_spaces import LabelSpace
from components.shared.progress import progress

MAPPER = "filename_mapper.json"
_WRITERS = 8
_BATCH = 64


def write_images(folder: Path, archive: ImageArchive, paths: Mapping[str, str]) -> None:
    """Copy images unchanged out of the archive, from their names in it to paths below the folder."""
    for parent in {(folder / path).parent for path in paths.values()}:
        parent.mkdir(parents=True, exist_ok=True)
    pairs = list(paths.items())

    def copy(start: int) -> int:
        batch = pairs[start : start + _BATCH]
        for name, path in batch:
            (folder / path).write_bytes(archive.read(name))
        return len(batch)

    with ThreadPoolExecutor(_WRITERS) as pool:
        done = pool.map(copy, range(0, len(pairs), _BATCH))
        for _ in progress((None for count in done for _ in range(count)), "export", len(pairs)):
            pass


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
    path.write_text("{" + ",\n".join(parts) + "}\n", encoding="utf-8")


def write_mapper(
    folder: Path, paths: Mapping[str, str], chosen: Iterable[Choice], space: LabelSpace, remarks: Remarks
) -> None:
    """Write which file is which image (`name` and `original`), its split and class, and what was left out and why.

    `source` is the name an image had before it came into the archive, where that is another one.
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
        if choice.image.source is not None:
            entry["source"] = choice.image.source
        entries.append(entry)
    document = {"label_space": space.name, "images": entries, "left_out": remarks.left_out.examples}
    write_json(folder / MAPPER, document, ascii_only=False)


def by_split(chosen: Iterable[Choice]) -> dict[str, list[Choice]]:
    """Return the images of each split that has any."""
    splits: dict[str, list[Choice]] = {split: [] for split in SPLITS}
    for choice in chosen:
        splits[choice.split].append(choice)
    return {split: members for split, members in splits.items() if members}
