"""What every peer computes for a request: a JPEG is decoded and resized by Pillow, the model gives its probabilities.

The peers run this in environments of their own, where nothing of Facet is installed.
"""

import io
import os
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime
from PIL import Image

WORKERS = int(os.environ.get("BENCH_WORKERS", "1"))
THREADS = int(os.environ.get("BENCH_THREADS", "2"))
BATCH = int(os.environ.get("BENCH_BATCH", "8"))
WAIT_MS = int(os.environ.get("BENCH_WAIT_MS", "5"))
PORT = int(os.environ.get("BENCH_PORT", "0"))


class Model:
    """An onnxruntime session of the file in BENCH_MODEL, with BENCH_THREADS threads for one request."""

    def __init__(self, file: str = "") -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = THREADS
        file = file or os.environ["BENCH_MODEL"]
        self.session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        self.height, self.width = self.session.get_inputs()[0].shape[1:3]

    def pixels(self, data: bytes) -> Any:
        """Decode a JPEG to what the model reads: uint8 (height, width, 3) RGB."""
        return self.pixels_of(Image.open(io.BytesIO(data)))

    def pixels_of(self, image: Image.Image) -> Any:
        """Return what the model reads of an opened picture."""
        return np.asarray(image.convert("RGB").resize((self.width, self.height), Image.Resampling.BILINEAR))

    def probabilities(self, pixels: Sequence[Any]) -> list[list[float]]:
        """Return the probabilities of the model's first output, one row for each picture."""
        rows: list[list[float]] = self.session.run(None, {"images": np.stack(pixels)})[0].tolist()
        return rows
