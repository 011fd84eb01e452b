"""A residual network for small pictures, quick enough to train from random weights on a CPU."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from components.shared.models.zoo.gabor_energies import GaborEnergies
from serving.runtime.errors import InputError

_STAGES = 4
_CELLS, _CELLS_LEFT_OUT = 8, 0.3
_FACES_OF_OTHERS = 3  # for each of the linear member's


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut (He et al., 2016); a stride is taken by an average pool in the shortcut.

    The second batch norm begins at zero, so that the block begins as its shortcut (Goyal et al., 2017).
    Float (N,inputs,h,w) -> (N,outputs,h/stride,w/stride), rounded up.
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
            nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
            last := nn.BatchNorm2d(outputs),
        )
        nn.init.zeros_(last.weight)
        self.shortcut = nn.Sequential()
        if stride > 1:
            self.shortcut.append(nn.AvgPool2d(stride, ceil_mode=True))
        if inputs != outputs:
            self.shortcut.append(nn.Conv2d(inputs, outputs, 1, bias=False))
            self.shortcut.append(nn.BatchNorm2d(outputs))

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Float (N,inputs,h,w) -> (N,outputs,h/stride,w/stride)."""
        return torch.relu(self.body(maps) + self.shortcut(maps))


class LinearMember(nn.Module):
    """A linear layer on the Gabor energies of 8x8 cells: what HOG with a linear classifier is, as features.

    Every energy of a cell is first measured against its mean and spread over the training pictures, and a part of
    them is left out in training, as dropout does. It knows where in the picture something is, which the mean over all
    places does not; it learns quickly, and errs elsewhere than a network of convolutions.
    Float (N,3,h,w), h and w at least `stride` -> (N,outputs,1,1).
    """

    def __init__(self, outputs: int, stride: int) -> None:
        super().__init__()
        self.energies = GaborEnergies(stride)
        cells = self.energies.channels * _CELLS**2
        self.linear = nn.Sequential(
            nn.BatchNorm1d(cells, affine=False), nn.Dropout(_CELLS_LEFT_OUT), nn.Linear(cells, outputs)
        )

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Float (N,3,h,w) -> (N,outputs,1,1)."""
        cells = functional.adaptive_avg_pool2d(self.energies(images), _CELLS).flatten(1)
        features: torch.Tensor = self.linear(cells)[:, :, None, None]
        return features


class Members(nn.Module):
    """Networks that learn from different pictures and judge together (after Lakshminarayanan et al., 2017).

    `owners` says whose the pictures of a batch are by their places, over and over: (0, 0, 1) gives two of three to the
    first network and one to the second. In training a picture goes through its network only, so that an epoch costs
    what it costs a single one; a batch that has not two pictures for each goes through all. Otherwise the result is
    the mean of all, each weighing as much as its share of the pictures.
    """

    def __init__(self, members: Sequence[nn.Module], owners: Sequence[int]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.owners = tuple(owners)
        self.shares = [self.owners.count(number) / len(self.owners) for number in range(len(members))]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Float (N,3,h,w) -> the means of the members' maps, (N,C,1,1)."""
        if self.training:
            owners = torch.tensor(self.owners, device=images.device)
            owners = owners.repeat(-(-len(images) // len(owners)))[: len(images)]
            parts = [torch.nonzero(owners == number).flatten() for number in range(len(self.members))]
            if min(len(part) for part in parts) >= 2:
                results = torch.cat(
                    [_pooled(member(images[part])) for member, part in zip(self.members, parts, strict=True)]
                )
                return results[torch.argsort(torch.cat(parts))]
        weighed = [_pooled(member(images)) * share for member, share in zip(self.members, self.shares, strict=True)]
        return torch.stack(weighed).sum(dim=0)


class SmallResNet(nn.Module):
    """A ResNet that keeps fine detail: its first stage works on a half of the picture's size, ResNet-18's on a quarter.

    A stem that reduces the size by `stem_stride`, four stages of `depth` blocks with `width`, 2 `width`, 4 `width` and
    8 `width` channels, each but the first at half the size of the one before, global average pool, one linear layer.
    The stem is a 3x3 convolution, or with `stem` gabor a 1x1 convolution of GaborEnergies, which is what to take when
    the photos are few. With `standardise` each picture first gets mean 0 and variance 1 in every channel, which takes
    away much of the lighting. `members` networks share the linear layer, see Members: each learns from its part of the
    faces only, so multiply the epochs and the batch size by as much. `linear_member` adds a LinearMember to them, on
    energies at 1/(2 `stem_stride`) of the size, which learns from every fourth face and has a fourth of the say.
    Float (N,3,h,w) -> logits (N,outputs).
    """

    def __init__(
        self,
        outputs: int,
        width: int = 32,
        depth: int = 2,
        stem: str = "convolution",
        stem_stride: int = 2,
        standardise: bool = False,
        members: int = 1,
        linear_member: bool = False,
    ) -> None:
        numbers = (("width", width), ("depth", depth), ("stem_stride", stem_stride), ("members", members))
        for name, value in numbers:
            if not 1 <= value <= 256:
                raise InputError(f"{name} of a small_resnet must be from 1 to 256, got {value!r}")
        if stem not in _STEMS:
            raise InputError(f"stem of a small_resnet must be {' or '.join(_STEMS)}, got {stem!r}")
        super().__init__()
        channels = width << (_STAGES - 1)
        networks: list[nn.Module] = [_features(_STEMS[stem](width, stem_stride), width, depth) for _ in range(members)]
        owners = list(range(members))
        if linear_member:
            networks.append(LinearMember(channels, 2 * stem_stride))
            owners = owners * _FACES_OF_OTHERS + [members] * members
        self.standardise = nn.InstanceNorm2d(3) if standardise else nn.Identity()
        self.features = networks[0] if len(networks) == 1 else Members(networks, owners)
        self.fc = nn.Linear(channels, outputs)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Float (N,3,h,w) normalized RGB -> logits (N,outputs)."""
        logits: torch.Tensor = self.fc(_pooled(self.features(self.standardise(images))).flatten(1))
        return logits


def _pooled(maps: torch.Tensor) -> torch.Tensor:
    return maps.mean(dim=(2, 3), keepdim=True)


def _convolution(width: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(3, width, 3, stride, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
    )


def _gabor(width: int, stride: int) -> nn.Sequential:
    energies = GaborEnergies(stride)
    return nn.Sequential(
        energies, nn.Conv2d(energies.channels, width, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
    )


_STEMS = {"convolution": _convolution, "gabor": _gabor}


def _features(stem: nn.Module, width: int, depth: int) -> nn.Sequential:
    layers = [stem]
    channels = width
    for stage in range(_STAGES):
        blocks = []
        for number in range(depth):
            blocks.append(ResidualBlock(channels, width << stage, 2 if stage and not number else 1))
            channels = width << stage
        layers.append(nn.Sequential(*blocks))
    features = nn.Sequential(*layers)
    for module in features.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return features
