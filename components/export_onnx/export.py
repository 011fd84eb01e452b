"""Export a checkpoint as `model.onnx`: from uint8 images to probabilities, with the model card in its metadata."""

import hashlib
import logging
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch

from components.shared.models.checkpoint import Checkpoint, find_checkpoint, load_checkpoint
from components.shared.models.network import HeadProbabilities
from serving.runtime.card import INPUT_NAME, NOTIFY_THRESHOLD, ClassificationCard, PseudoLabels
from serving.runtime.errors import InputError
from serving.runtime.notice import NO_MASKS, mask_rule
from serving.runtime.output import whole_folder
from serving.runtime.registry import MODEL_FILE
from serving.runtime.seal import SEAL_KEY, ZEROS, sealed

TOLERANCE = 1e-4
_PARITY_BATCHES = (1, 5)
_LIBRARIES = ("onnx", "onnxscript", "torch", "torchvision")


@dataclass(frozen=True, slots=True)
class ExportResult:
    """The file's sha256, and the largest difference between its probabilities and those of the torch network."""

    sha256: str
    max_difference: float


def export(
    checkpoints: Path,
    output: Path,
    *,
    checkpoint: str = "best",
    name: str,
    notify_threshold: float = NOTIFY_THRESHOLD,
) -> ExportResult:
    """Write the folder `output` with model.onnx, made from one checkpoint of the folder `checkpoints`.

    The graph has the input `images`, uint8 (N,h,w,3) RGB with any N, and one output per head with its name, float32
    (N,K) of probabilities. Its metadata holds the model card with the name `name` and a digest of the file. The bytes
    depend only on the checkpoint, the name, the threshold and the library versions.

    Args:
        checkpoints: the folder of checkpoints.
        output: a new or empty folder.
        checkpoint: which checkpoint, by its stem.
        name: the model's name in its card.
        notify_threshold: from which probability on a mask that is missing or worn wrongly is noticed, see `Notify`.

    Raises:
        NotFoundError: there is no checkpoint of that name; the message lists the others.
        InputError: the file is not a checkpoint, the name is empty, `output` exists and is not empty, or the threshold
            is not in 0..1 or set for a model that does not judge masks.
        RuntimeError: ONNX Runtime's probabilities differ from torch's by more than `TOLERANCE`.
    """
    if not name.strip():
        raise InputError("name: must not be empty, the model is registered and served under it")
    source = load_checkpoint(find_checkpoint(checkpoints, checkpoint))
    with whole_folder(output) as folder:
        module = HeadProbabilities(source.network()).eval()
        model = to_onnx(module, source)
        card = make_card(source, name, notify_threshold)
        for key, value in {**card.to_metadata(), SEAL_KEY: ZEROS}.items():
            model.metadata_props.add(key=key, value=value)
        onnx.checker.check_model(model, full_check=True)
        data = sealed(model.SerializeToString(deterministic=True))
        difference = max_difference(module, data, card)
        if not difference <= TOLERANCE:  # also true for NaN
            raise RuntimeError(
                f"the exported graph of checkpoint '{checkpoint}' differs from the network: probabilities by up to "
                f"{difference:.2g}, at most {TOLERANCE:g} is allowed"
            )
        (folder / MODEL_FILE).write_bytes(data)
    return ExportResult(sha256=hashlib.sha256(data).hexdigest(), max_difference=difference)


def to_onnx(module: HeadProbabilities, source: Checkpoint) -> onnx.ModelProto:
    """Trace `module` into a graph with a free batch size, without names of source files or Python objects."""
    example = torch.zeros((2, source.input.height, source.input.width, 3), dtype=torch.uint8)
    logging.disable(logging.WARNING)  # the exporter reports each of its passes
    try:
        program = torch.onnx.export(
            module,
            (example,),
            dynamo=True,
            external_data=False,
            verbose=False,
            input_names=[INPUT_NAME],
            output_names=[head.name for head in source.heads],
            dynamic_shapes={"images": {0: torch.export.Dim("batch")}},
        )
    finally:
        logging.disable(logging.NOTSET)
    assert program is not None
    model: onnx.ModelProto = program.model_proto
    # The exporter writes absolute source paths and stack traces into these fields.
    graph = model.graph
    items: list[Any] = [model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer]
    for item in items:
        del item.metadata_props[:]
        item.doc_string = ""
    assert not model.functions
    return model


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


def max_difference(module: HeadProbabilities, data: bytes, card: ClassificationCard) -> float:
    """Return the largest absolute difference of probabilities between torch and ONNX Runtime on random images."""
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    differences = []
    for count in _PARITY_BATCHES:
        images = rng.integers(0, 256, (count, card.input.height, card.input.width, 3), dtype=np.uint8)
        with torch.inference_mode():
            expected = module(torch.from_numpy(images))
        actual = session.run([head.name for head in card.heads], {INPUT_NAME: images})
        differences += [np.abs(a.numpy() - b).max() for a, b in zip(expected, actual, strict=True)]
    return float(np.max(differences))
