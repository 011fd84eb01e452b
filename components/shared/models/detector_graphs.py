"""Foreign detector graphs that are known: what they take and give, and the nodes that make them Facet detectors.

An adapter puts nodes before a graph, from uint8 RGB images to what it takes, and after it, from what it gives to
`boxes`, `scores` and `points` in pixels. The same decoding in numpy is what the adopted graph is compared with.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from serving.runtime.card import DetectionThresholds, InputSize, Letterbox

Arrays = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Adapter:
    """How the graphs of one detector become Facet detectors.

    Attributes:
        title: the detector, and where its weights come from, for people.
        source: the input of the graph.
        outputs: the outputs of the graph, each with the length of its last axis.
        before: nodes from `images`, uint8 (N, H, W, 3) RGB, to `source`, in ONNX's text form.
        after: nodes from `outputs` and `images` to `boxes`, `scores` and `points`, likewise.
        prepare: what `before` does, in numpy.
        decode: what `after` does, in numpy: from outputs, height and width of the input.
        input: the card's, the largest of a graph of free size; replaced by the size of a graph that has one.
        resize: the card's.
        thresholds: the card's.
        points: the card's.
    """

    title: str
    source: str
    outputs: Mapping[str, int]
    before: str
    after: str
    prepare: Callable[[NDArray[np.uint8]], NDArray[np.float32]]
    decode: Callable[[Arrays, int, int], Arrays]
    input: InputSize
    resize: Letterbox
    thresholds: DetectionThresholds
    points: tuple[str, ...] = field(default=())


_YUNET_STRIDES = (8, 16, 32)

_YUNET_LEVEL = """
  stride_@ = Constant<value_int=@>()
  rows_@ = Div(height, stride_@)
  columns_@ = Div(width, stride_@)
  count_@ = Mul(rows_@, columns_@)
  cells_@ = Range(zero, count_@, one)
  row_@ = Div(cells_@, columns_@)
  column_@ = Mod(cells_@, columns_@)
  column_of_@ = Unsqueeze(column_@, last)
  row_of_@ = Unsqueeze(row_@, last)
  cell_@ = Concat<axis=1>(column_of_@, row_of_@)
  prior_@ = Cast<to=1>(cell_@)
  pixels_@ = Constant<value_float=@.0>()
  shift_@, log_size_@ = Split<axis=-1, num_outputs=2>(bbox_@)
  center_@ = Add(shift_@, prior_@)
  size_@ = Exp(log_size_@)
  half_size_@ = Mul(size_@, half)
  start_@ = Sub(center_@, half_size_@)
  end_@ = Add(center_@, half_size_@)
  corners_@ = Concat<axis=-1>(start_@, end_@)
  boxes_@ = Mul(corners_@, pixels_@)
  pairs_@ = Reshape(kps_@, pair_shape)
  prior_of_point_@ = Unsqueeze(prior_@, middle)
  placed_@ = Add(pairs_@, prior_of_point_@)
  points_@ = Mul(placed_@, pixels_@)
  class_@ = Clip(cls_@, lowest, highest)
  object_@ = Clip(obj_@, lowest, highest)
  product_@ = Mul(class_@, object_@)
  scores_@ = Sqrt(product_@)
"""

_YUNET_AFTER = "\n".join(
    [
        """
  shape = Shape(images)
  axis_1 = Constant<value_int=1>()
  axis_2 = Constant<value_int=2>()
  height = Gather(shape, axis_1)
  width = Gather(shape, axis_2)
  zero = Constant<value_int=0>()
  one = Constant<value_int=1>()
  last = Constant<value_ints=[1]>()
  middle = Constant<value_ints=[1]>()
  half = Constant<value_float=0.5>()
  lowest = Constant<value_float=0.0>()
  highest = Constant<value_float=1.0>()
  pair_shape = Constant<value_ints=[0, 0, 5, 2]>()
""",
        *(_YUNET_LEVEL.replace("@", str(stride)) for stride in _YUNET_STRIDES),
        *(f"  {name} = Concat<axis=1>({name}_8, {name}_16, {name}_32)" for name in ("boxes", "scores", "points")),
    ]
)


def _prepare_yunet(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    return images[..., ::-1].transpose(0, 3, 1, 2).astype(np.float32)


def _decode_yunet(outputs: Arrays, height: int, width: int) -> Arrays:
    """Decode as OpenCV's `FaceDetectorYN` does (modules/objdetect/src/face_detect.cpp)."""
    levels: dict[str, list[NDArray[np.float32]]] = {"boxes": [], "scores": [], "points": []}
    for stride in _YUNET_STRIDES:
        rows, columns = np.mgrid[: height // stride, : width // stride]
        prior = np.stack([columns.ravel(), rows.ravel()], axis=-1).astype(np.float32)
        box, keypoints = outputs[f"bbox_{stride}"], outputs[f"kps_{stride}"]
        center, size = (box[..., :2] + prior) * stride, np.exp(box[..., 2:]) * stride
        levels["boxes"].append(np.concatenate([center - size / 2, center + size / 2], axis=-1))
        levels["points"].append((keypoints.reshape(*keypoints.shape[:2], 5, 2) + prior[:, None]) * stride)
        levels["scores"].append(np.sqrt(outputs[f"cls_{stride}"].clip(0, 1) * outputs[f"obj_{stride}"].clip(0, 1)))
    return {name: np.concatenate(parts, axis=1) for name, parts in levels.items()}


def _prepare_ultraface(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    pixels = images.astype(np.float32)
    return ((pixels - np.float32(127)) / np.float32(128)).transpose(0, 3, 1, 2)


def _decode_ultraface(outputs: Arrays, height: int, width: int) -> Arrays:
    scale = np.array([width, height, width, height], np.float32)
    return {"boxes": outputs["boxes"] * scale, "scores": outputs["scores"][..., 1:]}


ADAPTERS: Mapping[str, Adapter] = {
    "yunet": Adapter(
        title="YuNet (yunet_n_dynamic.onnx of github.com/ShiqiYu/libfacedetection.train)",
        source="input",
        outputs={
            f"{name}_{stride}": length
            for name, length in (("cls", 1), ("obj", 1), ("bbox", 4), ("kps", 10))
            for stride in _YUNET_STRIDES
        },
        # It takes BGR, 0..255.
        before="""
  planes = Transpose<perm=[0, 3, 1, 2]>(images)
  order = Constant<value_ints=[2, 1, 0]>()
  bgr = Gather<axis=1>(planes, order)
  input = Cast<to=1>(bgr)
""",
        after=_YUNET_AFTER,
        prepare=_prepare_yunet,
        decode=_decode_yunet,
        input=InputSize(height=640, width=640),
        resize=Letterbox(background=0, position="top_left", stride=32),
        thresholds=DetectionThresholds(score=0.7, nms_iou=0.3),
        # From the viewer's left to right; the subject's right eye comes first.
        points=("left_eye", "right_eye", "nose", "left_mouth", "right_mouth"),
    ),
    "ultraface": Adapter(
        title="UltraFace (version-RFB-320.onnx of github.com/Linzaer/Ultra-Light-Fast-Generic-Face-Detector-1MB)",
        source="input",
        outputs={"scores": 2, "boxes": 4},
        before="""
  pixels = Cast<to=1>(images)
  mean = Constant<value_float=127.0>()
  spread = Constant<value_float=128.0>()
  centered = Sub(pixels, mean)
  normal = Div(centered, spread)
  input = Transpose<perm=[0, 3, 1, 2]>(normal)
""",
        # Its boxes are shares of the input; of its two scores the second is that of a face.
        after="""
  shape = Shape(images)
  axes = Constant<value_ints=[2, 1, 2, 1]>()
  sides = Gather(shape, axes)
  scale = Cast<to=1>(sides)
  boxes = Mul(foreign_boxes, scale)
  face = Constant<value_ints=[1]>()
  scores = Gather<axis=2>(foreign_scores, face)
""",
        prepare=_prepare_ultraface,
        decode=_decode_ultraface,
        input=InputSize(height=240, width=320),
        resize=Letterbox(background=127, position="top_left"),
        thresholds=DetectionThresholds(score=0.7, nms_iou=0.5),
    ),
}
"""The detectors that can be adopted, by name."""
