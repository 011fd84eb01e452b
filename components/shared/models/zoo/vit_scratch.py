"""A vision transformer (Dosovitskiy et al., 2021) that is trained from random weights."""

from torch import nn
from torchvision.models import VisionTransformer


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
    """Six wide layers on few patches, with another dropout on the patch embeddings.

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
