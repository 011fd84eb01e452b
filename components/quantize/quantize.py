"""From an exported classifier in float32 to the same in int8 or float16, with what that costs and gains."""

import hashlib
import logging
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import get_args

import numpy as np
import onnx
from numpy.typing import NDArray

from components.quantize.comparison import Comparison, compare
from components.quantize.faces import LabeledFace, LabeledFaces, batches
from components.quantize.precision import to_fp16, to_int8
from components.shared.models.graph_file import graph_file
from components.shared.models.graph_speed import Speed, speeds
from components.shared.report.rendering import render
from serving.runtime.card import ClassificationCard, Precision
from serving.runtime.detector import Detector
from serving.runtime.errors import InputError
from serving.runtime.load import ModelFiles, read_model
from serving.runtime.output import check_outputs, whole_folder, write_text
from serving.runtime.predictor import Classifier
from serving.runtime.registry import MODEL_FILE
from serving.runtime.validation import known

PRECISIONS: tuple[Precision, ...] = tuple(one for one in get_args(Precision) if one != "fp32")

_LIBRARIES = ("onnx", "onnxruntime")
_BATCH = 8
# Of train, where there is no val split: it may be large, and a model is better on it than on new faces anyway.
_MOST_OF_TRAIN = 2000

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class QuantizeResult:
    """What was written, and how it compares with the model in float32; in each pair that one is the first.

    Attributes:
        sha256: of the file.
        precision: what it computes in.
        calibrated_on: how many faces of train; 0 but for int8.
        split: whose faces both were compared on: val, or train where no face is in val.
        comparison: on those faces.
        max_f1_drop: by how much macro F1 may fall.
        speeds: on this machine.
        sizes: of the files, in bytes.
    """

    sha256: str
    precision: Precision
    calibrated_on: int
    split: str
    comparison: Comparison
    max_f1_drop: float
    speeds: tuple[Speed, Speed]
    sizes: tuple[int, int]

    @property
    def kept(self) -> bool:
        """Whether macro F1 falls by no more than it may."""
        return self.comparison.f1_drop <= self.max_f1_drop

    @property
    def speedup(self) -> float:
        """How many times as much CPU time as the new graph the one in float32 takes for one face in one thread."""
        return self.speeds[0].cpu_ms / self.speeds[1].cpu_ms

    @property
    def metrics(self) -> dict[str, float]:
        """All of it as numbers; `compared_on_train` is 1 where no face is in val."""
        before, after = self.comparison.scores
        return {
            "macro_f1_fp32": before.macro_f1,
            "macro_f1": after.macro_f1,
            "f1_drop": self.comparison.f1_drop,
            "agreement": self.comparison.agreement,
            "max_difference": self.comparison.max_difference,
            "compared_faces": self.comparison.faces,
            "compared_on_train": int(self.split == "train"),
            "megabytes_fp32": self.sizes[0] / 1e6,
            "megabytes": self.sizes[1] / 1e6,
            "images_per_second_fp32": self.speeds[0].images_per_second,
            "images_per_second": self.speeds[1].images_per_second,
            "speedup": self.speedup,
        }


def quantize(
    model: Path,
    images: Path,
    annotations: Path,
    output: Path,
    report: Path,
    *,
    precision: str = "int8",
    calibration_faces: int = 256,
    max_f1_drop: float = 0.01,
    seed: int = 0,
) -> QuantizeResult:
    """Write the folder `output` with model.onnx, `model` in another precision, and an HTML page that compares both.

    Input, outputs and card are those of `model`, but for the card's precision and versions. The bytes depend only on
    the model, the arguments and the library versions; those of int8 also on the faces it is calibrated on and, where it
    rounds their activations differently, on the CPU.

    Args:
        model: folder with model.onnx, or the file itself: a classifier in fp32.
        images: the image archive.
        annotations: COCO annotations whose images are assigned to train and val.
        output: a new or empty folder.
        report: the HTML file to write.
        precision: int8, which CPUs are faster with; fp16, for GPUs.
        calibration_faces: on how many labeled faces of train int8 is calibrated, at most.
        max_f1_drop: by how much macro F1 on val may be lower for the model to be kept. Where no labeled face is in val
            it is compared on at most 2,000 of train, drawn by `seed`; log, page and metrics say so.
        seed: of the draw of faces.

    Raises:
        InputError: the model is not a classifier in fp32, the precision is unknown, a number cannot be used, no labeled
            face is in train, images are missing, or the new graph gives values that are not numbers.
        NotFoundError: there are no such annotations or images.
        StorageError: there is no model.
    """
    numbers = next((one for one in PRECISIONS if one == precision), None)
    if numbers is None:
        raise InputError(f"precision: unknown '{precision}'{known(precision, PRECISIONS)}")
    if not 0 <= max_f1_drop <= 1:
        raise InputError(f"max_f1_drop: must be from 0 to 1, got {max_f1_drop}")
    if seed < 0:
        raise InputError(f"seed: must not be negative, got {seed}")
    check_outputs([output, report], model, images, annotations)
    files = read_model(str(model))
    card = _card(files, str(model))
    faces = LabeledFaces(images, annotations, card)
    with whole_folder(output) as folder:
        calibrating = faces.draw(calibration_faces, seed) if numbers == "int8" else None
        content = _in_precision(files.content, card, numbers, calibrating)
        split, chosen = _to_compare_on(faces, seed)
        compared = compare(files.content, content, faces.space, batches(faces.cut(chosen), _BATCH))
        before, after = speeds([files.content, content], card.input)
        result = QuantizeResult(
            sha256=hashlib.sha256(content).hexdigest(),
            precision=numbers,
            calibrated_on=0 if calibrating is None else len(calibrating),
            split=split,
            comparison=compared,
            max_f1_drop=max_f1_drop,
            speeds=(before, after),
            sizes=(len(files.content), len(content)),
        )
        (folder / MODEL_FILE).write_bytes(content)
        write_text(report, render("quantize/report.html.jinja", card=card, result=result, space=faces.space))
    _say(result)
    return result


def _card(files: ModelFiles, source: str) -> ClassificationCard:
    predictor = files.open()
    if not isinstance(predictor, Classifier):
        kind = "detector" if isinstance(predictor, Detector) else "composite"
        raise InputError(f"{source}: is a {kind}; only classifiers are turned into int8 and fp16")
    if predictor.card.precision != "fp32":
        raise InputError(f"{source}: is in {predictor.card.precision} already; give the model in fp32 it was made from")
    return predictor.card


def _in_precision(
    float32: bytes, card: ClassificationCard, precision: Precision, faces: NDArray[np.uint8] | None
) -> bytes:
    """Return the file of a graph in another precision, with its card; int8 is calibrated on `faces`."""
    graph, heads = onnx.load_from_string(float32), [head.name for head in card.heads]
    converted = to_fp16(graph, heads) if faces is None else to_int8(graph, heads, faces)
    versions = card.versions | {library: version(library) for library in _LIBRARIES}
    return graph_file(converted, card.model_copy(update={"precision": precision, "versions": versions}))


def _to_compare_on(faces: LabeledFaces, seed: int) -> tuple[str, list[LabeledFace]]:
    """Return the labeled faces of val, or some of train where none is in val, and the name of that split."""
    if held_out := faces.of_split("val"):
        return "val", held_out
    train = faces.of_split("train")
    chosen = np.random.default_rng(seed).permutation(len(train))[:_MOST_OF_TRAIN]
    return "train", [train[number] for number in sorted(chosen)]


def _say(result: QuantizeResult) -> None:
    before, after = result.comparison.scores
    _log.info(
        "%s: macro F1 %.4f, %.4f in fp32, on %d faces of %s; the same label for %.2f %%; %.2f times as fast here",
        result.precision, after.macro_f1, before.macro_f1, result.comparison.faces, result.split,
        100 * result.comparison.agreement, result.speedup,
    )  # fmt: skip
    if result.split == "train":
        _log.warning("no labeled face is in split 'val': compared on faces of train, which says little of new faces")
    if not result.kept:
        _log.warning(
            "macro F1 falls by %.4f, at most %g is allowed: keep the model in fp32",
            result.comparison.f1_drop, result.max_f1_drop,
        )  # fmt: skip
    if result.precision == "int8" and result.speedup < 1:
        _log.warning("this network is slower in int8 than in fp32 on this CPU: use fp32")
