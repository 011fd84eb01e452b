import hashlib
import io
import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto
from PIL import Image

from serving.runtime.card import METADATA_KEY
from serving.runtime.errors import ImageError, InputError, StorageError
from serving.runtime.image.photo import Photo
from serving.runtime.image.preprocess import decode_crop_resize
from serving.runtime.load import load_model, open_model
from serving.runtime.predictor import Classifier, FaceResult, Predictor
from serving.runtime.session import Session
from serving.runtime.storage import make_bucket, upload


def picture(seed: int, height: int = 90, width: int = 120) -> bytes:
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(coarse).resize((width, height)).save(buffer, "JPEG")
    return buffer.getvalue()


def values(face: FaceResult, name: str) -> list[float]:
    return list(face.heads[name].values())


@pytest.fixture(scope="module")
def predictor(model_file: Path) -> Predictor:
    return open_model(model_file.read_bytes(), threads=1)


def test_name_version_and_digest(predictor: Predictor, model_file: Path) -> None:
    sha256 = hashlib.sha256(model_file.read_bytes()).hexdigest()
    assert (predictor.name, predictor.version) == ("tiny", sha256[:12])
    assert predictor.sha256 == Session(model_file.read_bytes()).sha256 == sha256
    named = open_model(model_file.read_bytes(), name="mine", version="3")
    assert (named.name, named.version, named.sha256) == ("mine", "3", sha256)


def test_the_arithmetic(predictor: Predictor) -> None:
    """The answer is softmax(linear(pool(relu(conv((x / 255 - mean) / std))))), computed here in float64."""
    pixels = np.random.default_rng(0).integers(0, 256, (3, 40, 32, 3), dtype=np.uint8)
    random = np.random.default_rng(7)
    filters = random.normal(0, 0.5, (6, 3, 5, 5)).astype(np.float32)
    x = (pixels / 255 - [0.5, 0.4, 0.3]) / [0.2, 0.25, 0.3]
    windows = np.lib.stride_tricks.sliding_window_view(x, (5, 5), axis=(1, 2))[:, ::3, ::3]
    features = np.maximum(np.einsum("nyxcij,fcij->nyxf", windows, filters), 0).mean(axis=(1, 2))
    answer = predictor.infer(pixels)
    assert list(answer) == ["mask", "gender"]
    for name, labels in (("mask", 3), ("gender", 2)):
        logits = features @ random.normal(0, 1, (6, labels)).astype(np.float32)
        expected = np.exp(logits - logits.max(axis=1, keepdims=True))
        expected /= expected.sum(axis=1, keepdims=True)
        assert answer[name].dtype == np.float32 and answer[name].shape == (3, labels)
        np.testing.assert_allclose(answer[name], expected, atol=1e-5)


def test_a_face_does_not_depend_on_its_batch(predictor: Predictor) -> None:
    images = [(picture(seed, 60 + seed, 80), [(10.0, 12.5, 40.0, 30.0)] if seed % 2 else []) for seed in range(64)]
    together = predictor.predict([(Photo(data), boxes) for data, boxes in images])
    assert np.ptp([values(face, "mask") for (face,) in together], axis=0).max() > 0.05, "the pictures must differ"
    for image, (face,) in zip(images, together, strict=True):
        ((alone,),) = predictor.predict([(Photo(image[0]), image[1])])
        for name in ("mask", "gender"):
            np.testing.assert_allclose(values(alone, name), values(face, name), atol=1e-6)


def test_predict_is_preprocess_and_infer(predictor: Predictor) -> None:
    data, boxes = picture(1), [(20.0, 20.0, 50.0, 40.0), (0.0, 0.0, 30.0, 30.0)]
    pixels = np.stack([decode_crop_resize(data, box, predictor.card) for box in boxes])
    (none,), faces, (whole,) = predictor.predict([(Photo(data), []), (Photo(data), boxes), (Photo(picture(2)), [])])
    assert [(face.box, face.crop, face.score) for face in faces] == [(box, "box", None) for box in boxes]
    assert (none.box, none.crop) == (whole.box, whole.crop) == (None, "whole image")
    for name, expected in predictor.infer(pixels).items():
        np.testing.assert_allclose([values(face, name) for face in faces], expected, atol=1e-6)
    for name, expected in predictor.infer([data, picture(2)]).items():
        np.testing.assert_allclose([values(none, name), values(whole, name)], expected, atol=1e-6)


def test_files_give_the_outputs_and_the_faces_of_one_run(predictor: Predictor) -> None:
    assert isinstance(predictor, Classifier)
    files = [picture(number) for number in range(11)]
    outputs, faces = predictor.infer_files(files)
    for name, expected in predictor.infer(files).items():
        np.testing.assert_array_equal(outputs[name], expected)
        assert [values(face, name) for face in faces] == expected.tolist()
    assert [[face] for face in faces] == predictor.predict([(Photo(data), []) for data in files])
    assert predictor.infer_files([])[1] == []


def test_many_images_are_run_in_parts(predictor: Predictor) -> None:
    pixels = np.random.default_rng(3).integers(0, 256, (131, 40, 32, 3), dtype=np.uint8)
    answer = predictor.infer(pixels)
    for start in (0, 63, 64, 65, 127, 128, 130):
        alone = predictor.infer(pixels[start : start + 1])
        for name, values in answer.items():
            assert len(values) == 131
            np.testing.assert_allclose(values[start : start + 1], alone[name], atol=1e-6)


def test_no_faces(predictor: Predictor) -> None:
    assert predictor.predict([]) == []
    assert {name: array.shape for name, array in predictor.infer([]).items()} == {"mask": (0, 3), "gender": (0, 2)}


def test_threads_may_share_it(predictor: Predictor) -> None:
    files = [picture(seed) for seed in range(12)]
    expected = [predictor.infer([data])["mask"] for data in files]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda data: predictor.infer([data])["mask"], files * 5))
    for number, answer in enumerate(answers):
        np.testing.assert_allclose(answer, expected[number % 12], atol=1e-6)


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((1, 40, 32, 3), np.float32),
        np.zeros((40, 32, 3), np.uint8),
        np.zeros((1, 32, 40, 3), np.uint8),
        np.zeros((1, 3, 40, 32), np.uint8),
    ],
)
def test_pixels_that_do_not_fit(predictor: Predictor, pixels: Any) -> None:
    with pytest.raises(InputError, match=r"\(n, 40, 32, 3\)"):
        predictor.infer(pixels)


def test_images_that_do_not_fit(predictor: Predictor) -> None:
    with pytest.raises(ImageError):
        predictor.infer([b"no image"])
    with pytest.raises(InputError, match="outside"):
        predictor.predict([(Photo(picture(1)), [(500.0, 0.0, 9.0, 9.0)])])


# --- files that are not what they say ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"metadata": {}},
            "no 'facet_card' metadata.* for a detector, `facet step adopt-detector`",
        ),
        ({"metadata": {METADATA_KEY: "{}"}}, "card is not valid"),
        ({"metadata": {METADATA_KEY: "not json"}}, "card is not valid"),
        ({"metadata": {METADATA_KEY: json.dumps({"card_version": 2})}}, "card is not valid"),
        ({"kind": TensorProto.INT8}, r"takes images tensor\(int8\)"),
        ({"shape": (1, 40, 32, 3)}, "with a free N"),
        ({"shape": ("N", 32, 40, 3)}, r"\[N, 40, 32, 3\]"),
        ({"shape": ("N", "H", "W", 3)}, r"\[N, 40, 32, 3\]"),
        ({"heads": {"mask": 3}}, r"gives \['mask'\], but the card names"),
        ({"heads": {"mask": 3, "gender": 2, "age": 3}}, "but the card names"),
        (
            {"heads": {"mask": 3, "gender": 4}},
            r"'gender' is float32 \(2, 4\), but the card requires float32 \(2, 2\)",
        ),
        ({"probabilities": False}, "does not give probabilities"),
        ({"total": 1.01}, "does not give probabilities"),
        ({"total": 0.99}, "does not give probabilities"),
    ],
)
def test_graph_and_card_must_agree(
    make_model: Callable[..., bytes], tmp_path: Path, changes: dict[str, Any], expected: str
) -> None:
    file = tmp_path / "broken.onnx"
    file.write_bytes(make_model(**changes))
    with pytest.raises(InputError, match=expected) as caught:
        load_model(str(file))
    assert "broken.onnx" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"junk", b"\x08\x07"])
def test_not_onnx(content: bytes, tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"model\.onnx: not an ONNX model"):
        load_model(str(file))


def test_half_a_model(make_model: Callable[..., bytes], tmp_path: Path) -> None:
    content = make_model()
    for keep in (0.1, 0.5, 0.9, 0.99):
        with pytest.raises(InputError):
            open_model(content[: int(len(content) * keep)])


# --- load_model ----------------------------------------------------------------------------------------------------


def test_load_from_the_disk(model_file: Path, tmp_path: Path) -> None:
    other = tmp_path / "one"
    other.mkdir()
    (other / "detector.onnx").write_bytes(model_file.read_bytes())
    (other / "notes.txt").write_text("x")
    for uri in (str(model_file), str(model_file.parent), f"file://{model_file}", str(other)):
        model = load_model(uri)
        assert (model.name, model.version) == ("tiny", model.sha256[:12])
    assert load_model(str(model_file), name="mine").name == "mine"
    (other / "second.onnx").write_bytes(b"")
    with pytest.raises(StorageError, match=r"detector\.onnx, second\.onnx"):
        load_model(str(other))
    (other / "model.onnx").write_bytes(model_file.read_bytes())
    assert load_model(str(other)).name == "tiny"


def test_load_from_s3(s3: Any, model_file: Path) -> None:
    make_bucket("served")
    upload(model_file, "s3://served/run/model/model.onnx")
    for uri in ("s3://served/run/model", "s3://served/run/model/", "s3://served/run/model/model.onnx"):
        assert load_model(uri).sha256 == hashlib.sha256(model_file.read_bytes()).hexdigest()
    with pytest.raises(StorageError, match=r"served/run: expected model\.onnx"):
        load_model("s3://served/run")


@pytest.mark.parametrize("uri", ["", "gs://x/y", "models:/", "models:/a/b/c", "models:/a/1@b"])
def test_an_invalid_model_uri(uri: str) -> None:
    with pytest.raises(InputError, match="expected"):
        load_model(uri)


def test_missing_locations(tmp_path: Path) -> None:
    for place in (tmp_path / "missing", tmp_path / "missing.onnx"):
        with pytest.raises(StorageError, match="missing"):
            load_model(str(place))
    with pytest.raises(StorageError, match="found nothing"):
        load_model(str(tmp_path))


def test_a_local_model_needs_no_heavy_library(model_file: Path) -> None:
    script = (
        "import sys\nfrom serving.runtime.load import load_model\n"
        f"m = load_model({str(model_file)!r})\nm.infer(__import__('numpy').zeros((1, 40, 32, 3), 'uint8'))\n"
        "heavy = 'torch kfp mlflow cv2 pandas sklearn scipy onnx boto3 botocore s3transfer requests'.split()\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
