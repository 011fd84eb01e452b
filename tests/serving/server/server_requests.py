"""Requests to the endpoint and what is expected of its errors."""

import io
from typing import Any

import numpy as np
from heic_pictures import heic
from PIL import Image

LIMIT = 2**20


def picture(seed: int = 0, kind: str = "JPEG") -> bytes:
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    image = Image.fromarray(coarse).resize((120, 90))
    if kind == "HEIC":
        return heic(image)
    image.save(buffer, kind)
    return buffer.getvalue()


def expect_error(response: Any, status: int, text: str = "") -> None:
    assert response.status_code == status, response.text
    assert list(response.json()) == ["error"]
    assert text in response.json()["error"]
