"""The attention of POSTER V2: from landmarks to the image in one window, and the transformer that joins the levels."""

from collections import OrderedDict

import torch
from torch import nn
from torchvision.ops import StochasticDepth

HEAD_DIM = 32
GAMMA = 1e-5

DIM = 768
HEADS = 8
DEPTH = 2
NORM_EPS = 1e-6


def new_linear(inputs: int, outputs: int) -> nn.Linear:
    """A linear layer with the initial values of `reset_linear`."""
    layer = nn.Linear(inputs, outputs)
    reset_linear(layer)
    return layer


def reset_linear(layer: nn.Linear) -> None:
    """Initialize as in the ViT and Swin papers: weights truncated normal of deviation 0.02, bias 0."""
    nn.init.trunc_normal_(layer.weight, std=0.02)
    nn.init.zeros_(layer.bias)


def _mlp(dim: int) -> nn.Sequential:
    """Two linear layers, four times wider inside, with the exact GELU: float (..., dim) -> (..., dim)."""
    return nn.Sequential(OrderedDict(fc1=new_linear(dim, 4 * dim), gelu=nn.GELU(), fc2=new_linear(4 * dim, dim)))


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
        self.mlp = _mlp(dim)
        self.drop_path = StochasticDepth(drop_path, mode="row")

    def forward(self, tokens: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
        """Normalized image tokens and their attention output, both (N,T,dim) -> (N,T,dim)."""
        tokens = tokens + self.drop_path(self.gamma1 * attended)
        out: torch.Tensor = tokens + self.drop_path(self.gamma2 * self.mlp(self.norm(tokens)))
        return out


class SelfAttention(nn.Module):
    """Softmax(q k^T / sqrt(96)) v with 8 heads: float (N,T,768) -> (N,T,768)."""

    def __init__(self) -> None:
        super().__init__()
        self.qkv = new_linear(DIM, 3 * DIM)
        self.proj = new_linear(DIM, DIM)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Float (N,T,768) -> (N,T,768)."""
        parts = self.qkv(tokens).unflatten(2, (3, HEADS, DIM // HEADS)).permute(2, 0, 3, 1, 4)
        queries, keys, values = parts.unbind(0)
        weights = torch.softmax((DIM // HEADS) ** -0.5 * queries @ keys.transpose(2, 3), dim=3)
        mixed: torch.Tensor = self.proj((weights @ values).transpose(1, 2).flatten(2))
        return mixed


class Block(nn.Module):
    """Attention and MLP, each on normalized tokens and added to them."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(DIM, eps=NORM_EPS)
        self.attn = SelfAttention()
        self.norm2 = nn.LayerNorm(DIM, eps=NORM_EPS)
        self.mlp = _mlp(DIM)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Float (N,T,768) -> (N,T,768)."""
        tokens = tokens + self.attn(self.norm1(tokens))
        out: torch.Tensor = tokens + self.mlp(self.norm2(tokens))
        return out


class VisionTransformer(nn.Module):
    """A ViT (arXiv 2010.11929): tokens -> features of the class token, and the linear head that reads them.

    The features x are gated as x * sigmoid(W2 relu(W1 x)): squeeze and excitation (arXiv 1709.01507) without squeezing.
    """

    def __init__(self, tokens: int, outputs: int) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.empty(1, 1, DIM))
        self.pos_embed = nn.Parameter(torch.empty(1, 1 + tokens, DIM))
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.blocks = nn.Sequential(*(Block() for _ in range(DEPTH)))
        self.norm = nn.LayerNorm(DIM, eps=NORM_EPS)
        self.se_block = nn.Sequential(
            OrderedDict(linear1=new_linear(DIM, DIM), relu=nn.ReLU(), linear2=new_linear(DIM, DIM), gate=nn.Sigmoid())
        )
        self.head = nn.Sequential(OrderedDict(linear=new_linear(DIM, outputs))) if outputs else nn.Identity()

    def features(self, tokens: torch.Tensor) -> torch.Tensor:
        """Float (N,tokens,768) -> (N,768): the class token, gated."""
        embedded = torch.cat([self.cls_token.expand(tokens.shape[0], -1, -1), tokens], dim=1) + self.pos_embed
        classes: torch.Tensor = self.norm(self.blocks(embedded))[:, 0]
        gates: torch.Tensor = self.se_block(classes)
        return classes * gates
