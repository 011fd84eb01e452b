"""The calls of the Open Inference Protocol over gRPC, against a server process."""

import io
import json
import re
import time
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
import tritonclient.grpc as triton
from google.protobuf import descriptor_pool, message_factory
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_process import SERVICE, GrpcServer, bytes_tensor, expect, grpc_serving, wait_for
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from http2_connection import Http2Connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from server_process import picture
from tiny_model import card_facts
from tritonclient.grpc import service_pb2 as pb

from serving.runtime.load import open_model
from serving.runtime.predictor import Predictor

PIXELS = np.random.default_rng(0).integers(0, 256, (2, 40, 32, 3), dtype=np.uint8)
UINT8 = {"name": "images", "datatype": "UINT8", "shape": [2, 40, 32, 3]}


@pytest.fixture(scope="module")
def shared(
    model_file: Path, make_model: Callable[..., bytes], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GrpcServer]:
    folder = tmp_path_factory.mktemp("grpc")
    other = folder / "other.onnx"
    other.write_bytes(make_model(card_facts(name="other")))
    options = ("--model", str(model_file), "--model", str(other), "--max-body-mib", "1")
    with grpc_serving(folder, *options) as server:
        while not server.client.is_server_ready():
            time.sleep(0.01)
        yield server


@pytest.fixture(scope="module")
def predictor(model_file: Path) -> Predictor:
    return open_model(model_file.read_bytes(), threads=1)


def test_what_the_server_says_about_itself_and_its_models(shared: GrpcServer) -> None:
    client = shared.client
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready("tiny") and client.is_model_ready("other")
    assert not client.is_model_ready("nobody")
    server = client.get_server_metadata(as_json=True)
    assert server["name"] == "facet" and {"classification", "statistics"} <= set(server["extensions"])
    over_http = shared.server.request("GET", "/v2/models/tiny")[1]
    model = client.get_model_metadata("tiny", as_json=True)
    assert (model["name"], model["platform"]) == ("tiny", over_http["platform"])
    assert model["versions"] == over_http["versions"]
    for side in ("inputs", "outputs"):
        numbers = [one | {"shape": [int(axis) for axis in one["shape"]]} for one in model[side]]
        assert numbers == [{key: one[key] for key in ("name", "datatype", "shape")} for one in over_http[side]]
    config = client.get_model_config("tiny").config
    tensors = [(one.name, one.data_type, list(one.dims)) for one in (*config.input, *config.output)]
    assert tensors == [("images", 2, [40, 32, 3]), ("mask", 11, [3]), ("gender", 11, [2])]
    assert config.max_batch_size > 1 and config.backend == "facet" and "sha256" in config.parameters
    index = [(one.name, one.state) for one in client.get_model_repository_index().models]
    assert index == [("tiny", "READY"), ("other", "READY")]


@pytest.mark.parametrize("raw", [True, False])
def test_pixels(shared: GrpcServer, predictor: Predictor, raw: bool) -> None:
    contents = {"uint_contents": PIXELS.ravel().tolist()}
    fields: Any = {"raw_input_contents": [PIXELS.tobytes()]} if raw else {}
    answer = shared.infer(inputs=[UINT8 | ({} if raw else {"contents": contents})], id="seven", **fields)
    assert (answer.model_name, answer.id) == ("tiny", "seven")
    assert bool(answer.raw_output_contents) == raw, "as it was asked"
    for number, (name, expected) in enumerate(predictor.infer(PIXELS).items()):
        output = answer.outputs[number]
        assert (output.name, output.datatype, list(output.shape)) == (name, "FP32", list(expected.shape))
        data = answer.raw_output_contents[number] if raw else output.contents.fp32_contents
        got = np.frombuffer(data, "<f4") if raw else np.float32(data)
        np.testing.assert_array_equal(got, expected.ravel())


def test_files_and_classes_as_tritonclient_sends_them(shared: GrpcServer, predictor: Predictor) -> None:
    files = [picture(1), picture(2)]
    tensor = triton.InferInput("images", [2], "BYTES")
    tensor.set_data_from_numpy(np.array(files, dtype=object))
    outputs = [triton.InferRequestedOutput("gender"), triton.InferRequestedOutput("mask", class_count=2)]
    answer = shared.client.infer("tiny", [tensor], outputs=outputs, request_id="a b", priority=1)
    expected = predictor.infer(files)
    np.testing.assert_array_equal(answer.as_numpy("gender"), expected["gender"])
    best = answer.as_numpy("mask")
    assert best.shape == (2, 2)
    order = np.argsort(-expected["mask"][0])[:2]
    labels = ["worn", "incorrect", "absent"]
    assert [text.decode().split(":")[1:] for text in best[0]] == [[str(index), labels[index]] for index in order]
    typed = {"inputs": [{"name": "images", "datatype": "BYTES", "shape": [2], "contents": {"bytes_contents": files}}]}
    outputs = shared.infer(**typed, outputs=[{"name": "mask", "parameters": {"classification": {"int64_param": 2}}}])
    assert list(outputs.outputs[0].contents.bytes_contents) == best.ravel().tolist()


def test_the_same_answer_as_over_http(shared: GrpcServer) -> None:
    """Both at the same time, so that each must get its own."""
    files = [picture(seed) for seed in range(8)]

    def over_grpc(data: bytes) -> list[float]:
        answer = shared.infer(**bytes_tensor(data))
        return np.frombuffer(answer.raw_output_contents[0], "<f4").tolist()

    def over_http(data: bytes) -> list[float]:
        heads = shared.server.request("POST", "/predict", data)[1]["faces"][0]["heads"]
        return list(heads["mask"]["probabilities"].values())

    with ThreadPoolExecutor(6) as pool:
        called, asked = pool.map(over_grpc, files * 4), pool.map(over_http, files)
        expected = list(asked)
        for number, values in enumerate(called):
            assert values == pytest.approx(expected[number % 8], abs=1e-6)


JPEG = picture()


@pytest.mark.parametrize(
    ("fields", "code", "text"),
    [
        ({"model_name": "nobody"}, "NOT_FOUND", "'tiny', 'other'"),
        ({"model_version": "7"}, "NOT_FOUND", "no version '7'"),
        ({"inputs": []}, "INVALID_ARGUMENT", "exactly one tensor"),
        ({"inputs": [UINT8, UINT8]}, "INVALID_ARGUMENT", "exactly one tensor"),
        ({"inputs": [UINT8 | {"shape": [1] * 9}]}, "INVALID_ARGUMENT", "9 axes are too many"),
        ({"inputs": [UINT8 | {"shape": [2, 32, 40, 3]}]}, "INVALID_ARGUMENT", "expected shape"),
        ({"inputs": [UINT8 | {"datatype": "FP32"}]}, "INVALID_ARGUMENT", "UINT8 or BYTES"),
        ({"inputs": [UINT8]}, "INVALID_ARGUMENT", "does not fill"),
        ({"inputs": [UINT8], "raw_input_contents": [b"123"]}, "INVALID_ARGUMENT", "fill"),
        ({"inputs": [UINT8], "raw_input_contents": [b"", b""]}, "INVALID_ARGUMENT", "one for each input"),
        ({"inputs": [UINT8 | {"contents": {"uint_contents": [1]}}], "raw_input_contents": [b"1"]},
         "INVALID_ARGUMENT", "both set"),
        ({"inputs": [UINT8 | {"contents": {"fp32_contents": [1]}}]}, "INVALID_ARGUMENT", "must be in uint_contents"),
        ({"inputs": [UINT8 | {"contents": {"uint_contents": [256] * 7680}}]}, "INVALID_ARGUMENT", "0 to 255"),
        ({"inputs": [{"name": "images", "datatype": "UINT8", "shape": [-1, 40, 32, 3]}]},
         "INVALID_ARGUMENT", "axis below 0"),
        ({"inputs": [UINT8 | {"parameters": {"shared_memory_region": {"string_param": "a"}}}]},
         "INVALID_ARGUMENT", "shared memory"),
        ({"inputs": [UINT8], "parameters": {"sequence_id": {"int64_param": 1}}}, "INVALID_ARGUMENT", "sequence_id"),
        ({"inputs": [UINT8], "parameters": {"timeout": {"string_param": "1"}}}, "INVALID_ARGUMENT", "whole number"),
        ({"inputs": [UINT8], "parameters": {"priority": {"int64_param": 10}}}, "INVALID_ARGUMENT", "at most 9"),
        (bytes_tensor(JPEG) | {"parameters": {"timeout": {"int64_param": 1}}}, "DEADLINE_EXCEEDED", "deadline"),
        (bytes_tensor(JPEG) | {"outputs": [{"name": "age"}]}, "INVALID_ARGUMENT", "mask, gender"),
        (bytes_tensor(b"hello"), "INVALID_ARGUMENT", "not an image"),
        (bytes_tensor(JPEG, shape=[2]), "INVALID_ARGUMENT", "element 1 of 2"),
        (bytes_tensor(*[b"x"] * 65), "INVALID_ARGUMENT", "too many files"),
        (bytes_tensor(JPEG) | {"id": "x" * 20_000}, "INVALID_ARGUMENT", "at most 16384"),
        (bytes_tensor(bytes(2**20)), "RESOURCE_EXHAUSTED", "larger than max"),
        ({"inputs": [{}] * 5000}, "INVALID_ARGUMENT", "more than 4096 fields"),
    ],
)  # fmt: skip
def test_refused(shared: GrpcServer, fields: dict[str, Any], code: str, text: str) -> None:
    expect(code, text, lambda: shared.infer(**fields))


def test_calls_that_are_not_there_are_unimplemented(shared: GrpcServer) -> None:
    expect("UNIMPLEMENTED", "", lambda: shared.raw("SystemSharedMemoryStatus", b""))
    stream = shared.channel.stream_stream(SERVICE + "ModelStreamInfer")
    expect("UNIMPLEMENTED", "use ModelInfer", lambda: list(stream(iter([b""]))))
    live = shared.channel.unary_unary(SERVICE + "ServerLive")
    expect("UNIMPLEMENTED", "gzip", lambda: live(b"", compression=grpc.Compression.Gzip))
    empty = shared.channel.stream_unary(SERVICE + "ModelInfer")
    expect("INVALID_ARGUMENT", "no message", lambda: empty(iter([])))


def test_messages_without_tensors_are_small(shared: GrpcServer) -> None:
    expect("INVALID_ARGUMENT", "at most 4096", lambda: shared.client.get_model_metadata("x" * 5000))
    request = health_pb2.HealthCheckRequest(service="x" * 5000)
    expect("INVALID_ARGUMENT", "at most 4096", lambda: health_pb2_grpc.HealthStub(shared.channel).Check(request))


@pytest.mark.parametrize(
    "path",
    [
        "/grpc.health.v1.Health/Check",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        "/inference.GRPCInferenceService/ModelReady",
    ],
)
def test_messages_that_come_in_part_are_held_in_bounded_memory(shared: GrpcServer, path: str) -> None:
    """Nobody asks for a message before there is room, and nobody needs a key for these calls."""
    connection = Http2Connection(shared.port)
    for _ in range(20):
        connection.call(path)
    held = connection.pump(900_000, seconds=0.15)
    assert 20_000 < held < 4 * 900_000 + 16 * 65536, held
    connection.close()


def test_load_unload_and_statistics(shared: GrpcServer) -> None:
    client = shared.client
    client.unload_model("other")
    assert [one.state for one in client.get_model_repository_index().models] == ["READY", "UNAVAILABLE"]
    expect("NOT_FOUND", "unloaded", lambda: client.get_model_metadata("other"))
    expect("INVALID_ARGUMENT", "parameters", lambda: client.load_model("other", config="{}"))
    expect("NOT_FOUND", "nobody", lambda: client.load_model("nobody"))
    client.load_model("other")
    shared.infer(model_name="other", **bytes_tensor(JPEG, JPEG, shape=[1, 2]))
    found = client.get_inference_statistics("other").model_stats
    assert [(one.name, one.inference_count, one.inference_stats.success.count) for one in found] == [("other", 2, 1)]
    assert [(one.batch_size, one.compute_infer.count) for one in found[0].batch_stats] == [(2, 1)]
    assert [one.name for one in client.get_inference_statistics().model_stats] == ["tiny", "other"]


def test_health_and_reflection(shared: GrpcServer) -> None:
    health = health_pb2_grpc.HealthStub(shared.channel)
    for service in ("", "inference.GRPCInferenceService", "tiny", "other"):
        assert health.Check(health_pb2.HealthCheckRequest(service=service)).status == 1
    expect("NOT_FOUND", "nobody", lambda: health.Check(health_pb2.HealthCheckRequest(service="nobody")))
    database = ProtoReflectionDescriptorDatabase(shared.channel)
    assert {"inference.GRPCInferenceService", "grpc.health.v1.Health"} <= set(database.get_services())
    service = descriptor_pool.DescriptorPool(database).FindServiceByName("inference.GRPCInferenceService")
    kind = message_factory.GetMessageClass(service.methods_by_name["ServerMetadata"].output_type)
    answer = kind.FromString(shared.raw("ServerMetadata", b""))
    assert answer.name == "facet"


def test_request_ids_log_and_metrics(shared: GrpcServer) -> None:
    call = shared.channel.unary_unary(SERVICE + "ModelInfer")
    message = pb.ModelInferRequest(model_name="tiny", **bytes_tensor(JPEG)).SerializeToString()
    metadata = (("x-request-id", "door-7"), ("authorization", "Bearer hunter2"))
    _, done = call.with_call(message, metadata=metadata)
    assert dict(done.trailing_metadata())["x-request-id"] == "door-7"
    log = shared.logged(r"INFO gRPC ModelInfer 200 \d+ ms request_id=door-7 model=tiny")
    assert "hunter2" not in log and "ServerReady" not in log and "ModelReady" not in log
    assert 'facet_requests_total{code="200",endpoint="infer"}' in metrics(shared)


def metrics(shared: GrpcServer) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{shared.server.port}/metrics", timeout=20) as answer:
        text = answer.read().decode()
    assert isinstance(text, str)
    return text


NAMES = ["ServerLive", "ModelReady", "ModelMetadata", "ModelConfig", "ModelStatistics", "RepositoryIndex",
         "RepositoryModelLoad", "RepositoryModelUnload", "ModelInfer", "ModelInfer", "ModelInfer"]  # fmt: skip
VALID = pb.ModelInferRequest(model_name="tiny", **bytes_tensor(JPEG)).SerializeToString()


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A valid request with some bytes changed, left out or repeated."""
    start = draw(st.integers(0, len(VALID) - 1))
    end = draw(st.integers(start, min(len(VALID), start + 60)))
    return VALID[:start] + draw(st.one_of(st.binary(max_size=60), st.just(VALID[start:end] * 3))) + VALID[end:]


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=st.sampled_from(NAMES), message=st.one_of(st.binary(max_size=100), damaged()))
def test_garbage_is_the_fault_of_the_client(shared: GrpcServer, name: str, message: bytes) -> None:
    try:
        shared.raw(name, message)
    except grpc.RpcError as error:
        code = error.code()  # type: ignore[attr-defined]
        assert code.name in ("INVALID_ARGUMENT", "NOT_FOUND"), error


def slow_picture() -> bytes:
    """A small file that takes a while to decode."""
    buffer = io.BytesIO()
    Image.new("L", (3000, 2500)).save(buffer, "PNG")
    return buffer.getvalue()


def left(shared: GrpcServer) -> float:
    """How many calls have ended without an answer: in the queue (503), at the time limit (504), or before (499).

    A busy server gets a call late, and takes the end of the client's time for a client that left.
    """
    found = re.findall(r'facet_requests_total{code="(?:499|503|504)",endpoint="infer"} (\S+)', metrics(shared))
    return sum(map(float, found))


def test_a_cancelled_call_and_one_whose_time_is_over_leave_no_work(shared: GrpcServer) -> None:
    message = pb.ModelInferRequest(model_name="tiny", **bytes_tensor(*[slow_picture()] * 50)).SerializeToString()
    call = shared.channel.unary_unary(SERVICE + "ModelInfer")
    before = left(shared)
    expect("DEADLINE_EXCEEDED", "", lambda: call(message, timeout=0.3))
    wait_for(lambda: left(shared) == before + 1)
    pending = call.future(message)
    time.sleep(0.2)
    pending.cancel()
    wait_for(lambda: left(shared) == before + 2)
    began = time.monotonic()
    shared.infer(**bytes_tensor(JPEG))
    assert time.monotonic() - began < 4, "it waits for one picture at most, not for fifty"
    assert "Traceback" not in shared.server.log.read_text()
    assert json.dumps(shared.server.request("GET", "/v2/health/ready")[1]) == '{"ready": true}'
