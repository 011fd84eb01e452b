"""`python -m serving` as a process: sockets, signals, exit codes, output."""

import hashlib
import http.client
import io
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from server_process import Server, environment, picture, serving, start
from stub_server import post, read_socket, until
from tiny_model import card_facts

from serving.runtime.load import open_model
from serving.server.run import main


@pytest.fixture(scope="module")
def shared(model_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("server"), "--model", str(model_file), "--max-body-mib", "1") as server:
        yield server


def test_a_body_above_the_limit_gets_its_answer(shared: Server) -> None:
    """The answer must reach a client that is still sending."""
    for body in (bytes(2**20 + 1), bytes(8 * 2**20), (bytes(2**16) for _ in range(100))):
        status, answer = shared.request("POST", "/predict", body)
        assert status == 413 and "larger than 1048576 bytes (1 MiB); send smaller" in answer["error"]
        assert "--max-body-mib" in answer["error"]
    assert shared.request("GET", "/v2/health/ready")[0] == 200


def test_a_declared_length_alone_is_enough(shared: Server) -> None:
    with socket.create_connection(("127.0.0.1", shared.port), 5) as client:
        client.sendall(
            b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\nExpect: 100-continue\r\n\r\n"
        )
        assert client.recv(4096).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(
    ("request_bytes", "text"),
    [
        (b"rubbish\r\n\r\n", "Invalid method"),
        (b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", "Content-Length"),
        (b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n", "Content-Length"),
        (b"GET /v2 HTTP/1.1\r\n" + b"a:\r\n" * 200 + b"\r\n", "more than 128 headers"),
        (b"GET /v2 HTTP/1.1\r\na:" + b"b" * 70_000, "larger than 65536 bytes"),
    ],
)
def test_broken_http_is_refused_in_json(shared: Server, request_bytes: bytes, text: str) -> None:
    with socket.create_connection(("127.0.0.1", shared.port), 5) as client:
        client.sendall(request_bytes)
        status, headers, answer = read_socket(client)
        assert (status, headers["content-type"], headers["connection"]) == (400, "application/json", "close")
        assert text in answer["error"]
    assert shared.request("GET", "/v2/health/ready")[0] == 200


def test_a_broken_chunk_is_refused(shared: Server) -> None:
    with socket.create_connection(("127.0.0.1", shared.port), 5) as client:
        client.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
        assert client.recv(4096).startswith(b"HTTP/1.1 4")
    assert shared.request("GET", "/v2/health/ready")[0] == 200


def test_a_disconnected_client_leaves_no_traceback(shared: Server) -> None:
    with socket.create_connection(("127.0.0.1", shared.port), 5) as client:
        client.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nhalf")
    assert shared.request("POST", "/predict", picture())[0] == 200
    assert "Traceback" not in shared.log.read_text()


def test_requests_at_the_same_time_get_their_own_answers(shared: Server, model_file: Path) -> None:
    predictor = open_model(model_file.read_bytes(), threads=1)
    pictures = [picture(seed) for seed in range(10)]
    expected = [predictor.infer([data])["mask"][0] for data in pictures]
    health: list[float] = []

    def watch() -> None:
        while len(health) < 20:
            began = time.perf_counter()
            assert shared.request("GET", "/v2/health/live")[0] == 200
            health.append(time.perf_counter() - began)

    watcher = threading.Thread(target=watch)
    watcher.start()
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda data: shared.request("POST", "/predict", data), pictures * 8))
    watcher.join()
    for number, (status, answer) in enumerate(answers):
        assert status == 200
        values = list(answer["faces"][0]["heads"]["mask"]["probabilities"].values())
        np.testing.assert_allclose(values, expected[number % 10], atol=1e-6)
    assert sorted(health)[10] < 1.0


def test_health_answers_while_a_large_image_is_decoded(shared: Server) -> None:
    buffer = io.BytesIO()
    Image.new("L", (6000, 4000)).save(buffer, "PNG")
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(shared.request, "POST", "/predict", buffer.getvalue())
        while not slow.done():
            began = time.perf_counter()
            assert shared.request("GET", "/v2/health/ready")[0] == 200
            assert time.perf_counter() - began < 2.0
        assert slow.result()[0] == 200


def test_the_access_log_is_short_and_keeps_no_secret(shared: Server) -> None:
    shared.request("POST", "/predict?box=1,1,50,50&token=hunter2", picture(), Authorization="Bearer hunter2")
    shared.request("GET", "/v2/models/a%0d%0aINFO%20forged/" + "x" * 500)
    text = shared.log.read_text()
    assert re.search(r"INFO POST /predict 200 \d+ ms request_id=\w{32} model=tiny version=\S+ rows=1 queue_ms=", text)
    assert "hunter2" not in text and "\nINFO forged" not in text and "/v2/health" not in text
    assert max(map(len, text.splitlines())) < 300


# --- stopping ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_signal_waits_for_the_requests_in_flight(model_file: Path, tmp_path: Path, stop: signal.Signals) -> None:
    data = picture()
    with (
        serving(tmp_path, "--model", str(model_file)) as server,
        socket.create_connection(("127.0.0.1", server.port), 20) as slow,
        socket.create_connection(("127.0.0.1", server.port), 20) as other,
    ):
        other.sendall(post(data))
        assert read_socket(other)[0] == 200
        slow.sendall(f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: {len(data)}\r\n\r\n".encode() + data[:100])
        time.sleep(0.2)
        server.process.send_signal(stop)
        time.sleep(0.3)
        other.sendall(b"GET /v2/health/ready HTTP/1.1\r\nHost: x\r\n\r\n")
        status, _, answer = read_socket(other)
        assert status == 503 and answer["ready"] is False, "it must say that it is leaving while it drains"
        other.sendall(post(data))
        status, headers, answer = read_socket(other)
        assert (status, headers["connection"]) == (503, "close") and "stopping" in answer["error"]
        with pytest.raises(ConnectionRefusedError):
            server.request("GET", "/v2/health/live")
        slow.sendall(data[100:])
        response = http.client.HTTPResponse(slow)
        response.begin()
        assert response.status == 200 and json.loads(response.read())["model"] == "tiny"
        assert server.wait() == 0
        assert "Traceback" not in server.log.read_text()


def test_options_from_the_environment_and_an_idle_server_stops_at_once(model_file: Path, tmp_path: Path) -> None:
    with serving(tmp_path, "--name", "mine", FACET_MODEL_URI=str(model_file.parent), FACET_HOST="localhost") as server:
        assert server.request("GET", "/v2/models")[1] == {"models": ["mine"]}
        idle = socket.create_connection(("127.0.0.1", server.port), 5)
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert server.wait() == 0 and time.monotonic() - began < 4
        idle.close()
        assert re.search(r"INFO \d+ lanes with \d+ MiB each .* of \d+ MiB in all", log := server.log.read_text())
        assert log.count("\n") == 3 + log.count(" runs on "), "two or three lines for the start, one for the request"


def test_a_guarded_server_leaves_in_order_and_its_log_has_no_secret(model_file: Path, tmp_path: Path) -> None:
    """Keys, JSON lines, and a stop that load balancers can see."""
    named = ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID", "MLFLOW_TRACKING_TOKEN")
    secrets = {name: f"hunter2{name}" for name in named}
    digest = hashlib.sha256(b"hunter2key").hexdigest()
    (tmp_path / "keys").write_text(f"door:{digest}\n")
    options = ["--model", str(model_file), "--api-keys", str(tmp_path / "keys"), "--drain-s", "1"]
    options += ["--log-format", "json"]
    with serving(tmp_path, *options, **secrets, FACET_ALLOW_ANONYMOUS="1") as server:
        key = {"X-API-Key": "hunter2key"}
        assert server.request("POST", "/predict", picture())[0] == 401, "a file of keys counts more than the word"
        assert server.request("POST", "/predict", picture(), Authorization="Bearer hunter2wrong")[0] == 401
        assert server.request("POST", "/predict?key=hunter2query", b"hunter2body", **key)[0] == 400
        assert server.request("POST", "/v2/repository/models/tiny/load", "{}", **key)[0] == 403
        asked = {"X-Request-Id": "hunter3"} | key
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        assert server.request("GET", "/v2/health/ready")[0] == 503
        assert server.request("POST", "/predict", picture(), **asked)[0] == 200
        assert server.wait() == 0 and 0.9 < time.monotonic() - began < 8
        text = server.log.read_text()
    lines = [json.loads(line) for line in text.splitlines()]
    requests = [line for line in lines if "request_id" in line]
    assert [line["status"] for line in requests] == [401, 401, 400, 403, 200]
    assert requests[-1]["request_id"] == "hunter3" and requests[-1]["model"] == "tiny"
    assert "hunter2" not in text and digest not in text and "door" in text


@pytest.mark.parametrize("by_environment", [False, True])
def test_several_models_are_served_and_the_first_is_the_default(
    make_model: Callable[..., bytes], model_file: Path, tmp_path: Path, by_environment: bool
) -> None:
    other = tmp_path / "other model.onnx"
    other.write_bytes(make_model(card_facts(name="other")))
    files = [str(model_file), str(other)]
    options = [] if by_environment else [text for file in files for text in ("--model", file)]
    variables = {"FACET_MODEL_URI": "\n".join(files)} if by_environment else {}
    with serving(tmp_path, *options, **variables) as server:
        deadline = time.monotonic() + 120
        while server.request("GET", "/v2/health/ready")[0] != 200 and time.monotonic() < deadline:
            time.sleep(0.02)
        assert server.request("GET", "/v2/models")[1] == {"models": ["tiny", "other"]}
        assert server.request("POST", "/predict", picture())[1]["model"] == "tiny"
        assert server.request("POST", "/predict?model=other", picture())[1]["model"] == "other"


def test_the_same_model_twice_is_served_once(model_file: Path, tmp_path: Path) -> None:
    with serving(tmp_path, "--model", str(model_file), "--model", str(model_file.parent)) as server:
        until(lambda: server.request("GET", "/v2/health/ready")[0] == 200)
        assert server.request("GET", "/v2/models")[1] == {"models": ["tiny"]}
        assert len(server.request("GET", "/v2/models/tiny")[1]["versions"]) == 1


def test_while_the_model_loads_it_is_alive_and_not_ready(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with socket.create_server(("127.0.0.1", 0)) as stalled:
        variables = {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{stalled.getsockname()[1]}",
            "AWS_ACCESS_KEY_ID": "a" * 20,
            "AWS_SECRET_ACCESS_KEY": "b" * 40,
        }
        with start(tmp_path, "--model", "s3://models/mask", "--port", str(port), **variables) as server:
            server.port = port
            stalled.settimeout(30)
            asked, _ = stalled.accept()
            assert server.request("GET", "/v2/health/live") == (200, {"live": True})
            assert server.request("GET", "/v2/health/ready")[0] == 503
            status, answer = server.request("POST", "/predict", picture())
            assert status == 503 and "loading" in answer["error"]
            began = time.monotonic()
            server.process.send_signal(signal.SIGTERM)
            assert server.wait() == 0 and time.monotonic() - began < 4
            asked.close()


def test_a_stop_signal_does_not_wait_for_a_lane(model_file: Path, tmp_path: Path) -> None:
    """A decode that takes a minute holds its thread; the request is answered and the process ends all the same."""
    script = f"""
import sys, time
from serving.runtime.predictor import Classifier
from serving.server import run
from serving.server.http import server
server.DRAIN_S = 0.5
Classifier.predict = lambda self, images, work=None: (print("predicts", file=sys.stderr), time.sleep(60))
sys.exit(run.main(["--model", {str(model_file)!r}, "--port", "0"]))
"""
    log = tmp_path / "log"
    with log.open("w") as file:
        process = subprocess.Popen([sys.executable, "-c", script], stderr=file, env=environment())
    try:
        deadline = time.monotonic() + 60
        while not (found := re.search(r"serving .* on http://\S+:(\d+)", log.read_text())):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        server = Server(process, log)
        server.port = int(found[1])
        with ThreadPoolExecutor(1) as pool:
            held = pool.submit(server.request, "POST", "/predict", picture())
            while "predicts" not in log.read_text():
                time.sleep(0.02)
            began = time.monotonic()
            process.send_signal(signal.SIGTERM)
            status, answer = held.result(20)
            assert status == 503 and "stopping" in answer["error"]
            assert process.wait(20) == 0 and time.monotonic() - began < 15
        assert "a lane is still at work" in log.read_text() and "Traceback" not in log.read_text()
    finally:
        process.kill()


@pytest.mark.parametrize("stop", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_the_program_loads_ends_it_in_order(stop: signal.Signals) -> None:
    """It is sent within an import of numpy, where an exception would be numpy's."""
    script = f"""
import os, runpy, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "numpy._core":
            os.kill(os.getpid(), {stop.value})
sys.meta_path.insert(0, Finder())
sys.argv = ["serving", "--model", "none", "--port", "0"]
runpy.run_module("serving", run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, env=environment())
    assert (done.returncode, done.stderr) == (0, f"stopped by {stop.name}\n")


def test_a_stop_signal_while_a_model_is_measured_ends_it_in_order(model_file: Path) -> None:
    """Threads are in onnxruntime, which aborts the process when the interpreter ends below them."""
    script = f"""
import os, runpy, signal, sys, threading
from serving.runtime import graph
graph._MEASURING_S = 60
speed = graph._speed
def measure(*arguments):
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGTERM)).start()
    return speed(*arguments)
graph._speed = measure
sys.argv = ["serving", "--model", {str(model_file)!r}, "--port", "0", "--lanes", "4", "--threads", "2"]
runpy.run_module("serving", run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, env=environment())
    assert (done.returncode, done.stderr) == (0, "")


# --- not starting --------------------------------------------------------------------------------------------------


def one_error_line(capsys: pytest.CaptureFixture[str], options: list[str], code: int, text: str) -> None:
    assert main(options) == code
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ") and text in lines[0], lines


@pytest.mark.parametrize(("option", "protocol"), [("--port", "HTTP"), ("--grpc-port", "gRPC")])
def test_a_taken_port(model_file: Path, capsys: pytest.CaptureFixture[str], option: str, protocol: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        expected = f"127.0.0.1:{port} for {protocol}: Address already in use; choose another {option}, or end what"
        one_error_line(capsys, ["--model", str(model_file), "--port", "0", option, port], 1, expected)


@pytest.mark.parametrize("host", ["no.such.host.invalid", "203.0.113.7", "::g"])
def test_an_address_of_another_machine(model_file: Path, capsys: pytest.CaptureFixture[str], host: str) -> None:
    options = ["--model", str(model_file), "--host", host, "--port", "0"]
    one_error_line(capsys, options, 1, f"cannot listen on {host}:0 for HTTP: ")


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_a_public_address_needs_keys_or_a_word(
    model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    for name in ("FACET_ALLOW_ANONYMOUS", "FACET_API_KEYS_FILE"):
        monkeypatch.delenv(name, raising=False)
    options = ["--model", str(model_file), "--host", host, "--port", "0"]
    one_error_line(capsys, options, 2, "--allow-anonymous (FACET_ALLOW_ANONYMOUS=1)")
    one_error_line(capsys, [*options, "--api-keys", str(tmp_path / "none")], 2, "API keys cannot be read")
    one_error_line(capsys, [*options, "--api-keys", str(model_file)], 2, "not a text")


def test_a_public_address_with_the_word(model_file: Path, tmp_path: Path) -> None:
    variables = {"FACET_HOST": "0.0.0.0", "FACET_ALLOW_ANONYMOUS": "1"}
    with serving(tmp_path, "--model", str(model_file), **variables) as server:
        assert server.request("POST", "/predict", picture())[0] == 200
        assert server.request("POST", "/v2/repository/models/tiny/unload")[0] == 403


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("missing", "there is no such file or folder"),
        ("junk", "not an ONNX model"),
        ("no card", "no 'facet_card' metadata"),
        ("bad card", "card is not valid"),
        ("s3", "no usable S3 credentials"),
        ("models", "set MLFLOW_TRACKING_URI"),
    ],
)
def test_a_model_that_cannot_be_loaded(
    make_model: Callable[..., bytes],
    tmp_path: Path,
    no_aws: None,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    kind: str,
    text: str,
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    file = tmp_path / "m.onnx"
    if kind == "junk":
        file.write_bytes(b"junk")
    elif kind == "no card":
        file.write_bytes(make_model(metadata={}))
    elif kind == "bad card":
        file.write_bytes(make_model(metadata={"facet_card": "{}"}))
    uri = {"s3": "s3://bucket/model.onnx", "models": "models:/mask@champion"}.get(kind, str(file))
    one_error_line(capsys, ["--model", uri, "--port", "0"], 2, text)


def test_the_exit_code_of_the_process(tmp_path: Path) -> None:
    with start(tmp_path, "--model", str(tmp_path / "missing.onnx"), "--port", "0") as server:
        assert server.wait() == 2
        assert server.log.read_text().startswith("error: ") and server.log.read_text().count("\n") == 1


@pytest.mark.parametrize(
    ("options", "variables", "text"),
    [
        ([], {}, "FACET_MODEL_URI"),
        (["--model", "m", "--port", "x"], {}, "'x' is not a port"),
        (["--model", "m", "--grpc-port", "x"], {}, "'x' is not a port"),
        (["--model", "m", "--port", "70000"], {}, "'70000' is not a port"),
        (["--model", "m"], {"FACET_PORT": "http"}, "'http' is not a port"),
        (["--model", "m", "--grpc-port", "8080"], {}, "--port and --grpc-port are both 8080"),
        (["--model", "m", "--max-body-mib", "0"], {}, "'0' is not a whole number above 0"),
        (["--model", "m", "--max-waiting", "-1"], {}, "'-1' is not a whole number above 0"),
        (["--model", "m", "--timeout-s", "x"], {}, "'x' is not a whole number above 0"),
        (["--model", "m", "--model", "n", "--name", "x"], {}, "--name goes with a single model"),
        (["--model", ""], {}, "FACET_MODEL_URI"),
        (["--nothing"], {}, "--nothing"),
        (["--model", "m", "--tls-cert", "c"], {}, "--tls-cert and --tls-key go together"),
        (["--model", "m", "--cors-origin", "*"], {}, "'*' is not an origin"),
        (["--model", "m", "--cors-origin", "https://a.example/"], {}, "is not an origin"),
        (["--model", "m", "--drain-s", "-1"], {}, "'-1' is not a number of seconds"),
        (["--model", "m"], {"FACET_LOG_FORMAT": "xml"}, "'xml' is not a format of the log"),
    ],
)
def test_wrong_options(
    tmp_path: Path, options: list[str], variables: dict[str, str], text: str, capsys: Any, monkeypatch: Any
) -> None:
    for name in ("FACET_MODEL_URI", "FACET_PORT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as caught:
        main(options)
    assert caught.value.code == 2 and text in capsys.readouterr().err


def test_a_local_model_is_served_without_heavy_libraries(model_file: Path) -> None:
    """Everything that answering one request imports, in a fresh interpreter."""
    script = f"""
import sys, threading, http.client, json, re, os, signal, time, socket
from serving.server import run
taken = []
listen = run._listen
run._listen = lambda host, port: taken.append(listen(host, port)) or taken[0]
def ask():
    while True:
        time.sleep(0.05)
        if not taken: continue
        port = taken[0].getsockname()[1]
        client = http.client.HTTPConnection("127.0.0.1", port)
        client.request("POST", "/predict", {picture()!r})
        if client.getresponse().status == 200: break
    os.kill(os.getpid(), signal.SIGTERM)
threading.Thread(target=ask, daemon=True).start()
code = run.main(["--model", {str(model_file)!r}, "--port", "0"])
heavy = "torch kfp mlflow cv2 pandas sklearn scipy onnx boto3 botocore s3transfer requests httpx components pipelines"
print(code, [name for name in heavy.split() if name in sys.modules])
"""
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, env=environment())
    assert done.stdout.strip() == "0 []", done.stderr
