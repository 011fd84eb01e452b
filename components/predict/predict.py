"""The exported model over every face of a split, through the code that serves it."""

import logging
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from components.shared.dataset.annotations import Annotations, Face, Image, read_annotations
from components.shared.dataset.archive import ImageArchive
from components.shared.dataset.label_spaces import LabelSpace, label_space
from components.shared.dataset.predictions import PredictedFace, Predictions, write_predictions
from components.shared.progress import progress
from serving.runtime.card import ModelCard
from serving.runtime.cpus import usable_cpus
from serving.runtime.errors import ImageError, InputError, NotFoundError
from serving.runtime.image.preprocess import decode_crop_resize
from serving.runtime.predictor import Predictor

SPLITS = ("test", "val", "train", "all")
_AHEAD = 2
_EXAMPLES = 5
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PredictReport:
    """How many faces were predicted, and how many could not be, by reason."""

    faces: int
    images: int
    failed: dict[str, int]


@dataclass(frozen=True, slots=True)
class _Failure:
    reason: str
    message: str


_Crop = NDArray[np.uint8] | _Failure


def predict(
    model: Path,
    images: Path,
    annotations: Path,
    output: Path,
    *,
    split: str = "test",
    batch_size: int = 64,
    workers: int = 0,
    max_failed: int = 0,
) -> PredictReport:
    """Write the probabilities of every face of a split as CSV, in the order of image id and face id.

    Faces are cut from the original image bytes by the code that serves the model. Images are
    decoded by threads while the model computes.

    Args:
        model: folder with `model.onnx`, or the file itself.
        images: folder with the image archives.
        annotations: COCO JSON with the faces.
        output: the CSV to write.
        split: test, val, train, or all (images without a split too).
        batch_size: faces per run of the model.
        workers: decoding threads; 0 takes one per CPU.
        max_failed: how many faces may fail to decode; more fail the step.

    Raises:
        InputError: the split is unknown or has no face, images are missing from the archive, the
            model does not fit its label space, or too many faces failed.
    """
    if batch_size < 1:
        raise InputError(f"batch_size must be at least 1, got {batch_size}")
    if output.resolve() == annotations.resolve():
        raise InputError(f"{output}: the output would replace the annotations; name another file")
    predictor = Predictor(_model_file(model))
    space = _label_space(predictor.card)
    archive = ImageArchive(images)
    faces = _chosen_faces(read_annotations(annotations), split)
    _check_present(archive, faces)

    kept: list[PredictedFace] = []
    failed: list[tuple[PredictedFace, _Failure]] = []
    parts: dict[str, list[NDArray[np.float32]]] = {head.name: [] for head in space.heads}
    batches = _crop_batches(archive, faces, predictor.card, batch_size, workers or usable_cpus())
    for batch in progress(batches, "predict", -(-len(faces) // batch_size)):
        good = [(face, crop) for face, crop in batch if not isinstance(crop, _Failure)]
        failed += [(face, crop) for face, crop in batch if isinstance(crop, _Failure)]
        if not good:
            continue
        kept += [face for face, _ in good]
        for name, probabilities in predictor.probabilities(np.stack([crop for _, crop in good])).items():
            parts[name].append(probabilities)
    _judge(failed, max_failed, len(faces))
    heads = {name: np.concatenate(arrays) for name, arrays in parts.items()}
    table = Predictions(tuple(kept), heads, space, predictor.card.name, predictor.sha256[:12])
    write_predictions(table, output)
    reasons = Counter(failure.reason for _, failure in failed)
    return PredictReport(len(kept), len({face.image_id for face in kept}), dict(sorted(reasons.items())))


def _model_file(model: Path) -> Path:
    file = model / "model.onnx" if model.is_dir() else model
    if not file.is_file():
        raise NotFoundError(f"{file}: no such file; pass the folder that export_onnx wrote")
    return file


def _label_space(card: ModelCard) -> LabelSpace:
    space = label_space(card.label_space)
    if space.heads != card.heads:
        ours, theirs = ([(head.name, head.labels) for head in heads] for heads in (space.heads, card.heads))
        raise InputError(f"model '{card.name}': its heads {theirs} are not those of label space '{space.name}': {ours}")
    return space


def _chosen_faces(annotations: Annotations, split: str) -> list[PredictedFace]:
    """The faces of a split in the order of image id and face id."""
    if split not in SPLITS:
        raise InputError(f"unknown split '{split}'; known: {', '.join(SPLITS)}; present: {_present(annotations)}")
    pairs: list[tuple[Image, Face]] = [
        (image, face) for image in annotations.images if split in ("all", image.split) for face in image.faces
    ]
    if not pairs:
        raise InputError(f"no face is in split '{split}'; present: {_present(annotations)}")
    pairs.sort(key=lambda pair: (pair[0].id, pair[1].id))
    return [PredictedFace(image.id, face.id, image.file_name, face.box) for image, face in pairs]


def _present(annotations: Annotations) -> str:
    counts: Counter[str] = Counter()
    for image in annotations.images:
        counts[image.split or "no split"] += len(image.faces)
    return ", ".join(f"{name} {count} faces" for name, count in sorted(counts.items())) or "no image at all"


def _check_present(archive: ImageArchive, faces: Sequence[PredictedFace]) -> None:
    missing = sorted({face.path for face in faces if face.path not in archive})
    if missing:
        examples = ", ".join(missing[:_EXAMPLES])
        raise InputError(
            f"{len(missing)} images of the annotations are not in the image archive ({examples}): "
            "pass the images that these annotations were made for"
        )


def _crop_batches(
    archive: ImageArchive, faces: Sequence[PredictedFace], card: ModelCard, batch_size: int, workers: int
) -> Iterator[list[tuple[PredictedFace, _Crop]]]:
    """Decode in threads, `_AHEAD` batches before the one that is handed out."""

    def crop(face: PredictedFace) -> _Crop:
        data = archive.read(face.path)
        try:
            return decode_crop_resize(data, face.box, card)
        except ImageError as error:
            return _Failure(error.reason, str(error))
        except InputError as error:
            return _Failure("box", str(error))

    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        waiting: deque[list[tuple[PredictedFace, Future[_Crop]]]] = deque()
        try:
            for start in range(0, len(faces), batch_size):
                waiting.append([(face, pool.submit(crop, face)) for face in faces[start : start + batch_size]])
                if len(waiting) > _AHEAD:
                    yield [(face, future.result()) for face, future in waiting.popleft()]
            while waiting:
                yield [(face, future.result()) for face, future in waiting.popleft()]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _judge(failed: Sequence[tuple[PredictedFace, _Failure]], max_failed: int, total: int) -> None:
    """Fail the step above the threshold, otherwise log what was left out."""
    if not failed:
        return
    reasons = ", ".join(f"{reason} {n}" for reason, n in sorted(Counter(f.reason for _, f in failed).items()))
    examples = "; ".join(f"{face.path}: {failure.message}" for face, failure in failed[:_EXAMPLES])
    found = f"{len(failed)} of {total} faces could not be predicted ({reasons}), such as {examples}"
    if len(failed) > max_failed or len(failed) == total:
        raise InputError(f"{found}; repair or remove these images, or allow so many with max_failed={len(failed)}")
    _log.warning("%s", found)
