"""The digest that a model file holds of itself, so that a changed byte is noticed wherever the file is read."""

import hashlib
from collections.abc import Mapping

from serving.runtime.errors import InputError

SEAL_KEY = "facet_sha256"
"""ONNX metadata: the sha256, in hex, of the file with zeros in place of these digits."""

ZEROS = "0" * 64

# Of a string of 64 bytes in the second field of a protobuf message, the field that follows the key.
_MARKER = SEAL_KEY.encode() + b"\x12\x40"


def sealed(content: bytes) -> bytes:
    """Return a serialized ONNX model, whose metadata has ZEROS as its seal, with the digest there."""
    start = _position(content)
    return content[:start] + hashlib.sha256(content).hexdigest().encode() + content[start + len(ZEROS) :]


def check_seal(content: bytes, metadata: Mapping[str, str], source: str) -> None:
    """Raise InputError when a model file has changed since it was exported; one without a seal is of an older version.

    Args:
        content: the file.
        metadata: its ONNX metadata.
        source: names the file in the error.
    """
    if SEAL_KEY not in metadata:
        return
    start = _position(content)
    zeroed = hashlib.sha256(memoryview(content)[:start])
    zeroed.update(ZEROS.encode())
    zeroed.update(memoryview(content)[start + len(ZEROS) :])
    if start < 0 or zeroed.hexdigest() != metadata[SEAL_KEY]:
        raise InputError(f"{source}: the file has changed since it was exported; copy or export it again")


def _position(content: bytes) -> int:
    found = content.rfind(_MARKER)
    return found + len(_MARKER) if found >= 0 else -1
