"""Pictures that the server keeps, from the request to what `ingest` reads of them."""

import asyncio
import json
import resource
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from server_process import picture, serving, start
from stub_server import until
from tiny_model import build_model

from components.ingest.ingest import ingest
from components.shared.dataset.annotations import read_annotations
from serving.runtime.load import open_model
from serving.runtime.predictor import Predictor
from serving.runtime.storage import Location, make_bucket
from serving.server import sampling as sampling_module
from serving.server.sampling import Sampling

BOX = (10.0, 20.0, 30.0, 40.0)
_LARGEST_FILE = 2**15


def write_small_files_only() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (_LARGEST_FILE, _LARGEST_FILE))


def test_what_the_camera_saw_is_read_by_ingest(tmp_path: Path, s3: Any) -> None:
    make_bucket("samples")
    (tmp_path / "model.onnx").write_bytes(build_model())
    pictures = [picture(seed, (4000, 3000)) for seed in range(3)]
    assert min(map(len, pictures)) > _LARGEST_FILE
    options = ["--model", str(tmp_path / "model.onnx"), "--sample-to", "s3://samples/door", "--sample-share", "1"]
    # As in a container whose file system is read-only: the server can write its log here, and no picture.
    with serving(tmp_path, *options, before=write_small_files_only, **s3.environment) as server:
        for data in pictures:
            assert server.request("POST", "/predict?box=10,20,30,40", data)[0] == 200
        assert server.request("POST", "/predict", b"no picture")[0] == 400
        server.process.terminate()
        assert server.wait() == 0
        log = server.log.read_text()
    assert "100 % of the pictures are stored in s3://samples/door as they are sent" in log
    stored = {Path(entry.path).suffix: entry.path for entry in Location("s3://samples/door").list()}
    assert sorted(stored) == [".jpg", ".json"]
    document = json.loads(Location("s3://samples/door").read(stored[".json"]))
    (shape,) = document["shapes"]
    assert (shape["label"], shape["points"]) == ("face", [[10.0, 20.0], [40.0, 60.0]])
    assert shape["description"].startswith("tiny version ") and "mask: " in shape["description"]

    ingest("s3://samples/door", tmp_path / "images", tmp_path / "faces.json")
    found = read_annotations(tmp_path / "faces.json")
    assert len(found.images) == len(pictures)
    assert [(face.box, face.attributes) for image in found.images for face in image.faces] == [(BOX, {})] * 3


@settings(max_examples=20, deadline=None)
@given(st.floats(0, 1), st.integers(0, 1000))
def test_the_share_is_kept(share: float, seed: int) -> None:
    sampling = Sampling("/nowhere", share, seed)
    for _ in range(400):
        sampling.offer(model(), b"x", [])
    assert abs(sampling._waiting.qsize() / 400 - share) < 0.12


@cache
def model() -> Predictor:
    return open_model(build_model(), threads=1)


async def start_and_stop(sampling: Sampling) -> None:
    await sampling.start()
    await sampling.stop(10)


def test_what_cannot_be_stored_is_counted_and_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sampling_module, "MAX_WAITING_BYTES", 3 * len(picture()))
    (tmp_path / "file").write_text("in the way")
    sampling = Sampling(str(tmp_path / "file"), 1.0)
    for _ in range(5):
        sampling.offer(model(), picture(), [])
    assert sampling.lost == 2
    asyncio.run(start_and_stop(sampling))
    assert (sampling.stored, sampling.lost) == (0, 5)
    assert caplog.text.count("a picture could not be stored") == 3
    assert f"no picture can be stored in {tmp_path}/file, those chosen are lost: " in caplog.text


@pytest.mark.parametrize("uri", ["s3://nothing-here/door", "s3://", "ftp://somewhere"])
def test_a_place_that_cannot_be_written_is_said_at_the_start(tmp_path: Path, s3: Any, uri: str) -> None:
    """One that is none ends the server; the endpoint answers whatever is wrong with the others."""
    (tmp_path / "model.onnx").write_bytes(build_model())
    options = ["--port", "0", "--model", str(tmp_path / "model.onnx"), "--sample-to", uri, "--sample-share", "1"]
    with start(tmp_path, *options, **s3.environment) as server:
        if uri.startswith("s3://n"):
            until(lambda: "ERROR no picture can be stored in s3://nothing-here/door" in server.log.read_text(), 20)
            until(lambda: "serving tiny version" in server.log.read_text(), 20)
            server.process.terminate()
            assert server.wait() == 0
        else:
            assert server.wait() == 2 and server.log.read_text().startswith("error: '")


def test_nothing_is_left_of_the_trial(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    asyncio.run(start_and_stop(Sampling(str(tmp_path / "new" / "door"), 1.0)))
    assert (tmp_path / "new" / "door").is_dir() and not list((tmp_path / "new" / "door").iterdir())
    assert "ERROR" not in caplog.text
