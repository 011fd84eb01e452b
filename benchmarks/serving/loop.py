"""Decoding and inference in a loop in one process, without a server: what this machine can do.

`python -m benchmarks.serving.loop MODEL PICTURES DECODER LANES SECONDS` prints images per second and processor time for
each image. LANES threads share one session that computes with one thread; with 1 it computes with two.
"""

import io
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image

from serving.runtime.card import METADATA_KEY, ClassificationCard, read_card
from serving.runtime.image.preprocess import decode_crop_resize

Decoder = Callable[[bytes, ClassificationCard], NDArray[np.uint8]]


def _own(data: bytes, card: ClassificationCard) -> NDArray[np.uint8]:
    return decode_crop_resize(data, None, card)


def _pillow(data: bytes, card: ClassificationCard) -> NDArray[np.uint8]:
    size = (card.input.width, card.input.height)
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB").resize(size, Image.Resampling.BILINEAR))


DECODERS: dict[str, Decoder] = {"own": _own, "pillow": _pillow}


def open_session(model: Path, threads: int) -> tuple[onnxruntime.InferenceSession, ClassificationCard]:
    """Return a session and the model's card."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    card = read_card(session.get_modelmeta().custom_metadata_map[METADATA_KEY], str(model))
    assert isinstance(card, ClassificationCard), card.task
    return session, card


def probabilities(model: Path, decoder: str, data: bytes) -> list[float]:
    """Return the probabilities of one picture, as every server must answer them."""
    session, card = open_session(model, 1)
    numbers: list[float] = session.run(None, {"images": DECODERS[decoder](data, card)[None]})[0][0].tolist()
    return numbers


def measure(model: Path, pictures: Path, decoder: str, lanes: int, seconds: float) -> dict[str, float]:
    """Decode and compute in this process; returns `per_second` and `cpu_ms` for each image."""
    session, card = open_session(model, 1 if lanes > 1 else 2)
    files = [file.read_bytes() for file in sorted(pictures.iterdir())]
    decode, counts, end = DECODERS[decoder], [0] * lanes, 0.0

    def lane(number: int) -> None:
        while time.perf_counter() < end:
            session.run(None, {"images": decode(files[(counts[number] * lanes + number) % len(files)], card)[None]})
            counts[number] += 1

    lane_threads = [threading.Thread(target=lane, args=(number,)) for number in range(lanes)]
    for data in files[:4]:
        session.run(None, {"images": decode(data, card)[None]})
    began, cpu = time.perf_counter(), time.process_time()
    end = began + seconds
    for thread in lane_threads:
        thread.start()
    for thread in lane_threads:
        thread.join()
    count = sum(counts)
    return {
        "per_second": count / (time.perf_counter() - began),
        "cpu_ms": 1000 * (time.process_time() - cpu) / count,
    }


def measured(model: Path, pictures: Path, decoder: str, lanes: int, seconds: float) -> dict[str, float]:
    """Do as `measure` does, in a process of its own."""
    arguments = [str(model), str(pictures), decoder, str(lanes), str(seconds)]
    command = [sys.executable, "-m", "benchmarks.serving.loop", *arguments]
    result: dict[str, float] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return result


if __name__ == "__main__":
    model, pictures, decoder, lanes, seconds = sys.argv[1:]
    print(json.dumps(measure(Path(model), Path(pictures), decoder, int(lanes), float(seconds))))
