"""first"""
import grpc
from functools import partial
from serving.server.grpc.calls import Calls
from serving.server.grpc.rpcs import *

class GrpcServer:
    def __init__(self, state, host, port):
        self.state=state; self.address=f"{host}:{port}"
    async def start(self):
        limits=self.state.limits
        self.calls=Calls(self.state)
        self._server=grpc.aio.server(options=[
            ("grpc.max_receive_message_length", limits.max_body),
            ("grpc.so_reuseport",0),
            ("grpc.http2.bdp_probe",0),
            ("grpc.max_concurrent_streams",100),
            ("grpc.max_allowed_incoming_connections",100),
            ("grpc.compression_enabled_algorithms_bitset",1),
        ])
        async def live(m,c): return pb.ServerLiveResponse(live=True).SerializeToString()
        self._server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("inference.GRPCInferenceService", {
          "ModelInfer": self.calls.handler("ModelInfer", partial(model_infer, self.state)),
          "ServerLive": self.calls.handler("ServerLive", live)})])
        self._server.add_insecure_port(self.address)
        await self._server.start()
    @property
    def busy(self): return self.calls.busy
    async def stop(self, seconds):
        await self._server.stop(1)
