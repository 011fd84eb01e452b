"""How soon our server is ready, with a model from a file and from S3."""

import os
import shutil
import statistics

from benchmarks.benchmark import Benchmark
from benchmarks.serving.servers import OURS, SERVERS, running
from benchmarks.serving.setup import Section, Setup
from benchmarks.serving.tables import markdown
from pipelines.local.stack import local_stack

_REPEATS = 5
_NO_MLFLOW = "http://127.0.0.1:9"
"""So that the local stack starts S3 alone."""


def start(setup: Setup) -> Section:
    """Seconds from the command to the first 200 of `/v2/health/ready`, ResNet-18, from a file and from S3 in turn."""
    home = (setup.folder / "stack").resolve()
    model = setup.models["fp32"]
    variables = {"PATH": os.environ["PATH"], "MLFLOW_TRACKING_URI": _NO_MLFLOW}
    seconds: dict[str, list[float]] = {"a file": [], "S3": []}
    with local_stack(home, variables) as stack:
        shutil.copyfile(model, home / "s3" / "raw" / model.name)
        sources = {"a file": str(model.resolve()), "S3": f"s3://raw/{model.name}"}
        for _ in range(_REPEATS):
            for name, source in sources.items():
                with running(
                    SERVERS[OURS],
                    setup.run / OURS,
                    environment=None,
                    model=source,
                    body=b"",
                    variables=stack.environment,
                    probe="/v2/health/ready",
                ) as one:
                    seconds[name].append(one.ready_s)
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    rows = [[name, middle[name], min(values), max(values)] for name, values in seconds.items()]
    return Section(
        "Start to ready, ResNet-18",
        markdown(["from", "seconds", "least", "most"], rows),
        [
            Benchmark.absolute(f"serving_start: {name}", value, "s", "< 2 s", value < 2)
            for name, value in middle.items()
        ],
    )
