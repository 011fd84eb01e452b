"""The ResNet for small images: size, shapes, initialization."""

import pytest
import torch
from torch import nn

from components.shared.models.backbones import stage_names
from components.shared.models.network import build_network
from components.shared.models.spec import resolve_model
from components.shared.models.zoo.small_resnet import ResidualBlock, SmallResNet
from serving.runtime.card import Head, Normalization
from serving.runtime.errors import InputError


def parameters(width: int, depth: int, outputs: int) -> int:
    """Counted from the description: convolutions without bias, batch norms of two numbers a channel."""
    total, inputs = 3 * 9 * width + 2 * width, width
    for stage in range(4):
        channels = width * 2**stage
        for _ in range(depth):
            total += 9 * channels * (inputs + channels) + 4 * channels
            total += (inputs * channels + 2 * channels) * (inputs != channels)
            inputs = channels
    return total + (inputs + 1) * outputs


@pytest.mark.parametrize(("width", "depth"), [(32, 2), (16, 1), (24, 3)])
def test_size(width: int, depth: int) -> None:
    with torch.device("meta"):
        network = SmallResNet(7, width=width, depth=depth)
    assert sum(value.numel() for value in network.parameters()) == parameters(width, depth, 7)
    assert stage_names(network) == [f"features.{number}" for number in range(5)]


@pytest.mark.parametrize(
    ("size", "stride", "grid"), [((64, 64), 2, (4, 4)), ((48, 36), 1, (6, 5)), ((9, 8), 2, (1, 1))]
)
def test_maps_halve_from_stage_to_stage(size: tuple[int, int], stride: int, grid: tuple[int, int]) -> None:
    network = SmallResNet(3, width=8, depth=1, stem_stride=stride)
    maps = network.features(torch.zeros(2, 3, *size))
    assert maps.shape == (2, 64, *grid)
    assert network(torch.zeros(2, 3, *size)).shape == (2, 3)


@pytest.mark.parametrize(("inputs", "outputs", "stride"), [(4, 4, 1), (4, 8, 2), (4, 8, 1)])
def test_a_block_begins_as_its_shortcut_and_learns(inputs: int, outputs: int, stride: int) -> None:
    block = ResidualBlock(inputs, outputs, stride)
    maps = torch.randn(3, inputs, 7, 5)
    torch.testing.assert_close(block(maps), torch.relu(block.shortcut(maps)))
    block(maps).square().sum().backward()
    gradient = next(m for m in reversed(block.body) if isinstance(m, nn.BatchNorm2d)).weight.grad
    assert gradient is not None and gradient.abs().sum() > 0


@pytest.mark.parametrize(("name", "value"), [("width", 0), ("depth", 0), ("stem_stride", 257)])
def test_sizes_out_of_range_are_refused(name: str, value: int) -> None:
    spec = resolve_model("small_resnet", {"arguments": {name: value}})
    with pytest.raises(InputError, match=f"{name} of a small_resnet must be from 1 to 256, got {value}"):
        build_network(spec, [Head(name="a", labels=("x", "y"))], Normalization(mean=(0, 0, 0), std=(1, 1, 1)))
