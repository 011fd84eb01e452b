"""Tiny classifiers of a label space, and drawn photos for them."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper
from PIL import Image
from tiny_model import build_model, card_facts

from components.shared.dataset.label_spaces import label_space


def classifier_bytes(space: str, seed: int = 7, height: int = 40, width: int = 32, **changes: Any) -> bytes:
    """The file of a tiny classifier of a label space; `changes` are those of its card."""
    heads = [{"name": head.name, "labels": head.labels} for head in label_space(space).heads]
    facts = {"label_space": space, "heads": heads, "input": {"height": height, "width": width}, "name": f"tiny_{space}"}
    return build_model(card_facts(**facts | changes), shape=("N", height, width, 3), seed=seed)


def write_classifier(folder: Path, space: str, seed: int = 7, **changes: Any) -> Path:
    """Write `model.onnx` into a folder and return the folder."""
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(classifier_bytes(space, seed, **changes))
    return folder


def write_blinded(folder: Path, space: str) -> Path:
    """Write the model of a classifier of one head that gives no numbers for bright pictures; return the folder."""
    model = onnx.load_from_string(classifier_bytes(space))
    given = model.graph.output[0].name
    for node in model.graph.node:
        node.output[:] = [f"{name}/finite" if name == given else name for name in node.output]
    for name, value in (("limit", 200), ("zero", 0), ("one", 1)):
        model.graph.initializer.append(numpy_helper.from_array(np.float32(value), name))
    model.graph.node.extend(
        [
            helper.make_node("ReduceMean", ["pixels"], ["level"], axes=[1, 2, 3]),
            helper.make_node("Flatten", ["level"], ["flat_level"]),
            helper.make_node("Sub", ["limit", "flat_level"], ["room"]),
            helper.make_node("Sqrt", ["room"], ["root"]),
            helper.make_node("Mul", ["root", "zero"], ["nothing"]),
            helper.make_node("Add", ["nothing", "one"], ["factor"]),
            helper.make_node("Mul", [f"{given}/finite", "factor"], [given]),
        ]
    )
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_bytes(model.SerializeToString())
    return folder


def photo_bytes(seed: int, size: tuple[int, int] = (96, 72), kind: str = "PNG") -> bytes:
    """A smooth colorful photo of some height and width."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 255, (6, 5, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    coarse.resize((size[1], size[0]), Image.Resampling.BICUBIC).save(buffer, kind)
    return buffer.getvalue()
