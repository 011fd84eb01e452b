"""A small version of the drawn sample data in the S3 of a local stack; a run that finds it there draws no other."""

import os
from pathlib import Path
from unittest.mock import patch

from pipelines.local.stack import local_stack
from pipelines.samples.put import put_sample


def put_small_sample(home: Path, source: str, persons: int = 24) -> list[str]:
    """Draws the sample data of `source` with few persons; returns the lines that a user would see."""
    lines: list[str] = []
    variables = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", **os.environ}
    with local_stack(home, variables) as stack, patch.dict(os.environ, stack.environment):
        put_sample(source, persons=persons, show=lines.append)
    return lines
