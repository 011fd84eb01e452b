"""The calls of the Open Inference Protocol: each takes a message and gives one."""

import math
from collections.abc import Awaitable, Callable

from google.protobuf.message import Message

from serving.runtime.errors import InputError, NotReadyError
from serving.runtime.work import Work
from serving.server.grpc import service_pb2 as pb
from serving.server.grpc.calls import Context
from serving.server.grpc.messages import read_message, read_tensors, write_response
from serving.server.inference import check_request, describe, infer
from serving.server.state import ServerState

def server_live(state: ServerState, request: pb.ServerLiveRequest) -> pb.ServerLiveResponse:
    return pb.ServerLiveResponse(live=True)


def server_ready(state: ServerState, request: pb.ServerReadyRequest) -> pb.ServerReadyResponse:
    return pb.ServerReadyResponse(ready=not state.unready)


async def model_infer(state: ServerState, message: bytes, context: Context) -> bytes:
    """Run a model on tensors; `read_message` and `infer` say what is an error."""
    request = read_message(message)
    model = state.models.get(request.head.model_name, request.head.model_version)
    described, requested = request.described, request.requested
    check_request(model, described, requested)
    def run(work: Work) -> bytes:
        outputs = infer(model, read_tensors(request, work.max_memory), requested, work=work)
        with work.output():
            return write_response(model.name, model.version, request, outputs)

    return await state.lanes.run(run, model)
