"""How late one client of the endpoint has its answers."""

import http.client
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from benchmarks.benchmark import Benchmark, seconds
from benchmarks.photos import noise_photo

REQUESTS = 60
REPEATS = 5


def serve_latency() -> list[Benchmark]:
    """One client on one kept-alive connection: the whole answer to a photo of 640x480, and what the server adds to it.

    The model is a small one, so that what is measured is the server: HTTP, decoding and one short run of the graph.
    """
    photo = noise_photo((30, 40), (640, 480), quality=90)
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder, "model.onnx")
        model.write_bytes(mean_model())
        with _server(model) as (process, connection):

            def ask(method: str, path: str, body: bytes | None = None) -> None:
                connection.request(method, path, body)
                response = connection.getresponse()
                response.read()
                assert response.status == 200, (path, response.status)

            ask("POST", "/predict", photo)
            answers, plain, used = [], [], []
            for _ in range(REPEATS):
                before = process.cpu_times().user
                answers += [seconds(lambda: ask("POST", "/predict", photo)) for _ in range(REQUESTS)]
                used.append((process.cpu_times().user - before) / REQUESTS)
                plain += [seconds(lambda: ask("GET", "/v2/models")) for _ in range(REQUESTS)]
    latency, floor = 1000 * statistics.median(answers), 1000 * statistics.median(plain)
    return [
        Benchmark.absolute("serve_latency", latency, "ms", "< 25 ms", latency < 25),
        Benchmark.absolute("serve_latency: user time", 1000 * statistics.median(used), "ms", "", True),
        Benchmark.absolute("serve_latency: no prediction", floor, "ms", "< 10 ms", floor < 10),
    ]


@contextmanager
def _server(model: Path) -> Iterator[tuple[psutil.Process, http.client.HTTPConnection]]:
    log = model.with_name("log")
    with log.open("w") as file:
        process = subprocess.Popen([sys.executable, "-m", "serving", "--model", str(model), "--port", "0"], stderr=file)
    try:
        while not (found := re.search(r"serving .* on http://\S+:(\d+)", log.read_text())):
            if process.poll() is not None:
                raise RuntimeError(f"the endpoint did not start: {log.read_text()}")
            time.sleep(0.02)
        yield psutil.Process(process.pid), http.client.HTTPConnection("127.0.0.1", int(found[1]), timeout=60)
    finally:
        process.terminate()
        process.wait()


def mean_model() -> bytes:
    """A classifier of nothing: the mean of the picture, in two classes."""
    from onnx import TensorProto, helper

    from serving.runtime.card import ClassificationCard, Head, InputSize, Normalization

    card = ClassificationCard(
        name="mean",
        input=InputSize(height=112, width=112),
        leaks=False,
        versions={},
        dataset_digest="",
        training_digest="",
        label_space="mean",
        heads=(Head(name="mean", labels=("a", "b")),),
        normalization=Normalization(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0)),
    )
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["pixels"], ["mean_of_image"], axes=[1, 2, 3], keepdims=0),
        helper.make_node("Unsqueeze", ["mean_of_image", "axis"], ["column"]),
        helper.make_node("Concat", ["column", "column"], ["pair"], axis=1),
        helper.make_node("Softmax", ["pair"], ["mean"]),
    ]
    graph = helper.make_graph(
        nodes,
        "mean",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ("N", 112, 112, 3))],
        [helper.make_tensor_value_info("mean", TensorProto.FLOAT, ("N", 2))],
        [helper.make_tensor("axis", TensorProto.INT64, (1,), [1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    helper.set_model_props(model, card.to_metadata())
    return bytes(model.SerializeToString())
