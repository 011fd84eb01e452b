"""A run that trains a detector on drawn group photos, and does not reach its floor."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from small_sample import put_small_sample

from pipelines.catalog import DATA_REPORT, PROMOTION_REPORT, REPORT
from pipelines.environment.settings import Settings
from pipelines.face_detection import FaceDetectionConfig
from pipelines.local import summary
from pipelines.local.run import Run, run
from pipelines.local.stack import local_stack, mlflow_address
from pipelines.parameters.pipeline import DRAWN_GROUPS
from serving.runtime.detector import Detector
from serving.runtime.errors import NotFoundError
from serving.runtime.load import load_model

pytestmark = pytest.mark.slow

CONFIG = FaceDetectionConfig(
    format="coco",
    detector={"imgsz": 96, "epochs": 1, "batch": 4},
    detector_floors={"map50": 1.0},
    val_ratio=0.2,
    test_ratio=0.3,
)


@pytest.fixture(scope="module")
def result(home: Path) -> Iterator[Run]:
    home.mkdir()
    put_small_sample(home, DRAWN_GROUPS, persons=36)
    yield run(CONFIG, Settings.from_environment({"FACET_HOME": str(home)}), name="finder", echo=print)


def test_every_step_ran(result: Run) -> None:
    assert (result.failed, result.error) == ("", "")
    steps = [name for name in result.seconds if name != "data-report"]
    assert steps == ["ingest", "curate", "split", "train-yolo", "predict", "evaluate", "register", "promote"]
    assert {path.name for path in result.folder.glob("*.html")} == {REPORT, DATA_REPORT, PROMOTION_REPORT}


def test_the_detector_is_a_candidate_and_no_champion(home: Path, result: Run) -> None:
    with local_stack(home) as stack, pytest.MonkeyPatch.context() as patch:
        for name, value in stack.environment.items():
            patch.setenv(name, value)
        mlflow_address(home, stack)  # waits until it is up
        detector = load_model("models:/face_detector@candidate")
        assert isinstance(detector, Detector) and detector.card.labels == ("face",)
        with pytest.raises(NotFoundError, match="champion"):
            load_model("models:/face_detector@champion")


def test_the_summary_names_the_floor(result: Run) -> None:
    lines = list(summary.success(result, CONFIG))
    assert lines[0].split()[0] == "map50" and lines[0].endswith("floor 1.000")
    at = lines.index("model          face_detector, version 1 (candidate)")
    assert lines[at + 1].strip() == "Not promoted: the floors do not hold; there is no champion yet."
    assert lines[at + 2].strip().startswith("below its floor: map50 of face_detector, ")
    assert "next: make serve MODEL=models:/face_detector@candidate" in lines
