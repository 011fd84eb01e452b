"""Attention from landmarks to the image within one window that spans the whole map (POSTER++, arXiv 2301.12149)."""

import torch
from torch import nn
from torchvision.ops import StochasticDepth

from components.shared.models.zoo.poster_v2.layers import Mlp, new_linear

HEAD_DIM = 32
GAMMA = 1e-5


def relative_position_index(window: int) -> torch.Tensor:
    """The row of the bias table for each pair of cells: int64 (window^2, window^2), rows are queries.

    Row and column offset of query minus key, each moved to 0 .. 2*window-2, are the two digits of a number to the
    base 2*window-1 (Swin, arXiv 2103.14030). Cells count row by row.
    """
    cells = torch.cartesian_prod(torch.arange(window), torch.arange(window))
    offsets = cells[:, None] - cells[None, :] + window - 1
    return offsets[..., 0] * (2 * window - 1) + offsets[..., 1]


class NormalizedTokens(nn.Module):
    """Layer norm of every cell of a map: float (N,dim,h,w) -> tokens (N,h*w,dim), row by row."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """Float (N,dim,h,w) -> (N,h*w,dim)."""
        tokens: torch.Tensor = self.norm(maps.flatten(2).transpose(1, 2))
        return tokens


class WindowAttention(nn.Module):
    """Softmax(q k^T / sqrt(32) + B) v over all cells, with heads of 32 channels and a learned bias B per offset.

    The queries are the landmark maps without a projection; `qkv` computes keys and values from the image (its name is
    that of the published weights).
    """

    relative_position_index: torch.Tensor

    def __init__(self, dim: int, window: int) -> None:
        super().__init__()
        self.heads = dim // HEAD_DIM
        self.relative_position_bias_table = nn.Parameter(torch.empty((2 * window - 1) ** 2, self.heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        self.register_buffer("relative_position_index", relative_position_index(window))
        self.qkv = new_linear(dim, 2 * dim)
        self.proj = new_linear(dim, dim)

    def forward(self, tokens: torch.Tensor, landmarks: torch.Tensor) -> torch.Tensor:
        """Image tokens (N,window^2,dim) and landmark maps (N,dim,window,window) -> (N,window^2,dim)."""
        queries = torch.unflatten(landmarks.flatten(2), 1, (self.heads, HEAD_DIM)).transpose(2, 3)
        keys, values = self.qkv(tokens).unflatten(2, (2, self.heads, HEAD_DIM)).permute(2, 0, 3, 1, 4).unbind(0)
        bias = self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)
        weights = torch.softmax((HEAD_DIM**-0.5 * queries) @ keys.transpose(2, 3) + bias, dim=3)
        mixed: torch.Tensor = self.proj((weights @ values).transpose(1, 2).flatten(2))
        return mixed


class FeedForward(nn.Module):
    """Add the attention and then an MLP to the tokens, both scaled per channel and dropped per sample in training.

    The scales start at 1e-5 (LayerScale, arXiv 2103.17239); a branch is dropped with probability `drop_path`
    (stochastic depth, arXiv 1603.09382), drawn from torch's generator.
    """

    def __init__(self, dim: int, drop_path: float) -> None:
        super().__init__()
        self.gamma1 = nn.Parameter(torch.full((dim,), GAMMA))
        self.gamma2 = nn.Parameter(torch.full((dim,), GAMMA))
        self.norm = nn.LayerNorm(dim)
        self.mlp = Mlp(dim)
        self.drop_path = StochasticDepth(drop_path, mode="row")

    def forward(self, tokens: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
        """Normalized image tokens and their attention output, both (N,T,dim) -> (N,T,dim)."""
        tokens = tokens + self.drop_path(self.gamma1 * attended)
        out: torch.Tensor = tokens + self.drop_path(self.gamma2 * self.mlp(self.norm(tokens)))
        return out
