"""Drawn people in green frames, which the detector in `tiny_detector` finds, and a classifier of their masks.

The green of a frame tells how the mask is worn, so that what the page has to show is known.
"""

import io
import json
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, parser
from PIL import Image
from tiny_detector import build_detector
from tiny_model import build_model, card_facts

from pipelines.samples.drawing.face import draw_photo
from pipelines.samples.drawing.person import Wearing, draw_person
from serving.runtime.card import METADATA_KEY

GREENS = {"worn": 255, "incorrect": 210, "absent": 165}
EMOTIONS = ("anger", "anxiety", "embarrass", "happy", "normal", "pain", "sad")
JOINT = ["/".join(parts) for parts in product(GREENS, ("male", "female"), ("<30", "30-59", ">=60"))]
SIZE = (640, 480)
"""Width and height of a picture."""

RATE = 30
"""Pictures a second that Chromium's fake camera takes from a file."""

_FACE = (120, 160)
_FRAME = 14
_WEARING: dict[str, Wearing] = {"worn": "worn", "incorrect": "chin", "absent": "absent"}

# The probabilities, in the order of GREENS, fall with the distance from the green of the frame's upper edge.
_GRAPH = """
  pixels = Cast<to=1>(images)
  start = Constant<value_ints=[0, 8, 1]>()
  end = Constant<value_ints=[2, 24, 2]>()
  axes = Constant<value_ints=[1, 2, 3]>()
  edge = Slice(pixels, start, end, axes)
  over = Constant<value_ints=[1, 2]>()
  mean = ReduceMean<keepdims=0>(edge, over)
  greens = Constant<value_floats=[GREENS]>()
  difference = Sub(mean, greens)
  distance = Abs(difference)
  slope = Constant<value_float=-0.15>()
  logits = Mul(distance, slope)
  mask = Softmax(logits)
"""


def write_people(folder: Path) -> Path:
    """Write the composite `people`: green frames, how masks are worn, and seven emotions; and a classifier `joint`."""
    text = _GRAPH.replace("GREENS", ", ".join(f"{green}.0" for green in GREENS.values()))
    graph = helper.make_graph(
        parser.parse_graph(f"mask () => () {{{text}}}").node,
        "mask",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ("N", 40, 32, 3))],
        [helper.make_tensor_value_info("mask", TensorProto.FLOAT, ("N", 3))],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    whole_box = {"mode": "rectangle", "scale": 1.0}
    mask = card_facts(name="mask", label_space="mask", heads=[{"name": "mask", "labels": list(GREENS)}], crop=whole_box)
    helper.set_model_props(model, {METADATA_KEY: json.dumps(mask)})
    emotion = card_facts(
        name="emotion", label_space="emotion", heads=[{"name": "emotion", "labels": EMOTIONS}], crop=whole_box
    )
    joint = card_facts(name="joint", label_space="joint", heads=[{"name": "mask_gender_age", "labels": JOINT}])
    (folder / "joint.onnx").write_bytes(build_model(joint))
    (folder / "green.onnx").write_bytes(build_detector(side=(640, 640)))
    (folder / "mask.onnx").write_bytes(model.SerializeToString())
    (folder / "emotion.onnx").write_bytes(build_model(emotion))
    card: dict[str, Any] = {"name": "people", "detectors": ["green.onnx"], "heads": ["mask.onnx", "emotion.onnx"]}
    # A camera's picture is coarse: parts of a frame look like further ones, but thin.
    card["limits"] = {"min_side": 60}
    (folder / "composite.json").write_text(json.dumps(card))
    return folder


def door(*states: str) -> Image.Image:
    """Draw people side by side, from left to right, whose masks are in these states."""
    picture = Image.new("RGB", SIZE, (150, 152, 156))
    width, height = (side + 2 * _FRAME for side in _FACE)
    for number, state in enumerate(states):
        draws = np.random.default_rng(number)
        person = draw_person(bool(number % 2), number % 3, draws)
        face = draw_photo(person, _WEARING[state], 1, draws).resize(_FACE, Image.Resampling.LANCZOS)
        frame = Image.new("RGB", (width, height), (0, GREENS[state], 0))
        frame.paste(face, (_FRAME, _FRAME))
        picture.paste(frame, (40 + number * (width + 40), SIZE[1] // 2 - height // 2))
    return picture


def jpeg(picture: Image.Image, **options: Any) -> bytes:
    """Encode a picture."""
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=95, subsampling=0, **options)
    return buffer.getvalue()


def write_clip(file: Path, scenes: Sequence[Sequence[str]], seconds: float) -> Path:
    """Write a clip for Chromium's fake camera (`.mjpeg`): each scene as people in these states, for so many seconds."""
    file.write_bytes(b"".join(jpeg(door(*states)) * round(RATE * seconds) for states in scenes))
    return file
