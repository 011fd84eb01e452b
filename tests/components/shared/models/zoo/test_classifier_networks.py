import pytest
import torch

from components.shared.models.network import HeadProbabilities, build_network, head_probabilities
from serving.runtime.card import Head, Normalization
from serving.runtime.errors import InputError

HEADS = (
    Head(name="mask", labels=("worn", "incorrect", "absent")),
    Head(name="gender", labels=("male", "female")),
    Head(name="age", labels=("<30", "30-59", ">=60")),
)
NORMALIZATION = Normalization(mean=(0.5, 0.4, 0.3), std=(0.2, 0.25, 0.3))


@pytest.mark.parametrize("name", ["base", "resnet18"])
@pytest.mark.parametrize(("height", "width"), [(33, 40), (128, 96)])
def test_small_backbones_take_any_size(name: str, height: int, width: int) -> None:
    network = build_network(name, HEADS, NORMALIZATION).eval()
    assert network(torch.zeros((2, height, width, 3), dtype=torch.uint8)).shape == (2, 8)


def test_the_error_for_an_unknown_name_lists_the_backbones() -> None:
    with pytest.raises(InputError, match=r"unknown model 'vgg', did you mean 'vgg\d+'.*known: .*base, .*resnet18"):
        build_network("vgg", HEADS, NORMALIZATION)


def test_base_is_the_network_of_the_description() -> None:
    network = build_network("base", HEADS, NORMALIZATION)
    shapes = [tuple(value.shape) for value in network.parameters() if value.ndim > 1]
    assert shapes == [(32, 3, 7, 7), (64, 32, 3, 3), (128, 64, 3, 3), (8, 128)]


def test_the_network_normalizes_its_pixels() -> None:
    torch.manual_seed(0)
    network = build_network("base", HEADS, NORMALIZATION).eval()
    images = torch.randint(0, 256, (2, 24, 20, 3), dtype=torch.uint8)
    mean, std = (torch.tensor(value).view(1, 3, 1, 1) for value in (NORMALIZATION.mean, NORMALIZATION.std))
    prepared = (images.permute(0, 3, 1, 2) / 255 - mean) / std
    torch.testing.assert_close(network(images), network.backbone(prepared), atol=1e-5, rtol=1e-5)


def test_logits_of_three_heads_are_concatenated() -> None:
    logits = torch.randn(4, 8)
    mask, gender, age = head_probabilities(logits, (3, 2, 3))
    torch.testing.assert_close(mask, torch.softmax(logits[:, 0:3], 1))
    torch.testing.assert_close(gender, torch.softmax(logits[:, 3:5], 1))
    torch.testing.assert_close(age, torch.softmax(logits[:, 5:8], 1))
    module = HeadProbabilities(build_network("base", HEADS, NORMALIZATION)).eval()
    assert [tuple(part.shape) for part in module(torch.zeros((1, 16, 16, 3), dtype=torch.uint8))] == [
        (1, 3),
        (1, 2),
        (1, 3),
    ]
