"""The test faces of a candidate, and what a champion says of them."""

from pathlib import Path

from components.promote.compare import Compared, IncomparableError, Table, compare_models
from components.shared.dataset.annotations import Annotations, read_annotations
from components.shared.dataset.detections import Detections
from components.shared.dataset.predictions import read_predictions
from components.shared.dataset.same_pictures import check_pictures
from components.shared.prediction.classify import classify
from components.shared.prediction.detect import detect
from components.shared.prediction.same_model import check_predicted_by
from components.shared.tracking.registry import find_version
from serving.runtime.card import ClassificationCard, DetectionCard
from serving.runtime.detector import Detector
from serving.runtime.errors import InputError, NoAnswerError, StorageError
from serving.runtime.load import load_model
from serving.runtime.machine import usable_cpus
from serving.runtime.predictor import Classifier


class SameFaces:
    """The test faces, what the candidate says of them, and what a champion says.

    Args:
        model: folder with the candidate's `model.onnx`, or the file itself.
        predictions: those of the candidate.
        images: folder with the image archives.
        annotations: those that were predicted.
        name: of the candidate in the registry.
        version: its version there.

    Raises:
        InputError: the predictions are not those of the model and of these pictures, or the version is another file.
        NotFoundError: there is no such version.
    """

    def __init__(
        self, model: Path, predictions: Path, images: Path, annotations: Path, name: str, version: str
    ) -> None:
        candidate = load_model(str(model))
        if not isinstance(candidate, Classifier | Detector):
            raise InputError(f"{model}: a model of task '{candidate.card.task}'; pass a classifier or a detector")
        self._candidate, self.name, self.version = candidate, name, version
        self._images, self._annotations = images, annotations
        self._predictions: Table = read_predictions(predictions)
        self._data: Annotations = read_annotations(annotations)
        check_pictures(self._predictions, self._data, predictions, annotations)
        check_predicted_by(self._predictions, candidate, registered=version)
        registered = find_version(name, version).tags.get("sha256", candidate.sha256)
        if registered != candidate.sha256:
            raise InputError(
                f"'{name}' version {version} has sha256 {registered}, the model {candidate.sha256}: pass the version "
                "that was registered from it"
            )

    def compare_with(self, champion_version: str) -> tuple[Compared, tuple[str, ...]]:
        """Predict with the version of the champion and compare. Raises as `compare_models`, and NoAnswerError."""
        try:
            # A thread of the prediction computes one face or photo alone, as for the candidate: equal sums.
            champion = load_model(f"models:/{self.name}/{champion_version}", threads=1)
        except NoAnswerError:
            raise
        except (InputError, StorageError) as error:
            raise IncomparableError(f"it cannot be loaded: {error}") from error
        if not isinstance(champion, Classifier | Detector) or type(champion) is not type(self._candidate):
            raise IncomparableError("they are for different tasks")
        compared = compare_models(self._predictions, self._predict(champion), self._data)
        return compared, tuple(_notes(self._candidate.card, champion.card, compared))

    def _predict(self, champion: Classifier | Detector) -> Table:
        split, failed = self._split()
        images, annotations, workers = self._images, self._annotations, usable_cpus()
        if isinstance(champion, Detector):
            return detect(champion, images, annotations, split=split, workers=workers, max_failed=failed)[0]
        return classify(champion, images, annotations, split=split, workers=workers, max_failed=failed)[0]

    def _split(self) -> tuple[str, int]:
        """Return the split of the candidate's predictions, and how much of it the candidate could not read."""
        by_id = {image.id: image for image in self._data.images}
        if isinstance(self._predictions, Detections):
            predicted = [image.image_id for image in self._predictions.images]
        else:
            predicted = [face.image_id for face in self._predictions.faces]
        if unknown := [number for number in predicted if number not in by_id]:
            raise InputError(
                f"image {unknown[0]} is predicted, but not in {self._annotations}; pass the annotations that "
                "the predictions were made from"
            )
        splits = {by_id[number].split for number in predicted}
        split = (splits.pop() if len(splits) == 1 else None) or "all"
        inside = [image for image in self._data.images if split in ("all", image.split)]
        whole = len(inside) if isinstance(self._predictions, Detections) else sum(len(one.faces) for one in inside)
        return split, max(0, whole - len(predicted))


def _notes(
    candidate: ClassificationCard | DetectionCard, champion: ClassificationCard | DetectionCard, compared: Compared
) -> list[str]:
    """Return what a reader of the comparison should know."""
    notes = []
    ours, theirs = candidate.dataset_digest, champion.dataset_digest
    if ours != theirs or not ours:
        notes.append(
            f"The champion was trained on other annotations ({theirs[:12] or 'not known'}) than the candidate "
            f"({ours[:12] or 'not known'}): it may have seen persons of this test split, which favors it."
        )
    for who, card in (("candidate", candidate), ("champion", champion)):
        if card.leaks:
            notes.append(f"The {who} was trained on a split with persons on both sides, so its score is too good.")
    if compared.unit == "person" and compared.paired.groups == compared.images > 1:
        notes.append("Every image counts as a person of its own: the annotations name no person with several images.")
    return notes
