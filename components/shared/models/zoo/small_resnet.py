"""A ResNet for small images that trains from random weights on a CPU."""

import torch
from torch import nn

from serving.runtime.errors import InputError

STAGES = 4


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
    """A ResNet whose first stage works on a half of the image's size; that of ResNet-18 works on a quarter.

    A 3x3 convolution with stride `stem_stride`, four stages of `depth` blocks with `width`, 2 `width`, 4 `width` and
    8 `width` channels, each but the first at half the size of the one before, global average pool, one linear layer.
    Float (N,3,h,w) -> logits (N,outputs).
    """

    def __init__(self, outputs: int, width: int = 32, depth: int = 2, stem_stride: int = 2) -> None:
        check_sizes("small_resnet", width=width, depth=depth, stem_stride=stem_stride)
        super().__init__()
        self.features = residual_stages(convolution_stem(width, stem_stride), width, depth)
        self.fc = nn.Linear(width << (STAGES - 1), outputs)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Float (N,3,h,w) normalized RGB -> logits (N,outputs)."""
        logits: torch.Tensor = self.fc(self.features(images).mean(dim=(2, 3)))
        return logits


def check_sizes(backbone: str, **sizes: int) -> None:
    """Raise InputError when one of a backbone's numbers is not from 1 to 256."""
    for name, value in sizes.items():
        if not 1 <= value <= 256:
            raise InputError(f"{name} of a {backbone} must be from 1 to 256, got {value!r}")


def convolution_stem(width: int, stride: int) -> nn.Sequential:
    """A 3x3 convolution with batch norm and ReLU: float (N,3,h,w) -> (N,width,h/stride,w/stride), rounded up."""
    return nn.Sequential(
        nn.Conv2d(3, width, 3, stride, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU(inplace=True)
    )


def residual_stages(stem: nn.Module, width: int, depth: int) -> nn.Sequential:
    """A stem with `width` channels and the four stages after it; convolutions begin as in He et al. (2015)."""
    layers = [stem]
    channels = width
    for stage in range(STAGES):
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
