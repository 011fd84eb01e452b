"""The image stream: the first three stages of IR-50 (Deng et al., ArcFace, arXiv 1801.07698)."""

import torch
from torch import nn

UNITS = (3, 4, 14)
CHANNELS = (64, 128, 256)


class IrUnit(nn.Module):
    """Improved residual unit: batch norm, 3x3, PReLU, 3x3 with stride, batch norm, added to a shortcut.

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
    """Feature maps of a face at three scales; without the fourth stage and the embedding of face recognition."""

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
