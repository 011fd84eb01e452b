"""The open inference protocol: tensors and files, good and bad."""

import base64
import gzip
import json
from typing import Any

import numpy as np
import pytest
from server_requests import expect_error, picture
from starlette.testclient import TestClient

from serving.runtime.predictor import Predictor
from serving.server.inference import image_count


def infer(client: TestClient, tensor: dict[str, Any], **more: Any) -> Any:
    return client.post("/v2/models/tiny/infer", json={"inputs": [{"name": "images"} | tensor]} | more)


PIXELS = np.random.default_rng(0).integers(0, 256, (2, 40, 32, 3), dtype=np.uint8)


def test_infer_pixels(client: TestClient, predictor: Predictor) -> None:
    expected = predictor.infer(PIXELS)
    for data in (PIXELS.ravel().tolist(), PIXELS.tolist()):
        answer = infer(client, {"datatype": "UINT8", "shape": [2, 40, 32, 3], "data": data}, id="seven").json()
        assert (answer["model_name"], answer["model_version"], answer["id"]) == ("tiny", "3", "seven")
        assert [output["name"] for output in answer["outputs"]] == ["mask", "gender"]
        for output in answer["outputs"]:
            assert output["datatype"] == "FP32" and output["shape"] == list(expected[output["name"]].shape)
            np.testing.assert_array_equal(np.float32(output["data"]), expected[output["name"]].ravel())
    assert "id" not in infer(client, {"datatype": "UINT8", "shape": [0, 40, 32, 3], "data": []}).json()


def test_infer_files_agrees_with_predict(client: TestClient) -> None:
    files = [picture(1), picture(2, "PNG")]
    data = [base64.b64encode(file).decode() for file in files]
    for shape, nested in (([2], data), ([2, 1], [[item] for item in data])):
        outputs = infer(client, {"datatype": "BYTES", "shape": shape, "data": nested}).json()["outputs"]
        for row, file in enumerate(files):
            heads = client.post("/predict", content=file).json()["faces"][0]["heads"]
            for output in outputs:
                width = output["shape"][1]
                values = output["data"][row * width : (row + 1) * width]
                assert values == pytest.approx(list(heads[output["name"]]["probabilities"].values()), abs=1e-6)


@pytest.mark.parametrize(
    ("datatype", "shape", "count"),
    [("UINT8", [3, 40, 32, 3], 3), ("BYTES", [3], 3), ("BYTES", [1, 8], 8), ("BYTES", [], 1), ("BYTES", [2, 0], 0)],
)
def test_images_are_counted_by_what_a_tensor_holds(datatype: str, shape: list[int], count: int) -> None:
    assert image_count(datatype, shape) == count


def test_infer_chooses_outputs(client: TestClient) -> None:
    tensor = {"datatype": "UINT8", "shape": [2, 40, 32, 3], "data": PIXELS.ravel().tolist()}
    for wanted in (["gender"], ["gender", "mask"], []):
        answer = infer(client, tensor, outputs=[{"name": name, "parameters": {}} for name in wanted]).json()
        assert [output["name"] for output in answer["outputs"]] == (wanted or ["mask", "gender"])
    expect_error(infer(client, tensor, outputs=[{"name": "age"}]), 400, "mask, gender")


GOOD = {"name": "images", "datatype": "UINT8", "shape": [1, 40, 32, 3], "data": PIXELS[0].ravel().tolist()}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"name": "pixels"}, "'images'"),
        ({"datatype": "FP32"}, "UINT8 or BYTES"),
        ({"datatype": "UINT64"}, "UINT8 or BYTES"),
        ({"shape": [1, 32, 40, 3]}, "expected shape"),
        ({"shape": [2, 40, 32, 3]}, "does not fill"),
        ({"shape": []}, "expected shape"),
        ({"shape": [-1, -1], "data": [1]}, "axis below 0"),
        ({"shape": [-1, 40, 32, 3], "data": []}, "axis below 0"),
        ({"datatype": "BYTES", "shape": [-1, -1], "data": [base64.b64encode(picture()).decode()]}, "axis below 0"),
        ({"shape": [10**30, 40, 32, 3]}, "inputs.0.shape.0: Expected `int` <="),
        ({"shape": ["1", 40, 32, 3]}, "inputs.0.shape"),
        ({"shape": [1.5, 40, 32, 3]}, "inputs.0.shape"),
        ({"data": []}, "does not fill"),
        ({"data": [0] * 3839 + [256]}, "0 to 255"),
        ({"data": [0] * 3839 + [-1]}, "0 to 255"),
        ({"data": [0] * 3839 + [1.5]}, "0 to 255"),
        ({"data": [0] * 3839 + ["1"]}, "0 to 255"),
        ({"data": [0] * 3839 + [None]}, "0 to 255"),
        ({"data": [0] * 3839 + [10**40]}, "0 to 255"),
        ({"data": [[[[0] * 3] * 32] * 39 + [[[0] * 3] * 31]]}, "does not fill"),
        ({"data": [[[[0] * 3] * 32] * 39 + [[[0] * 2] * 48]]}, "does not fill"),
        ({"data": [[[[0] * 32] * 3] * 40]}, "does not fill"),
        ({"data": [[0] * 1920, [0] * 1919]}, "does not fill"),
        ({"data": [[[[0] * 3] * 32] * 39 + [0]]}, "does not fill"),
        ({"data": [[0] * 1920, [0] * 1920]}, "does not fill"),
        ({"data": "x"}, "0 to 255"),
        ({"datatype": "BYTES", "shape": [1], "data": ["***"]}, "base64"),
        ({"datatype": "BYTES", "shape": [1], "data": [7]}, "base64"),
        ({"datatype": "BYTES", "shape": [1], "data": ["é"]}, "base64"),
        ({"datatype": "BYTES", "shape": [1], "data": [""]}, "empty"),
        ({"datatype": "BYTES", "shape": [1], "data": ["aGVsbG8="]}, "not an image"),
        ({"datatype": "BYTES", "shape": [65], "data": ["aGVsbG8="] * 65}, "too many"),
    ],
)
def test_infer_refuses(client: TestClient, change: dict[str, Any], text: str) -> None:
    expect_error(infer(client, GOOD | change), 400, text)


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"null", b"[]", b'"x"', b"\xff", b"{}", b'{"inputs": []}', b'{"inputs": [{}]}', b'{"inputs": 1}',
     b"[" * 100_000, b'{"inputs":' + b"[" * 5000 + b"]" * 5000 + b"}", b'{"id": 7, "inputs": []}',
     json.dumps({"inputs": [GOOD, GOOD]}).encode()],
)  # fmt: skip
def test_infer_refuses_other_json(client: TestClient, body: bytes) -> None:
    expect_error(client.post("/v2/models/tiny/infer", content=body), 400)


def test_one_long_string_among_numbers_is_refused_cheaply(client: TestClient) -> None:
    expect_error(infer(client, GOOD | {"data": ["x" * 500_000] + [0] * 3839}), 400, "0 to 255")


def base64_forms(file: bytes) -> dict[str, str]:
    plain = base64.b64encode(file).decode()
    return {
        "plain": plain,
        "line breaks": base64.encodebytes(file).decode(),
        "CRLF": "\r\n".join(plain[start : start + 76] for start in range(0, len(plain), 76)),
        "URL-safe": base64.urlsafe_b64encode(file).decode(),
        "without padding": plain.rstrip("="),
        "data URL": f"data:image/jpeg;base64,{plain}",
    }


@pytest.mark.parametrize("form", base64_forms(b""))
def test_base64_is_read_in_the_forms_that_clients_send(client: TestClient, form: str) -> None:
    file = next(picture(seed) for seed in range(50) if len(picture(seed)) % 3)
    text = base64_forms(file)[form]
    assert infer(client, {"datatype": "BYTES", "shape": [1], "data": [text]}).status_code == 200


@pytest.mark.parametrize("text", ["data:image/jpeg,abcd", "a b=c", "abc\x00", "a"])
def test_other_text_is_not_base64(client: TestClient, text: str) -> None:
    expect_error(infer(client, {"datatype": "BYTES", "shape": [1], "data": [text]}), 400, "base64")


@pytest.mark.parametrize("path", ["/predict", "/v2/models/tiny/infer"])
@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br"])
def test_compressed_bodies_are_refused_by_name(client: TestClient, path: str, encoding: str) -> None:
    response = client.post(path, content=gzip.compress(picture()), headers={"Content-Encoding": encoding})
    expect_error(response, 415, f"Content-Encoding '{encoding}'")
    assert response.headers["accept-encoding"] == "identity"
    assert client.post("/predict", content=picture(), headers={"Content-Encoding": "identity"}).status_code == 200


def test_outputs_are_named_once_and_images_are_few(client: TestClient) -> None:
    expect_error(infer(client, GOOD, outputs=[{"name": "mask"}] * 2), 400, "twice")
    expect_error(infer(client, GOOD | {"shape": [5000, 40, 32, 3]}), 400, "too many")
