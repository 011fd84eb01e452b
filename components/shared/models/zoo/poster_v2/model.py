"""POSTER V2, also called POSTER++ (Mao et al., arXiv 2301.12149): cross-attention from landmark to image features.

Two streams get the face at 112x112: IR-50, which is trained, and MobileFaceNet, which is frozen. At three scales the
landmark maps attend to the image maps; the results are 3 x 49 tokens of a small vision transformer. Modules and
parameters have the names of the published weights.
"""

from typing import Self

import torch
from torch import nn
from torch.nn import functional

from components.shared.models.zoo.poster_v2.attention import (
    DIM,
    FeedForward,
    NormalizedTokens,
    VisionTransformer,
    WindowAttention,
)
from components.shared.models.zoo.poster_v2.streams import CHANNELS, Ir50, MobileFaceNet

FACE_SIZE = 112
WINDOWS = (28, 14, 7)
DROP_PATHS = (0.0, 0.125, 0.25)


class PosterV2(nn.Module):
    """POSTER V2 with `outputs` logits, or with 0 outputs only its features.

    MobileFaceNet is frozen as a whole: its parameters take no gradient and it stays in evaluation mode, so that its
    batch norm statistics are those of its weights. (The authors' code freezes the parameters only; there the
    statistics follow every training batch.) Load trained weights into it.
    """

    num_features = DIM

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.face_landback = MobileFaceNet().requires_grad_(False).eval()
        self.last_face_conv = nn.Conv2d(512, CHANNELS[2], 3, padding=1)
        self.ir_back = Ir50()
        self.conv1, self.conv2, self.conv3 = (_halving(channels, channels) for channels in CHANNELS)
        self.window1, self.window2, self.window3 = map(NormalizedTokens, CHANNELS)
        self.attn1, self.attn2, self.attn3 = map(WindowAttention, CHANNELS, WINDOWS)
        self.ffn1, self.ffn2, self.ffn3 = map(FeedForward, CHANNELS, DROP_PATHS)
        self.embed_q = nn.Sequential(_halving(CHANNELS[0], DIM), _halving(DIM, DIM))
        self.embed_k = nn.Sequential(_halving(CHANNELS[1], DIM))
        self.embed_v = nn.ModuleDict({"proj": nn.Conv2d(CHANNELS[2], DIM, 1)})
        self.VIT = VisionTransformer(len(WINDOWS) * WINDOWS[-1] ** 2, outputs)

    def train(self, mode: bool = True) -> Self:
        """Set the mode of everything but the frozen landmark stream."""
        super().train(mode)
        self.face_landback.eval()
        return self

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Float (N,3,h,w) normalized RGB, 224x224 in the paper -> logits (N,outputs)."""
        logits: torch.Tensor = self.VIT.head(self.features(images))
        return logits

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Float (N,3,h,w) normalized RGB -> what the head reads, (N,768)."""
        faces = functional.interpolate(images, size=(FACE_SIZE, FACE_SIZE), mode="nearest")
        return self.VIT.features(self._tokens(faces))

    def _tokens(self, faces: torch.Tensor) -> torch.Tensor:
        """Float (N,3,112,112) -> 49 tokens of each level, finest level first: (N,147,768)."""
        landmarks1, landmarks2, landmarks3 = self.face_landback(faces)
        image1, image2, image3 = self.ir_back(faces)
        maps1 = _attend(self.window1, self.attn1, self.ffn1, self.conv1(image1), landmarks1)
        maps2 = _attend(self.window2, self.attn2, self.ffn2, self.conv2(image2), landmarks2)
        maps3 = _attend(self.window3, self.attn3, self.ffn3, self.conv3(image3), self.last_face_conv(landmarks3))
        levels = (self.embed_q(maps1), self.embed_k(maps2), self.embed_v["proj"](maps3))
        return torch.cat([level.flatten(2).transpose(1, 2) for level in levels], dim=1)


def _halving(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, 2, padding=1)


def _attend(
    window: NormalizedTokens,
    attention: WindowAttention,
    feed_forward: FeedForward,
    image: torch.Tensor,
    landmarks: torch.Tensor,
) -> torch.Tensor:
    """One level: image and landmark maps (N,C,w,w) -> (N,C,w,w). The residual starts at the normalized image."""
    tokens = window(image)
    mixed = feed_forward(tokens, attention(tokens, landmarks))
    return torch.unflatten(mixed.transpose(1, 2), 2, image.shape[2:])
