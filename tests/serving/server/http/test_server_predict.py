"""POST /predict: images, boxes and forms, good and bad."""

import struct
import zlib
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from server_requests import LIMIT, expect_error, picture
from starlette.testclient import TestClient

from serving.runtime.image.photo import Photo
from serving.runtime.load import open_model
from serving.runtime.predictor import Predictor
from serving.server.http.app import create_app
from serving.server.state import ModelRepository, ServerState


def check_answer(answer: dict[str, Any], predictor: Predictor, faces: list[tuple[bytes, Any]]) -> None:
    assert list(answer) == ["model", "version", "faces"]
    assert (answer["model"], answer["version"], len(answer["faces"])) == ("tiny", "3", len(faces))
    expected = chain(*predictor.predict([(Photo(data), [box] if box else []) for data, box in faces]))
    for face, result, (_, box) in zip(answer["faces"], expected, faces, strict=True):
        assert list(face) == ["box", "score", "crop", "heads", "notify", "notify_reason", "notify_confidence"]
        assert face["box"] == (list(box) if box else None) and face["score"] is None
        assert face["crop"] == ("box" if box else "whole image")
        assert list(face["heads"]) == ["mask", "gender"]
        for head in predictor.card.heads:
            given_head = face["heads"][head.name]
            assert list(given_head) == ["label", "score", "probabilities"]
            assert list(given_head["probabilities"]) == list(head.labels)
            got = np.float32(list(given_head["probabilities"].values()))
            values = np.float32(list(result.heads[head.name].values()))
            assert np.array_equal(got, values), "written numbers must read back exactly"
            assert given_head["score"] == max(given_head["probabilities"].values())
            assert given_head["probabilities"][given_head["label"]] == given_head["score"]


@pytest.mark.parametrize("content_type", ["image/jpeg", "image/png", "application/octet-stream", "", "text/plain"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "PPM", "TIFF", "AVIF", "HEIC", "MPO"])
def test_raw_body(client: TestClient, predictor: Predictor, content_type: str, kind: str) -> None:
    data = picture(1, kind)
    headers = {"content-type": content_type} if content_type else {}
    check_answer(client.post("/predict", content=data, headers=headers).json(), predictor, [(data, None)])


@pytest.mark.parametrize("kind", ["PNG", "AVIF", "HEIC"])
def test_a_type_is_told_by_the_content_and_not_by_the_name(client: TestClient, predictor: Predictor, kind: str) -> None:
    data = picture(1, kind)
    for name, content_type in (("a.jpg", "image/jpeg"), ("a", "image/heic"), ("a.txt", "text/plain")):
        answer = client.post("/predict", files={"f": (name, data, content_type)}).json()
        check_answer(answer, predictor, [(data, None)])


DAMAGED: dict[str, Callable[[bytes], bytes]] = {
    "no end marker": lambda data: data[:-2],
    "half an end marker": lambda data: data[:-1],
    "zeros for an end marker": lambda data: data[:-2] + bytes(99),
    "more behind it": lambda data: data + b"more",
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_jpeg_with_all_its_pixels_is_answered_as_the_sound_one(client: TestClient, damage: str) -> None:
    sound = picture()
    data = DAMAGED[damage](sound)
    for query in ("", "?box=10,12.5,40,30"):
        answer = client.post(f"/predict{query}", content=data)
        assert answer.status_code == 200
        assert answer.json() == client.post(f"/predict{query}", content=sound).json()


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


@pytest.mark.parametrize(
    ("frame", "cut"), [((0.25, 0.1, 0.75, 0.6), "frame"), ((0, 0, 1, 1), "whole image"), (None, "box")]
)
def test_a_model_with_a_frame_says_so_and_needs_no_box(
    make_model: Callable[..., bytes], predictor: Predictor, tmp_path: Path, frame: Any, cut: str
) -> None:
    card = predictor.card.model_dump(mode="json") | {"crop": {"frame": frame}}
    (tmp_path / "model.onnx").write_bytes(make_model(card))
    state = ServerState(models=ModelRepository(open_model((tmp_path / "model.onnx").read_bytes(), threads=1)))
    client, data = TestClient(create_app(state)), picture(2)
    (plain,), (boxed,) = (client.post(f"/predict{q}", content=data).json()["faces"] for q in ("", "?box=10,12,40,30"))
    assert (boxed["crop"], boxed["box"]) == (cut, [10, 12, 40, 30])
    assert plain["crop"] == ("whole image" if frame is None else cut)
    assert (plain["heads"] == boxed["heads"]) == (frame is not None)


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


@pytest.mark.parametrize(
    ("path", "name", "known"),
    [
        ("/predict?boxs=1,2,30,40", "boxs", "model, version, box"),
        ("/predict?box=1,2,30,40&Box=1,2,30,40", "Box", "model, version, box"),
        ("/predictions/tiny?model=tiny", "model", "box"),
        ("/predictions/tiny/3?version=3", "version", "box"),
        ("/invocations?name=tiny", "name", "model, version"),
    ],
)
def test_a_query_parameter_that_is_not_read_is_refused(client: TestClient, path: str, name: str, known: str) -> None:
    """It may be a slip, and the answer then that of another question."""
    expect_error(client.post(path, content=picture()), 400, f"'{name}' is unknown; this path reads: {known}")


def test_what_curl_does_to_a_file_is_said(client: TestClient) -> None:
    data = picture().replace(b"\r", b"").replace(b"\n", b"").replace(b"\0", b"")
    headers = {"content-type": "application/x-www-form-urlencoded"}
    expect_error(client.post("/predict", content=data, headers=headers), 400, "--data-binary @FILE")
    assert "--data-binary" not in client.post("/predict", content=data).text
    assert client.post("/predict", content=picture(), headers=headers).status_code == 200


def test_a_field_of_json_that_is_unknown_is_answered_with_the_known_ones(client: TestClient) -> None:
    expect_error(client.post("/predict", json={"image": "", "model": "tiny"}), 400, "expected image, images, boxes")
    nested = {"images": [{"b64": "", "box": []}]}
    expect_error(client.post("/predict", json=nested), 400, "images[0]: Object contains unknown field `box`; expected ")


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
        (picture(0, "HEIC")[:-30], 400, "cut short"),
        (picture(0, "AVIF")[:-30], 400, "cut short"),
        (picture(0, "JPEG2000"), 400, "JPEG 2000 are not read; convert it to JPEG"),
        (b"II*\0\x10\0\0\0CR\2\0" + bytes(99), 400, "camera raw are not read"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 400, "not an image"),
        (bomb(), 413, "pixels"),
    ],
    ids=["empty", "text", "jpeg", "png", "heic", "avif", "jpeg 2000", "raw", "svg", "bomb"],
)
def test_bodies_that_are_not_images(client: TestClient, body: bytes, status: int, text: str) -> None:
    for response in (client.post("/predict", content=body), client.post("/predict", files={"f": ("x", body)})):
        assert response.status_code == status
        assert any(part in response.json()["error"] for part in text.split("|")), response.text


@pytest.mark.parametrize("sent", [LIMIT + 1, 3 * LIMIT])
def test_bodies_that_are_too_large(client: TestClient, sent: int) -> None:
    pieces = [b"x" * min(65536, sent - start) for start in range(0, sent, 65536)]
    text = f"larger than {LIMIT} bytes (1 MiB); send smaller pictures"
    expect_error(client.post("/predict", content=b"".join(pieces)), 413, text)
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


def test_a_form_without_its_end_is_refused_whole(client: TestClient) -> None:
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
