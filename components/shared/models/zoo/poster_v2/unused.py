"""Tensors of the published POSTER V2 weights that no result depends on."""

import torch
from torch import nn

_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def _batch_norm(name: str, size: int) -> dict[str, tuple[int, ...]]:
    shapes = dict.fromkeys(("weight", "bias", "running_mean", "running_var"), (size,))
    return {f"{name}.{part}": shape for part, shape in {**shapes, "num_batches_tracked": ()}.items()}


UNUSED: dict[str, tuple[int, ...]] = {
    # The face recognition embedding of IR-50.
    **_batch_norm("ir_back.output_layer.0", 512),
    "ir_back.output_layer.3.weight": (512, 25088),
    "ir_back.output_layer.3.bias": (512,),
    **_batch_norm("ir_back.output_layer.4", 512),
    # Layers of the transformer from experiments before the published form.
    "VIT.patch_embed.proj.weight": (768, 256, 1, 1),
    "VIT.patch_embed.proj.bias": (768,),
    "VIT.eca_block.conv.weight": (1, 1, 5),
    "VIT.CON1.weight": (768, 256, 1, 1),
    "VIT.IRLinear1.weight": (768, 1024),
    "VIT.IRLinear1.bias": (768,),
    "VIT.IRLinear2.weight": (512, 768),
    "VIT.IRLinear2.bias": (512,),
    "VIT.blocks.0.conv.weight": (148, 148, 1),
    "VIT.blocks.0.conv.bias": (148,),
    "VIT.blocks.1.conv.weight": (148, 148, 1),
    "VIT.blocks.1.conv.bias": (148,),
}
"""Name -> shape of the 24 tensors, 14,466,637 parameters in all."""


def add_unused(model: nn.Module) -> None:
    """Give `model` all tensors of UNUSED, filled with zeros, in modules that are never called."""
    for name, shape in UNUSED.items():
        *path, last = name.split(".")
        owner = model
        for part in path:
            if part not in dict(owner.named_children()):
                owner.add_module(part, nn.Module())
            owner = owner.get_submodule(part)
        if last in _STATISTICS:
            owner.register_buffer(last, torch.zeros(shape, dtype=torch.long if shape == () else torch.float32))
        else:
            owner.register_parameter(last, nn.Parameter(torch.zeros(shape)))
