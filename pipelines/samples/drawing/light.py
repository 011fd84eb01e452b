"""From a drawing to a photo: resampling, uneven light, color cast and sensor noise."""

import math

import numpy as np
from PIL import Image


def develop(image: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Adds light, color cast and noise to an RGB picture of its final size."""
    pixels = np.asarray(image, dtype=np.float32)
    down, across = np.mgrid[-1 : 1 : image.height * 1j, -1 : 1 : image.width * 1j].astype(np.float32)
    angle = rng.uniform(0, 2 * math.pi)
    light = 1.0 + 0.10 * (math.cos(angle) * across + math.sin(angle) * down) - 0.07 * (across**2 + down**2)
    cast = rng.uniform(0.97, 1.03, size=3).astype(np.float32) * rng.uniform(0.88, 1.08)
    noise = 3.0 * rng.standard_normal(pixels.shape, dtype=np.float32)
    return Image.fromarray(np.clip(pixels * light[:, :, None] * cast + noise, 0, 255).round().astype(np.uint8))
