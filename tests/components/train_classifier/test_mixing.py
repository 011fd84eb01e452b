"""MixUp, CutMix and the half-face band: exact pixels, exact targets."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from components.train_classifier import objective
from components.train_classifier.config.objective import MixingSpec
from components.train_classifier.objective import (
    MIXINGS,
    Mixed,
    Pasted,
    band,
    cutmix,
    mix,
    mix_targets,
    mixing_rng,
    mixup,
)

HEIGHT, WIDTH = 8, 10


def batch(count: int = 6) -> tuple[torch.Tensor, list[torch.Tensor]]:
    rng = np.random.default_rng(5)
    images = torch.from_numpy(rng.integers(256, size=(count, HEIGHT, WIDTH, 3), dtype=np.uint8))
    return images, [torch.from_numpy(np.eye(size)[rng.integers(size, size=count)]) for size in (3, 2)]


PARTNERS: NDArray[np.int64] = np.array([3, 1, 0, 5, 2, 4])


def mixed_by(
    function: Callable[..., Pasted],
    images: torch.Tensor,
    targets: list[torch.Tensor],
    ratio: float,
    rng: np.random.Generator,
) -> Mixed:
    order = torch.from_numpy(PARTNERS)
    pixels, share = function(images, images[order], ratio, rng)
    return Mixed(pixels, mix_targets(targets, order, share), share)


def expected_targets(targets: list[torch.Tensor], ratio: float) -> list[NDArray[np.float64]]:
    return [(1 - ratio) * own.numpy() + ratio * own.numpy()[PARTNERS] for own in targets]


def check_targets(found: list[torch.Tensor], targets: list[torch.Tensor], ratio: float) -> None:
    for one, other in zip(found, expected_targets(targets, ratio), strict=True):
        np.testing.assert_allclose(one.numpy(), other)
        np.testing.assert_allclose(one.numpy().sum(axis=1), 1)


def test_mixup_blends_pixels_and_targets() -> None:
    images, targets = batch()
    mixed = mixed_by(mixup, images, targets, 0.3, np.random.default_rng())
    own = images.numpy().astype(np.float32)
    np.testing.assert_allclose(mixed.images.numpy(), 0.7 * own + 0.3 * own[PARTNERS], rtol=1e-6)
    assert mixed.images.dtype == torch.float32 and mixed.ratio == 0.3
    check_targets(mixed.targets, targets, 0.3)


@pytest.mark.parametrize("ratio", [0.0, 0.4, 0.45, 0.6, 1.0])
def test_the_band_is_at_one_side_over_the_whole_height(ratio: float) -> None:
    images, targets = batch()
    columns = round(ratio * WIDTH)
    sides = set()
    for seed in range(12):
        left = np.random.default_rng(seed).random() < 0.5
        mixed = mixed_by(band, images, targets, ratio, np.random.default_rng(seed))
        pasted = slice(0, columns) if left else slice(WIDTH - columns, WIDTH)
        expected = images.numpy().copy()
        expected[:, :, pasted] = images.numpy()[PARTNERS][:, :, pasted]
        np.testing.assert_array_equal(mixed.images.numpy(), expected)
        assert mixed.images.dtype == torch.uint8 and mixed.ratio == columns / WIDTH
        check_targets(mixed.targets, targets, columns / WIDTH)
        sides.add(left)
    assert sides == {True, False}


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.5, 1.0])
def test_cutmix_pastes_a_rectangle_and_counts_its_pixels(ratio: float) -> None:
    images, targets = batch()
    for seed in range(12):
        draws = np.random.default_rng(seed)
        row, column = draws.integers(HEIGHT), draws.integers(WIDTH)
        half_height, half_width = int(HEIGHT * ratio**0.5) // 2, int(WIDTH * ratio**0.5) // 2
        inside = np.zeros((HEIGHT, WIDTH), dtype=bool)
        inside[max(row - half_height, 0) : row + half_height, max(column - half_width, 0) : column + half_width] = True
        mixed = mixed_by(cutmix, images, targets, ratio, np.random.default_rng(seed))
        own = images.numpy()
        np.testing.assert_array_equal(mixed.images.numpy(), np.where(inside[None, :, :, None], own[PARTNERS], own))
        assert mixed.ratio == inside.mean() <= ratio + 1e-9
        check_targets(mixed.targets, targets, mixed.ratio)


@pytest.mark.parametrize("name", sorted(MIXINGS))
def test_the_inputs_stay_and_floats_are_mixed_too(name: str) -> None:
    images, targets = batch()
    before = images.clone(), [own.clone() for own in targets]
    spec = MixingSpec(name=name, probability=1.0)  # type: ignore[arg-type]
    mixed = mix(images, targets, spec, mixing_rng(0, 0, 0))
    assert torch.equal(images, before[0]) and all(map(torch.equal, targets, before[1]))
    again = mix(images.float(), targets, spec, mixing_rng(0, 0, 0))
    torch.testing.assert_close(mixed.images.float(), again.images)
    other = mix(images, targets, spec, mixing_rng(0, 0, 1))
    assert not torch.equal(mixed.images, other.images)


@pytest.mark.parametrize("probability", [0.0, 0.3, 0.5, 1.0])
def test_the_share_of_mixed_batches(probability: float) -> None:
    images, targets = batch()
    spec = MixingSpec(name="band", probability=probability)
    ratios = [mix(images, targets, spec, mixing_rng(7, 0, step)).ratio for step in range(400)]
    assert np.mean(np.array(ratios) > 0) == pytest.approx(probability, abs=4 * (0.25 / 400) ** 0.5)


@pytest.mark.parametrize(
    ("spec", "mean", "low", "high"),
    [
        (MixingSpec(name="mixup", probability=1.0, ratio=("uniform", 0.4, 0.6)), 0.5, 0.4, 0.6),
        (MixingSpec(name="mixup", probability=1.0, ratio=("beta", 5, 5)), 0.5, 0.0, 1.0),
        (MixingSpec(name="mixup", probability=1.0, ratio=("beta", 2, 6)), 0.25, 0.0, 1.0),
        (MixingSpec(name="band", probability=1.0), 0.5, 0.4, 0.6),
    ],
)
def test_the_ratio_follows_its_distribution(spec: MixingSpec, mean: float, low: float, high: float) -> None:
    images, targets = batch()
    ratios = [mix(images, targets, spec, mixing_rng(3, 1, step)).ratio for step in range(400)]
    assert low <= min(ratios) and max(ratios) <= high
    assert np.mean(ratios) == pytest.approx(mean, abs=0.04)


@pytest.mark.parametrize("name", sorted(MIXINGS))
def test_a_mixed_batch_has_the_partners_of_its_draws(name: str) -> None:
    images, targets = batch()
    draws = mixing_rng(3, 1, 2)
    draws.random()
    ratio = draws.uniform(0.2, 0.7)
    order = torch.from_numpy(draws.permutation(len(images)))
    pixels, share = MIXINGS[name](images, images[order], ratio, draws)
    spec = MixingSpec(name=name, probability=1.0, ratio=("uniform", 0.2, 0.7))  # type: ignore[arg-type]
    mixed = mix(images, targets, spec, mixing_rng(3, 1, 2))
    assert torch.equal(mixed.images, pixels) and mixed.ratio == share > 0
    for one, own in zip(mixed.targets, targets, strict=True):
        np.testing.assert_allclose(one, (1 - share) * own + share * own[order])


@pytest.mark.parametrize("name", ["cross_entropy", "focal", "label_smoothing"])
def test_the_loss_is_the_mixture_of_own_and_partners_loss(name: str) -> None:
    """(1-r) * loss(own) + r * loss(partner); the two weights sum to 1."""
    images, targets = batch()
    mixed = mixed_by(band, images, targets, 0.42, np.random.default_rng(1))
    loss = getattr(objective, name)
    logits = torch.from_numpy(np.random.default_rng(2).normal(size=(6, 3)))
    own, partner = (loss(logits, target) for target in (targets[0], targets[0][torch.from_numpy(PARTNERS)]))
    torch.testing.assert_close(loss(logits, mixed.targets[0]), (1 - mixed.ratio) * own + mixed.ratio * partner)


def test_none_returns_the_batch_itself() -> None:
    images, targets = batch()
    mixed = mix(images, targets, MixingSpec(), mixing_rng(0, 0, 0))
    assert mixed.images is images and mixed.ratio == 0
