"""The fixed filters of the Gabor stem: what they respond to, and what they are invariant to."""

import math

import pytest
import torch

from components.shared.models.zoo.gabor_ensemble import ORIENTATIONS, GaborEnergies


def grating(angle: float, frequency: float, side: int = 64, contrast: float = 1.0, phase: float = 0.0) -> torch.Tensor:
    """Waves across `angle`, `frequency` in radians per pixel: (1,3,side,side), gray."""
    offsets = torch.arange(side, dtype=torch.float32)
    y, x = torch.meshgrid(offsets, offsets, indexing="ij")
    wave = contrast * torch.sin(frequency * (x * math.cos(angle) + y * math.sin(angle)) + phase)
    return wave.expand(1, 3, side, side).clone()


def by_scale(maps: torch.Tensor, scales: int) -> torch.Tensor:
    """The energies' means over the inner places: (scales, ORIENTATIONS)."""
    inner = maps[:, : scales * ORIENTATIONS, 3:-3, 3:-3]
    return inner.mean(dim=(0, 2, 3)).reshape(scales, ORIENTATIONS)


@pytest.mark.parametrize("stride", [2, 4])
@pytest.mark.parametrize("number", range(ORIENTATIONS))
def test_a_grating_responds_in_its_own_orientation(number: int, stride: int) -> None:
    bank = GaborEnergies(stride)
    energies = by_scale(bank(grating(math.pi * number / ORIENTATIONS, 0.55 * math.pi)), bank.scales)
    assert energies[0].argmax() == number
    around = energies[0].roll(-number)
    assert around[0] > 1.3 * around[1] and around[0] > 5 * around[ORIENTATIONS // 2]


@pytest.mark.parametrize("stride", [2, 4, 8])
def test_the_coarser_scales_are_those_of_the_halved_image(stride: int) -> None:
    images = torch.randn(2, 3, 48, 40)
    halved = torch.nn.functional.avg_pool2d(images, 2)
    coarser = GaborEnergies(stride)(images)[:, ORIENTATIONS:]
    torch.testing.assert_close(coarser, GaborEnergies(stride // 2)(halved))
    assert (coarser[:, :ORIENTATIONS] - GaborEnergies(stride)(images)[:, :ORIENTATIONS]).abs().max() > 0.1


@pytest.mark.parametrize("size", [(48, 40), (45, 51), (1, 2)])
def test_colors_are_those_of_the_halved_image_with_odd_borders(size: tuple[int, int]) -> None:
    images = torch.randn(2, 3, *size)
    halved = torch.nn.functional.avg_pool2d(images, 2, ceil_mode=True)
    torch.testing.assert_close(GaborEnergies(2)(images)[:, -3:], halved)


def test_energies_are_divided_by_their_mean_over_orientations_and_window() -> None:
    bank, images = GaborEnergies(1), torch.randn(2, 3, 14, 11)
    luma = (images * bank.luma).sum(dim=1, keepdim=True)
    padded = torch.nn.functional.pad(luma, (3, 3, 3, 3), mode="replicate")
    even, odd = torch.nn.functional.conv2d(padded, bank.even_and_odd).split(ORIENTATIONS, dim=1)
    energy = torch.sqrt(even**2 + odd**2 + 1e-4)
    mean = energy.mean(dim=1, keepdim=True)
    around = torch.nn.functional.avg_pool2d(mean, 9, 1, 4, count_include_pad=False)
    torch.testing.assert_close(bank(images)[:, :ORIENTATIONS], energy / (around + 0.05))


def test_contrast_brightness_and_phase_do_not_matter() -> None:
    bank = GaborEnergies(1)
    angle = math.pi / 4
    reference = by_scale(bank(grating(angle, 1.7)), 1)
    for changed in (
        grating(angle, 1.7, contrast=3.0),
        grating(angle, 1.7) + 2.0,
        grating(angle, 1.7, phase=1.2),
    ):
        torch.testing.assert_close(by_scale(bank(changed), 1), reference, rtol=0.1, atol=0.02)


def test_a_flat_image_has_colors_and_nearly_no_energy() -> None:
    color = torch.tensor([0.5, -1.0, 2.0]).view(1, 3, 1, 1)
    maps = GaborEnergies(4)(color.expand(2, 3, 20, 24))
    grated = by_scale(GaborEnergies(4)(grating(0.0, 1.7)), 3)
    assert maps[:, :-3].max() < grated.max() / 4
    torch.testing.assert_close(maps[:, -3:], color.expand(2, 3, 5, 6))


@pytest.mark.parametrize(
    ("stride", "size", "expected"),
    [(1, (9, 7), (11, 9, 7)), (2, (64, 48), (19, 32, 24)), (4, (97, 50), (27, 25, 13)), (8, (8, 9), (35, 1, 2))],
)
def test_shapes(stride: int, size: tuple[int, int], expected: tuple[int, int, int]) -> None:
    bank = GaborEnergies(stride)
    images = torch.randn(2, 3, *size, requires_grad=True)
    maps = bank(images)
    assert maps.shape == (2, *expected) and bank.channels == expected[0]
    assert torch.isfinite(maps).all() and not maps.requires_grad


def test_no_parameters_and_nothing_in_a_checkpoint() -> None:
    bank = GaborEnergies(2)
    assert not list(bank.parameters()) and not bank.state_dict()
    torch.testing.assert_close(bank.even_and_odd.sum(dim=(1, 2, 3)), torch.zeros(2 * ORIENTATIONS), atol=1e-5, rtol=0)


@pytest.mark.parametrize("stride", [0, 3, 6, -2])
def test_strides_are_powers_of_two(stride: int) -> None:
    with pytest.raises(ValueError, match=f"must be 1, 2, 4, 8, ..., got {stride}"):
        GaborEnergies(stride)
