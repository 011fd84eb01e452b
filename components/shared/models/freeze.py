"""Which parts of a backbone do not learn: their parameters take no gradient, their statistics stand still."""

from torch import nn
from torchvision.models import MaxVit, RegNet, VisionTransformer

from components.shared.models.zoo.small_resnet import Members
from serving.runtime.errors import InputError

Freeze = str | int | tuple[str, ...]


def freeze(backbone: nn.Module, policy: Freeze, head: str) -> tuple[str, ...]:
    """Exclude parts of a backbone from training.

    Args:
        backbone: changed in place: the frozen parameters require no gradient.
        policy: `none`; `backbone`, all but the head; a number of stages from the input, as `stages` orders them; or
            names of modules or single parameters.
        head: name of the head's module within the backbone.

    Returns:
        The names of the frozen modules, which must stay in evaluation mode. Modules without parameters beside the
        head, as a dropout in front of it, are not among them.

    Raises:
        InputError: there are not so many stages, no module of that name, or nothing would be left to train.
    """
    if policy == "none":
        return ()
    if policy == "backbone":
        names = _around(backbone, head)
    elif isinstance(policy, int):
        names = _first_stages(backbone, policy, head)
    else:
        names = [name.removeprefix("backbone.") for name in policy]
    modules, parameters = dict(backbone.named_modules()), dict(backbone.named_parameters())
    for name in names:
        if name in modules and name:
            modules[name].requires_grad_(False)
        elif name in parameters:
            parameters[name].requires_grad_(False)
        else:
            known = ", ".join(child for child, _ in backbone.named_children())
            raise InputError(f"freeze: the backbone has no module '{name}'; at the top it has {known}")
    if not any(parameter.requires_grad for parameter in backbone.parameters()):
        raise InputError("freeze: nothing is left to train; leave the head out")
    return tuple(name for name in names if name in modules)


def stages(backbone: nn.Module) -> list[str]:
    """Return the names of a backbone's stages, from the input on.

    They are the children of `features` (EfficientNet, VGG, DenseNet, MobileNet, ConvNeXt, Swin, SqueezeNet, AlexNet)
    or `layers` (MNASNet); the patch embedding and the encoder's layers of a ViT; the stem and the blocks of RegNet
    and MaxViT; and the children of any other, so that the first six of a ResNet reach from its stem to `layer2`.
    """
    if isinstance(backbone, VisionTransformer):
        return ["conv_proj", *_children(backbone, "encoder.layers")]
    if isinstance(backbone, RegNet):
        return ["stem", *_children(backbone, "trunk_output")]
    if isinstance(backbone, MaxVit):
        return ["stem", *_children(backbone, "blocks")]
    for container in ("features", "layers"):
        if isinstance(getattr(backbone, container, None), nn.Sequential):
            return _children(backbone, container)
    return [name for name, _ in backbone.named_children()]


def _children(backbone: nn.Module, container: str) -> list[str]:
    return [f"{container}.{name}" for name, _ in backbone.get_submodule(container).named_children()]


def _first_stages(backbone: nn.Module, count: int, head: str) -> list[str]:
    if any(isinstance(module, Members) for module in backbone.modules()):
        raise InputError("freeze: members have their stages apart; name modules instead, such as features.members.0.0")
    names = [name for name in stages(backbone) if name != head and not head.startswith(f"{name}.")]
    if count > len(names):
        raise InputError(f"freeze: the backbone has {len(names)} stages, {count} cannot be frozen: {', '.join(names)}")
    return names[:count]


def _around(backbone: nn.Module, head: str) -> list[str]:
    """The largest modules that do not hold the head, and the single parameters beside them."""
    names: list[str] = []
    holder, prefix = backbone, ""
    for part in head.split("."):
        names += [prefix + name for name, _ in holder.named_parameters(recurse=False)]
        names += [
            prefix + name
            for name, child in holder.named_children()
            if name != part and next(child.parameters(), None) is not None
        ]
        holder, prefix = holder.get_submodule(part), f"{prefix}{part}."
    return names
