"""Triton's binary tensor extension: tensors as bytes behind the JSON, in both directions."""

import json
import struct
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from server_requests import expect_error, picture
from starlette.testclient import TestClient

from serving.runtime.predictor import Predictor
from serving.server.binary_tensors import bytes_of, read_tensor
from serving.server.inference import Tensor

HEADER = "Inference-Header-Content-Length"
PIXELS = np.random.default_rng(0).integers(0, 256, (2, 40, 32, 3), dtype=np.uint8)
FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def send(client: TestClient, request: Any, data: bytes, length: int | str | None = None) -> Any:
    text = request if isinstance(request, bytes) else json.dumps(request).encode()
    headers = {HEADER: str(len(text) if length is None else length), "Content-Type": "application/octet-stream"}
    return client.post("/v2/models/tiny/infer", content=text + data, headers=headers)


def pixels(size: int = PIXELS.size, **more: Any) -> dict[str, Any]:
    tensor = {"name": "images", "datatype": "UINT8", "shape": [2, 40, 32, 3], "parameters": {"binary_data_size": size}}
    return {"inputs": [tensor]} | more


def read(response: Any) -> tuple[dict[str, Any], bytes]:
    assert response.status_code == 200, response.text
    length = int(response.headers[HEADER])
    assert response.headers["content-type"] == "application/octet-stream"
    return json.loads(response.content[:length]), response.content[length:]


def test_pixels_and_outputs_as_bytes(client: TestClient, predictor: Predictor) -> None:
    expected = predictor.infer(PIXELS)
    answer, data = read(send(client, pixels(id="7", parameters={"binary_data_output": True}), PIXELS.tobytes()))
    assert (answer["model_name"], answer["model_version"], answer["id"]) == ("tiny", "3", "7")
    for output in answer["outputs"]:
        assert output["datatype"] == "FP32" and "data" not in output
        size = output["parameters"]["binary_data_size"]
        values = np.frombuffer(data[:size], "<f4").reshape(output["shape"])
        np.testing.assert_array_equal(values, expected[output["name"]])
        data = data[size:]
    assert not data


def test_each_output_as_it_is_wanted(client: TestClient) -> None:
    outputs = [{"name": "mask", "parameters": {"binary_data": False}}, {"name": "gender"}]
    answer, data = read(
        send(client, pixels(outputs=outputs, parameters={"binary_data_output": True}), PIXELS.tobytes())
    )
    mask, gender = answer["outputs"]
    assert len(mask["data"]) == 6 and "parameters" not in mask
    assert gender["parameters"] == {"binary_data_size": 16} and len(data) == 16
    plain = send(client, pixels(outputs=[{"name": "gender"}]), PIXELS.tobytes())
    assert HEADER not in plain.headers and len(plain.json()["outputs"][0]["data"]) == 4


def test_files_and_labels_as_bytes(client: TestClient) -> None:
    files = [picture(1), picture(2, "PNG")]
    data = b"".join(struct.pack("<I", len(file)) + file for file in files)
    tensor = {"name": "images", "datatype": "BYTES", "shape": [2], "parameters": {"binary_data_size": len(data)}}
    output = {"name": "mask", "parameters": {"classification": 2, "binary_data": True}}
    answer, rest = read(send(client, {"inputs": [tensor], "outputs": [output]}, data))
    (described,) = answer["outputs"]
    assert (described["datatype"], described["shape"]) == ("BYTES", [2, 2])
    labels = read_tensor("mask", "BYTES", [2, 2], memoryview(rest)).data
    for row, file in enumerate(files):
        head = client.post("/predict", content=file).json()["faces"][0]["heads"]["mask"]["probabilities"]
        best = sorted(head, key=lambda label: -head[label])[:2]
        for text, label in zip(labels[2 * row : 2 * row + 2], best, strict=True):
            value, index, name = bytes(text).decode().split(":")
            assert name == label and list(head)[int(index)] == label
            assert float(value) == pytest.approx(head[label], abs=1e-6)


def test_a_body_without_json_is_the_pixels(client: TestClient, predictor: Predictor) -> None:
    answer = send(client, b"", PIXELS.tobytes(), 0).json()
    assert [output["shape"] for output in answer["outputs"]] == [[2, 3], [2, 2]]
    expect_error(send(client, b"", PIXELS.tobytes()[:-1], 0), 400, "whole images of 40 x 32 x 3 bytes")


def test_json_with_the_header_and_nothing_behind(client: TestClient) -> None:
    tensor = {"name": "images", "datatype": "UINT8", "shape": [2, 40, 32, 3], "data": PIXELS.ravel().tolist()}
    assert send(client, {"inputs": [tensor]}, b"").status_code == 200


@pytest.mark.parametrize(
    ("change", "data", "length", "text"),
    [
        ({}, PIXELS.tobytes()[:-1], None, "7680, but 7679 bytes are behind the JSON"),
        ({}, PIXELS.tobytes() + b"x", None, "7680, but 7681 bytes are behind the JSON"),
        ({"parameters": {}}, PIXELS.tobytes(), None, "binary_data_size is 0, but 7680 bytes"),
        ({"parameters": {"binary_data_size": -1}}, b"", None, "binary_data_size"),
        ({"parameters": {"binary_data_size": "7680"}}, PIXELS.tobytes(), None, "binary_data_size"),
        ({"data": [1]}, PIXELS.tobytes(), None, "send one of them"),
        ({"shape": [1, 40, 32, 3]}, PIXELS.tobytes(), None, "do not fill [1, 40, 32, 3], which takes 3840"),
        ({"shape": [-2, 40, 32, 3]}, PIXELS.tobytes(), None, "below 0"),
        ({"datatype": "BYTES", "shape": [2]}, PIXELS.tobytes(), None, "within element 0 of 2"),
        ({"datatype": "BYTES", "shape": [2**31, 2**31]}, PIXELS.tobytes(), None, "too many files"),
        ({"parameters": {"shared_memory_region": "a"}}, b"", None, "shared memory is not supported"),
        ({}, PIXELS.tobytes(), 10**6, "not a number of bytes of the body"),
        ({}, PIXELS.tobytes(), "-1", "not a number of bytes of the body"),
        ({}, PIXELS.tobytes(), "1e2", "not a number of bytes of the body"),
        ({}, PIXELS.tobytes(), 20, "not valid"),
    ],
)
def test_what_does_not_fit_is_refused(client: TestClient, change: Any, data: bytes, length: Any, text: str) -> None:
    request = pixels()
    request["inputs"][0] |= change
    expect_error(send(client, request, data, length), 400, text)


def test_no_state_between_requests(client: TestClient) -> None:
    expect_error(send(client, pixels(parameters={"sequence_id": 3}), PIXELS.tobytes()), 400, "sequence_id")


@FUZZ
@given(elements=st.lists(st.binary(max_size=40), max_size=8))
def test_elements_survive_the_way_there_and_back(elements: list[bytes]) -> None:
    data = bytes_of(Tensor("x", "BYTES", (len(elements),), elements))
    assert read_tensor("x", "BYTES", [len(elements)], memoryview(data)).data == elements


@FUZZ
@given(seed=st.integers(0, 2**32 - 1), shape=st.lists(st.integers(0, 4), max_size=4))
def test_numbers_survive_the_way_there_and_back(seed: int, shape: list[int]) -> None:
    values = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    data = bytes_of(Tensor("x", "UINT8", values.shape, values))
    np.testing.assert_array_equal(read_tensor("x", "UINT8", shape, memoryview(data)).data, values)


def test_numbers_are_little_endian() -> None:
    values = np.array([1.0, -2.5], ">f4")
    assert bytes_of(Tensor("x", "FP32", (2,), values)) == struct.pack("<2f", 1.0, -2.5)


@FUZZ
@given(
    tail=st.binary(max_size=60),
    shape=st.one_of(st.lists(st.integers(-2, 3), max_size=2), st.just([1, 40, 32, 3])),
    datatype=st.sampled_from(["BYTES", "UINT8", "FP32"]),
    size=st.one_of(st.none(), st.integers(-1, 61), st.integers(2**62, 2**70)),
    length=st.one_of(st.none(), st.integers(0, 300), st.text("0123456789-x", max_size=14)),
    output=st.dictionaries(st.sampled_from(["binary_data", "classification", "x"]), st.integers(-1, 2**70), max_size=2),
)
def test_rubbish_is_refused(
    client: TestClient, tail: bytes, shape: Any, datatype: str, size: int | None, length: Any, output: Any
) -> None:
    parameters = {"binary_data_size": len(tail) if size is None else size}
    tensor = {"name": "images", "datatype": datatype, "shape": shape, "parameters": parameters}
    request = {"inputs": [tensor], "outputs": [{"name": "mask", "parameters": output}]}
    response = send(client, request, tail, length)
    assert response.status_code in (200, 400, 413), response.text
    if response.status_code != 200:
        assert list(response.json()) == ["error"]
