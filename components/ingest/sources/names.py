"""File names: decoded from bytes of unknown encoding, normalized (NFC), and kept inside their source."""

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

from components.shared.dataset.text import composed
from serving.runtime.image.photo_types import BY_SUFFIX

TEXT_SUFFIXES = frozenset({".csv", ".json", ".jsonl", ".tsv", ".txt", ".xml", ".yaml", ".yml"})
"""How the names of files end that layouts are read out of."""

_DRIVE = re.compile(r"[A-Za-z]:")
# The first character that takes three bytes in UTF-8. Hangul and Chinese characters lie above.
_THREE_BYTES = "\u0800"


def decode_names(raw_names: Iterable[tuple[bytes, bool]]) -> list[str | None]:
    """Decode the names of one container: as UTF-8 where that is valid, else CP949; None where neither is.

    With each name comes whether the container declares it as UTF-8. A few Korean syllables in CP949 are letters of two
    bytes in UTF-8 as well (`호` is `ȣ`). Such a name is Korean when another name of the container can only be that:
    one tool wrote them all.
    """
    names, unsure = [], []
    for index, (raw, is_utf8) in enumerate(raw_names):
        name = _decode(raw, "utf-8")
        names.append(name)
        if name is None or (not is_utf8 and _is_weak(name)):
            unsure.append((index, raw))
    if None in names:
        for index, raw in unsure:
            names[index] = _korean(raw)
    return names


def _decode(raw: bytes, encoding: str) -> str | None:
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError:
        return None


def _is_weak(name: str) -> bool:
    return any(not part.isascii() and max(part) < _THREE_BYTES for part in name.split("/"))


def _korean(raw: bytes) -> str | None:
    """Decode part by part: a folder may be in UTF-8 and a file in it not. A slash is never half of a letter."""
    parts = []
    for part in raw.split(b"/"):
        name = _decode(part, "utf-8")
        if name is None or _is_weak(name):
            name = _decode(part, "cp949") or name
        if name is None:
            return None
        parts.append(name)
    return "/".join(parts)


def logical_name(name: str) -> str | None:
    """Return a name in composed letters (NFC) without empty parts and dots; None when it could lead out of its source.

    Refused are absolute paths, drive letters, `..` between slashes of either kind, and NUL.
    """
    parts = [part for part in composed(name).split("/") if part not in ("", ".")]
    logical = "/".join(parts)
    absolute = name.startswith("/") or logical.startswith("\\") or _DRIVE.match(logical)
    if absolute or "\0" in name or ".." in re.split(r"[/\\]", logical):
        return None
    return logical or None


def printable_name(raw: bytes) -> str:
    """Return a printable form of a name for a report."""
    text = raw.decode(errors="backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def is_image_name(path: str) -> bool:
    """Tell whether the name ends like that of a photo, of a type that is read or not, in any case."""
    return PurePosixPath(path).suffix.lower() in BY_SUFFIX


def is_text_name(path: str) -> bool:
    """Tell whether the name ends like one of a text that a layout may be read out of, in any case."""
    return PurePosixPath(path).suffix.lower() in TEXT_SUFFIXES
