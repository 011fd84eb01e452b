"""The digest that a model file holds of itself."""

import onnx
import pytest
from tiny_model import build_model

from serving.runtime.errors import InputError
from serving.runtime.seal import SEAL_KEY, ZEROS, sealed
from serving.runtime.session import Session


@pytest.fixture(scope="module")
def content() -> bytes:
    model = onnx.load_from_string(build_model())
    model.metadata_props.add(key=SEAL_KEY, value=ZEROS)
    return sealed(model.SerializeToString(deterministic=True))


def test_a_sealed_file_is_read(content: bytes) -> None:
    assert Session(content).card.name == "tiny"


def test_a_changed_byte_is_noticed(content: bytes) -> None:
    key = content.index(SEAL_KEY.encode())  # without its key the seal is that of an older version: none
    for position in set(range(0, len(content), max(1, len(content) // 300))) - set(range(key, key + len(SEAL_KEY))):
        changed = bytearray(content)
        changed[position] ^= 1
        with pytest.raises(InputError, match="has changed since it was exported|not an ONNX model|card|Facet model"):
            Session(bytes(changed))


def test_every_digit_of_the_seal_counts(content: bytes) -> None:
    start = content.index(SEAL_KEY.encode()) + len(SEAL_KEY) + 2
    for position in (start, start + 63):
        changed = bytearray(content)
        changed[position] = ord("0") if changed[position] != ord("0") else ord("1")
        with pytest.raises(InputError, match="the model: the file has changed since it was exported; copy or export"):
            Session(bytes(changed))


def test_a_file_without_a_seal_is_of_an_older_version() -> None:
    assert Session(build_model()).card.name == "tiny"
