"""The landmark stream: MobileFaceNet (Chen et al., arXiv 1804.07573) trained for 68 face points."""

from collections import OrderedDict

import torch
from torch import nn

LANDMARK_VALUES = 2 * 68


class ConvBlock(nn.Module):
    """Convolution without bias, batch norm and, unless `linear`, one PReLU slope per channel."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, *, groups: int = 1, linear: bool = False
    ) -> None:
        super().__init__()
        padding = 1 if kernel == 3 else 0  # 3x3 keeps the grid; 7x7 reduces it to one cell
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(outputs)
        if not linear:
            self.prelu = nn.PReLU(outputs)
        self.linear = linear

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Float (N,inputs,h,w) -> (N,outputs,h',w')."""
        out: torch.Tensor = self.bn(self.conv(maps))
        return out if self.linear else self.prelu(out)


class InvertedBlock(nn.Module):
    """Widen with 1x1, filter each channel with 3x3, narrow with 1x1 and no activation (MobileNetV2's bottleneck)."""

    def __init__(self, inputs: int, width: int, outputs: int, stride: int = 1, *, residual: bool = False) -> None:
        super().__init__()
        self.conv = ConvBlock(inputs, width, 1)
        self.conv_dw = ConvBlock(width, width, 3, stride, groups=width)
        self.project = ConvBlock(width, outputs, 1, linear=True)
        self.residual = residual

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Float (N,inputs,h,w) -> (N,outputs,h/stride,w/stride)."""
        out: torch.Tensor = self.project(self.conv_dw(self.conv(maps)))
        return maps + out if self.residual else out


class ResidualBlocks(nn.Module):
    """`count` inverted blocks of one shape, each added to its input."""

    def __init__(self, channels: int, width: int, count: int) -> None:
        super().__init__()
        self.model = nn.Sequential(*(InvertedBlock(channels, width, channels, residual=True) for _ in range(count)))

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Float (N,channels,h,w) -> the same shape."""
        out: torch.Tensor = self.model(maps)
        return out


class MobileFaceNet(nn.Module):
    """The whole landmark network, so that its published weights fit; POSTER V2 uses its maps, not its points."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = ConvBlock(3, 64, 3, 2)
        self.conv2_dw = ConvBlock(64, 64, 3, groups=64)
        self.conv_23 = InvertedBlock(64, 128, 64, 2)
        self.conv_3 = ResidualBlocks(64, 128, 4)
        self.conv_34 = InvertedBlock(64, 256, 128, 2)
        self.conv_4 = ResidualBlocks(128, 256, 6)
        self.conv_45 = InvertedBlock(128, 512, 128, 2)
        self.conv_5 = ResidualBlocks(128, 256, 2)
        self.conv_6_sep = ConvBlock(128, 512, 1)
        self.output_layer = nn.Sequential(
            OrderedDict(
                conv_6_dw=ConvBlock(512, 512, 7, groups=512, linear=True),
                flatten=nn.Flatten(),
                linear=nn.Linear(512, LANDMARK_VALUES, bias=False),
                bn=nn.BatchNorm1d(LANDMARK_VALUES),
            )
        )

    def forward(self, faces: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Float (N,3,112,112) -> maps (N,64,28,28), (N,128,14,14), (N,512,7,7)."""
        maps1 = self.conv_3(self.conv_23(self.conv2_dw(self.conv1(faces))))
        maps2 = self.conv_4(self.conv_34(maps1))
        return maps1, maps2, self.conv_6_sep(self.conv_5(self.conv_45(maps2)))
