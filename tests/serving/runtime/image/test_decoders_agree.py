"""Other image readers give the same pixels as ours within the stated tolerance.

On JPEGs at full size the mean difference is at most MEAN and the largest at most MOST levels of 0..255 (none at all
where all are built on the same libjpeg-turbo); on PNGs there is none.
"""

import io

import numpy as np
import pytest
import simplejpeg
import torch
from encoded_pictures import encode, smooth
from PIL import Image, ImageDraw, ImageFilter
from torchvision import io as torchvision_io

from serving.runtime.image.decode import decode

MEAN, MOST = 0.1, 2

pytestmark = pytest.mark.filterwarnings("ignore:The image decoding and encoding capabilities:DeprecationWarning")


def drawn(height: int, width: int) -> np.ndarray:
    """A face-like drawing: soft shading, hard colored edges and some grain."""
    picture = Image.fromarray(smooth(height, width))
    draw = ImageDraw.Draw(picture)
    draw.ellipse((width * 0.2, height * 0.1, width * 0.8, height * 0.9), fill=(224, 180, 150), outline=(60, 30, 20))
    draw.rectangle((width * 0.3, height * 0.55, width * 0.7, height * 0.8), fill=(40, 90, 200))
    draw.line((0, 0, width, height), fill=(255, 0, 0), width=1)
    pixels = np.asarray(picture.filter(ImageFilter.GaussianBlur(0.7))).astype(int)
    return (pixels + np.random.default_rng(0).integers(-6, 7, pixels.shape)).clip(0, 255).astype(np.uint8)


def by_pillow(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def by_torchvision(data: bytes) -> np.ndarray:
    encoded = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    return torchvision_io.decode_image(encoded, torchvision_io.ImageReadMode.RGB).permute(1, 2, 0).numpy()


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("quality", [30, 75, 95])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("size", [(512, 384), (37, 51)])
def test_decoders_agree_on_jpegs(subsampling: str, quality: int, progressive: bool, size: tuple[int, int]) -> None:
    data = encode(drawn(*size), quality=quality, subsampling=subsampling, progressive=progressive)
    ours = decode(data).astype(int)
    for other in (by_pillow(data), by_torchvision(data)):
        assert other.shape == ours.shape
        difference = np.abs(other - ours)
        assert difference.mean() <= MEAN and difference.max() <= MOST, (difference.mean(), difference.max())


def test_decoders_agree_on_gray_jpegs_and_exactly_on_pngs() -> None:
    gray = encode(Image.fromarray(drawn(64, 48)).convert("L"), quality=80)
    picture = drawn(64, 48)
    png = encode(picture, "PNG")
    for read in (by_pillow, by_torchvision):
        assert np.abs(read(gray).astype(int) - decode(gray)).max() <= MOST
        np.testing.assert_array_equal(read(png), decode(png))
    np.testing.assert_array_equal(decode(png), picture)


def test_the_tolerance_would_see_another_way_of_decoding() -> None:
    data = encode(drawn(64, 48), quality=75, subsampling="4:2:0")
    ours = decode(data).astype(int)
    hasty = simplejpeg.decode_jpeg(data, "RGB", fastupsample=True)
    for other in (hasty, by_pillow(data)[..., ::-1]):
        assert np.abs(other - ours).mean() > MEAN and np.abs(other - ours).max() > MOST
