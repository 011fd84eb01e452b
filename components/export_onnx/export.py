"""Export a checkpoint as `model.onnx`: from uint8 images to probabilities, with the model card in its metadata."""

import hashlib
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import onnx
import torch

from components.export_onnx.comparison import max_difference
from components.export_onnx.features import FEATURES, add_features
from components.shared.models.checkpoint import Checkpoint, find_checkpoint, load_checkpoint
from components.shared.models.graph_file import graph_file
from components.shared.models.network import HeadProbabilities
from components.shared.models.trace import trace
from serving.runtime.card import NOTIFY_THRESHOLD, ClassificationCard, PseudoLabels
from serving.runtime.errors import InputError
from serving.runtime.notice import NO_MASKS, mask_rule
from serving.runtime.output import whole_folder
from serving.runtime.registry import MODEL_FILE

TOLERANCE = 1e-4
"""How far probabilities may be from torch's."""

_LIBRARIES = ("onnx", "onnxscript", "torch", "torchvision")


@dataclass(frozen=True, slots=True)
class ExportResult:
    """The file's sha256, and the largest difference of a probability from the torch network's, on random pixels."""

    sha256: str
    max_difference: float


def export(
    checkpoints: Path,
    output: Path,
    *,
    checkpoint: str = "best",
    name: str,
    notify_threshold: float = NOTIFY_THRESHOLD,
    features: bool = False,
) -> ExportResult:
    """Write the folder `output` with model.onnx, made from one checkpoint of the folder `checkpoints`.

    The graph has the input `images`, uint8 (N,h,w,3) RGB with any N, and one output per head with its name, float32
    (N,K) of probabilities. Its metadata holds the model card with the name `name` and a digest of the file. The bytes
    depend only on the checkpoint, the arguments and the library versions.

    Args:
        checkpoints: the folder of checkpoints.
        output: a new or empty folder.
        checkpoint: which checkpoint, by its stem.
        name: the model's name in its card.
        notify_threshold: from which probability on a mask that is missing or worn wrongly is noticed, see `Notify`.
        features: whether the graph has the output `features` too, see `add_features`; nothing that serves asks for it.

    Raises:
        NotFoundError: there is no checkpoint of that name; the message lists the others.
        InputError: the file is not a checkpoint, the name is empty, `output` exists and is not empty, the threshold is
            not in 0..1 or set for a model that does not judge masks, or the network has no feature map.
        RuntimeError: ONNX Runtime's probabilities differ from torch's by more than `TOLERANCE`.
    """
    if not name.strip():
        raise InputError("name: must not be empty, the model is registered and served under it")
    source = load_checkpoint(find_checkpoint(checkpoints, checkpoint))
    card = make_card(source, name, notify_threshold)
    if features:
        card = card.model_copy(update={"features": FEATURES})
    with whole_folder(output) as folder:
        module = HeadProbabilities(source.network()).eval()
        model = to_onnx(module, source)
        if features:
            add_features(model, [head.name for head in card.heads])
        data = graph_file(model, card)
        difference = max_difference(module, data, card)
        if not difference <= TOLERANCE:  # also true for NaN
            raise RuntimeError(
                f"the exported graph of checkpoint '{checkpoint}' differs from the network: probabilities by up to "
                f"{difference:.2g}, at most {TOLERANCE:g} is allowed"
            )
        (folder / MODEL_FILE).write_bytes(data)
    return ExportResult(hashlib.sha256(data).hexdigest(), difference)


def to_onnx(module: HeadProbabilities, source: Checkpoint) -> onnx.ModelProto:
    """Trace `module` into a graph with a free batch size, without names of source files or Python objects."""
    example = torch.zeros((2, source.input.height, source.input.width, 3), dtype=torch.uint8)
    outputs = [head.name for head in source.heads]
    return trace(module, example, outputs, {0: torch.export.Dim("batch")})


def make_card(source: Checkpoint, name: str, notify_threshold: float = NOTIFY_THRESHOLD) -> ClassificationCard:
    """Return the model card of `source` with the name `name`; InputError where it cannot have the threshold."""
    if not 0 <= notify_threshold <= 1:
        raise InputError(f"notify_threshold: {notify_threshold} is no probability; expected 0 to 1")
    notify = mask_rule(source.heads, notify_threshold)
    if notify is None and notify_threshold != NOTIFY_THRESHOLD:
        raise InputError(f"notify_threshold: label space '{source.label_space}' {NO_MASKS}; leave it out")
    pseudo = source.config.get("pseudo_labels", {})
    return ClassificationCard(
        name=name,
        label_space=source.label_space,
        heads=source.heads,
        input=source.input,
        crop=source.crop,
        normalization=source.normalization,
        leaks=source.leaks,
        pseudo_labels=PseudoLabels(share=pseudo["share"], weight=pseudo["weight"]) if pseudo.get("enabled") else None,
        versions=source.versions | {library: version(library) for library in _LIBRARIES},
        dataset_digest=source.dataset_digest,
        training_digest=source.training_digest,
        notify=notify,
    )
