"""The ensemble for few photos: its stem, its members, and what it refuses."""

import pytest
import torch

from components.shared.models.backbones import stage_names
from components.shared.models.network import build_network
from components.shared.models.spec import resolve_model
from components.shared.models.zoo.gabor_ensemble import GaborEnsemble, LinearMember
from components.shared.models.zoo.small_resnet import SmallResNet
from serving.runtime.card import Head, Normalization
from serving.runtime.errors import InputError


def test_standardized_images_lose_their_lighting() -> None:
    torch.manual_seed(0)
    pictures = torch.rand(2, 3, 24, 24)
    brighter = pictures * torch.tensor([2.0, 0.5, 3.0]).view(3, 1, 1) + 4
    plain, standardized = (GaborEnsemble(3, width=8, depth=1, standardize=flag).eval() for flag in (False, True))
    torch.testing.assert_close(standardized(pictures), standardized(brighter), rtol=1e-2, atol=1e-3)
    assert (plain(pictures) - plain(brighter)).abs().max() > 0.05
    assert plain.state_dict().keys() == standardized.state_dict().keys()


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_the_gabor_stem_feeds_the_same_stages(stride: int) -> None:
    gabor = GaborEnsemble(3, width=8, depth=1, stem_stride=stride)
    plain = SmallResNet(3, width=8, depth=1, stem_stride=stride)
    images = torch.randn(2, 3, 40, 33)
    assert gabor.features(images).shape == plain.features(images).shape
    gabor(images).square().sum().backward()
    assert all(value.grad is not None for value in gabor.parameters())


def test_in_training_every_member_has_its_part_of_the_batch() -> None:
    torch.manual_seed(0)
    network = GaborEnsemble(3, width=4, depth=1, members=3)
    images = torch.randn(11, 3, 16, 16)
    logits = network(images)
    for number, member in enumerate(network.features.members):
        own = network.fc(member(images[number::3]).mean(dim=(2, 3)))
        torch.testing.assert_close(logits[number::3], own)
    logits[1::3].square().sum().backward()
    moved = [any(value.grad.abs().sum() > 0 for value in member.parameters() if value.grad is not None)
             for member in network.features.members]  # fmt: skip
    assert moved == [False, True, False]


def test_in_evaluation_the_members_are_averaged() -> None:
    torch.manual_seed(0)
    network = GaborEnsemble(3, width=4, depth=1, members=2).eval()
    images = torch.randn(5, 3, 16, 16)
    apart = [network.fc(member(images).mean(dim=(2, 3))) for member in network.features.members]
    assert (apart[0] - apart[1]).abs().max() > 1e-3
    torch.testing.assert_close(network(images), (apart[0] + apart[1]) / 2)
    assert network(images[:1]).shape == (1, 3)


def test_a_batch_with_too_few_faces_goes_through_all_members() -> None:
    network = GaborEnsemble(3, width=4, depth=1, members=3)
    images = torch.randn(5, 3, 16, 16)
    apart = [network.fc(member(images).mean(dim=(2, 3))) for member in network.features.members]
    torch.testing.assert_close(network(images), torch.stack(apart).mean(dim=0))


@pytest.mark.parametrize(("members", "owners"), [(1, [0, 0, 0, 1]), (2, [0, 1, 0, 1, 0, 1, 2, 2])])
def test_the_linear_member_has_a_fourth_of_the_batch_and_of_the_average(members: int, owners: list[int]) -> None:
    torch.manual_seed(0)
    network = GaborEnsemble(3, width=4, depth=1, members=members, linear_member=True)
    *others, linear = network.features.members
    assert isinstance(linear, LinearMember) and len(others) == members
    images = torch.randn(16, 3, 40, 33)
    logits = network(images)
    for number, member in enumerate(network.features.members):
        positions = [position for position in range(16) if owners[position % len(owners)] == number]
        if member is not linear:
            torch.testing.assert_close(logits[positions], network.fc(member(images[positions]).mean(dim=(2, 3))))
    network.eval()
    apart = [network.fc(member(images).mean(dim=(2, 3))) for member in network.features.members]
    expected = sum(apart[:-1]) / members * 0.75 + apart[-1] * 0.25
    torch.testing.assert_close(network(images), expected)


def test_the_linear_member_locates_edges_and_learns_weights_of_cells_only() -> None:
    torch.manual_seed(0)
    member = LinearMember(6, stride=2)
    assert [name for name, _ in member.named_parameters()] == ["linear.2.weight", "linear.2.bias"]
    assert member.linear[2].in_features == (2 * 8 + 3) * 8 * 8
    left, right = torch.zeros(2, 1, 3, 32, 32)
    left[..., 6], right[..., 24] = 1, 1
    seen: list[torch.Tensor] = []
    member.linear.register_forward_pre_hook(lambda _, cells: seen.append(cells[0].reshape(-1, 8, 8)))
    member.eval()(torch.cat([left, right]))
    columns = seen[0].reshape(2, -1, 8, 8)[:, :8].sum(dim=(1, 2)).argmax(dim=1)
    assert columns.tolist() == [1, 6]
    assert member(torch.randn(2, 3, 19, 50)).shape == (2, 6, 1, 1)


def test_a_single_network_has_the_stages_of_a_small_resnet() -> None:
    assert stage_names(GaborEnsemble(3, width=4, depth=1)) == [f"features.{number}" for number in range(5)]
    assert stage_names(SmallResNet(3, width=4, depth=1)) == [f"features.{number}" for number in range(5)]


def test_stages_of_members_are_frozen_by_name() -> None:
    build = {"model": {"backbone": "gabor_ensemble", "arguments": {"width": 4, "members": 2}}}
    heads, normalization = [Head(name="a", labels=("x", "y"))], Normalization(mean=(0, 0, 0), std=(1, 1, 1))
    with pytest.raises(InputError, match="have stages of their own: to freeze some, name modules"):
        build_network(resolve_model(build["model"], {"freeze": 1}), heads, normalization)
    names = ["features.members.0.0", "features.members.1.0"]
    network = build_network(resolve_model(build["model"], {"freeze": names}), heads, normalization)
    frozen = {name for name, value in network.named_parameters() if not value.requires_grad}
    assert frozen and all(name.removeprefix("backbone.").startswith(tuple(names)) for name in frozen)


@pytest.mark.parametrize(
    ("argument", "value", "message"),
    [
        *(
            (name, 0, f"{name} of a gabor_ensemble must be from 1 to 256, got 0")
            for name in ("width", "depth", "members")
        ),
        ("stem_stride", 257, "stem_stride of a gabor_ensemble must be from 1 to 256, got 257"),
        ("stem", "sobel", "stem of a gabor_ensemble must be gabor or convolution, got 'sobel'"),
    ],
)
def test_invalid_arguments(argument: str, value: object, message: str) -> None:
    refused({argument: value}, message)


def test_a_gabor_stem_takes_powers_of_two_only() -> None:
    refused({"stem": "gabor", "stem_stride": 3}, "stride of Gabor energies must be 1, 2, 4, 8, ..., got 3")


def refused(arguments: dict[str, object], message: str) -> None:
    spec = resolve_model("gabor_ensemble", {"arguments": arguments})
    with pytest.raises(InputError, match=message):
        build_network(spec, [Head(name="a", labels=("x", "y"))], Normalization(mean=(0, 0, 0), std=(1, 1, 1)))
