"""File names: decoded from bytes of unknown encoding, normalized (NFC), and kept inside their source."""

import posixpath
import re
from collections.abc import Iterable

from components.shared.dataset.encodings import decoded, likeliest
from components.shared.dataset.text import composed

TEXT_SUFFIXES = frozenset({".csv", ".json", ".jsonl", ".tsv", ".txt", ".xml", ".yaml", ".yml"})
"""How the names of files end that layouts are read out of."""

_DRIVE = re.compile(r"[A-Za-z]:")
# The first character that takes three bytes in UTF-8. Hangul and Chinese characters lie above.
_THREE_BYTES = "\u0800"
ADVICE = "name it with the option 'encoding', or save it as UTF-8"


def decode_names(raw_names: Iterable[tuple[bytes, bool]], encoding: str | None = None) -> list[str | None]:
    """Decode the names of one container: as UTF-8 where that is valid, else in `encoding`; None where neither is.

    By default the encoding is the likeliest one of all names together: one tool wrote them. With each name comes
    whether the container declares it as UTF-8. A few Korean syllables in CP949 are letters of two bytes in UTF-8 as
    well (`호` is `ȣ`). Such a name is in the other encoding too when another name of the container can only be that.

    Raises AmbiguousEncodingError when two encodings are equally likely for names of images.
    """
    names, unsure = [], []
    for index, (raw, is_utf8) in enumerate(raw_names):
        name = decoded(raw, "utf-8")
        names.append(name)
        if name is None or (not is_utf8 and _is_weak(name)):
            unsure.append((index, raw))
    if None in names:
        encoding = encoding or _likeliest(raw for _, raw in unsure)
        for index, raw in unsure:
            names[index] = _in_parts(raw, encoding) if encoding else names[index]
    return names


def _likeliest(raws: Iterable[bytes]) -> str | None:
    parts = dict.fromkeys(part for raw in raws for part in raw.split(b"/") if not part.isascii())
    unsure = [part for part in parts if (name := decoded(part, "utf-8")) is None or _is_weak(name)]
    return likeliest(b"\n".join(unsure), "the names of files", ADVICE)


def _is_weak(name: str) -> bool:
    return any(not part.isascii() and max(part) < _THREE_BYTES for part in name.split("/"))


def _in_parts(raw: bytes, encoding: str) -> str | None:
    """Decode part by part: a folder may be in UTF-8 and a file in it not. A slash is never half of a letter."""
    parts = []
    for part in raw.split(b"/"):
        name = decoded(part, "utf-8")
        if name is None or _is_weak(name):
            name = decoded(part, encoding) or name
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


def is_text_name(path: str) -> bool:
    """Tell whether the name ends like one of a text that a layout may be read out of, in any case."""
    return posixpath.splitext(path)[1].lower() in TEXT_SUFFIXES
