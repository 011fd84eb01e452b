"""A small convolutional network that trains from random weights in seconds."""

import torch
from torch import nn


def _block(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


class BaseCnn(nn.Module):
    """Three convolutions (7x7 to 32, 3x3 to 64, 3x3 to 128 channels), global average pool, one linear layer.

    Each convolution is padded and followed by batch norm and ReLU; the first one has stride 2.
    The second and third are followed by 2x2 max pooling and dropout of 0.25. Float (N,3,h,w) -> logits
    (N,outputs); height and width at least 8.
    """

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.features = nn.Sequential(
            _block(3, 32, kernel=7, stride=2),
            _block(32, 64, kernel=3),
            nn.MaxPool2d(2),
            nn.Dropout(0.25),
            _block(64, 128, kernel=3),
            nn.MaxPool2d(2),
            nn.Dropout(0.25),
        )
        self.fc = nn.Linear(128, outputs)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Float (N,3,h,w) normalized RGB -> logits (N,outputs)."""
        logits: torch.Tensor = self.fc(self.features(images).mean(dim=(2, 3)))
        return logits
