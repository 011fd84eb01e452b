"""The two streams of POSTER V2: IR-50 for the image and MobileFaceNet for the landmarks."""

from collections import OrderedDict

import torch
from torch import nn

UNITS = (3, 4, 14)
CHANNELS = (64, 128, 256)
LANDMARK_VALUES = 2 * 68


class IrUnit(nn.Module):
    """Improved residual unit of IR-50: batch norm, 3x3, PReLU, 3x3 with stride, batch norm, added to a shortcut.

    The shortcut takes every stride-th pixel; where the channels change it is a 1x1 convolution with batch norm.
    Float (N,inputs,h,w) -> (N,outputs,h/stride,w/stride).
    """

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.shortcut_layer: nn.Module = (
            nn.MaxPool2d(1, stride)
            if inputs == outputs
            else nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        )
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(inputs),
            nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
            nn.PReLU(outputs),
            nn.Conv2d(outputs, outputs, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(outputs),
        )

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Float (N,inputs,h,w) -> (N,outputs,h/stride,w/stride)."""
        out: torch.Tensor = self.shortcut_layer(maps) + self.res_layer(maps)
        return out


class Ir50(nn.Module):
    """Maps of a face at three scales: the first three stages of IR-50 (Deng et al., ArcFace, arXiv 1801.07698)."""

    def __init__(self) -> None:
        super().__init__()
        self.input_layer = nn.Sequential(
            nn.Conv2d(3, CHANNELS[0], 3, padding=1, bias=False), nn.BatchNorm2d(CHANNELS[0]), nn.PReLU(CHANNELS[0])
        )
        self.body1 = _stage(CHANNELS[0], CHANNELS[0], UNITS[0])
        self.body2 = _stage(CHANNELS[0], CHANNELS[1], UNITS[1])
        self.body3 = _stage(CHANNELS[1], CHANNELS[2], UNITS[2])

    def forward(self, faces: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Float (N,3,112,112) -> maps (N,64,56,56), (N,128,28,28), (N,256,14,14)."""
        maps1 = self.body1(self.input_layer(faces))
        maps2 = self.body2(maps1)
        return maps1, maps2, self.body3(maps2)


def _stage(inputs: int, outputs: int, units: int) -> nn.Sequential:
    """`units` units, the first of which halves the grid."""
    return nn.Sequential(IrUnit(inputs, outputs, 2), *(IrUnit(outputs, outputs, 1) for _ in range(units - 1)))


def _block(
    inputs: int, outputs: int, kernel: int, stride: int = 1, *, groups: int = 1, linear: bool = False
) -> nn.Sequential:
    """Convolution without bias, batch norm and, unless `linear`, one PReLU slope per channel."""
    padding = 1 if kernel == 3 else 0  # 3x3 keeps the grid; 7x7 reduces it to one cell
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)
    layers: dict[str, nn.Module] = {"conv": convolution, "bn": nn.BatchNorm2d(outputs)}
    if not linear:
        layers["prelu"] = nn.PReLU(outputs)
    return nn.Sequential(OrderedDict(layers))


class InvertedBlock(nn.Module):
    """Widen with 1x1, filter each channel with 3x3, narrow with 1x1 and no activation (MobileNetV2's bottleneck)."""

    def __init__(self, inputs: int, width: int, outputs: int, stride: int = 1, *, residual: bool = False) -> None:
        super().__init__()
        self.conv = _block(inputs, width, 1)
        self.conv_dw = _block(width, width, 3, stride, groups=width)
        self.project = _block(width, outputs, 1, linear=True)
        self.residual = residual

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Float (N,inputs,h,w) -> (N,outputs,h/stride,w/stride)."""
        out: torch.Tensor = self.project(self.conv_dw(self.conv(maps)))
        return maps + out if self.residual else out


def _residual_blocks(channels: int, width: int, count: int) -> nn.Sequential:
    """`count` inverted blocks of one shape, each added to its input."""
    blocks = (InvertedBlock(channels, width, channels, residual=True) for _ in range(count))
    return nn.Sequential(OrderedDict(model=nn.Sequential(*blocks)))


class MobileFaceNet(nn.Module):
    """MobileFaceNet (Chen et al., arXiv 1804.07573) trained for 68 face points.

    It is the whole network, so that its published weights fit; POSTER V2 uses its maps, not its points.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = _block(3, 64, 3, 2)
        self.conv2_dw = _block(64, 64, 3, groups=64)
        self.conv_23 = InvertedBlock(64, 128, 64, 2)
        self.conv_3 = _residual_blocks(64, 128, 4)
        self.conv_34 = InvertedBlock(64, 256, 128, 2)
        self.conv_4 = _residual_blocks(128, 256, 6)
        self.conv_45 = InvertedBlock(128, 512, 128, 2)
        self.conv_5 = _residual_blocks(128, 256, 2)
        self.conv_6_sep = _block(128, 512, 1)
        self.output_layer = nn.Sequential(
            OrderedDict(
                conv_6_dw=_block(512, 512, 7, groups=512, linear=True),
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
