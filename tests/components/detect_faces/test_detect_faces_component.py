"""The KFP components, called as a cluster calls them: paths of artifacts, numbers as floats."""

from pathlib import Path

from face_samples import DataSet, image, png
from kfp import dsl
from tiny_detector import build_detector

from components.detect_faces import component
from components.shared.dataset.annotations import read_annotations


def test_from_a_chain_to_drawn_faces(tmp_path: Path) -> None:
    pictures = {f"{number}.png": png([(20, 20, 50, 60)]) for number in range(1, 4)}
    data = DataSet(tmp_path, pictures, [image(number, None) for number in range(1, 4)])
    (tmp_path / "green.onnx").write_bytes(build_detector())

    def artifact(kind: type[dsl.Artifact], name: str) -> dsl.Artifact:
        return kind(uri=str(tmp_path / name))

    images, annotations = artifact(dsl.Dataset, "images"), artifact(dsl.Dataset, "annotations.json")
    detectors, chosen = artifact(dsl.Model, "detectors"), artifact(dsl.Dataset, "chosen.json")
    metrics = dsl.Metrics(uri="")
    chain = [{"onnx": {"model": str(tmp_path / "green.onnx"), "tile": 640.0}}, {"dlib_hog": {"upsample": 1.0}}]
    component.adopt_detectors.python_func(detectors, metrics, chain)
    limits = {"min_side": 20.0}
    shards = component.detection_shards.python_func(annotations, 2)
    found = [artifact(dsl.Dataset, f"found-{shard}") for shard in shards]
    for shard, output in zip(shards, found, strict=True):
        component.detect_faces.python_func(images, detectors, output, metrics, annotations, shard, 2, limits)
    assert len(shards) == 2
    listing, report = artifact(dsl.Dataset, "listing.json"), artifact(dsl.HTML, "faces.html")
    component.choose_faces.python_func(
        images, found, chosen, listing, report, metrics, annotations, {"fallback": "person_mean", "per_class": 2.0}
    )
    component.draw_faces.python_func(images, chosen, artifact(dsl.Dataset, "drawn"), metrics)
    assert metrics.metadata["images"] == 3 and metrics.metadata["method/green"] == 3
    assert len(list((tmp_path / "drawn").iterdir())) == 3
    faces = [face for entry in read_annotations(Path(chosen.path)).images for face in entry.faces]
    assert {face.box for face in faces} == {(20, 20, 50, 60)} and data.annotations is not None
