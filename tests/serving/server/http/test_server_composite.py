"""A detector and a composite behind the endpoint: every face of a raw photo in one request."""

import base64
import io
import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from server_process import serving
from server_requests import LIMIT, expect_error
from starlette.testclient import TestClient
from tiny_detector import POINTS, build_detector, draw_faces
from tiny_model import build_model, card_facts

from serving.runtime.face_json import face_json
from serving.runtime.image.photo import Photo
from serving.runtime.load import load_model
from serving.runtime.predictor import FaceResult, Predictor
from serving.server.http.app import create_app
from serving.server.limits import MIB, Limits
from serving.server.state import ModelRepository, ServerState

BOXES = [(120, 30, 90, 80), (30, 130, 40, 50), (20, 20, 60, 60)]


def photo(boxes: list[tuple[int, int, int, int]], levels: list[int] | None = None, kind: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(draw_faces((240, 320), boxes, levels)).save(buffer, kind, quality=95, subsampling=0)
    return buffer.getvalue()


PHOTO = photo(BOXES, [255, 230, 200])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("composite")
    hats = card_facts(name="hats", label_space="hat:cap,none", heads=[{"name": "hat", "labels": ["cap", "none"]}])
    for name, content in (
        ("green.onnx", build_detector(side=(320, 320))),
        ("mask.onnx", build_model()),
        ("hat.onnx", build_model(hats)),
    ):
        (folder / name).write_bytes(content)
    card = {"name": "people", "detectors": ["green.onnx"], "heads": ["mask.onnx", "hat.onnx"], "max_faces": 50}
    (folder / "composite.json").write_text(json.dumps(card))
    return folder


@pytest.fixture(scope="module")
def models(folder: Path) -> list[Predictor]:
    return [load_model(str(folder), threads=1), load_model(str(folder / "green.onnx"), threads=1)]


@pytest.fixture(scope="module")
def client(models: list[Predictor]) -> TestClient:
    limits = Limits(max_body=LIMIT, decode_memory=8 * MIB)
    return TestClient(
        create_app(ServerState(limits=limits, models=ModelRepository(*models))),
        raise_server_exceptions=False,
    )


def as_sent(model: Predictor, faces: list[FaceResult]) -> Any:
    described = [face_json(face) for face in faces]
    return json.loads(json.dumps({"model": model.name, "version": model.version, "faces": described}))


def test_a_raw_photo_is_answered_with_every_face_and_every_head(client: TestClient, models: list[Predictor]) -> None:
    given = client.post("/predict", content=PHOTO).json()
    assert given == as_sent(models[0], models[0].predict([(Photo(PHOTO), [])])[0])
    assert (given["model"], len(given["faces"])) == ("people", 3)
    for face, box in zip(given["faces"], BOXES, strict=True):
        np.testing.assert_allclose(face["box"], box, atol=2)
        notice = ["notify", "notify_reason", "notify_confidence"]
        assert list(face) == ["box", "score", "crop", "heads", "keypoints", *notice]
        assert list(face["heads"]) == ["mask", "gender", "hat"] and face["crop"] == "detector"
        assert list(face["keypoints"]) == list(POINTS) and face["score"] > 0.7


def test_photos_without_a_face_many_faces_and_several_files(client: TestClient) -> None:
    many = photo([(10 + 30 * column, 10 + 22 * row, 14, 14) for row in range(10) for column in range(10)], kind="PNG")
    nobody = photo([])
    assert client.post("/predict", content=nobody).json()["faces"] == []
    assert len(client.post("/predict", content=many).json()["faces"]) == 50, "max_faces of the composite"
    files = [("f", (name, data)) for name, data in (("a", PHOTO), ("b", nobody), ("c", many))]
    results = client.post("/predict", files=files).json()["results"]
    assert [len(one["faces"]) for one in results] == [3, 0, 50]


def test_a_box_in_the_request_is_classified_without_detection(client: TestClient, models: list[Predictor]) -> None:
    box = (100.0, 20.0, 60.0, 60.0)
    given = client.post("/predict?box=100,20,60,60", content=PHOTO).json()
    assert given == as_sent(models[0], models[0].predict([(Photo(PHOTO), [box])])[0])
    assert [(face["box"], face["crop"], face["score"]) for face in given["faces"]] == [(list(box), "box", None)]


def test_a_detector_alone_answers_boxes_and_no_heads(client: TestClient) -> None:
    (first, *others) = client.post("/predict?model=green", content=PHOTO).json()["faces"]
    assert len(others) == 2 and first["heads"] == {} and first["crop"] == "detector"
    expect_error(client.post("/predict?model=green&box=1,2,3,4", content=PHOTO), 400, "takes no boxes")


def test_metadata_of_a_composite_and_of_a_detector(client: TestClient, models: list[Predictor]) -> None:
    described = client.get("/v2/models/people").json()
    assert described["inputs"] == [{"name": "images", "datatype": "BYTES", "shape": [-1]}]
    assert described["outputs"] == [{"name": "faces", "datatype": "BYTES", "shape": [-1]}]
    assert (described["name"], described["versions"]) == ("people", [models[0].version])
    assert [(head["name"], len(head["labels"])) for head in described["heads"]] == [
        ("mask", 3), ("gender", 2), ("hat", 2),
    ]  # fmt: skip
    assert [(one["name"], one["task"]) for one in described["members"]] == [
        ("green", "detection"), ("tiny", "classification"), ("hats", "classification"),
    ]  # fmt: skip
    detector = client.get("/v2/models/green").json()
    assert detector["inputs"][0]["shape"] == [-1, -1, -1, 3]
    assert [(one["name"], one["shape"]) for one in detector["outputs"]] == [
        ("boxes", [-1, -1, 4]), ("scores", [-1, -1, 1]), ("points", [-1, -1, 5, 2]),
    ]  # fmt: skip
    assert client.get("/v2/models/people/ready").json() == {"name": "people", "ready": True}


def test_a_composite_takes_photos_as_tensors(client: TestClient) -> None:
    text = base64.b64encode(PHOTO).decode()
    tensor = {"name": "images", "datatype": "BYTES", "shape": [2], "data": [text, text]}
    (output,) = client.post("/v2/models/people/infer", json={"inputs": [tensor]}).json()["outputs"]
    assert (output["name"], output["datatype"], output["shape"]) == ("faces", "BYTES", [2])
    expected = client.post("/predict", content=PHOTO).json()
    assert [json.loads(faces) for faces in output["data"]] == [expected, expected]


def test_a_composite_takes_and_gives_bytes(client: TestClient) -> None:
    """With Triton's binary extension, and a body that is the photo alone."""
    expected = client.post("/predict", content=PHOTO).json()
    path, header = "/v2/models/people/infer", "Inference-Header-Content-Length"
    alone = client.post(path, content=PHOTO, headers={header: "0"})
    assert [json.loads(faces) for faces in alone.json()["outputs"][0]["data"]] == [expected]
    data = struct.pack("<I", len(PHOTO)) + PHOTO
    tensor = {"name": "images", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": len(data)}}
    text = json.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}}).encode()
    response = client.post(path, content=text + data, headers={header: str(len(text))})
    length = int(response.headers[header])
    (output,) = json.loads(response.content[:length])["outputs"]
    (size,) = struct.unpack("<I", response.content[length : length + 4])
    assert output["parameters"] == {"binary_data_size": size + 4} and len(response.content) == length + 4 + size
    assert json.loads(response.content[length + 4 :]) == expected
    asked = {
        "inputs": [tensor | {"parameters": {}}],
        "outputs": [{"name": "faces", "parameters": {"classification": 1}}],
    }
    expect_error(client.post(path, json=asked), 400, "no classes")
    sizes = client.post("/v2/models/green/infer", content=bytes(3072), headers={header: "0"})
    expect_error(sizes, 400, "a body needs JSON")


def test_other_protocols_answer_with_every_face_too(client: TestClient) -> None:
    expected = client.post("/predict", content=PHOTO).json()
    text = base64.b64encode(PHOTO).decode()
    assert client.post("/v1/models/people:predict", json={"instances": [text]}).json() == {"predictions": [expected]}
    assert client.post("/invocations", json={"inputs": [text]}).json() == {"predictions": [expected]}
    assert client.post("/predictions/people", content=PHOTO).json() == expected
    config = client.get("/v2/models/people/config").json()
    assert config["max_batch_size"] == 0 and config["input"] == [
        {"name": "images", "data_type": "TYPE_STRING", "dims": [-1]}
    ]


def test_pixels_go_to_models_that_have_a_graph(client: TestClient, models: list[Predictor]) -> None:
    tensor: dict[str, Any] = {"name": "images", "datatype": "UINT8", "shape": [1, 32, 32, 3], "data": [0] * 3072}
    refused = client.post("/v2/models/people/infer", json={"inputs": [tensor]})
    expect_error(refused, 400, "images: datatype 'UINT8' is not supported; expected BYTES")
    outputs = client.post("/v2/models/green/infer", json={"inputs": [tensor]}).json()["outputs"]
    assert [one["shape"] for one in outputs] == [[1, 200, 4], [1, 200, 1], [1, 200, 5, 2]]
    for shape in ([1, 33, 32, 3], [1, 352, 32, 3], [1, 32, 32, 1], [3072], [0, 32, 32, 3]):
        changed = tensor | {"shape": shape, "data": [0] * int(np.prod(shape))}
        expect = 200 if shape[0] == 0 else 400
        assert client.post("/v2/models/green/infer", json={"inputs": [changed]}).status_code == expect, shape


def test_an_answer_of_too_many_numbers_is_refused(client: TestClient) -> None:
    for count, status in ((43, 200), (44, 400)):
        data = [0] * (count * 3072)
        tensor = {"name": "images", "datatype": "UINT8", "shape": [count, 32, 32, 3], "data": data}
        response = client.post("/v2/models/green/infer", json={"inputs": [tensor]})
        assert response.status_code == status
    expect_error(response, 400, "132000 numbers are too many for one answer; at most 131072")


def test_a_picture_too_large_for_a_lane_is_refused(client: TestClient) -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (4000, 4000)).save(buffer, "PNG")
    expect_error(client.post("/predict", content=buffer.getvalue()), 413)


def test_the_command_serves_a_composite(folder: Path, tmp_path: Path) -> None:
    with serving(tmp_path, "--model", str(folder)) as server:
        status, given = server.request("POST", "/predict", PHOTO)
        assert status == 200 and (given["model"], len(given["faces"])) == ("people", 3)
