"""The application in process: what it answers, to good requests and to every kind of bad one."""

import base64
import io
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from starlette.testclient import TestClient

from serving.runtime.predictor import Predictor
from serving.server.app import create_app
from serving.server.state import ServerState

LIMIT = 2**20


def picture(seed: int = 0, kind: str = "JPEG") -> bytes:
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(coarse).resize((120, 90)).save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def predictor(model_file: Path) -> Predictor:
    return Predictor(model_file, version="3", threads=1)


@pytest.fixture(scope="module")
def client(predictor: Predictor) -> TestClient:
    """A client that shows a crash of the server as the 500 that a real client would see."""
    return TestClient(create_app(ServerState(max_body=LIMIT, model=predictor)), raise_server_exceptions=False)


def expect_error(response: Any, status: int, text: str = "") -> None:
    assert response.status_code == status, response.text
    assert list(response.json()) == ["error"]
    assert text in response.json()["error"]


# --- health and metadata -------------------------------------------------------------------------------------------


def test_health_and_metadata(client: TestClient) -> None:
    assert client.get("/v2").json()["name"] == "facet"
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"ready": True}
    assert client.get("/v2/models").json() == {"models": ["tiny"]}
    described = client.get("/v2/models/tiny").json()
    assert described == client.get("/v2/models/tiny/versions/3").json()
    assert described["versions"] == ["3"]
    assert described["inputs"] == [{"name": "images", "datatype": "UINT8", "shape": [-1, 40, 32, 3]}]
    assert [(o["name"], o["datatype"], o["shape"], o["labels"]) for o in described["outputs"]] == [
        ("mask", "FP32", [-1, 3], ["worn", "incorrect", "absent"]),
        ("gender", "FP32", [-1, 2], ["male", "female"]),
    ]
    assert client.get("/v2/models/tiny/ready").json() == {"name": "tiny", "ready": True}
    assert client.get("/v2/models/tiny/versions/3/ready").status_code == 200
    assert client.head("/v2/health/live").status_code == 200


def test_readiness_is_truthful(predictor: Predictor) -> None:
    state = ServerState(max_body=LIMIT)
    client = TestClient(create_app(state))
    assert client.get("/v2/health/live").status_code == 200
    for path in ("/v2/health/ready", "/v2/models/tiny/ready", "/v2/models/tiny"):
        response = client.get(path)
        assert response.status_code == 503 and "loading" in response.json()["error"]
    expect_error(client.post("/predict", content=picture()), 503, "loading")
    state.model = predictor
    assert client.get("/v2/health/ready").status_code == 200
    state.draining = True
    for path in ("/v2/health/ready", "/v2/models/tiny/ready"):
        assert client.get(path).status_code == 503
    assert client.get("/v2/health/live").status_code == 200
    assert client.post("/predict", content=picture()).status_code == 200


# --- /predict ------------------------------------------------------------------------------------------------------


def check_answer(answer: dict[str, Any], predictor: Predictor, faces: list[tuple[bytes, Any]]) -> None:
    assert list(answer) == ["model", "version", "faces"]
    assert (answer["model"], answer["version"], len(answer["faces"])) == ("tiny", "3", len(faces))
    expected = predictor.predict(faces)
    for row, (face, (_, box)) in enumerate(zip(answer["faces"], faces, strict=True)):
        assert list(face) == ["box", "score", "crop", "heads"]
        assert face["box"] == (list(box) if box else None) and face["score"] is None
        assert face["crop"] == ("box" if box else "whole image")
        assert list(face["heads"]) == ["mask", "gender"]
        for head in predictor.card.heads:
            given_head = face["heads"][head.name]
            assert list(given_head) == ["label", "score", "probabilities"]
            assert list(given_head["probabilities"]) == list(head.labels)
            got = np.float32(list(given_head["probabilities"].values()))
            assert np.array_equal(got, expected[head.name][row]), "written numbers must read back exactly"
            assert given_head["score"] == max(given_head["probabilities"].values())
            assert given_head["probabilities"][given_head["label"]] == given_head["score"]


@pytest.mark.parametrize("content_type", ["image/jpeg", "image/png", "application/octet-stream", "", "text/plain"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP"])
def test_raw_body(client: TestClient, predictor: Predictor, content_type: str, kind: str) -> None:
    data = picture(1, kind)
    headers = {"content-type": content_type} if content_type else {}
    check_answer(client.post("/predict", content=data, headers=headers).json(), predictor, [(data, None)])


def test_boxes(client: TestClient, predictor: Predictor) -> None:
    data = picture(2)
    boxes = [(10.0, 12.5, 40.0, 30.0), (-5.0, -5.0, 60.0, 60.0)]
    query = "&".join("box=" + ",".join(map(str, box)) for box in boxes)
    faces = [(data, box) for box in boxes]
    check_answer(client.post(f"/predict?{query}", content=data).json(), predictor, faces)
    form = {"box": [" 10 , 12.5,40,30", "-5,-5,6e1,60"]}
    check_answer(client.post("/predict", files={"anything": data}, data=form).json(), predictor, faces)
    assert (
        client.post("/predict?box=10,12.5,40,30", files={"f": data}, data={"box": "-5,-5,60,60"}).json()
        == client.post(f"/predict?{query}", content=data).json()
    )


def test_several_files(client: TestClient, predictor: Predictor) -> None:
    pictures = [picture(seed, kind) for seed, kind in ((1, "JPEG"), (2, "PNG"), (3, "WEBP"))]
    one = client.post("/predict", files=[("f", ("a.jpg", pictures[0]))]).json()
    check_answer(one, predictor, [(pictures[0], None)])
    many = client.post("/predict", files=[("f", (f"{n}.jpg", data)) for n, data in enumerate(pictures)]).json()
    assert list(many) == ["results"]
    for answer, data in zip(many["results"], pictures, strict=True):
        check_answer(answer, predictor, [(data, None)])
    files = [("f", ("good.jpg", pictures[0])), ("g", ("bad.jpg", b"no image"))]
    expect_error(client.post("/predict", files=files), 400, "file 2 (bad.jpg)")
    expect_error(client.post("/predict?box=1,1,9,9", files=files), 400, "boxes go with one image")


@pytest.mark.parametrize(
    "box",
    ["", "1,2,3", "1,2,3,4,5", "a,b,c,d", "1,2,nan,4", "1,2,inf,4", "1,2,0,4", "1,2,3,-4", "500,0,9,9", "1;2;3;4"],
)
def test_bad_boxes(client: TestClient, box: str) -> None:
    expect_error(client.post("/predict", params={"box": box}, content=picture()), 400, "box")
    expect_error(client.post("/predict", data={"box": box}, files={"f": picture()}), 400, "box")


def bomb() -> bytes:
    data = bytearray(picture(0, "PNG"))
    data[16:24] = struct.pack(">II", 50_000, 50_000)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    return bytes(data)


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        (b"", 400, "empty"),
        (b"hello", 400, "not an image"),
        (picture()[:-30], 400, "cut short"),
        (picture(0, "PNG")[:-30], 400, "cut short|ends before"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 400, "not an image"),
        (bomb(), 413, "pixels"),
    ],
    ids=["empty", "text", "jpeg", "png", "svg", "bomb"],
)
def test_bodies_that_are_no_image(client: TestClient, body: bytes, status: int, text: str) -> None:
    for response in (client.post("/predict", content=body), client.post("/predict", files={"f": ("x", body)})):
        assert response.status_code == status
        assert any(part in response.json()["error"] for part in text.split("|")), response.text


@pytest.mark.parametrize("sent", [LIMIT + 1, 3 * LIMIT])
def test_bodies_that_are_too_large(client: TestClient, sent: int) -> None:
    pieces = [b"x" * min(65536, sent - start) for start in range(0, sent, 65536)]
    expect_error(client.post("/predict", content=b"".join(pieces)), 413, str(LIMIT))
    expect_error(client.post("/predict", content=iter(pieces)), 413, str(LIMIT))
    expect_error(client.post("/v2/models/tiny/infer", content=iter(pieces)), 413, str(LIMIT))


def test_a_body_of_exactly_the_limit_is_read(client: TestClient) -> None:
    data = picture()
    assert client.post("/predict", content=data + bytes(LIMIT - len(data))).status_code == 200


MULTIPART = {"content-type": "multipart/form-data; boundary=b"}


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"content-type": "multipart/form-data"}, b""),
        ({"content-type": "multipart/form-data; boundary="}, b"--\r\n"),
        (MULTIPART, b""),
        (MULTIPART, b"rubbish"),
        (MULTIPART, b"--b\r\n\r\nno name\r\n--b--\r\n"),
        (MULTIPART, b'--b\r\nContent-Disposition: form-data; name="f"; filename="a"\r\n\r\nhalf a file'),
        (MULTIPART, b'--b\r\nContent-Disposition: form-data; name="box"\r\n\r\n1,2,3,4\r\n--b--\r\n'),
        (MULTIPART, b'--b\r\nContent-Disposition: form-data; name="other"\r\n\r\nx\r\n--b--\r\n'),
        ({"content-type": "multipart/form-data; boundary=b; charset=undefined"}, b"--b\r\n"),
    ],
)
def test_broken_forms(client: TestClient, headers: dict[str, str], body: bytes) -> None:
    expect_error(client.post("/predict", content=body, headers=headers), 400, "form")


def test_a_form_that_lost_its_end_is_not_answered_in_part(client: TestClient) -> None:
    """Two files of which the second is cut: the first alone must not look like the whole answer."""
    request = client.build_request("POST", "/predict", files=[("a", picture(1)), ("b", picture(2))])
    whole = request.read()
    headers = {"content-type": request.headers["content-type"]}
    assert client.post("/predict", content=whole, headers=headers).status_code == 200
    for cut in (5, 200, 1000):
        expect_error(client.post("/predict", content=whole[:-cut], headers=headers), 400, "cut short")


def test_too_many_parts(client: TestClient) -> None:
    expect_error(client.post("/predict", files=[("f", b"x")] * 65), 400, "Too many files")
    expect_error(client.post("/predict?" + "box=1,1,9,9&" * 65, content=picture()), 400, "too many")


# --- paths and methods ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v2/", 404),
        ("GET", "/v2/nothing", 404),
        ("POST", "/predict/", 404),
        ("GET", "/v2/models/other", 404),
        ("GET", "/v2/models/other/ready", 404),
        ("GET", "/v2/models/tiny/versions/4", 404),
        ("POST", "/v2/models/other/infer", 404),
        ("POST", "/v2/models/tiny/versions/4/infer", 404),
        ("GET", "/v2/models/../../etc/passwd", 404),
        ("GET", "/v2/models/%00", 404),
        ("GET", "/predict", 405),
        ("PUT", "/predict", 405),
        ("OPTIONS", "/predict", 405),
        ("BREW", "/predict", 405),
        ("POST", "/v2/health/ready", 405),
        ("DELETE", "/v2/models/tiny", 405),
        ("GET", "/v2/models/tiny/infer", 405),
    ],
)
def test_unknown_paths_and_wrong_methods(client: TestClient, method: str, path: str, status: int) -> None:
    response = client.request(method, path)
    expect_error(response, status)
    if status == 405:
        allowed = response.headers["allow"].split(", ")
        assert method not in allowed and set(allowed) <= {"GET", "HEAD", "POST"}


# --- infer ---------------------------------------------------------------------------------------------------------


def infer(client: TestClient, tensor: dict[str, Any], **more: Any) -> Any:
    return client.post("/v2/models/tiny/infer", json={"inputs": [{"name": "images"} | tensor]} | more)


PIXELS = np.random.default_rng(0).integers(0, 256, (2, 40, 32, 3), dtype=np.uint8)


def test_infer_pixels(client: TestClient, predictor: Predictor) -> None:
    expected = predictor.probabilities(PIXELS)
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
        ({"shape": []}, "does not fill"),
        ({"shape": [-1, -1], "data": [1]}, "does not fill"),
        ({"shape": [-1, 40, 32, 3], "data": []}, "does not fill"),
        ({"shape": [10**30, 40, 32, 3]}, "does not fill"),
        ({"shape": ["1", 40, 32, 3]}, "inputs.0.shape"),
        ({"shape": [1.5, 40, 32, 3]}, "inputs.0.shape"),
        ({"data": []}, "does not fill"),
        ({"data": [0] * 3839 + [256]}, "0 to 255"),
        ({"data": [0] * 3839 + [-1]}, "0 to 255"),
        ({"data": [0] * 3839 + [1.5]}, "0 to 255"),
        ({"data": [0] * 3839 + ["1"]}, "0 to 255"),
        ({"data": [0] * 3839 + [None]}, "0 to 255"),
        ({"data": [0] * 3839 + [10**40]}, "0 to 255"),
        ({"data": [[0] * 1920, [0] * 1919]}, "differ in length"),
        ({"data": [[0] * 1920, 0]}, "differ in length"),
        ({"data": [[0] * 1920, [0] * 1920]}, "does not fill"),
        ({"data": "x"}, "inputs.0.data"),
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


def test_one_long_string_among_numbers_costs_nothing(client: TestClient) -> None:
    expect_error(infer(client, GOOD | {"data": ["x" * 500_000] + [0] * 3839}), 400, "0 to 255")


# --- whatever comes, no 5xx ----------------------------------------------------------------------------------------

JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=6), inner, max_size=4)),
    max_leaves=12,
)
TENSOR = st.fixed_dictionaries(
    {},
    optional={
        "name": st.one_of(st.just("images"), JSON),
        "datatype": st.one_of(st.sampled_from(["UINT8", "BYTES", "FP32", "BOOL"]), JSON),
        "shape": st.one_of(st.lists(st.integers(-2, 41), max_size=5), st.just([1, 40, 32, 3]), JSON),
        "data": st.one_of(
            st.lists(st.one_of(st.integers(-1, 256), st.text(max_size=8)), max_size=6),
            st.just([0] * 3840),
            st.binary(max_size=20).map(lambda data: [base64.b64encode(data).decode()]),
            JSON,
        ),
        "parameters": JSON,
    },
)
REQUEST = st.one_of(
    JSON,
    st.fixed_dictionaries(
        {"inputs": st.one_of(st.lists(TENSOR, max_size=2), JSON)}, optional={"id": JSON, "outputs": JSON}
    ),
)
FUZZ = settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def check_no_crash(response: Any) -> None:
    assert response.status_code < 500, response.text
    if response.status_code >= 400:
        assert list(response.json()) == ["error"] and response.json()["error"]


@FUZZ
@given(body=REQUEST)
def test_any_json_on_infer(client: TestClient, body: Any) -> None:
    check_no_crash(client.post("/v2/models/tiny/infer", content=json.dumps(body).encode()))


@FUZZ
@given(
    body=st.binary(max_size=200), path=st.sampled_from(["/predict", "/v2/models/tiny/infer"]), box=st.text(max_size=12)
)
def test_any_body(client: TestClient, body: bytes, path: str, box: str) -> None:
    check_no_crash(client.post(path, content=body, params={"box": box.encode("utf-8", "replace").decode()}))


TOKEN = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=30)


@FUZZ
@given(body=st.binary(max_size=200), rest=TOKEN, name=TOKEN, with_frame=st.booleans())
def test_any_form(client: TestClient, body: bytes, rest: str, name: str, with_frame: bool) -> None:
    kind = f"multipart/form-data; boundary=b{rest}"
    if with_frame:
        kind = "multipart/form-data; boundary=b"
        body = b"--b\r\nContent-Disposition: form-data; " + name.encode() + b"\r\n\r\n" + body + b"\r\n--b--\r\n"
    check_no_crash(client.post("/predict", content=body, headers={"content-type": kind}))


@FUZZ
@given(path=st.lists(st.sampled_from(["v2", "models", "tiny", "versions", "3", "infer", "ready", "..", "%2f", "x"])))
def test_any_path(client: TestClient, path: list[str]) -> None:
    for method in ("GET", "POST"):
        check_no_crash(client.request(method, "/" + "/".join(path)))


def test_a_crash_is_a_500_with_an_error(make_model: Callable[..., bytes]) -> None:
    """The fuzz tests above can fail: a fault of the server is seen as one."""

    class Broken(Predictor):
        def predict(self, faces: Any) -> Any:
            raise RuntimeError("secret detail")

    state = ServerState(max_body=LIMIT, model=Broken(make_model()))
    client = TestClient(create_app(state), raise_server_exceptions=False)
    response = client.post("/predict", content=picture())
    expect_error(response, 500, "internal error")
    assert "secret" not in response.text
