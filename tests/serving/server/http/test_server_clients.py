"""Clients that people have: tritonclient, MLflow's scoring client and curl, against a server process."""

import base64
import io
import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow.pyfunc.scoring_server.client import ScoringServerClient
from PIL import Image
from server_process import Server, picture, serving
from stub_server import until
from tiny_detector import build_detector
from tiny_model import build_model, card_facts
from tritonclient import http as triton
from tritonclient.utils import InferenceServerException

from serving.runtime.load import open_model
from serving.runtime.predictor import Predictor
from serving.server.http.docs_page import curl
from serving.server.http.routes import ENDPOINTS, Endpoint

CONTENT = build_model(card_facts(name="tiny"))
PIXELS = np.random.default_rng(0).integers(0, 256, (2, 40, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("clients")
    (folder / "model.onnx").write_bytes(CONTENT)
    (folder / "green.onnx").write_bytes(build_detector())
    with serving(folder, "--model", str(folder / "model.onnx"), "--model", str(folder / "green.onnx")) as server:
        until(lambda: server.request("GET", "/v2/health/ready")[0] == 200)
        yield server


@pytest.fixture(scope="module")
def predictor() -> Predictor:
    return open_model(CONTENT, threads=1)


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[triton.InferenceServerClient]:
    with triton.InferenceServerClient(f"127.0.0.1:{server.port}") as client:
        yield client


def pixels(binary: bool) -> Any:
    tensor = triton.InferInput("images", [2, 40, 32, 3], "UINT8")
    return tensor.set_data_from_numpy(PIXELS, binary_data=binary)


# --- tritonclient ----------------------------------------------------------------------------------------------------


def test_triton_reads_what_the_server_and_the_model_are(client: triton.InferenceServerClient, server: Server) -> None:
    assert client.is_server_live() and client.is_server_ready() and client.is_model_ready("tiny")
    assert not client.is_model_ready("other")
    assert {"binary_tensor_data", "classification", "statistics"} < set(client.get_server_metadata()["extensions"])
    described = client.get_model_metadata("tiny")
    (version,) = described["versions"]
    assert client.get_model_metadata("tiny", version) == described
    assert described["inputs"] == [{"name": "images", "datatype": "UINT8", "shape": [-1, 40, 32, 3]}]
    config = client.get_model_config("tiny")
    assert config["input"] == [{"name": "images", "data_type": "TYPE_UINT8", "dims": [40, 32, 3]}]
    assert [one["name"] for one in config["output"]] == ["mask", "gender"] and config["max_batch_size"] == 1024
    assert "version_policy" not in config, "a server's policy is no fact of a model"
    with pytest.raises(InferenceServerException, match="there is no model 'other'"):
        client.get_model_metadata("other")


@pytest.mark.parametrize("sent", [True, False])
@pytest.mark.parametrize("returned", [True, False, None])
def test_triton_infers(
    client: triton.InferenceServerClient, predictor: Predictor, sent: bool, returned: bool | None
) -> None:
    outputs = None
    if returned is not None:
        outputs = [triton.InferRequestedOutput(name, binary_data=returned) for name in ("mask", "gender")]
    more = {"request_id": "7", "timeout": 5_000_000, "priority": 1}
    result = client.infer("tiny", [pixels(sent)], outputs=outputs, **more)
    assert result.get_response()["id"] == "7"
    for name, expected in predictor.infer(PIXELS).items():
        np.testing.assert_array_equal(result.as_numpy(name), expected)


@pytest.mark.parametrize("binary", [True, False])
def test_triton_classifies_files(client: triton.InferenceServerClient, predictor: Predictor, binary: bool) -> None:
    files = [picture(1), picture(2)]
    tensor = triton.InferInput("images", [2], "BYTES")
    # As JSON tritonclient takes text only: base64.
    texts = files if binary else [base64.b64encode(file) for file in files]
    tensor.set_data_from_numpy(np.array(texts, dtype=object), binary_data=binary)
    output = triton.InferRequestedOutput("mask", binary_data=binary, class_count=2)
    labels = client.infer("tiny", [tensor], outputs=[output]).as_numpy("mask")
    expected = predictor.infer(files)["mask"]
    assert labels.shape == (2, 2)
    for row, values in zip(labels, expected, strict=True):
        texts = [text.decode() if isinstance(text, bytes) else text for text in row]
        order = np.argsort(-values)[:2]
        assert [text.split(":")[1:] for text in texts] == [
            [str(index), predictor.card.heads[0].labels[index]] for index in order
        ]
        np.testing.assert_allclose([float(text.split(":")[0]) for text in texts], values[order], atol=1e-6)


def test_triton_sends_pixels_without_json(server: Server, predictor: Predictor) -> None:
    status, answer = server.request(
        "POST", "/v2/models/tiny/infer", PIXELS.tobytes(), **{"Inference-Header-Content-Length": "0"}
    )
    assert status == 200
    np.testing.assert_array_equal(np.float32(answer["outputs"][0]["data"]), predictor.infer(PIXELS)["mask"].ravel())


def test_triton_is_told_what_is_wrong(client: triton.InferenceServerClient) -> None:
    wrong = triton.InferInput("images", [1], "FP32").set_data_from_numpy(np.zeros(1, np.float32))
    with pytest.raises(InferenceServerException, match="datatype 'FP32' is not supported") as caught:
        client.infer("tiny", [wrong])
    assert caught.value.status() == "400"
    with pytest.raises(InferenceServerException, match="sequence_id"):
        client.infer("tiny", [pixels(True)], sequence_id=3, sequence_start=True)
    with pytest.raises(InferenceServerException, match="nothing at"):
        client.get_system_shared_memory_status()


def test_triton_reads_statistics(client: triton.InferenceServerClient) -> None:
    (before,) = client.get_inference_statistics("tiny")["model_stats"]
    client.infer("tiny", [pixels(True)])
    with pytest.raises(InferenceServerException):
        client.infer("tiny", [triton.InferInput("images", [1], "BYTES").set_data_from_numpy(np.array([b"x"], object))])
    (after,) = (one for one in client.get_inference_statistics()["model_stats"] if one["name"] == "tiny")
    (same,) = client.get_inference_statistics("tiny", after["version"])["model_stats"]
    assert same == after
    assert after["inference_count"] - before["inference_count"] == 2
    assert after["execution_count"] - before["execution_count"] == 1
    stages, earlier = after["inference_stats"], before["inference_stats"]
    assert stages["success"]["count"] - earlier["success"]["count"] == 1
    assert stages["fail"]["count"] - earlier["fail"]["count"] == 1
    parts = sum(stages[stage]["ns"] for stage in ("queue", "compute_input", "compute_infer", "compute_output"))
    assert parts == pytest.approx(stages["success"]["ns"], rel=1e-6) and stages["compute_infer"]["ns"] > 0
    assert any(batch["batch_size"] == 2 for batch in after["batch_stats"])


# --- MLflow ----------------------------------------------------------------------------------------------------------


def test_mlflow_scores_tables_and_arrays(server: Server) -> None:
    client = ScoringServerClient("127.0.0.1", server.port)
    client.ping()
    assert client.get_version().count(".") == 2
    files = [picture(1), picture(2)]
    expected = [server.request("POST", "/predict", file)[1] for file in files]
    texts = [base64.b64encode(file).decode() for file in files]
    table = pd.DataFrame({"image": texts})
    answers = json.loads(client.invoke(table).to_json())["predictions"]
    assert answers == expected
    boxed = json.loads(client.invoke(table.assign(boxes=[[[10, 12, 40, 30]], None])).to_json())["predictions"]
    assert boxed[0] == server.request("POST", "/predict?box=10,12,40,30", files[0])[1] and boxed[1] == expected[1]
    arrays = np.stack([np.asarray(Image.open(io.BytesIO(file))) for file in files])
    png = io.BytesIO()
    Image.fromarray(arrays[0]).save(png, "PNG")
    answers = json.loads(client.invoke(arrays).to_json())["predictions"]
    assert answers[0] == server.request("POST", "/predict", png.getvalue())[1]


# --- curl ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: f"{endpoint.method} {endpoint.path}")
def test_the_documented_command_of_every_route_works(server: Server, endpoint: Endpoint, tmp_path: Path) -> None:
    (version,) = server.request("GET", "/v2/models/tiny")[1]["versions"]
    (tmp_path / "photo.jpg").write_bytes(picture(1))
    command = curl(endpoint, f"http://127.0.0.1:{server.port}", "tiny", version)
    command = command.replace("@BASE64", base64.b64encode(picture(1)).decode())
    options = ["--silent", "--show-error", "--fail-with-body", "--max-time", "20"]
    run = subprocess.run([*shlex.split(command), *options], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0 and run.stdout, run.stdout + run.stderr
    if endpoint.path.endswith("/unload"):
        assert server.request("GET", "/v2/models/tiny")[0] == 404
        assert server.request("POST", "/v2/repository/models/tiny/load") == (200, {})


# --- examples of the documentation -----------------------------------------------------------------------------------

EXAMPLES = Path(__file__).parents[4] / "docs" / "examples"


def run_example(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(EXAMPLES / name), *arguments], capture_output=True, text=True)


def example(name: str, *arguments: str) -> str:
    run = run_example(name, *arguments)
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_the_example_clients_work(server: Server, predictor: Predictor, tmp_path: Path) -> None:
    photos = [tmp_path / "one.jpg", tmp_path / "two.jpg"]
    for seed, photo in enumerate(photos):
        photo.write_bytes(picture(seed))
    lines = example("client.py", f"http://127.0.0.1:{server.port}", *map(str, photos)).splitlines()
    assert [line for line in lines if "faces" in line] == [f"{photo}: 1 faces" for photo in photos]
    lines = example("triton_client.py", f"127.0.0.1:{server.port}", "tiny", *map(str, photos)).splitlines()
    best = predictor.infer([photo.read_bytes() for photo in photos])["mask"].argmax(axis=1)
    labels = [predictor.card.heads[0].labels[index] for index in best]
    assert [line.split()[2].rpartition(":")[2] for line in lines[:2]] == labels and len(lines) == 4


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("client.py", ["http://127.0.0.1:9"], "http://127.0.0.1:9 does not answer: [Errno 111] Connection refused"),
        ("triton_client.py", ["127.0.0.1:9", "tiny"], "127.0.0.1:9: [Errno 111] Connection refused"),
        ("triton_client.py", ["SERVER", "other"], "there is no model 'other'"),
        (
            "triton_client.py",
            ["SERVER", "DETECTOR"],
            "is no classifier; detectors and composites are asked by client.py",
        ),
    ],
)
def test_the_example_clients_say_in_a_line_what_is_wrong(
    server: Server, tmp_path: Path, name: str, arguments: list[str], said: str
) -> None:
    (tmp_path / "photo.jpg").write_bytes(picture())
    names = {"SERVER": f"127.0.0.1:{server.port}", "DETECTOR": server.request("GET", "/v2/models")[1]["models"][1]}
    run = run_example(name, *(names.get(one, one) for one in arguments), str(tmp_path / "photo.jpg"))
    assert run.returncode == 1 and said in run.stderr and run.stderr.count("\n") == 1
