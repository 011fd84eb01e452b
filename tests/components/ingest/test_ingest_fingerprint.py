import io

import numpy as np
from PIL import Image

from components.ingest.image_checks import dhash


def smooth(seed, size=96):
    """A picture of soft blobs, as photos are."""
    cells = np.random.default_rng(seed).integers(0, 255, (6, 6, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(cells).resize((size, size), Image.Resampling.BICUBIC))


def apart(one, other):
    return (int(one, 16) ^ int(other, 16)).bit_count()


def test_recompressed_and_shrunk_pictures_stay_near_and_others_are_far():
    for seed in range(20):
        picture = smooth(seed)
        buffer = io.BytesIO()
        Image.fromarray(picture).resize((64, 64)).save(buffer, "JPEG", quality=40)
        again = np.asarray(Image.open(buffer))
        assert len(dhash(picture)) == 32
        assert apart(dhash(picture), dhash(again)) <= 8
        assert apart(dhash(picture), dhash(smooth(seed + 100))) >= 30


def test_both_directions_count():
    ramp = np.repeat(np.linspace(0, 255, 90).astype(np.uint8)[None, :, None], 90, axis=0).repeat(3, axis=2)
    assert dhash(ramp) == "f" * 16 + "0" * 16
    assert dhash(np.ascontiguousarray(ramp.transpose(1, 0, 2))) == "0" * 16 + "f" * 16
