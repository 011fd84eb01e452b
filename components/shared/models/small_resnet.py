"""A residual network for small pictures, quick enough to train from random weights on a CPU."""

import torch
from torch import nn

from serving.runtime.errors import InputError

_STAGES = 4


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


class SmallResNet(nn.Module):
    """A ResNet that keeps fine detail: its first stage works on a half of the picture's size, ResNet-18's on a quarter.

    A 3x3 convolution with `stem_stride`, four stages of `depth` blocks with `width`, 2 `width`, 4 `width` and
    8 `width` channels, each but the first at half the size of the one before, global average pool, one linear layer.
    With `standardise` each picture first gets mean 0 and variance 1 in every channel, which takes away much of the
    lighting. Float (N,3,h,w) -> logits (N,outputs).
    """

    def __init__(
        self, outputs: int, width: int = 32, depth: int = 2, stem_stride: int = 2, standardise: bool = False
    ) -> None:
        for name, value in (("width", width), ("depth", depth), ("stem_stride", stem_stride)):
            if not 1 <= value <= 256:
                raise InputError(f"{name} of a small_resnet must be from 1 to 256, got {value!r}")
        super().__init__()
        layers: list[nn.Module] = [
            nn.Sequential(
                nn.Conv2d(3, width, 3, stem_stride, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
            )
        ]
        channels = width
        for stage in range(_STAGES):
            blocks = []
            for number in range(depth):
                blocks.append(ResidualBlock(channels, width << stage, 2 if stage and not number else 1))
                channels = width << stage
            layers.append(nn.Sequential(*blocks))
        self.standardise = nn.InstanceNorm2d(3) if standardise else nn.Identity()
        self.features = nn.Sequential(*layers)
        self.fc = nn.Linear(channels, outputs)
        for module in self.features.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Float (N,3,h,w) normalised RGB -> logits (N,outputs)."""
        logits: torch.Tensor = self.fc(self.features(self.standardise(images)).mean(dim=(2, 3)))
        return logits
