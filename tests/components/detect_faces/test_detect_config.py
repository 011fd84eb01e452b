"""The chain and the options as a user writes them."""

import pytest

from components.detect_faces.config import DlibCnn, DlibHog, Onnx, OwnBoxes, Table, parse_chain
from serving.runtime.errors import InputError


@pytest.mark.parametrize(
    ("written", "kind", "options"),
    [
        ({"onnx": "a.onnx"}, "onnx", Onnx(model="a.onnx")),
        ({"onnx": {"model": "a.onnx", "score": 0.3, "tile": 640.0}}, "onnx", Onnx(model="a.onnx", score=0.3, tile=640)),
        ("dlib_hog", "dlib_hog", DlibHog()),
        ({"dlib_hog": None}, "dlib_hog", DlibHog()),
        ({"dlib_hog": {"upsample": 2.0, "threshold": -0.5}}, "dlib_hog", DlibHog(upsample=2, threshold=-0.5)),
        ({"dlib_cnn": "s3://weights/mmod.dat"}, "dlib_cnn", DlibCnn(weights="s3://weights/mmod.dat")),
        ({"table": "boxes.csv"}, "table", Table(path="boxes.csv")),
        ({"dlib_hog": {"upsample": 4, "max_side": 512}}, "dlib_hog", DlibHog(upsample=4, max_side=512)),
        ("annotations", "annotations", OwnBoxes()),
    ],
)
def test_a_member_is_a_name_its_address_or_its_options(written: object, kind: str, options: object) -> None:
    assert parse_chain([written]) == [(kind, options)]


@pytest.mark.parametrize(
    ("chain", "message"),
    [
        ([], "at least one detector"),
        ("dlib_hog", "expected a list"),
        ([{"dlib_hg": {}}], "detector 1 of the chain: 'dlib_hg' is unknown, did you mean 'dlib_hog'"),
        (["dlib_hog", {"onnx": {}}], r"detector 2 of the chain \(onnx\): model: is missing"),
        ([{"onnx": {"model": "a", "scor": 1}}], "unknown key, did you mean 'score'"),
        ([{"dlib_hog": {"upsample": 9}}], "upsample = 9"),
        ([{"dlib_hog": {"upsample": 3}}], "max_side 2048 doubled 3 times .upsample. is 16,384 pixels; at most 8,192"),
        ([{"dlib_cnn": {"weights": "a", "upsample": 4, "max_side": 4096}}], "65,536 pixels.*max_side up to 512"),
        ([{"onnx": {"model": "a", "tile": 16}}], "tile = 16"),
        ([{"onnx": "a", "dlib_hog": {}}], "expected one name with its options"),
        ([3], "expected one name"),
        (["annotations", "dlib_hog", "annotations"], "'annotations' occurs twice"),
    ],
)
def test_a_wrong_chain_is_one_message_that_names_the_member(chain: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_chain(chain)  # type: ignore[arg-type]
