"""KServe v1, TorchServe, MLflow and JSON on /predict: the same answers as a raw body, and what is refused."""

import base64
import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image
from server_requests import expect_error, picture
from starlette.testclient import TestClient

from serving.server.about import EXTENSIONS
from serving.server.lanes import Lanes

PHOTO = picture(1)
TEXT = base64.b64encode(PHOTO).decode()
PIXELS = np.random.default_rng(0).integers(0, 256, (60, 50, 3), dtype=np.uint8)

PICTURES: dict[str, Any] = {
    "text": TEXT,
    "data URL": f"data:image/jpeg;base64,{TEXT}",
    "b64": {"b64": TEXT},
    "KServe and TensorFlow Serving": {"image_bytes": {"b64": TEXT}},
    "TorchServe in KServe": {"data": TEXT},
    "TorchServe in KServe, as bytes": {"data": {"b64": TEXT}},
    "image": {"image": TEXT},
    "without boxes": {"image": TEXT, "boxes": []},
}
BOXED = {"image": TEXT, "boxes": [[10, 12.5, 40, 30], [1, 1, 20, 20]]}
BOXES = "?box=10,12.5,40,30&box=1,1,20,20"


def send(client: TestClient, path: str, body: Any) -> Any:
    return client.post(path, content=json.dumps(body).encode(), headers={"Content-Type": "application/json"})


def answer(client: TestClient, query: str = "", photo: bytes = PHOTO) -> Any:
    return client.post(f"/predict{query}", content=photo).json()


def ways(one: Any) -> list[tuple[str, Any, str]]:
    """Path, request and key of the answers, for a picture in each protocol."""
    return [
        ("/v1/models/tiny:predict", {"instances": [one, one]}, "predictions"),
        ("/v1/models/tiny:predict", {"inputs": [one, one], "signature_name": "x"}, "predictions"),
        ("/invocations", {"inputs": [one, one]}, "predictions"),
        ("/invocations", {"instances": [one, one], "params": {}}, "predictions"),
        ("/invocations", {"inputs": {"image": [one, one]}}, "predictions"),
        (
            "/invocations",
            {"dataframe_split": {"columns": ["x"], "index": [0, 1], "data": [[one], [one]]}},
            "predictions",
        ),
        ("/invocations", {"dataframe_records": [{"photo": one}, {"photo": one}]}, "predictions"),
        ("/predict", {"images": [one, one]}, "results"),
        ("/predictions/tiny/3", {"images": [one, one]}, "results"),
    ]


@pytest.mark.parametrize("form", PICTURES)
def test_every_form_of_a_picture_in_every_protocol(client: TestClient, form: str) -> None:
    expected = answer(client)
    for path, body, key in ways(PICTURES[form]):
        response = send(client, path, body)
        assert response.status_code == 200, (path, response.text)
        assert response.json() == {key: [expected, expected]}, path


def test_boxes_and_pixels_in_every_protocol(client: TestClient) -> None:
    png = io.BytesIO()
    Image.fromarray(PIXELS).save(png, "PNG")
    for one, expected in (
        (BOXED, answer(client, BOXES)),
        (PIXELS.tolist(), answer(client, photo=png.getvalue())),
        ({"image": PIXELS.tolist(), "boxes": [[5, 5, 20, 20]]}, answer(client, "?box=5,5,20,20", png.getvalue())),
    ):
        for path, body, key in ways(one):
            assert send(client, path, body).json() == {key: [expected, expected]}, path


def test_one_picture_as_json(client: TestClient) -> None:
    assert send(client, "/predict", {"image": TEXT}).json() == answer(client)
    assert send(client, "/predict", BOXED).json() == answer(client, BOXES)
    assert send(client, "/predict?box=10,12.5,40,30", {"image": TEXT, "boxes": [[1, 1, 20, 20]]}).json() == answer(
        client, BOXES
    )
    as_form = {"Content-Type": "application/x-www-form-urlencoded"}  # what curl -d says
    assert client.post("/predict", content=json.dumps({"image": TEXT}), headers=as_form).json() == answer(client)


def test_torchserve(client: TestClient) -> None:
    assert client.get("/ping").json() == {"status": "Healthy"}
    for path in ("/predictions/tiny", "/predictions/tiny/3"):
        assert client.post(path, content=PHOTO).json() == answer(client)
        assert client.put(path, content=PHOTO).json() == answer(client)  # curl -T
        assert client.post(path, files={"data": PHOTO}).json() == answer(client)
        assert client.post(f"{path}{BOXES}", content=PHOTO).json() == answer(client, BOXES)
    expect_error(client.post("/predictions/other", content=PHOTO), 404, "no model 'other'")
    expect_error(client.post("/predictions/tiny/4", content=PHOTO), 404, "no version '4'")


def test_kserve_tells_which_models_there_are(client: TestClient) -> None:
    assert client.get("/v1/models").json() == {"models": ["tiny"]}
    assert client.get("/v1/models/tiny").json() == {"name": "tiny", "ready": True}
    expect_error(client.get("/v1/models/other"), 404, "no model 'other'")
    expect_error(send(client, "/v1/models/other:predict", {"instances": [TEXT]}), 404, "no model 'other'")
    asked = client.get("/v1/models/tiny:predict")
    expect_error(asked, 405, "use POST")
    assert asked.headers["allow"] == "POST"


def test_a_table_with_boxes(client: TestClient) -> None:
    frame = {"columns": ["boxes", "image"], "data": [[BOXED["boxes"], TEXT], [None, TEXT]]}
    records = [{"image": TEXT, "boxes": BOXED["boxes"]}, {"image": TEXT}]
    columns = {"image": [TEXT, TEXT], "boxes": [BOXED["boxes"], []]}
    for body in ({"dataframe_split": frame}, {"dataframe_records": records}, {"inputs": columns}):
        given = send(client, "/invocations", body).json()
        assert given == {"predictions": [answer(client, BOXES), answer(client)]}, body


def test_a_server_that_stops_says_so_in_every_protocol(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client.app.state.server, "draining", True)
    for path in ("/ping", "/health"):
        response = client.get(path)
        assert response.status_code == 503 and response.json()["status"] == "Unhealthy"
        assert "stopping" in response.json()["error"]
    assert client.get("/v1/models/tiny").status_code == 503
    assert client.get("/version").status_code == 200


V1, ML = "/v1/models/tiny:predict", "/invocations"


@pytest.mark.parametrize(
    ("path", "body", "text"),
    [
        ("/predict", {}, "no picture; expected `image` or `images`"),
        ("/predict", {"image": TEXT, "images": [TEXT]}, "goes alone"),
        ("/predict", {"images": [TEXT], "boxes": [[1, 1, 9, 9]]}, "goes alone"),
        ("/predict", {"images": []}, "no picture"),
        ("/predict", {"images": [TEXT] * 65}, "length <= 64"),
        ("/predict", {"image": TEXT, "box": [1, 1, 9, 9]}, "unknown field `box`"),
        ("/predict", {"image": TEXT, "boxes": [[1, 1, 9]]}, "boxes.0"),
        ("/predict", {"image": TEXT, "boxes": [[1, 1, 0, 9]]}, "box"),
        ("/predict", {"image": TEXT, "boxes": [[1, 1, 9, 9]] * 65}, "length <= 64"),
        ("/predict", {"image": None}, "expected an image file in base64"),
        ("/predict", {"image": 7}, "expected an image file in base64"),
        ("/predict", {"image": "***"}, "base64"),
        ("/predict", {"image": ""}, "empty"),
        ("/predict", {"image": {"url": "http://127.0.0.1/a.jpg"}}, "unknown field `url`"),
        ("/predict", {"image": "http://169.254.169.254/latest"}, "nothing is fetched"),
        ("/predict", {"image": "file:///etc/passwd"}, "nothing is fetched"),
        ("/predict", {"image": "s3://bucket/photo.jpg"}, "nothing is fetched"),
        ("/predict", {"image": "/etc/passwd"}, "not an image|base64"),
        ("/predict", {"image": [[[1, 2]]]}, "rows of pixels"),
        ("/predict", {"image": [[[1, 2, 3], [1, 2, 3]], [[1, 2, 3]]]}, "rows of pixels"),
        ("/predict", {"image": [[[1, 2, 256]]]}, "0 to 255"),
        ("/predict", {"image": [[[1, 2, 0.5]]]}, "0 to 255"),
        ("/predict", {"images": [TEXT, "aGVsbG8="]}, "images[1]"),
        (V1, {}, "instances"),
        (V1, {"instances": [TEXT], "inputs": [TEXT]}, "instances"),
        (V1, {"instances": TEXT}, "instances: Expected `array`"),
        (V1, {"instances": []}, "no picture"),
        (V1, {"instances": [{}]}, "in one of image, image_bytes, data and b64"),
        (V1, {"instances": [{"b64": TEXT, "image": TEXT}]}, "in one of"),
        (V1, [TEXT], "Expected `object`, got `array`"),
        (ML, {}, "exactly one of inputs, instances"),
        (ML, {"inputs": [TEXT], "instances": [TEXT]}, "exactly one of"),
        (ML, {"inputs": [TEXT], "params": {"temperature": 1}}, "params: no model here takes any, got temperature"),
        (ML, {"inputs": {"a": [TEXT], "b": [TEXT]}}, "one column of pictures"),
        (ML, {"inputs": {"a": [TEXT], "boxes": []}}, "differ in length"),
        (ML, {"dataframe_split": {"columns": ["a", "b"], "data": [[TEXT, TEXT]]}}, "one column of pictures"),
        (ML, {"dataframe_split": {"columns": ["a"], "data": [[TEXT, TEXT]]}}, "as many values as there are columns"),
        (ML, {"dataframe_split": {"columns": ["a"]}}, "dataframe_split"),
        (ML, {"dataframe_split": {"columns": ["a"], "data": []}}, "no picture"),
        (ML, {"dataframe_records": [{}]}, "one column of pictures"),
        (ML, {"inputs": [TEXT] * 65}, "too many"),
    ],
)  # fmt: skip
def test_what_is_refused(client: TestClient, path: str, body: Any, text: str) -> None:
    response = send(client, path, body)
    expect_error(response, 400)
    assert any(part in response.json()["error"] for part in text.split("|")), response.text


@pytest.mark.parametrize("path", ["/predict", V1, ML, "/v2/models/tiny/infer", "/v2/repository/index"])
@pytest.mark.parametrize("body", [b"{", b"nul", b"\xff{}", b"[" * 100_000, b'{"image": ' + b"[" * 100_000])
def test_what_is_no_json_is_refused(client: TestClient, path: str, body: bytes) -> None:
    expect_error(client.post(path, content=body, headers={"Content-Type": "application/json"}), 400)


@pytest.mark.parametrize("kind", ["text/csv", "application/vnd.apache.parquet"])
def test_mlflow_tables_are_json(client: TestClient, kind: str) -> None:
    expect_error(client.post(ML, content=b"image\nx\n", headers={"Content-Type": kind}), 400, "send application/json")


# --- version 2 -------------------------------------------------------------------------------------------------------


def test_the_server_says_what_it_can(client: TestClient) -> None:
    assert client.get("/v2").json()["extensions"] == list(EXTENSIONS)


def test_timeout_and_priority_of_a_request_reach_the_lanes(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    run, seen = Lanes.run, []

    async def spy(self: Lanes, *arguments: Any, **options: Any) -> Any:
        seen.append((arguments[2], options))
        return await run(self, *arguments, **options)

    monkeypatch.setattr(Lanes, "run", spy)
    tensor = {"name": "images", "datatype": "BYTES", "shape": [2], "data": [TEXT, TEXT]}
    path = "/v2/models/tiny/infer"
    assert send(client, path, {"inputs": [tensor]}).status_code == 200
    assert (
        send(client, path, {"inputs": [tensor], "parameters": {"timeout": 9_000_000, "priority": 2}}).status_code == 200
    )
    (rows, plain), (_, wished) = seen
    assert rows == 2 and plain == {"deadline": float("inf"), "priority": 0}
    assert wished["priority"] == 2 and 0 < wished["deadline"] < 1e9
    late = send(client, path, {"inputs": [tensor], "parameters": {"timeout": 1}})
    expect_error(late, 503, "no result within parameters.timeout, 1 microseconds")
    assert send(client, path, {"inputs": [tensor], "parameters": {"own": 1, "priority": 9}}).status_code == 200
    wrong: list[dict[str, Any]] = [{"timeout": value} for value in (-1, "1", 2**64)]
    for parameters in [*wrong, *({"priority": value} for value in (-1, 10, 1.5, True))]:
        expect_error(send(client, path, {"inputs": [tensor], "parameters": parameters}), 400, "parameters")


def test_statistics_and_configuration_of_what_is_not_there(client: TestClient) -> None:
    for path in ("stats", "config", "versions/9/stats", "versions/9/config"):
        model = "tiny" if "9" in path else "other"
        expect_error(client.get(f"/v2/models/{model}/{path}"), 404)


# --- repository ------------------------------------------------------------------------------------------------------


def test_the_index_lists_models(client: TestClient) -> None:
    listed = [{"name": "tiny", "version": "3", "state": "READY", "reason": ""}]
    for body in (None, {}, {"ready": True}):
        response = (
            client.post("/v2/repository/index", json=body) if body is not None else client.post("/v2/repository/index")
        )
        assert response.json() == listed


@pytest.mark.parametrize("verb", ["load", "unload"])
def test_a_request_names_no_files_and_no_configuration(client: TestClient, verb: str) -> None:
    for parameters in ({"config": "{}"}, {"file:1/model.onnx": TEXT}):
        path = f"/v2/repository/models/tiny/{verb}"
        expect_error(send(client, path, {"parameters": parameters}), 400, "leave it out")
        assert client.get("/v2/models/tiny/ready").status_code == 200
