"""Backbones by name: how they are built, their stages, where the head is attached, and which parts are frozen."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn
from torchvision.models import MaxVit, RegNet, SqueezeNet, VisionTransformer, get_model_builder

from components.shared.models.spec import OWN_BACKBONES, TORCHVISION
from components.shared.options import imported
from serving.runtime.errors import InputError

_WITH_AUXILIARY_HEADS = ("inception_v3", "googlenet")
_STAGES_OF_TORCHVISION = {
    VisionTransformer: ("conv_proj", "encoder.layers"),
    RegNet: ("stem", "trunk_output"),
    MaxVit: ("stem", "blocks"),
}
"""Family -> the first stage and the container of the others, where it is not `features` or `layers`."""


def build_backbone(name: str, outputs: int, arguments: Mapping[str, Any], *, imagenet: bool) -> nn.Module:
    """Build a backbone with random weights: float (N,3,h,w) normalized RGB -> (N,outputs).

    `imagenet` says that it is to hold torchvision's ImageNet weights; Inception and GoogLeNet were trained on pixels
    with another normalization, and torchvision's own conversion is switched on. Their auxiliary heads are left out:
    no result depends on them.

    A backbone by import path must be a class derived from torch.nn.Module: the path may come from a checkpoint file,
    and nothing else is called for that.

    Raises InputError for an import path of anything else, or arguments that do not fit.
    """
    builder: Callable[..., nn.Module]
    if name in TORCHVISION:
        builder = get_model_builder(name)
        keywords: dict[str, Any] = {"weights": None, "num_classes": outputs, **arguments}
        if name in _WITH_AUXILIARY_HEADS:
            keywords = {"transform_input": imagenet, "aux_logits": False, "init_weights": True, **keywords}
        positional: tuple[int, ...] = ()
    else:
        builder = imported("backbone", OWN_BACKBONES.get(name, name))
        if name not in OWN_BACKBONES and not (isinstance(builder, type) and issubclass(builder, nn.Module)):
            raise InputError(f"backbone '{name}' must be a class derived from torch.nn.Module, got {builder!r}")
        keywords, positional = dict(arguments), (outputs,)
    try:
        return builder(*positional, **keywords)
    except (TypeError, ValueError, AssertionError) as error:
        listed = ", ".join(f"{key}={value!r}" for key, value in arguments.items()) or "no arguments"
        raise InputError(f"backbone '{name}' cannot be built with {listed}: {error}") from error


def stage_names(backbone: nn.Module) -> list[str]:
    """Return the names of a backbone's stages, from the input on.

    A backbone with a method `stage_names()` is asked. Otherwise they are the children of `features` (EfficientNet,
    VGG, DenseNet, MobileNet, ConvNeXt, Swin, SqueezeNet, AlexNet) or `layers` (MNASNet); the patch embedding and the
    encoder's layers of a ViT; the stem and the blocks of RegNet and MaxViT; and the children of any other, so that
    the first six of a ResNet reach from its stem to `layer2`.

    Raises InputError when the backbone has no one row of stages.
    """
    own: Callable[[], list[str]] | None = getattr(backbone, "stage_names", None)
    if own is not None:
        return own()
    for family, (stem, container) in _STAGES_OF_TORCHVISION.items():
        if isinstance(backbone, family):
            return [stem, *_children(backbone, container)]
    for container in ("features", "layers"):
        if isinstance(getattr(backbone, container, None), nn.Sequential):
            return _children(backbone, container)
    return [name for name, _ in backbone.named_children()]


def _children(backbone: nn.Module, container: str) -> list[str]:
    return [f"{container}.{name}" for name, _ in backbone.get_submodule(container).named_children()]


@dataclass(frozen=True, slots=True)
class HeadLocation:
    """Module names in a backbone with a head.

    `head` is the head, `kept` the backbone's own last layer ("" where the head replaced it), and `original` the name
    of this layer in the backbone's published weights.
    """

    head: str
    kept: str
    original: str


def attach_head(
    backbone: nn.Module, outputs: int, make_head: Callable[[int], nn.Module], *, keep_classes: bool, plain: bool
) -> HeadLocation:
    """Replace the backbone's last layer by a head, or put the head behind that layer.

    Args:
        backbone: changed in place. Its last layer is its last linear one, in the order of definition, and must have
            `outputs` outputs; SqueezeNet's is a convolution.
        outputs: what the backbone was built with.
        make_head: from the number of features to the head.
        keep_classes: the head reads the `outputs` numbers of the last layer, which stays.
        plain: the head is one linear layer with the backbone's own initialization: the last layer stays as the head.

    Raises:
        InputError: the backbone does not end in such a layer.
    """
    if isinstance(backbone, SqueezeNet):
        return _attach_to_squeezenet(backbone, outputs, make_head, keep_classes=keep_classes)
    path, last = _last_linear(backbone, outputs)
    if keep_classes:
        backbone.set_submodule(path, nn.Sequential(last, make_head(outputs)))
        return HeadLocation(f"{path}.1", f"{path}.0", path)
    if not plain:
        backbone.set_submodule(path, make_head(last.in_features))
    return HeadLocation(path, "", path)


def _attach_to_squeezenet(
    backbone: nn.Module, outputs: int, make_head: Callable[[int], nn.Module], *, keep_classes: bool
) -> HeadLocation:
    classifier = backbone.get_submodule("classifier")
    assert isinstance(classifier, nn.Sequential)
    dropout, convolution = classifier[0], classifier[1]
    assert isinstance(convolution, nn.Conv2d)
    if keep_classes:
        layers = [*classifier, nn.Flatten(), make_head(outputs)]
    else:
        layers = [dropout, nn.AdaptiveAvgPool2d(1), nn.Flatten(), make_head(convolution.in_channels)]
    backbone.add_module("classifier", nn.Sequential(*layers))
    kept = "classifier.1" if keep_classes else ""
    return HeadLocation(f"classifier.{len(layers) - 1}", kept, "classifier.1")


def _last_linear(backbone: nn.Module, outputs: int) -> tuple[str, nn.Linear]:
    layers = [(name, module) for name, module in backbone.named_modules() if isinstance(module, nn.Linear)]
    if not layers or layers[-1][1].out_features != outputs or not layers[-1][0]:
        actual = f"its last one is {layers[-1][1]}" if layers else "it has none"
        raise InputError(
            f"backbone {type(backbone).__name__} must end in a linear layer of the {outputs} outputs it was asked for, "
            f"which the head replaces; {actual}"
        )
    return layers[-1]


def freeze(backbone: nn.Module, policy: str | int | tuple[str, ...], head: str) -> tuple[str, ...]:
    """Exclude parts of a backbone from training.

    Args:
        backbone: changed in place: the frozen parameters require no gradient.
        policy: `none`; `backbone`, all but the head; the number of stages from the input (see `stage_names`); or names
            of modules or single parameters.
        head: name of the head's module within the backbone.

    Returns:
        The names of the frozen modules, which must stay in evaluation mode. A module without parameters beside the
        head, such as a dropout before it, is not frozen.

    Raises:
        InputError: the backbone has fewer stages or none in one row, no module of that name, or all would be frozen.
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
            top = ", ".join(child for child, _ in backbone.named_children())
            raise InputError(f"freeze: the backbone has no module '{name}'; at the top it has {top}")
    if not any(parameter.requires_grad for parameter in backbone.parameters()):
        raise InputError("freeze: nothing is left to train; leave the head out")
    return tuple(name for name in names if name in modules)


def _first_stages(backbone: nn.Module, count: int, head: str) -> list[str]:
    names = [name for name in stage_names(backbone) if name != head and not head.startswith(f"{name}.")]
    if count > len(names):
        raise InputError(f"freeze: the backbone has {len(names)} stages, {count} cannot be frozen: {', '.join(names)}")
    return names[:count]


def _around(backbone: nn.Module, head: str) -> list[str]:
    """The largest modules that do not contain the head, and the single parameters beside them."""
    names: list[str] = []
    parent, prefix = backbone, ""
    for part in head.split("."):
        names += [prefix + name for name, _ in parent.named_parameters(recurse=False)]
        names += [
            prefix + name
            for name, child in parent.named_children()
            if name != part and next(child.parameters(), None) is not None
        ]
        parent, prefix = parent.get_submodule(part), f"{prefix}{part}."
    return names
