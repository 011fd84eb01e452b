"""The transformer that joins the three levels (ViT, arXiv 2010.11929) and the gate on its class token."""

from collections import OrderedDict

import torch
from torch import nn

from components.shared.models.zoo.poster_v2.layers import Mlp, new_linear

DIM = 768
HEADS = 8
DEPTH = 2
NORM_EPS = 1e-6


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
        self.mlp = Mlp(DIM)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Float (N,T,768) -> (N,T,768)."""
        tokens = tokens + self.attn(self.norm1(tokens))
        out: torch.Tensor = tokens + self.mlp(self.norm2(tokens))
        return out


class ChannelGate(nn.Module):
    """x * sigmoid(W2 relu(W1 x)): squeeze and excitation (arXiv 1709.01507) without squeezing."""

    def __init__(self) -> None:
        super().__init__()
        self.linear1 = new_linear(DIM, DIM)
        self.linear2 = new_linear(DIM, DIM)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Float (N,768) -> (N,768)."""
        return features * torch.sigmoid(self.linear2(torch.relu(self.linear1(features))))


class VisionTransformer(nn.Module):
    """Tokens -> features of the class token, and the linear head that reads them."""

    def __init__(self, tokens: int, outputs: int) -> None:
        super().__init__()
        self.cls_token = nn.Parameter(torch.empty(1, 1, DIM))
        self.pos_embed = nn.Parameter(torch.empty(1, 1 + tokens, DIM))
        nn.init.trunc_normal_(self.cls_token, std=0.02)
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.blocks = nn.Sequential(*(Block() for _ in range(DEPTH)))
        self.norm = nn.LayerNorm(DIM, eps=NORM_EPS)
        self.se_block = ChannelGate()
        self.head = nn.Sequential(OrderedDict(linear=new_linear(DIM, outputs))) if outputs else nn.Identity()

    def features(self, tokens: torch.Tensor) -> torch.Tensor:
        """Float (N,tokens,768) -> (N,768): the class token, gated."""
        embedded = torch.cat([self.cls_token.expand(tokens.shape[0], -1, -1), tokens], dim=1) + self.pos_embed
        gated: torch.Tensor = self.se_block(self.norm(self.blocks(embedded))[:, 0])
        return gated
