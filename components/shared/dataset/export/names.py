"""Names that every tool can read: plain ASCII, the same for the same content."""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import PurePosixPath

from components.shared.dataset.annotations import Image
from components.shared.dataset.archive import ImageArchive

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
