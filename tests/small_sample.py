"""Small runs: a training of seconds, and few persons in the S3 of a local stack, where a run finds them."""

import os
from pathlib import Path
from typing import Any
from unittest.mock import patch

from pipelines.local.stack import local_stack
from pipelines.samples.put import SAMPLES, put_sample

SMALL_TRAINING: dict[str, Any] = {
    "model": "base",
    "epochs": 2,
    "batch_size": 16,
    "image_height": 32,
    "image_width": 24,
    "training": {"workers": 0},
}
"""Parameters of a pipeline."""


def put_small_sample(home: Path, source: str, persons: int = 24) -> list[str]:
    """Draws the sample data of `source` with few persons; returns the lines that a user would see.

    Nothing is drawn for a source that is no sample.
    """
    lines: list[str] = []
    if source not in SAMPLES:
        return lines
    variables = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", **os.environ}
    with local_stack(home, variables) as stack, patch.dict(os.environ, stack.environment):
        put_sample(source, persons=persons, echo=lines.append)
    return lines
