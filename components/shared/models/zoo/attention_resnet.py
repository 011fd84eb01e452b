"""ResNets with attention: BAM (Park et al., 2018, arXiv 1807.06514) and CBAM (Woo et al., 2018, arXiv 1807.06521)."""

import torch
from torch import nn
from torchvision.models import get_model

from serving.runtime.errors import InputError

DEPTHS = (18, 34, 50, 101, 152)
_DILATION = 4
_SPATIAL_KERNEL = 7


class BottleneckAttention(nn.Module):
    """BAM: x -> x + x * sigmoid(channel(x) + spatial(x)).

    The channel branch is an MLP on the pooled maps, the spatial branch two dilated 3x3 convolutions between two 1x1
    ones. Both have 1/`reduction` of the channels inside and end in batch norm. Float (N,C,h,w) -> (N,C,h,w).
    """

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        narrow = channels // reduction
        self.channel = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(channels, narrow),
            nn.ReLU(),
            nn.Linear(narrow, channels),
            nn.BatchNorm1d(channels),
            nn.Unflatten(1, (channels, 1, 1)),
        )
        self.spatial = nn.Sequential(
            nn.Conv2d(channels, narrow, 1),
            nn.Conv2d(narrow, narrow, 3, padding=_DILATION, dilation=_DILATION),
            nn.ReLU(),
            nn.Conv2d(narrow, narrow, 3, padding=_DILATION, dilation=_DILATION),
            nn.ReLU(),
            nn.Conv2d(narrow, 1, 1),
            nn.BatchNorm2d(1),
        )

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Float (N,C,h,w) -> (N,C,h,w)."""
        return maps + maps * torch.sigmoid(self.channel(maps) + self.spatial(maps))


class BlockAttention(nn.Module):
    """CBAM: channel attention, then spatial attention.

    The channel weights are the sigmoid of one MLP, with 1/`reduction` of the channels inside, applied to the mean and
    to the maximum of each map and added; the spatial weights are the sigmoid of a 7x7 convolution of the mean and the
    maximum over the channels. Float (N,C,h,w) -> (N,C,h,w).
    """

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        narrow = channels // reduction
        self.channel = nn.Sequential(nn.Linear(channels, narrow), nn.ReLU(), nn.Linear(narrow, channels))
        self.spatial = nn.Conv2d(2, 1, _SPATIAL_KERNEL, padding=_SPATIAL_KERNEL // 2)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Float (N,C,h,w) -> (N,C,h,w)."""
        channels = torch.sigmoid(self.channel(maps.mean(dim=(2, 3))) + self.channel(maps.amax(dim=(2, 3))))
        maps = maps * channels[:, :, None, None]
        pooled = torch.cat([maps.mean(dim=1, keepdim=True), maps.amax(dim=1, keepdim=True)], dim=1)
        return maps * torch.sigmoid(self.spatial(pooled))


def bam_resnet(outputs: int, depth: int = 18, reduction: int = 16) -> nn.Module:
    """A ResNet with BAM after each of the first three stages, before the resolution is halved."""
    model = _resnet(depth, reduction, outputs)
    for stage in _stages(model)[:3]:
        stage.append(BottleneckAttention(_channels(stage[-1]), reduction))
    return model


def cbam_resnet(outputs: int, depth: int = 18, reduction: int = 16) -> nn.Module:
    """A ResNet with CBAM in every residual block, before the shortcut is added."""
    model = _resnet(depth, reduction, outputs)
    for stage in _stages(model):
        for block in stage:
            last = "bn3" if hasattr(block, "bn3") else "bn2"
            setattr(block, last, nn.Sequential(getattr(block, last), BlockAttention(_channels(block), reduction)))
    return model


def _resnet(depth: int, reduction: int, outputs: int) -> nn.Module:
    if depth not in DEPTHS:
        raise InputError(f"depth {depth!r} of a ResNet with attention; known: {', '.join(map(str, DEPTHS))}")
    if not 1 <= reduction <= 64:
        raise InputError(f"reduction must be from 1 to 64, the channels of the first stage, got {reduction!r}")
    model: nn.Module = get_model(f"resnet{depth}", weights=None, num_classes=outputs)
    return model


def _stages(model: nn.Module) -> list[nn.Sequential]:
    stages = [model.get_submodule(f"layer{number}") for number in (1, 2, 3, 4)]
    return [stage for stage in stages if isinstance(stage, nn.Sequential)]


def _channels(block: nn.Module) -> int:
    """The number of output channels of a residual block."""
    norm = block.get_submodule("bn3" if hasattr(block, "bn3") else "bn2")
    assert isinstance(norm, nn.BatchNorm2d)
    return norm.num_features
