"""What the scorers of all tasks take and give."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from components.shared.dataset.annotations import Annotations
from components.shared.metrics.bootstrap import RESAMPLES
from components.shared.metrics.ranking import Curve


@dataclass(frozen=True, slots=True)
class Truth:
    """What predictions are scored against, and how.

    Attributes:
        annotations: the annotations.
        dataset: their digest.
        pictures: how their pictures were compared with those of the predictions, for people.
        max_missing: how many faces of the predicted splits may lack a prediction; of a detector how many images.
        images: the image archives; None shows no pictures.
        model: the folder of the exported model that predicted; None: its card is not known.
        resamples: how often persons are drawn anew for an interval; 0 for no intervals.
        seed: of these draws.
        without_probabilities: the predictions are class numbers without probabilities.
        answer_table: so is the truth: the result of the predecessors is written.
    """

    annotations: Annotations
    dataset: str
    pictures: str
    max_missing: int = 0
    images: Path | None = None
    model: Path | None = None
    resamples: int = RESAMPLES
    seed: int = 0
    without_probabilities: bool = False
    answer_table: bool = False


@dataclass(frozen=True)
class Scored:
    """Scores of the predictions of one task.

    Attributes:
        metrics: scalar metrics by name; one without a denominator is not among them.
        floor_names: those that may have a floor.
        splits: the splits of the predicted images.
        labels: the classes of the confusion matrix.
        confusion: a row per true and a column per predicted class.
        page: renders the report with the floors and the metrics that miss theirs.
        write_details: writes the files of the details into a folder.
        roc: the ROC curve of a decision between two; None where there is none.
    """

    metrics: dict[str, float]
    floor_names: Sequence[str]
    splits: tuple[str, ...]
    labels: tuple[str, ...]
    confusion: list[list[int]]
    page: Callable[[Mapping[str, float], Sequence[str]], str]
    write_details: Callable[[Path], None]
    roc: Curve | None = None
