"""Whether a file is the type of image that its name says."""

from pathlib import PurePosixPath

_BEGINNINGS = {
    ".bmp": (b"BM",),
    ".gif": (b"GIF8",),
    ".jpeg": (b"\xff\xd8",),
    ".jpg": (b"\xff\xd8",),
    ".png": (b"\x89PNG",),
    ".ppm": (b"P",),
    ".tif": (b"II", b"MM"),
    ".tiff": (b"II", b"MM"),
    ".webp": (b"RIFF",),
}


def is_other_type(path: str, data: bytes) -> bool:
    """Tell whether the content begins unlike that of its extension, as a PNG that is called `.jpg` does."""
    return not data.startswith(_BEGINNINGS.get(PurePosixPath(path).suffix.lower(), b""))
