"""A detector and a classifier that are registered as one, against one real MLflow server."""

import hashlib
import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kfp import dsl
from register_models import Killed, kill_after, write_model
from tiny_detector import build_detector, draw_faces

from components.register.component import register as register_door
from components.register.register import register
from components.shared.tracking import server
from components.shared.tracking.runs import open_run
from serving.runtime.composite import Composite
from serving.runtime.errors import InputError, NotFoundError, StorageError
from serving.runtime.image.photo import Photo
from serving.runtime.load import load_model

HOG = {"name": "dlib_hog", "kind": "dlib_hog", "options": {"upsample": 1}}


def write_chain(folder: Path, *names: str, others: tuple[Any, ...] = (), **options: float) -> Path:
    """What adopt_detectors writes for a chain of `others` and then the tiny detector under each name."""
    members = list(others)
    for number, name in enumerate(names, 1 + len(others)):
        file = folder / f"{number}-{name}" / "model.onnx"
        file.parent.mkdir(parents=True)
        file.write_bytes(build_detector(side=(320, 320)))
        path = file.relative_to(folder).as_posix()
        sha256 = hashlib.sha256(file.read_bytes()).hexdigest()
        members.append({"name": name, "kind": "onnx", "file": path, "sha256": sha256, "options": options})
    folder.mkdir(exist_ok=True)
    (folder / "chain.json").write_text(json.dumps({"version": 1, "members": members}))
    return folder


def aliases(name: str) -> dict[str, str]:
    return dict(server.mlflow_client().get_registered_model(name).aliases)


def test_a_composite_pins_its_members_and_is_one_version_of_its_run(tracking: str, tmp_path: Path) -> None:
    chain = write_chain(tmp_path / "chain", "green-a", score=0.9)
    models = [write_model(tmp_path / f"model-{seed}", seed) for seed in range(2)]
    with open_run("first") as run:
        pass
    first, again, second = (
        register(model, name="masks-a", run_id=run.run_id, detectors=chain, composite="people-a")
        for model in (models[0], models[0], models[1])
    )
    assert first == again and (first.composite_version, second.composite_version) == ("1", "2")
    with open_run("first") as other:
        pass
    later = register(models[1], name="masks-a", run_id=other.run_id, detectors=chain, composite="people-a")
    assert (later.version, later.composite_version) == ("3", "3")
    assert aliases("green-a") == {"candidate": "1"}, "one file of a detector is one version, whatever the run"
    client = server.mlflow_client()
    version = client.get_model_version_by_alias("people-a", "candidate")
    assert version.version == "3" and version.run_id == other.run_id
    facts = {"detectors": "models:/green-a/1", "heads": "models:/masks-a/3", "training_run": other.run_id}
    assert facts.items() <= version.tags.items()

    model = load_model("models:/people-a/1")
    assert isinstance(model, Composite)
    assert [(one.name, one.version) for one in model.members] == [("green-a", "1"), ("masks-a", "1")]
    pixels = draw_faces((120, 160), [(20, 20, 60, 60), (100, 40, 30, 30)], [255, 200])
    (faces,) = model.predict([(Photo.of_pixels(pixels), [])])
    assert [(face.box, list(face.heads)) for face in faces] == [((20, 20, 60, 60), ["mask"])], "the chain's threshold"


def test_the_composite_has_the_limits_that_the_detections_had(tracking: str, tmp_path: Path) -> None:
    model, chain = write_model(tmp_path / "model"), write_chain(tmp_path / "chain", "green-l")
    boxes = [(20, 20, 60, 60), (100, 40, 30, 30), (5, 5, 8, 8)]
    photo = Photo.of_pixels(draw_faces((120, 160), boxes))
    for options, count in (({}, 2), ({"min_side": 8.0}, 3), ({"min_share": 0.1, "max_failed": 3}, 1)):
        done = register(model, name="masks-l", detectors=chain, detect_options=options, composite="people-l")
        (faces,) = load_model(f"models:/people-l/{done.composite_version}").predict([(photo, [])])
        assert len(faces) == count
    with pytest.raises(InputError, match="detect_options.*min_sid"):
        register(model, name="masks-l", detectors=chain, detect_options={"min_sid": 8}, composite="people-l")


def test_members_of_a_chain_that_have_no_graph_are_left_out(
    tracking: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = write_model(tmp_path / "model")
    chain = write_chain(tmp_path / "chain", "green-b", "green-b-2", others=(HOG,))
    done = register(model, name="masks-b", detectors=chain, composite="people-b")
    composite = load_model(f"models:/people-b/{done.composite_version}")
    assert isinstance(composite, Composite)
    assert [one.version for one in composite.members] == ["1", "1", done.version]
    assert "detector 'dlib_hog' of the chain has no graph; the composite is without it" in caplog.text
    without = write_chain(tmp_path / "without", others=(HOG,))
    for detectors, name in ((without, "people-b"), (chain, ""), (None, "people-b")):
        assert register(model, name="masks-b", detectors=detectors, composite=name).composite_version == ""
    assert aliases("people-b") == {"candidate": "1"}


def test_what_cannot_be_a_composite_leaves_the_registry_alone(tracking: str, tmp_path: Path) -> None:
    model, chain = write_model(tmp_path / "model"), write_chain(tmp_path / "chain", "green-c")
    for name, composite in (("green-c", "people-c"), ("masks-c", "green-c"), ("masks-c", "masks-c")):
        with pytest.raises(InputError, match="need different names"):
            register(model, name=name, detectors=chain, composite=composite)
    with pytest.raises(InputError, match="'a/b' cannot name a model"):
        register(model, name="masks-c", detectors=chain, composite="a/b")
    written = (chain / "chain.json").read_text()
    classifier = (model / "model.onnx").read_bytes()
    (chain / "1-green-c" / "model.onnx").write_bytes(classifier)
    with pytest.raises(InputError, match=r"1-green-c/model\.onnx: missing, or not the file that adopt_detectors wrote"):
        register(model, name="masks-c", detectors=chain, composite="people-c")
    (member,) = json.loads(written)["members"]
    member["sha256"] = hashlib.sha256(classifier).hexdigest()
    (chain / "chain.json").write_text(json.dumps({"members": [member]}))
    with pytest.raises(InputError, match=r"1-green-c/model\.onnx: a classifier; expected a detector"):
        register(model, name="masks-c", detectors=chain, composite="people-c")
    (tmp_path / "green.onnx").write_bytes(build_detector(side=(320, 320)))
    for file in ("../green.onnx", str(tmp_path / "green.onnx"), "1-green-c/../../green.onnx"):
        member |= {"file": file, "sha256": hashlib.sha256((tmp_path / "green.onnx").read_bytes()).hexdigest()}
        (chain / "chain.json").write_text(json.dumps({"members": [member]}))
        with pytest.raises(InputError, match=r"chain\.json: not a chain of detectors: members\.0\.file: "):
            register(model, name="masks-c", detectors=chain, composite="people-c")
    (chain / "chain.json").write_text("{}")
    for folder, text in ((chain, "not a chain of detectors: members"), (tmp_path, "the folder that adopt_detectors")):
        with pytest.raises(InputError, match=text):
            register(model, name="masks-c", detectors=folder, composite="people-c")
    for name in ("masks-c", "green-c", "people-c"):
        assert not server.mlflow_client().search_model_versions(f"name='{name}'")


def test_a_registration_that_is_killed_is_completed_by_the_next(
    tracking: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = write_model(tmp_path / "model")
    killed, attempts = True, 0
    while killed:
        attempts += 1
        names = {"name": f"masks-k{attempts}", "composite": f"people-k{attempts}"}
        chain = write_chain(tmp_path / str(attempts), f"green-k{attempts}")
        with monkeypatch.context() as patch:
            kill_after(patch, 11 * attempts)
            try:
                register(model, detectors=chain, **names)
                killed = False
            except Killed:
                pass
        done = register(model, detectors=chain, **names)
        assert (done.version, done.composite_version) == ("1", "1")
        for name in (*names.values(), f"green-k{attempts}"):
            assert aliases(name) == {"candidate": "1"}
    assert attempts > 3


def test_a_detector_that_is_registered_already_is_the_member(tracking: str, tmp_path: Path) -> None:
    """The version of this run, not an older one of the same bytes; nothing is registered twice."""
    chain, detector = write_chain(tmp_path / "chain", "green-r"), tmp_path / "detector"
    detector.mkdir()
    (detector / "model.onnx").write_bytes(build_detector(side=(320, 320)))
    client, runs = server.mlflow_client(), []
    for _ in range(2):
        with open_run("detectors") as run:
            runs.append(run.run_id)
    first, second = (register(detector, name="green-r", run_id=run).version for run in runs)
    assert (first, second) == ("1", "2")
    options: dict[str, Any] = {"detectors": chain, "composite": "people-r", "detector": "green-r"}
    done = register(write_model(tmp_path / "model"), name="masks-r", detector_version=second, **options)
    registered = client.get_model_version("people-r", done.composite_version)
    assert registered.tags["detectors"] == "models:/green-r/2"
    assert sorted(str(one.version) for one in client.search_model_versions("name = 'green-r'")) == ["1", "2"]
    with pytest.raises(NotFoundError, match="no version '9' of model 'green-r'"):
        register(tmp_path / "model", name="masks-r", detector_version="9", **options)
    (detector / "model.onnx").write_bytes(build_detector(points=False))
    other = register(detector, name="green-r").version
    with pytest.raises(InputError, match="'green-r' version 3 has sha256 .*, the detector of the chain has"):
        register(tmp_path / "model", name="masks-r", detector_version=other, **options)


def test_the_component_registers_a_composite(tracking: str, tmp_path: Path) -> None:
    model = dsl.Model(uri=str(write_model(tmp_path / "model")))
    chain = dsl.Model(uri=str(write_chain(tmp_path / "chain", "green-d")))
    version, composite = register_door.python_func(
        model=model, name="masks-d", metrics_json="{}", detectors=chain, composite="people-d"
    )
    assert (version, composite) == ("1", "1")
    served = load_model("models:/people-d@candidate")
    assert (served.name, served.version) == ("people-d", "1")
    assert np.size(served.predict([(Photo.of_pixels(draw_faces((90, 90), [(9, 9, 40, 40)])), [])])) == 1


def test_the_command_that_registers_later_has_detectors_and_composite(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FACET_PATIENCE_SECONDS", "0.2")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    model, chain = write_model(tmp_path / "model"), write_chain(tmp_path / "a chain", "green-e")
    with pytest.raises(StorageError) as caught:
        register(model, name="masks-e", detectors=chain, composite="people-e")
    command = shlex.split(str(caught.value).splitlines()[-1])
    assert command[-6:] == ["--detectors", str(chain), "--detect-options", "{}", "--composite", "people-e"]
