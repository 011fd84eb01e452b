"""An ONNX model in memory: onnxruntime's session, the model card, and the check that graph and card agree."""

import hashlib
import logging
import time

import numpy as np
from numpy.typing import NDArray

from serving.runtime.card import INPUT_NAME, METADATA_KEY, Shape, read_card
from serving.runtime.errors import InputError
from serving.runtime.execution import Execution, execution_of
from serving.runtime.graph import Graph, Plan
from serving.runtime.seal import check_seal
from serving.runtime.work import Work

# Images per run of the graph: memory stays bounded for any number of images, and more at once are hardly quicker.
BATCH = 8

_log = logging.getLogger(__name__)

Outputs = dict[str, NDArray[np.float32]]
"""Outputs of a graph by name, in the order of the card."""


class Session:
    """A loaded graph; several threads may use it at once.

    Attributes:
        card: the model's card.
        sha256: of the model file.
        source: names the file in errors.

    Args:
        content: of the ONNX file.
        threads: CPU threads per call; by default as `set_execution` said, or as many as this process may use.
        execution: how to run it, in place of both.
        source: names the file in errors.

    Raises:
        InputError: the file is not ONNX, has weights outside, has changed since it was exported, or has no valid card.
    """

    def __init__(
        self,
        content: bytes,
        *,
        threads: int | None = None,
        execution: Execution | None = None,
        source: str = "the model",
    ) -> None:
        self.source = source
        self._execution = execution or execution_of(threads)
        self._graph = Graph(content, self._execution, BATCH, source)
        self._content = content
        metadata = self._graph.session.get_modelmeta().custom_metadata_map
        if METADATA_KEY not in metadata:
            raise InputError(
                f"{self.source}: the ONNX file has no '{METADATA_KEY}' metadata, so it is not a Facet model; "
                "export it with the export_onnx step or, for a detector, `facet step adopt-detector`"
            )
        check_seal(content, metadata, self.source)
        self.card = read_card(metadata[METADATA_KEY], self.source)
        self.sha256 = hashlib.sha256(content).hexdigest()

    def run(self, pixels: NDArray[np.uint8], work: Work | None = None) -> Outputs:
        """Run the graph on prepared images, uint8 (N, height, width, 3) of a size that the card takes; N may be 0.

        `work` is checked between batches.

        Raises:
            InputError: the array has another type or shape.
            AbandonedError: nobody waits for the result any longer.
        """
        shapes = self.card.outputs
        self._check_pixels(pixels)
        if len(pixels) == 0:
            return {name: np.zeros((0, *(axis or 0 for axis in shape)), np.float32) for name, shape in shapes.items()}
        batches, rows = [], self._graph.max_rows
        for start in range(0, len(pixels), rows):
            if work is not None:
                work.check()
            batch = np.ascontiguousarray(pixels[start : start + rows])
            began = time.perf_counter()
            outputs, runs = self._graph.run(list(shapes), batch, work)
            batches.append(outputs)
            if work is not None:
                work.infer_s += time.perf_counter() - began
                work.executions += runs
        if len(batches) == 1:
            return dict(zip(shapes, batches[0], strict=True))
        return {name: np.concatenate(parts) for name, parts in zip(shapes, zip(*batches, strict=True), strict=True)}

    def unserved(self, name: str, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return one of the card's `unserved` outputs for one or more prepared images, as `run` does for the others.

        Raises InputError as `run`.
        """
        self._check_pixels(pixels)
        rows = self._graph.max_rows
        parts: list[NDArray[np.float32]] = [
            self._graph.session.run([name], {INPUT_NAME: np.ascontiguousarray(pixels[start : start + rows])})[0]
            for start in range(0, len(pixels), rows)
        ]
        return np.concatenate(parts)

    def check_graph(self) -> Outputs:
        """Check the graph's input and outputs against the card, run it on two black images and return the outputs.

        A graph of free height and width is run on a second size too. Then it is settled how it runs, see `plan`.

        Raises InputError where they differ, or when the run fails.
        """
        size, stride = self.card.input, self.card.stride
        height, width = (size.height, size.width) if stride is None else ("height", "width")
        inputs = [(node.name, node.type, node.shape) for node in self._graph.session.get_inputs()]
        if len(inputs) != 1 or inputs[0][:2] != (INPUT_NAME, "tensor(uint8)") or not self._declares(inputs[0][2]):
            raise InputError(
                f"{self.source}: the graph takes {_describe(inputs)}, but the card needs one input "
                f"{INPUT_NAME} tensor(uint8) [N, {height}, {width}, 3] with a free N"
                + (", height and width" if stride else "")
            )
        names = sorted(node.name for node in self._graph.session.get_outputs())
        named = sorted([*self.card.outputs, *self.card.unserved])
        if names != named:
            raise InputError(f"{self.source}: the graph gives {names}, but the card names the outputs {named}")
        if stride is None:
            outputs = self._check_run(size.height, size.width)
        else:
            self._check_run(min(2 * stride, size.height), stride)
            outputs = self._check_run(stride, min(3 * stride, size.width))
        image = np.zeros((1, size.height, size.width, 3), np.uint8)
        try:
            self._graph.settle(self._content, list(self.card.outputs), image)
        except Exception as error:  # onnxruntime's types, as above
            raise InputError(f"{self.source}: the graph fails on a black image: {error}") from error
        self._content = b""
        if self._execution.lanes > 1:
            _log.info("%s runs on %s", self.source, self.plan)
        return outputs

    @property
    def plan(self) -> Plan:
        """How the graph runs; settled by `check_graph`."""
        return self._graph.plan

    def _check_run(self, height: int, width: int) -> Outputs:
        """Run the graph on two black images and check the type and shape of what it gives."""
        try:
            outputs = self.run(np.zeros((2, height, width, 3), np.uint8))
        except Exception as error:  # any failure here is the file's
            raise InputError(f"{self.source}: the graph fails on black images: {error}") from error
        for name, values in outputs.items():
            shape = (2, *self.card.outputs[name])
            if values.dtype != np.float32 or not _matches(values.shape, shape):
                expected = ", ".join("any" if axis is None else str(axis) for axis in shape)
                raise InputError(
                    f"{self.source}: output '{name}' is {values.dtype} {values.shape}, "
                    f"but the card requires float32 ({expected})"
                )
        return outputs

    def _check_pixels(self, pixels: NDArray[np.uint8]) -> None:
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or not self._takes(pixels.shape[1:]):
            size, stride = self.card.input, self.card.stride
            which = f", or smaller ones of multiples of {stride}" if stride else ""
            raise InputError(
                f"model {self.card.name} takes uint8 images of shape (n, {size.height}, {size.width}, 3){which}, "
                f"got {pixels.dtype} {pixels.shape}"
            )

    def _takes(self, shape: tuple[int, ...]) -> bool:
        """Tell whether the card takes images of a shape (height, width, channels)."""
        size, stride = self.card.input, self.card.stride
        if stride is None:
            return shape == (size.height, size.width, 3)
        height, width, channels = shape
        fits = 0 < height <= size.height and 0 < width <= size.width
        return fits and height % stride == width % stride == 0 and channels == 3

    def _declares(self, shape: list[int | str | None]) -> bool:
        """Tell whether a graph's input of this shape is what the card describes."""
        size = self.card.input
        sides = [size.height, size.width] if self.card.stride is None else [None, None]
        free = [None if isinstance(axis, str) else axis for axis in shape]
        return free == [None, *sides, 3]


def _matches(shape: tuple[int, ...], expected: Shape) -> bool:
    return len(shape) == len(expected) and all(axis in (None, size) for size, axis in zip(shape, expected, strict=True))


def _describe(nodes: list[tuple[str, str, list[int | str | None]]]) -> str:
    return ", ".join(f"{name} {kind} {shape}" for name, kind, shape in nodes) or "nothing"
