"""A model file in memory: card and graph checked against each other, images in, probabilities out."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from serving.runtime.card import INPUT_NAME, ModelCard
from serving.runtime.cpus import usable_cpus
from serving.runtime.errors import InputError
from serving.runtime.image.preprocess import Box, decode_crop_resize
from serving.runtime.registry import fetch_model

# Images per run of the graph: memory stays bounded whatever the caller brings.
_RUN = 64
# How far the probabilities of one head may sum from 1.
_SUM_TOLERANCE = 1e-3


class Predictor:
    """One loaded model; several threads may use it at once.

    Attributes:
        card: the model's card.
        sha256: of the model file.
        name: the name it is served under; the card's when none is given.
        version: the version it is served as.

    Args:
        model: the ONNX file or its content.
        name: replaces the card's name.
        version: for answers and tables; "" when unknown.
        threads: CPU threads per call; by default as many as this process may use.

    Raises:
        InputError: the file cannot be read, is not ONNX, has no valid card, or its graph is not what its card says.
    """

    def __init__(
        self, model: bytes | Path, *, name: str | None = None, version: str = "", threads: int | None = None
    ) -> None:
        source = str(model) if isinstance(model, Path) else "the model"
        content = _read(model) if isinstance(model, Path) else model
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or usable_cpus()
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        # Waiting threads sleep: spinning gains nothing measurable and takes the CPU from decoding.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            self._session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime has a dozen unrelated types, all of them about this file
            raise InputError(f"{source}: not an ONNX model that onnxruntime can load: {error}") from error
        self.card = ModelCard.from_metadata(self._session.get_modelmeta().custom_metadata_map, source)
        self.sha256 = hashlib.sha256(content).hexdigest()
        self.name = name or self.card.name
        self.version = version
        self._heads = [head.name for head in self.card.heads]
        self._check_graph(source)

    def probabilities(self, pixels: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        """Run the model on prepared images.

        Args:
            pixels: uint8 (N, height, width, 3) RGB of the card's input size; N may be 0.

        Returns:
            Head name -> float32 (N, number of labels) probabilities, in the card's order of heads.

        Raises:
            InputError: the array has another type or shape.
        """
        size = self.card.input
        if pixels.dtype != np.uint8 or pixels.ndim != 4 or pixels.shape[1:] != (size.height, size.width, 3):
            raise InputError(
                f"model {self.name} takes uint8 images of shape (n, {size.height}, {size.width}, 3), "
                f"got {pixels.dtype} {pixels.shape}"
            )
        if len(pixels) == 0:
            return {head.name: np.zeros((0, len(head.labels)), np.float32) for head in self.card.heads}
        runs = [
            self._session.run(self._heads, {INPUT_NAME: np.ascontiguousarray(pixels[start : start + _RUN])})
            for start in range(0, len(pixels), _RUN)
        ]
        return {name: np.concatenate(parts) for name, parts in zip(self._heads, zip(*runs, strict=True), strict=True)}

    def predict(self, faces: Sequence[tuple[bytes, Box | None]]) -> dict[str, NDArray[np.float32]]:
        """Decode, cut, resize and classify faces.

        Args:
            faces: (encoded image, box (x, y, width, height) in upright pixels or None for the whole image).

        Returns:
            As `probabilities`, one row per face.

        Raises:
            ImageError: an image cannot be used.
            InputError: a box cannot be used.
        """
        size = self.card.input
        pixels = np.empty((len(faces), size.height, size.width, 3), np.uint8)
        for row, (data, box) in enumerate(faces):
            pixels[row] = decode_crop_resize(data, box, self.card)
        return self.probabilities(pixels)

    def _check_graph(self, source: str) -> None:
        size = self.card.input
        inputs = [(node.name, node.type, node.shape) for node in self._session.get_inputs()]
        fits = len(inputs) == 1 and inputs[0][:2] == (INPUT_NAME, "tensor(uint8)") and len(inputs[0][2]) == 4
        if not fits or inputs[0][2][1:] != [size.height, size.width, 3] or isinstance(inputs[0][2][0], int):
            raise InputError(
                f"{source}: the graph takes {_describe(inputs)}, but the card needs one input "
                f"{INPUT_NAME} tensor(uint8) [N, {size.height}, {size.width}, 3] with a free N"
            )
        outputs = {node.name: node for node in self._session.get_outputs()}
        if set(outputs) != set(self._heads):
            raise InputError(
                f"{source}: the graph gives {sorted(outputs)}, but the card names the heads {sorted(self._heads)}"
            )
        try:
            trial = self.probabilities(np.zeros((2, size.height, size.width, 3), np.uint8))
        except Exception as error:  # any failure here is the file's
            raise InputError(f"{source}: the graph fails on black images: {error}") from error
        for head in self.card.heads:
            values = trial[head.name]
            expected = (2, len(head.labels))
            if values.dtype != np.float32 or values.shape != expected:
                raise InputError(
                    f"{source}: head '{head.name}' gives {values.dtype} {values.shape}, "
                    f"but the card's labels need float32 {expected}"
                )
            if not np.all(values >= 0) or not np.allclose(values.sum(axis=1), 1, atol=_SUM_TOLERANCE):
                raise InputError(f"{source}: head '{head.name}' does not give probabilities that sum to 1")


def load_model(uri: str, *, name: str | None = None, threads: int | None = None) -> Predictor:
    """Load a model from where it is kept.

    Args:
        uri: an ONNX file or a folder with one, on the disk or in S3 (`s3://bucket/path`), or a registered model
            (`models:/name@alias`, `models:/name/version`).
        name: the name to serve it under; by default the registered name, else the card's.
        threads: CPU threads per call; by default as many as this process may use.

    Returns:
        The model. Its version is the registered version, else the first 12 digits of the file's sha256.

    Raises:
        InputError: the URI means nothing or the file is not a usable model.
        NotFoundError: no such registered model, version or alias.
        StorageError: the place cannot be reached or holds no model.
    """
    fetched = fetch_model(uri)
    version = fetched.version or hashlib.sha256(fetched.content).hexdigest()[:12]
    try:
        return Predictor(fetched.content, name=name or fetched.name, version=version, threads=threads)
    except InputError as error:
        raise InputError(f"{uri}: {error}") from error


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: the model cannot be read: {error.strerror}") from error


def _describe(nodes: list[tuple[str, str, list[int | str | None]]]) -> str:
    return ", ".join(f"{name} {kind} {shape}" for name, kind, shape in nodes) or "nothing"
