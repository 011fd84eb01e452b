"""The calls of the Open Inference Protocol, by name: each takes a message and gives one."""

import math
import time
from collections.abc import Callable
from typing import TypeVar

from google.protobuf import json_format
from google.protobuf.message import Message

from serving.runtime.errors import InputError, NotFoundError, NotReadyError
from serving.runtime.work import Work
from serving.server.about import EXTENSIONS, server_version
from serving.server.fair_queue import PRIORITIES
from serving.server.grpc import service_pb2 as pb
from serving.server.grpc.calls import Answer, Context, Rpc
from serving.server.grpc.messages import InferMessage, parse, read_message, read_tensors, whole_number, write_response
from serving.server.inference import check_request, configuration, describe, image_count, infer
from serving.server.state import ServerState
from serving.server.statistics import Total

SERVICE = "inference.GRPCInferenceService"

# Contents are bytes in every message.
_EXTENSIONS = [name for name in EXTENSIONS if name != "binary_tensor_data"]

M = TypeVar("M", bound=Message)


async def _model_infer(state: ServerState, message: bytes, context: Context) -> bytes:
    """Run a model on its one input, `images`: see `read_message`, `read_tensors` and `infer`."""
    received = time.monotonic()
    request = read_message(message)
    model = state.models.get(request.head.model_name, request.head.model_version)
    described, requested = request.described, request.requested
    _check_parameters(request)
    check_request(model, described, requested)
    _, datatype, shape = described[0]
    timeout_s = min(whole_number(request.head.parameters, "timeout") / 1e6 or math.inf, _remaining(context))

    def run(work: Work) -> bytes:
        outputs = infer(model, read_tensors(request, work.max_memory), requested, work=work)
        with work.output():
            return write_response(model.name, model.version, request, outputs)

    return await state.lanes.run(
        run,
        model,
        image_count(datatype, shape),
        deadline=received + timeout_s,
        priority=whole_number(request.head.parameters, "priority", PRIORITIES),
    )


def _remaining(context: Context) -> float:
    """Return the seconds that a client still waits."""
    seconds = context.time_remaining()
    return math.inf if seconds is None else seconds


def _check_parameters(request: InferMessage) -> None:
    if "sequence_id" in request.head.parameters:
        raise InputError("parameters.sequence_id: no model here keeps a state between requests; leave it out")
    parameters = [tensor.parameters for tensor in request.head.inputs]
    parameters += [tensor.parameters for tensor in request.head.outputs]
    if any("shared_memory_region" in one for one in parameters):
        raise InputError("shared_memory_region: shared memory is not supported; send and take the data in the messages")


def _server_live(state: ServerState, request: pb.ServerLiveRequest) -> pb.ServerLiveResponse:
    return pb.ServerLiveResponse(live=True)


def _server_ready(state: ServerState, request: pb.ServerReadyRequest) -> pb.ServerReadyResponse:
    return pb.ServerReadyResponse(ready=not state.unready)


def _model_ready(state: ServerState, request: pb.ModelReadyRequest) -> pb.ModelReadyResponse:
    try:
        state.models.get(request.name, request.version)
    except (NotFoundError, NotReadyError):
        return pb.ModelReadyResponse(ready=False)
    return pb.ModelReadyResponse(ready=not state.hindered)


def _server_metadata(state: ServerState, request: pb.ServerMetadataRequest) -> pb.ServerMetadataResponse:
    return pb.ServerMetadataResponse(name="facet", version=server_version(), extensions=_EXTENSIONS)


def _model_metadata(state: ServerState, request: pb.ModelMetadataRequest) -> pb.ModelMetadataResponse:
    model = state.models.get(request.name, request.version)
    described = describe(model, state.models.versions(model.name))
    response = pb.ModelMetadataResponse(name=model.name, versions=described["versions"], platform=described["platform"])
    for one in described["inputs"]:
        response.inputs.add(name=one["name"], datatype=one["datatype"], shape=one["shape"])
    for one in described["outputs"]:
        response.outputs.add(name=one["name"], datatype=one["datatype"], shape=one["shape"])
    return response


def _model_config(state: ServerState, request: pb.ModelConfigRequest) -> pb.ModelConfigResponse:
    described = configuration(state.models.get(request.name, request.version))
    return pb.ModelConfigResponse(config=json_format.ParseDict(described, pb.ModelConfig()))


def _model_statistics(state: ServerState, request: pb.ModelStatisticsRequest) -> pb.ModelStatisticsResponse:
    response = pb.ModelStatisticsResponse()
    for one in state.statistics(request.name, request.version):
        written = response.model_stats.add(
            name=one.name,
            version=one.version,
            last_inference=one.last_ms,
            inference_count=one.rows,
            execution_count=one.executions,
            inference_stats=pb.InferStatistics(
                success=_duration(one.success),
                fail=_duration(one.fail),
                queue=_duration(one.queue),
                compute_input=_duration(one.input),
                compute_infer=_duration(one.infer),
                compute_output=_duration(one.output),
            ),
        )
        for rows, batch in sorted(one.batches.items()):
            written.batch_stats.add(
                batch_size=rows,
                compute_input=_duration(batch.input),
                compute_infer=_duration(batch.infer),
                compute_output=_duration(batch.output),
            )
    return response


def _duration(total: Total) -> pb.StatisticDuration:
    return pb.StatisticDuration(count=total.count, ns=round(total.seconds * 1e9))


def _repository_index(state: ServerState, request: pb.RepositoryIndexRequest) -> pb.RepositoryIndexResponse:
    response = pb.RepositoryIndexResponse()
    for one in state.models.index():
        if one.state == "READY" or not request.ready:
            response.models.add(name=one.name, version=one.version, state=one.state, reason=one.reason)
    return response


async def _load(state: ServerState, message: bytes, context: Context) -> bytes:
    request = parse(pb.RepositoryModelLoadRequest, message)
    if request.parameters:
        raise InputError(
            "parameters: models come with their files and cards from where this server was told; leave them out"
        )
    await state.models.load(request.model_name)
    return b""


async def _unload(state: ServerState, message: bytes, context: Context) -> bytes:
    await state.models.unload(parse(pb.RepositoryModelUnloadRequest, message).model_name)
    return b""


def _plain(kind: type[M], function: Callable[[ServerState, M], Message]) -> Answer:
    """Make an answer of a function that only looks at the state."""

    async def answer(state: ServerState, message: bytes, context: Context) -> bytes:
        return function(state, parse(kind, message)).SerializeToString()

    return answer


RPCS = (
    Rpc("ServerLive", _plain(pb.ServerLiveRequest, _server_live), is_open=True, is_quiet=True, has_message=False),
    Rpc("ServerReady", _plain(pb.ServerReadyRequest, _server_ready), is_open=True, is_quiet=True, has_message=False),
    Rpc("ModelReady", _plain(pb.ModelReadyRequest, _model_ready), is_open=True, is_quiet=True),
    Rpc("ServerMetadata", _plain(pb.ServerMetadataRequest, _server_metadata)),
    Rpc("ModelMetadata", _plain(pb.ModelMetadataRequest, _model_metadata)),
    Rpc("ModelInfer", _model_infer, endpoint="infer", in_lane=True),
    Rpc("ModelConfig", _plain(pb.ModelConfigRequest, _model_config)),
    Rpc("ModelStatistics", _plain(pb.ModelStatisticsRequest, _model_statistics)),
    Rpc("RepositoryIndex", _plain(pb.RepositoryIndexRequest, _repository_index)),
    Rpc("RepositoryModelLoad", _load, is_admin=True),
    Rpc("RepositoryModelUnload", _unload, is_admin=True),
)
"""The calls of one message and one answer."""
