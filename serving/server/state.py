"""The state of a running server, shared by all requests and protocols: its models, by name and version, and more."""

from dataclasses import dataclass, field

from serving.server.lanes import Lanes
from serving.server.limits import Limits
from serving.server.metrics import Metrics
from serving.server.repository.models import ModelRepository


@dataclass(slots=True)
class ServerState:
    """Shared by all requests.

    Attributes:
        limits: what bounds requests.
        models: the loaded models.
        draining: a stop was requested; requests are still answered, but no more should come.
        stopping: the time for that is over; what is not answered is refused.
        metrics: Prometheus metrics.
        body_bytes: bytes of the bodies that are held at this moment.
        lanes: where requests are decoded and computed.
    """

    limits: Limits = field(default_factory=Limits)
    models: ModelRepository = field(default_factory=ModelRepository)
    draining: bool = False
    stopping: bool = False
    metrics: Metrics = field(default_factory=Metrics)
    body_bytes: int = 0
    lanes: Lanes = field(init=False)

    def __post_init__(self) -> None:
        self.lanes = Lanes(self.limits, self.metrics.inference)

    @property
    def failure(self) -> str:
        """Why the server must end: a model that it was told to serve cannot be loaded. "" for no reason."""
        return self.models.failure

    @property
    def unready(self) -> str:
        """Why this server wants no requests; "" when it is ready."""
        if self.draining:
            return "the server is stopping"
        if self.lanes.blocked:
            return "every lane still computes for a request that is over"
        return "a model is still loading" if self.models.loading else ""
