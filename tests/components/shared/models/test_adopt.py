"""Adopting detectors: small graphs with the outputs of known ones become Facet detectors with the same numbers."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import onnx
import pytest
from foreign_detectors import ultraface, yunet
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import helper, numpy_helper, parser
from tiny_detector import build_detector
from tiny_model import build_model

from components.shared.models.adopt import TOLERANCE, adopt
from components.shared.models.detector_graphs import ADAPTERS
from serving.runtime.card import DetectionCard
from serving.runtime.errors import InputError
from serving.runtime.image.photo import Photo
from serving.runtime.load import open_model

GRAPHS = {"yunet": yunet, "yunet of one size": partial(yunet, size=(64, 96)), "ultraface": ultraface}


@pytest.mark.parametrize("kind", GRAPHS)
def test_an_adopted_graph_describes_itself_and_gives_what_the_original_gave(
    kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    adopted = adopt(GRAPHS[kind](), "weights.onnx", name="faces")
    assert (adopted.kind, adopted.max_difference <= TOLERANCE) == (kind.split()[0], True)
    assert adopt(GRAPHS[kind](), "elsewhere.onnx", name="faces").content == adopted.content, "same bytes"
    model = open_model(adopted.content)
    assert isinstance(model.card, DetectionCard)
    assert (model.card.name, model.card.labels, model.card.points) == (
        "faces",
        ("face",),
        ADAPTERS[adopted.kind].points,
    )
    model.predict([(Photo.of_pixels(np.zeros((50, 70, 3), np.uint8)), ())])
    assert capfd.readouterr() == ("", ""), "onnxruntime warns of nothing"
    inputs = onnx.load_from_string(adopted.content).graph.input
    assert [value.name for value in inputs] == ["images"], "no weights among the inputs"


def test_a_cell_of_yunet_becomes_pixels_by_the_published_formula() -> None:
    model = open_model(adopt(yunet(), "weights.onnx", name="faces").content)
    rgb = np.array([200, 90, 30], np.uint8)
    outputs = model.infer(np.broadcast_to(rgb, (1, 64, 96, 3)).copy())
    weights = {one.name: numpy_helper.to_array(one) for one in onnx.load_from_string(yunet()).graph.initializer}
    bgr = rgb[::-1] * np.float32(0.004)
    cls, obj, bbox, kps = (weights[f"weight_{name}_16"][:, :, 0, 0] @ bgr for name in ("cls", "obj", "bbox", "kps"))
    # The cell of stride 16 in row 2, column 5 comes after 8 x 12 cells of stride 8 and two rows of 6.
    index = 8 * 12 + 2 * 6 + 5
    center, size = 16 * (np.array([5, 2]) + bbox[:2]), 16 * np.exp(bbox[2:])
    np.testing.assert_allclose(outputs["boxes"][0, index], [*(center - size / 2), *(center + size / 2)], atol=1e-3)
    np.testing.assert_allclose(
        outputs["scores"][0, index, 0], np.sqrt(np.clip(cls, 0, 1) * np.clip(obj, 0, 1))[0], atol=1e-5
    )
    np.testing.assert_allclose(outputs["points"][0, index], 16 * (kps.reshape(5, 2) + np.array([5, 2])), atol=1e-3)


@pytest.mark.parametrize("kind", GRAPHS)
def test_several_images_at_once_give_what_each_gives_alone(kind: str) -> None:
    model = open_model(adopt(GRAPHS[kind](), "weights.onnx", name="faces").content)
    size = (240, 320) if kind == "ultraface" else (64, 96)
    images = np.random.default_rng(0).integers(0, 256, (3, *size, 3), dtype=np.uint8)
    together = model.infer(images)
    for row in range(3):
        for name, values in model.infer(images[row : row + 1]).items():
            np.testing.assert_allclose(together[name][row], values[0], atol=1e-3)


def test_options_replace_what_was_published() -> None:
    options = {"score": 0.9, "nms_iou": 0.4, "max_detections": 7, "height": 320, "width": 1024}
    card = open_model(adopt(yunet(), "weights.onnx", name="faces", options=options).content).card
    assert isinstance(card, DetectionCard)
    assert card.thresholds.model_dump() == {"score": 0.9, "nms_iou": 0.4, "max_detections": 7}
    assert (card.input.height, card.input.width) == (320, 1024)


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ("yunet", {"height": 300}, "height = 300: must be a multiple of 32"),
        ("ultraface", {"height": 320}, "height: the input of this graph is always 240 x 320 pixels"),
        ("yunet", {"treshold": 1}, "treshold = 1: unknown key"),
        ("yunet", {"score": 2}, "score = 2"),
    ],
)
def test_an_option_that_cannot_be_used_is_named(kind: str, options: dict, message: str) -> None:
    with pytest.raises(InputError, match=f"options of adopt_detector: .*{message}"):
        adopt(GRAPHS[kind](), "weights.onnx", name="faces", options=options)


def test_a_facet_detector_stays_as_it_is() -> None:
    content = build_detector()
    assert adopt(content, "green.onnx", name="other").content == content
    with pytest.raises(InputError, match="score cannot be changed in a Facet detector"):
        adopt(content, "green.onnx", name="other", options={"score": 0.3})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not an ONNX model, or cut short.*expected one of: YuNet .*UltraFace .*a Facet detector"),
        (b"<html>404</html>", "not an ONNX model, or cut short"),
        (yunet()[:-200], "not an ONNX model, or cut short"),
        (
            yunet(heads=3),
            r"not a detector that is known: it takes input \['N', 3, 'height', 'width'\] and gives .*bbox_32",
        ),
        (build_model(), "a model of task 'classification', not a detector"),
    ],
)
def test_what_is_no_known_detector_is_one_error_that_says_what_is(content: bytes, message: str) -> None:
    with pytest.raises(InputError, match=f"weights.onnx: {message}"):
        adopt(content, "weights.onnx", name="faces")
    with pytest.raises(InputError, match="name: must not be empty"):
        adopt(content, "weights.onnx", name=" ")


FREE = ("N", 3, "height", "width")
KNOWN = r"known are: YuNet .* takes input \[N, 3, height, width\] and gives cls_8 \[N, A, 1\], .*UltraFace"


def _odd(
    nodes: str,
    shape: tuple[int | str | None, ...],
    weights: Mapping[str, NDArray[Any]],
    outputs: tuple[tuple[int | str | None, ...], tuple[int | str | None, ...]] = (("N", "A", 2), ("N", "A", 4)),
    kind: int = onnx.TensorProto.FLOAT,
) -> bytes:
    """A graph whose names are those of UltraFace."""
    given = [helper.make_tensor_value_info("input", kind, shape)]
    gives = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, axes)
        for name, axes in zip(("scores", "boxes"), outputs, strict=True)
    ]
    tensors = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(parser.parse_graph(f"odd () => () {{{nodes}}}").node, "odd", given, gives, tensors)
    return bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=6).SerializeToString()
    )


CONSTANT = {"s": np.full((1, 3, 2), 0.5, np.float32), "b": np.full((1, 3, 4), 0.5, np.float32)}
MEAN = "mean = GlobalAveragePool(input) value = ReduceMean<keepdims=0>(mean)"
FOLLOWS = f"{MEAN} scores = Add(s, value) boxes = Add(b, value)"


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ((1, 3, 4, 4), "height: Input should be greater than or equal to 8"),
        ((1, 3, 9000, 9000), "height: Input should be less than or equal to 4096"),
        ((1, 1, 240, 320), r"its input input is \[1, 1, 240, 320\], expected \[N, 3, height, width\]"),
        ((4, 3, 240, 320), "where N is free or 1"),
        ((1, 3), r"is \[1, 3\], expected"),
        ((), r"is \[\], expected"),
        ((1, 3, 1, 240, 320), "expected"),
        ((1, 3, "height", 320), "both free or both fixed"),
        ((1, 3, -1, 320), "height: Input should be greater"),
    ],
)
def test_an_input_that_is_not_of_photos_is_named(shape: tuple[int | str, ...], reason: str) -> None:
    content = _odd("scores = Identity(s) boxes = Identity(b)", shape, CONSTANT)
    with pytest.raises(InputError, match=f"odd.onnx: looks like ultraface, but cannot be adopted: .*{reason}.*{KNOWN}"):
        adopt(content, "odd.onnx", name="faces")


def test_a_graph_may_reshape_to_a_scalar() -> None:
    model = onnx.load_from_string(ultraface())
    tensors: dict[str, NDArray[Any]] = {"one": np.ones(1, np.float32), "none": np.zeros(0, np.int64)}
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in tensors.items())
    model.graph.node[0].input[0] = "scaled"
    for node in reversed(
        parser.parse_graph("a () => () {scalar = Reshape(one, none) scaled = Mul(input, scalar)}").node
    ):
        model.graph.node.insert(0, node)
    assert adopt(model.SerializeToString(), "weights.onnx", name="faces").kind == "ultraface"


AXES = st.sampled_from([1, 2, 3, 4, 8, 240, 320, 5000, -1, "N", "A", None])
NODES = [
    "scores = Identity(s) boxes = Identity(b)",
    FOLLOWS,
    "scores = Cast<to=1>(s) boxes = Log(minus)",
    f"{MEAN} scores = Mul(s, value) boxes = Reshape(b, flat)",
    f"{MEAN} scores = Reshape(s, scalar) boxes = Add(b, value)",
    "scores = RandomNormal<shape=[1, 3, 2]>() boxes = Identity(b)",
    "scores = MatMul(input, s) boxes = MatMul(input, b)",
    "scores = Gather(s, missing) boxes = Identity(b)",
    "scores = Nonsense(s) boxes = Identity(b)",
]


@settings(max_examples=60, deadline=None)
@given(
    nodes=st.sampled_from(NODES),
    shape=st.one_of(st.just((1, 3, 240, 320)), st.just(FREE), st.lists(AXES, max_size=5).map(tuple)),
    outputs=st.tuples(st.lists(AXES, max_size=3), st.lists(AXES, max_size=3)),
    rows=st.integers(0, 3),
    kind=st.sampled_from([onnx.TensorProto.FLOAT, onnx.TensorProto.UINT8, onnx.TensorProto.FLOAT16]),
)
def test_any_graph_with_the_names_of_a_detector_is_adopted_or_is_one_error(
    nodes: str, shape: Any, outputs: tuple[list[Any], list[Any]], rows: int, kind: int
) -> None:
    weights: dict[str, NDArray[Any]] = {
        "s": np.full((rows, 3, 2), 0.5, np.float32),
        "b": np.full((rows, 3, 4), 0.5, np.float32),
        "minus": np.full((rows, 3, 4), -1, np.float32),
        "scalar": np.zeros(0, np.int64),
        "flat": np.array([1, -1], np.int64),
    }
    try:
        content = _odd(nodes, shape, weights, ((*outputs[0], 2), (*outputs[1], 4)), kind)
        assert adopt(content, "odd.onnx", name="faces").kind == "ultraface"
    except InputError as error:
        assert str(error).startswith("odd.onnx: ") and "UltraFace" in str(error)
