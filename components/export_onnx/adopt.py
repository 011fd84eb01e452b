"""Adopt a detector: from somebody else's ONNX graph, or a Facet detector, to a self-describing Facet detector."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.shared.models import adopt as graphs
from serving.runtime.output import whole_folder
from serving.runtime.registry import MODEL_FILE


@dataclass(frozen=True, slots=True)
class AdoptResult:
    """The file's sha256, what it was made from, and the largest difference from the original graph.

    `kind` is a name of ADAPTERS, or `facet` for a detector that is copied.
    """

    sha256: str
    kind: str
    max_difference: float


def adopt(weights: str, output: Path, *, name: str, options: Mapping[str, Any] | None = None) -> AdoptResult:
    """Write the folder `output` with model.onnx, a Facet detector made from a foreign graph.

    A Facet detector is copied as it is. The bytes depend only on the arguments and the version of onnx.

    Args:
        weights: an ONNX file or a folder with one, on the disk or in S3, or a registered model.
        output: a new or empty folder.
        name: the detector's name in its card.
        options: see `components.shared.models.adopt.AdoptOptions`.

    Raises:
        InputError: the file is not a detector that is known, the adopted graph differs from the original one by more
            than it may, or an option cannot be used.
        StorageError: there is no such file.
    """
    adopted = graphs.adopt(graphs.fetch_weights(weights), weights, name=name, options=options)
    with whole_folder(output) as folder:
        (folder / MODEL_FILE).write_bytes(adopted.content)
    return AdoptResult(hashlib.sha256(adopted.content).hexdigest(), adopted.kind, adopted.max_difference)
