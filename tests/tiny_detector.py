"""A detector without weights: its faces are green rectangles in drawn pictures, found exactly and at any size."""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, parser
from PIL import Image, ImageDraw
from tiny_model import detection_facts

from serving.runtime.card import DetectionCard

POINTS = ("left_eye", "right_eye", "nose", "left_mouth", "right_mouth")
POINT_SHARES = ((0.3, 0.4), (0.7, 0.4), (0.5, 0.6), (0.35, 0.8), (0.65, 0.8))
"""Where the points lie in a rectangle, as shares of its width and height."""

MOST = 200
"""As many candidates per image."""

_LONGEST = 10
"""A side of up to 2 ** 10 pixels is measured."""

# A pixel is green where its green is 128 or more and 64 more than red and blue. A rectangle's corner is a green pixel
# without a green one to its left or above; its sides go on to the next pixel that is not green. The score is the
# corner's brightest neighbor.
_START = """
  values = Cast<to=1>(images)
  channels = Constant<value_ints=[3]>()
  red, green, blue = Split<axis=3, num_outputs=3>(values)
  others = Max(red, blue)
  lead = Sub(green, others)
  least_green = Constant<value_float=128.0>()
  least_lead = Constant<value_float=64.0>()
  is_bright = GreaterOrEqual(green, least_green)
  is_lead = GreaterOrEqual(lead, least_lead)
  is_green = And(is_bright, is_lead)
  flat = Constant<value_ints=[3]>()
  map = Squeeze(is_green, flat)
  face = Cast<to=1>(map)
  nothing = Constant<value_float=0.0>()
  unit = Constant<value_float=1.0>()
  before_x = Constant<value_ints=[0, 0, 1, 0, 0, -1]>()
  before_y = Constant<value_ints=[0, 1, 0, 0, -1, 0]>()
  left_of = Pad(face, before_x, nothing)
  above = Pad(face, before_y, nothing)
  neighbors = Max(left_of, above)
  open = Sub(unit, neighbors)
  corner = Mul(face, open)
  run_x_0 = Identity(face)
  run_y_0 = Identity(face)
"""

# Runs of green to the right and downwards, by doubling: a run of 2**k goes on where it is full.
_DOUBLE = """
  full_#_@ = Constant<value_float=^.0>()
  ahead_#_@ = Constant<value_ints=[%]>()
  shifted_#_@ = Pad(run_#_@, ahead_#_@, nothing)
  is_full_#_@ = Equal(run_#_@, full_#_@)
  more_#_@ = Where(is_full_#_@, shifted_#_@, nothing)
  run_#_& = Add(run_#_@, more_#_@)
"""

_END = """
  planes = Transpose<perm=[0, 3, 1, 2]>(green)
  near = MaxPool<kernel_shape=[3, 3], pads=[1, 1, 1, 1]>(planes)
  plane = Constant<value_ints=[1]>()
  brightness = Squeeze(near, plane)
  brightest = Constant<value_float=255.0>()
  bright = Div(brightness, brightest)
  score_map = Mul(bright, corner)
  shape = Shape(images)
  two = Constant<value_int=2>()
  columns = Gather(shape, two)
  row_shape = Constant<value_ints=[0, -1]>()
  all_scores = Reshape(score_map, row_shape)
  most = Constant<value_ints=[MOST]>()
  best, index = TopK<axis=1>(all_scores, most)
  row = Div(index, columns)
  column = Mod(index, columns)
  top = Cast<to=1>(row)
  left = Cast<to=1>(column)
  all_widths = Reshape(run_x_LONGEST, row_shape)
  all_heights = Reshape(run_y_LONGEST, row_shape)
  width = GatherElements<axis=1>(all_widths, index)
  height = GatherElements<axis=1>(all_heights, index)
  last = Constant<value_ints=[2]>()
  x = Unsqueeze(left, last)
  y = Unsqueeze(top, last)
  w = Unsqueeze(width, last)
  h = Unsqueeze(height, last)
  right = Add(x, w)
  bottom = Add(y, h)
  boxes = Concat<axis=2>(x, y, right, bottom)
  one_score = Unsqueeze(best, last)
"""


def build_detector(
    *, points: bool = True, stride: int | None = 32, side: tuple[int, int] = (640, 640), **changes: Any
) -> bytes:
    """Build a detector of green rectangles as a model file.

    Args:
        points: it gives POINTS too.
        stride: of its letterbox; None for an input of fixed size.
        side: height and width of its input, the largest for a stride; with 256 pixels or more.
        changes: other entries of the card; a second label has half the score of the first.
    """
    resize = {"background": 0, "position": "top_left"} | ({"stride": stride} if stride else {})
    facts = detection_facts(
        name="green", input={"height": side[0], "width": side[1]}, resize=resize, points=POINTS if points else ()
    )
    card = DetectionCard.model_validate(facts | changes)
    shares = ", ".join(f"{value}" for pair in POINT_SHARES for value in pair)
    end = _END.replace("MOST", str(MOST)).replace("LONGEST", str(_LONGEST))
    end += "  scores = Identity(one_score)\n" if len(card.labels) == 1 else _two_labels()
    if card.points:
        end += f"""
  shares = Constant<value_floats=[{shares}]>()
  share_shape = Constant<value_ints=[5, 2]>()
  share = Reshape(shares, share_shape)
  origin = Concat<axis=2>(x, y)
  extent = Concat<axis=2>(w, h)
  origins = Unsqueeze(origin, last)
  extents = Unsqueeze(extent, last)
  offsets = Mul(extents, share)
  points = Add(origins, offsets)
"""
    text = "\n".join([_START, *_doublings("x", 2), *_doublings("y", 1), end])
    nodes = parser.parse_graph(f"green () => () {{{text}}}").node
    sides = ("height", "width") if stride else side
    images = helper.make_tensor_value_info("images", TensorProto.UINT8, ("N", *sides, 3))
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ("N", MOST, *shape[1:]))
        for name, shape in card.outputs.items()
    ]
    graph = helper.make_graph(nodes, "green", [images], outputs)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    helper.set_model_props(model, card.to_metadata())
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _doublings(axis: str, number: int) -> list[str]:
    texts = []
    for step in range(_LONGEST):
        pads = [0] * 6
        pads[number], pads[3 + number] = -(2**step), 2**step
        text = _DOUBLE.replace("#", axis).replace("@", str(step)).replace("&", str(step + 1))
        texts.append(text.replace("^", str(2**step)).replace("%", ", ".join(map(str, pads))))
    return texts


def _two_labels() -> str:
    return """
  part = Constant<value_float=0.5>()
  half_score = Mul(one_score, part)
  scores = Concat<axis=2>(one_score, half_score)
"""


def draw_faces(
    size: tuple[int, int], boxes: list[tuple[int, int, int, int]], levels: list[int] | None = None
) -> NDArray[np.uint8]:
    """Draw green rectangles (x, y, width, height) on gray, uint8 (height, width, 3).

    `levels` are their greens, 255 by default: a rectangle's score is its green / 255.
    """
    image = Image.new("RGB", (size[1], size[0]), (90, 90, 90))
    draw = ImageDraw.Draw(image)
    for number, (x, y, width, height) in enumerate(boxes):
        draw.rectangle((x, y, x + width - 1, y + height - 1), fill=(0, levels[number] if levels else 255, 0))
    return np.asarray(image)
