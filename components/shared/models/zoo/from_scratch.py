"""Networks that are trained from random weights: a small convolutional one, in seconds, and a vision transformer."""

import torch
from torch import nn
from torchvision.models import VisionTransformer


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


def vit_scratch(
    outputs: int,
    image_size: int = 256,
    patch_size: int = 32,
    dim: int = 1024,
    depth: int = 6,
    heads: int = 16,
    mlp_dim: int = 2048,
    dropout: float = 0.3,
    embedding_dropout: float = 0.1,
) -> nn.Module:
    """A vision transformer (Dosovitskiy et al., 2021): six wide layers on few patches, which have another dropout.

    Float (N,3,image_size,image_size) -> (N,outputs).
    """
    model: nn.Module = VisionTransformer(
        image_size=image_size,
        patch_size=patch_size,
        num_layers=depth,
        num_heads=heads,
        hidden_dim=dim,
        mlp_dim=mlp_dim,
        dropout=dropout,
        num_classes=outputs,
    )
    embedding = model.get_submodule("encoder.dropout")
    assert isinstance(embedding, nn.Dropout)
    embedding.p = embedding_dropout
    return model
