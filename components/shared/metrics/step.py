"""Numbers as metrics of a pipeline step."""

import logging
import math
from collections.abc import Mapping
from typing import Protocol

_log = logging.getLogger(__name__)


class MetricsArtifact(Protocol):
    """KFP's `Metrics`."""

    def log_metric(self, metric: str, value: float) -> None:
        """Log one number."""


def log_metrics(artifact: MetricsArtifact, values: Mapping[str, float], *, prefix: str = "") -> None:
    """Log numbers, their names after `prefix`.

    One that is not finite is left out, with a warning: JSON has no such number, and KFP's launcher fails on it.
    """
    for name, value in values.items():
        number = float(value)
        if math.isfinite(number):
            artifact.log_metric(prefix + name, number)
        else:
            _log.warning("the metric %s is %s, which a pipeline cannot hold; it is left out", prefix + name, number)
