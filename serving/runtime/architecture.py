"""Which models are the same but for the values of their weights, as those of two trainings are."""

import hashlib
from collections.abc import Iterator

# Fields of ONNX' protobuf messages.
_GRAPH, _NODES, _WEIGHTS = 7, 1, 5
_OPERATOR, _ATTRIBUTES = 4, 5
_DIMENSIONS, _TYPE = 1, 2
_ATTRIBUTE_TENSOR = 5


def architecture(content: bytes) -> str:
    """Return a digest of a graph's operators with their attributes, and of the shapes and types of its weights.

    Args:
        content: an ONNX file that onnxruntime has loaded.
    """
    # Read here: the endpoint has no package `onnx`, whose parser would copy all weights.
    digest = hashlib.sha256()
    for number, graph in _fields(memoryview(content)):
        if number != _GRAPH:
            continue
        for part, message in _fields(graph):
            if part == _NODES:
                _add(digest, message, (_OPERATOR,))
                for field, attribute in _fields(message):
                    if field == _ATTRIBUTES:
                        kept = [bytes(value) for key, value in _fields(attribute) if key != _ATTRIBUTE_TENSOR]
                        digest.update(repr(kept).encode())
            elif part == _WEIGHTS:
                _add(digest, message, (_DIMENSIONS, _TYPE))
    return digest.hexdigest()


def _add(digest: "hashlib._Hash", message: memoryview, fields: tuple[int, ...]) -> None:
    digest.update(repr([(number, bytes(value)) for number, value in _fields(message) if number in fields]).encode())


def _fields(message: memoryview) -> Iterator[tuple[int, memoryview]]:
    """Go through the fields of an encoded message: number and value."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        start, kind = at, key & 7
        if kind == 2:
            length, start = _varint(message, at)
            at = start + length
        else:
            at = _varint(message, at)[1] if kind == 0 else at + (8 if kind == 1 else 4)
        yield key >> 3, message[start:at]


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """Return the number at a place and the place behind it."""
    value = shift = 0
    while at < len(message):
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            break
    return value, at
