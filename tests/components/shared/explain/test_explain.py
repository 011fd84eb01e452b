import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_model import build_looking_model, build_model

from components.shared.explain.activation import activation
from components.shared.explain.occlusion import occlusion
from components.shared.explain.overlay import overlay
from serving.runtime.errors import InputError
from serving.runtime.load import open_model
from serving.runtime.predictor import Classifier

REGIONS = {
    "top": (slice(0, 10), slice(0, 32)),
    "corner": (slice(30, 40), slice(24, 32)),
    "middle": (slice(12, 28), slice(8, 24)),
}


def classifier(content: bytes) -> Classifier:
    model = open_model(content)
    assert isinstance(model, Classifier)
    return model


def bright_crop(region: tuple[slice, slice]) -> NDArray[np.uint8]:
    """Dark noise with a bright region, so that covering it with the mean changes what is seen."""
    crop = np.random.default_rng(3).integers(0, 60, (40, 32, 3), dtype=np.uint8)
    crop[region] += 180
    return crop


@pytest.mark.parametrize("region", REGIONS.values(), ids=REGIONS)
def test_the_hot_part_of_the_map_is_where_the_model_looks(region: tuple[slice, slice]) -> None:
    model, crop = classifier(build_looking_model(region)), bright_crop(region)
    before = crop.copy()
    worn = occlusion(model, crop, "mask", "worn")
    assert worn.dtype == np.float32 and worn.shape == (40, 32)
    inside = np.zeros((40, 32), bool)
    inside[region] = True
    assert inside[np.unravel_index(worn.argmax(), worn.shape)]
    assert worn[inside].mean() > 5 * worn[~inside].mean() >= 0
    np.testing.assert_array_equal(crop, before)
    # The probabilities of a head sum to 1, so what one label loses the others gain.
    others = [occlusion(model, crop, "mask", label) for label in ("incorrect", "absent")]
    assert others[0].max() <= 0
    np.testing.assert_allclose(worn + sum(others), 0, atol=1e-6)


def test_a_value_is_the_mean_fall_of_the_patches_over_the_pixel() -> None:
    region = REGIONS["middle"]
    model, crop = classifier(build_looking_model(region)), bright_crop(region)

    def worn(image: NDArray[np.uint8]) -> float:
        return float(model.infer(image[None])["mask"][0, 0])

    halves = occlusion(model, crop, "mask", "worn", patch=0.5, stride=0.5, color=(9, 90, 30))
    for rows in (slice(0, 20), slice(20, 40)):
        for columns in (slice(0, 16), slice(16, 32)):
            covered = crop.copy()
            covered[rows, columns] = (9, 90, 30)
            np.testing.assert_allclose(halves[rows, columns], worn(crop) - worn(covered), atol=1e-6)
    everything = occlusion(model, crop, "mask", "worn", patch=1, stride=1)
    mean = np.broadcast_to(crop.mean(axis=(0, 1)).round().astype(np.uint8), crop.shape)
    np.testing.assert_allclose(everything, worn(crop) - worn(mean), atol=1e-6)


def test_every_pixel_is_covered_by_any_patch() -> None:
    model = classifier(build_model())
    crop = np.random.default_rng(1).integers(0, 256, (40, 32, 3), dtype=np.uint8)
    for patch, stride in ((0.01, 0.01), (0.3, 0.29), (0.25, 0.125), (1, 0.1)):
        assert np.isfinite(occlusion(model, crop, "gender", "male", patch=patch, stride=stride)).all()


def test_what_cannot_be_looked_at_is_one_clear_error() -> None:
    model, crop = classifier(build_model()), np.zeros((40, 32, 3), np.uint8)
    with pytest.raises(InputError, match="no head 'masks', did you mean 'mask'"):
        occlusion(model, crop, "masks", "worn")
    with pytest.raises(InputError, match="no label 'wrong', did you mean 'worn'.; known: absent, incorrect, worn"):
        occlusion(model, crop, "mask", "wrong")
    with pytest.raises(InputError, match=r"looks at uint8 crops \(40, 32, 3\), got uint8 \(32, 40, 3\)"):
        occlusion(model, crop.reshape(32, 40, 3), "mask", "worn")
    for patch, stride in ((0, 0), (0.2, 0.3), (1.1, 0.5), (0.5, 0)):
        with pytest.raises(InputError, match="0 < stride <= patch <= 1"):
            occlusion(model, crop, "mask", "worn", patch=patch, stride=stride)
    with pytest.raises(InputError, match=r"red, green and blue in 0\.\.255"):
        occlusion(model, crop, "mask", "worn", color=(1, 2, 256))
    with pytest.raises(InputError, match="does not give the feature map.*export_onnx"):
        activation(model, crop)


@pytest.mark.parametrize("region", REGIONS.values(), ids=REGIONS)
def test_the_activation_is_where_the_features_are(region: tuple[slice, slice]) -> None:
    model, crop = classifier(build_looking_model(region, features=True)), bright_crop(region)
    values = activation(model, crop)
    assert values.dtype == np.float32 and values.shape == (40, 32) and values.min() >= 0
    inside = np.zeros((40, 32), bool)
    inside[region] = True
    assert values[inside].mean() > 5 * values[~inside].mean()
    features = model.features(np.stack([crop, crop]))
    assert features.shape == (2, 3, 10, 8) and features.dtype == np.float32
    assert list(model.infer(crop[None])) == ["mask"], "the features are no output of the model"


def test_the_overlay_is_yellow_where_the_map_is_highest() -> None:
    crop = np.full((4, 4, 3), (200, 100, 50), np.uint8)
    values = np.zeros((4, 4), np.float32)
    values[1, 2] = 0.5
    values[3, 3] = -0.5
    drawn = overlay(crop, values)
    assert drawn.dtype == np.uint8 and drawn.shape == (4, 4, 3)
    red, green, blue = drawn[1, 2].astype(int)
    assert red > 1.5 * blue and green > 1.5 * blue
    assert drawn[0, 0, 2] > drawn[0, 0, 0] and (drawn[3, 3] == drawn[0, 0]).all()
    np.testing.assert_array_equal(overlay(crop, values, highest=0.5), drawn)
    assert (overlay(crop, np.zeros((4, 4))) == drawn[0, 0]).all() and (
        overlay(crop, -values)[1, 2] == drawn[0, 0]
    ).all()
    half = overlay(crop, values, highest=1.0)
    assert (half[1, 2] != drawn[1, 2]).any()
