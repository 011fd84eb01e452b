import json
from pathlib import Path

import cv2
import pytest
import torch
from foreign_detectors import yunet
from PIL import Image

from benchmarks import augmentation_presets, detect_peer, input_pipeline, predict_loop
from benchmarks.__main__ import BENCHMARKS, main
from benchmarks.benchmark import Benchmark
from benchmarks.photos import write_photos


def test_an_unknown_benchmark_lists_the_known_ones(capsys) -> None:
    assert main(["archive"]) == 2
    said = capsys.readouterr().err
    assert all(name in said for name in BENCHMARKS)


def test_a_bar_on_one_figure_alone_is_compared_with_nothing(capsys, monkeypatch, tmp_path) -> None:
    rows = [
        Benchmark.compared("pair", 2.0, 8.0, "s", 3),
        Benchmark.absolute("alone", 0.5, "s", "< 2 s", True),
    ]
    monkeypatch.setitem(BENCHMARKS, "two", lambda: rows)
    monkeypatch.setenv("FACET_HOME", str(tmp_path))
    assert main(["two"]) == 0
    pair, alone = (line.split() for line in capsys.readouterr().out.splitlines()[-2:])
    assert pair == ["pair", "2", "8", "4", "s", "ratio", ">=", "3", "yes"]
    assert alone == ["alone", "0.5", "-", "-", "s", "<", "2", "s", "yes"]
    written = json.loads((tmp_path / "bench.json").read_text())
    assert written[0]["ratio"] == 4.0
    assert written[1] == {"name": "alone", "ours": 0.5, "unit": "s", "bar": "< 2 s", "holds": True}


def test_both_sides_of_the_input_pipeline_read_the_same_photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(input_pipeline, "PHOTOS", 6)
    faces = write_photos(tmp_path, 6)
    files = sorted(tmp_path.glob("classes/*/*.jpg"))
    assert len(faces) == len(files) == 6
    for file in files:
        with Image.open(file) as photo:
            assert photo.size == (384, 512)
        assert 1.4 < 8 * file.stat().st_size / (384 * 512) < 2.6, "bits a pixel of photos from phones"
    threads = torch.get_num_threads()
    batches: list[torch.Tensor] = []
    monkeypatch.setattr(input_pipeline, "_exhaust", lambda loader: batches.extend(batch[0] for batch in loader))
    for side in input_pipeline.SIDES.values():
        for kind in ("face", "whole"):
            batches.clear()
            side(tmp_path, kind)()
            assert sum(map(len, batches)) == 6
            assert batches[0].shape[1:] in ((224, 224, 3), (3, 224, 224))
    torch.set_num_threads(threads)


def test_the_step_predict_and_the_loop_say_the_same_of_the_same_photos(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predict_loop, "PHOTOS", 6)
    faces = write_photos(tmp_path, 6)
    files = sorted(tmp_path.glob("classes/*/*.jpg"), key=lambda file: int(file.stem))
    size = predict_loop.NETWORKS["mobilenet_v3_small"]
    model = predict_loop.write_model(tmp_path / "network", "mobilenet_v3_small", size)
    answers = predict_loop.ours(tmp_path, model)()
    assert len(answers) == 6
    assert answers == predict_loop.peer(files, faces, model / "model.onnx", size)()


def test_every_preset_is_measured_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augmentation_presets, "PICTURES", 2)
    monkeypatch.setattr(augmentation_presets, "REPEATS", 1)
    threads = torch.get_num_threads(), cv2.getNumThreads()
    rows = augmentation_presets.measure()
    torch.set_num_threads(threads[0])
    cv2.setNumThreads(threads[1])
    names = [row.name.removeprefix("preset ") for row in rows]
    assert names[0] == "face" and {"Augmentation_384", "BestAugForAlbum", "poster_v2_affectnet_7"} <= set(names)
    assert not {"MyAugmentationCenter", "Augmentation_384_384", "poster_v2_kfe_db"} & set(names)
    assert {row.name for row in rows if row.baseline} == {f"preset {name}" for name in augmentation_presets.TORCHVISION}


def test_both_detectors_search_the_same_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.delenv("FACET_PHOTOS", raising=False)
    assert detect_peer.detect_peer() == [] and "FACET_PHOTOS is not set" in capsys.readouterr().err
    weights = tmp_path / detect_peer.WEIGHTS
    weights.parent.mkdir(parents=True)
    weights.write_bytes(yunet())
    images = tmp_path / "faces_det" / "images"
    images.mkdir(parents=True)
    for number in range(3):
        Image.new("RGB", (96, 64), (200, 90, 30 * number)).save(images / f"{number}.jpg")
    files = sorted(images.iterdir())
    assert detect_peer.ours(files, weights, tmp_path / "work")() == detect_peer.peer(files, weights)()
    monkeypatch.setenv("FACET_PHOTOS", str(tmp_path))
    monkeypatch.setattr(detect_peer, "REPEATS", 1)
    assert [row.name for row in detect_peer.detect_peer()] == ["detect_peer", "detect_peer: processor time"]
