"""Text that people hand over: its encoding, and names as they are compared."""

import unicodedata

from serving.runtime.errors import InputError


def composed(name: str) -> str:
    """Return a name with its letters composed (NFC): decomposed Korean looks the same and is not equal."""
    return name if name.isascii() else unicodedata.normalize("NFC", name)


def decode_text(data: bytes, place: str) -> str:
    """Decode UTF-8, with or without a byte order mark, or else CP949, as older Korean tools write it.

    Raises InputError, naming the place, when it is neither.
    """
    for encoding in ("utf-8-sig", "cp949"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise InputError(f"{place}: not a text in UTF-8 or CP949; save it as UTF-8")


def listed_names(text: str) -> list[str]:
    """Return the names of a list, one a line, each once and in composed letters; blank lines are nothing.

    Lists of folders may have a slash after each name.
    """
    names = (composed(line.strip().rstrip("/")) for line in text.splitlines())
    return [name for name in dict.fromkeys(names) if name]
