"""Export a checkpoint as `model.onnx`: from uint8 images to probabilities, with the model card in its metadata."""

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import onnx
import torch

from components.export_onnx.calibration import Calibration, Faces, draw_faces
from components.export_onnx.comparison import batches, compare, cpu_time_ratio, noise
from components.export_onnx.features import FEATURES, add_features
from components.export_onnx.precision import to_fp16, to_int8
from components.shared.models.checkpoint import Checkpoint, find_checkpoint, load_checkpoint
from components.shared.models.graph_file import graph_file
from components.shared.models.network import HeadProbabilities
from components.shared.models.trace import trace
from serving.runtime.card import NOTIFY_THRESHOLD, ClassificationCard, Precision, PseudoLabels
from serving.runtime.errors import InputError
from serving.runtime.notice import NO_MASKS, mask_rule
from serving.runtime.output import whole_folder
from serving.runtime.registry import MODEL_FILE
from serving.runtime.validation import known

TOLERANCES: Mapping[Precision, float] = {"fp32": 1e-4, "fp16": 2e-2, "int8": 1.0}
"""How far probabilities may be from torch's. Those of int8 only have to be numbers: its floors are the report's."""

_LIBRARIES = ("onnx", "onnxscript", "torch", "torchvision")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What was written, and how it compares with the torch network.

    Attributes:
        sha256: of the file.
        max_difference: the largest difference of a probability; on faces for int8, on random pixels otherwise.
        agreement: the share of faces for which the most probable label is the same, of the head where it is lowest;
            None but for int8.
        speedup: how many times as much CPU time as this graph the same in float32 takes here, for one face in one
            thread; None but for int8.
    """

    sha256: str
    max_difference: float
    agreement: float | None = None
    speedup: float | None = None

    @property
    def metrics(self) -> dict[str, float]:
        """The numbers that are not None, by name."""
        named = {"max_difference": self.max_difference, "agreement": self.agreement, "speedup": self.speedup}
        return {name: value for name, value in named.items() if value is not None}


def export(
    checkpoints: Path,
    output: Path,
    *,
    checkpoint: str = "best",
    name: str,
    notify_threshold: float = NOTIFY_THRESHOLD,
    features: bool = False,
    precision: str = "fp32",
    calibration: Calibration | None = None,
) -> ExportResult:
    """Write the folder `output` with model.onnx, made from one checkpoint of the folder `checkpoints`.

    The graph has the input `images`, uint8 (N,h,w,3) RGB with any N, and one output per head with its name, float32
    (N,K) of probabilities, in every precision. Its metadata holds the model card with the name `name` and a digest of
    the file. The bytes depend only on the checkpoint, the arguments and the library versions; those of int8 also on
    the faces it is calibrated on and, where it rounds their activations differently, on the CPU.

    Args:
        checkpoints: the folder of checkpoints.
        output: a new or empty folder.
        checkpoint: which checkpoint, by its stem.
        name: the model's name in its card.
        notify_threshold: from which probability on a mask that is missing or worn wrongly is noticed, see `Notify`.
        features: whether the graph has the output `features` too, see `add_features`; nothing that serves asks for it.
        precision: what the graph computes in: fp32; int8, which CPUs are faster with; fp16, for GPUs.
        calibration: the faces that int8 needs.

    Raises:
        NotFoundError: there is no checkpoint of that name; the message lists the others.
        InputError: the file is not a checkpoint, the name is empty, `output` exists and is not empty, the threshold is
            not in 0..1 or set for a model that does not judge masks, the network has no feature map, the precision is
            unknown, or there are no faces for int8.
        RuntimeError: ONNX Runtime's probabilities differ from torch's by more than `TOLERANCES`.
    """
    if not name.strip():
        raise InputError("name: must not be empty, the model is registered and served under it")
    numbers = next((one for one in TOLERANCES if one == precision), None)
    if numbers is None:
        raise InputError(f"precision: unknown '{precision}'{known(precision, TOLERANCES)}")
    if numbers == "int8" and calibration is None:
        raise InputError("precision int8 is calibrated on faces: give images and annotations, those of the training")
    source = load_checkpoint(find_checkpoint(checkpoints, checkpoint))
    card = make_card(source, name, notify_threshold, numbers)
    if features:
        card = card.model_copy(update={"features": FEATURES})
    with whole_folder(output) as folder:
        data, result = _make(source, card, calibration)
        if not result.max_difference <= TOLERANCES[numbers]:  # also true for NaN
            raise RuntimeError(
                f"the exported graph of checkpoint '{checkpoint}' differs from the network: probabilities by up to "
                f"{result.max_difference:.2g}, at most {TOLERANCES[numbers]:g} is allowed for {precision}"
            )
        (folder / MODEL_FILE).write_bytes(data)
    return result


def _make(source: Checkpoint, card: ClassificationCard, calibration: Calibration | None) -> tuple[bytes, ExportResult]:
    """Return the file and how it compares."""
    module = HeadProbabilities(source.network()).eval()
    if card.precision == "int8":
        assert calibration is not None
        return _make_int8(module, source, card, draw_faces(calibration, card))
    model = _graph(module, source, card)
    data = graph_file(to_fp16(model) if card.precision == "fp16" else model, card)
    compared = compare(module, data, card, noise(card))
    return data, ExportResult(hashlib.sha256(data).hexdigest(), compared.max_difference)


def _make_int8(
    module: HeadProbabilities, source: Checkpoint, card: ClassificationCard, faces: Faces
) -> tuple[bytes, ExportResult]:
    # ONNX Runtime computes an int8 graph with the channels last. There it broadcasts three numbers to an image slowly,
    # which takes an eighth of a ResNet-18's time, and rows of them quickly.
    for name in ("mean", "std"):
        row = getattr(module.network, name).expand(3, 1, card.input.width).contiguous()
        setattr(module.network, name, row)
    model = _graph(module, source, card)
    float32 = model.SerializeToString()
    data = graph_file(to_int8(model, faces.train), card)
    compared = compare(module, data, card, batches(faces.held_out))
    speedup = cpu_time_ratio(float32, data, faces.held_out[:1])
    _log.info(
        "int8, calibrated on %d faces: the same label as float32 for %.2f %% of %d faces, %.2f times as fast here",
        len(faces.train), 100 * compared.agreement, len(faces.held_out), speedup,
    )  # fmt: skip
    if speedup < 1:
        _log.warning("this network is slower in int8 than in fp32 on this CPU (%.2f times as fast): use fp32", speedup)
    return data, ExportResult(
        hashlib.sha256(data).hexdigest(), compared.max_difference, compared.agreement, speedup=speedup
    )


def _graph(module: HeadProbabilities, source: Checkpoint, card: ClassificationCard) -> onnx.ModelProto:
    model = to_onnx(module, source)
    if card.features is not None:
        add_features(model, [head.name for head in card.heads])
    return model


def to_onnx(module: HeadProbabilities, source: Checkpoint) -> onnx.ModelProto:
    """Trace `module` into a graph with a free batch size, without names of source files or Python objects."""
    example = torch.zeros((2, source.input.height, source.input.width, 3), dtype=torch.uint8)
    outputs = [head.name for head in source.heads]
    return trace(module, example, outputs, {0: torch.export.Dim("batch")})


def make_card(
    source: Checkpoint, name: str, notify_threshold: float = NOTIFY_THRESHOLD, precision: Precision = "fp32"
) -> ClassificationCard:
    """Return the model card of `source` with the name `name`; InputError where it cannot have the threshold."""
    if not 0 <= notify_threshold <= 1:
        raise InputError(f"notify_threshold: {notify_threshold} is no probability; expected 0 to 1")
    notify = mask_rule(source.heads, notify_threshold)
    if notify is None and notify_threshold != NOTIFY_THRESHOLD:
        raise InputError(f"notify_threshold: label space '{source.label_space}' {NO_MASKS}; leave it out")
    pseudo = source.config.get("pseudo_labels", {})
    libraries = _LIBRARIES if precision == "fp32" else (*_LIBRARIES, "onnxruntime")  # which converts the others
    return ClassificationCard(
        name=name,
        label_space=source.label_space,
        heads=source.heads,
        input=source.input,
        precision=precision,
        crop=source.crop,
        normalization=source.normalization,
        leaks=source.leaks,
        pseudo_labels=PseudoLabels(share=pseudo["share"], weight=pseudo["weight"]) if pseudo.get("enabled") else None,
        versions=source.versions | {library: version(library) for library in libraries},
        dataset_digest=source.dataset_digest,
        training_digest=source.training_digest,
        notify=notify,
    )
