"""What a training writes beside its checkpoints: scalars for TensorBoard and MLflow, and JSON."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from components.shared.tracking.runs import Run


class Scalars:
    """Sends named numbers to TensorBoard event files in a folder and to an MLflow run."""

    def __init__(self, folder: Path, run: Run) -> None:
        self._board = SummaryWriter(str(folder))
        self._run = run

    def __call__(self, values: Mapping[str, float], step: int) -> None:
        """Log `values` at `step`."""
        for name, value in values.items():
            self._board.add_scalar(name, value, step)
        self._run.metrics(values, step)

    def close(self) -> None:
        """Write what is buffered and close the event file."""
        self._board.close()


def write_json(value: Any, path: Path) -> None:
    """Write JSON that people read: indented, keys sorted."""
    path.write_text(json.dumps(value, indent=2, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n")
