"""Image files that come as text: base64 in the forms that clients send."""

import base64
import binascii
import re

from serving.runtime.errors import ImageError

# URL-safe letters to the standard ones; white space is dropped.
_LETTERS = str.maketrans({"-": "+", "_": "/"} | dict.fromkeys(" \t\r\n"))
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]{1,20}://", re.IGNORECASE)


def decode_base64(text: str, where: str) -> bytes:
    """Return the bytes of a base64 text.

    It may be standard or URL-safe, with or without padding, line breaks or a `data:` prefix.

    `where` names the value in errors.

    Raises:
        ImageError: it is none; an address is not fetched.
    """
    if text[:5].lower() == "data:":
        prefix, _, text = text.partition(",")
        if not prefix.lower().endswith(";base64"):
            raise ImageError("not_an_image", f"{where}: only data: URLs with ;base64 are read")
    elif _ADDRESS.match(text):
        raise ImageError("not_an_image", f"{where} is an address; nothing is fetched, send the file itself in base64")
    text = text.translate(_LETTERS).rstrip("=")
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (ValueError, binascii.Error):
        raise ImageError("not_an_image", f"{where}: the data must be base64 strings") from None
