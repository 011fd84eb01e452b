"""Backbones by name, and the place in them where a head goes. Imports no torch until one is built."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from components.shared.by_name import imported, unknown_name
from serving.runtime.card import InputSize
from serving.runtime.errors import InputError

if TYPE_CHECKING:
    from torch import nn

Builder = Callable[..., "nn.Module"]

TORCHVISION: tuple[str, ...] = (
    "alexnet",
    *(f"convnext_{size}" for size in ("tiny", "small", "base", "large")),
    *(f"densenet{depth}" for depth in (121, 161, 169, 201)),
    *(f"efficientnet_b{number}" for number in range(8)),
    *(f"efficientnet_v2_{size}" for size in "sml"),
    "googlenet",
    "inception_v3",
    "maxvit_t",
    *(f"mnasnet{width}" for width in ("0_5", "0_75", "1_0", "1_3")),
    "mobilenet_v2",
    "mobilenet_v3_small",
    "mobilenet_v3_large",
    *(f"regnet_{kind}_{size}" for kind in "xy" for size in ("400mf", "800mf", "1_6gf", "3_2gf", "8gf", "16gf", "32gf")),
    "regnet_y_128gf",
    *(f"resnet{depth}" for depth in (18, 34, 50, 101, 152)),
    *("resnext50_32x4d", "resnext101_32x8d", "resnext101_64x4d"),
    *(f"shufflenet_v2_x{width}" for width in ("0_5", "1_0", "1_5", "2_0")),
    *("squeezenet1_0", "squeezenet1_1"),
    *(f"swin{version}_{size}" for version in ("", "_v2") for size in "tsb"),
    *(f"vgg{depth}{norm}" for depth in (11, 13, 16, 19) for norm in ("", "_bn")),
    *("vit_b_16", "vit_b_32", "vit_l_16", "vit_l_32", "vit_h_14"),
    *("wide_resnet50_2", "wide_resnet101_2"),
)
"""All classifiers of torchvision, by its names for them."""

OWN_BACKBONES: dict[str, str] = {
    "base": "components.shared.models.base_cnn:BaseCnn",
    "small_resnet": "components.shared.models.small_resnet:SmallResNet",
    "vit_scratch": "components.shared.models.vit_scratch:vit_scratch",
    "bam_resnet": "components.shared.models.attention_resnet:bam_resnet",
    "cbam_resnet": "components.shared.models.attention_resnet:cbam_resnet",
    "poster_v2": "components.shared.models.poster_v2.model:PosterV2",
}
"""Our own backbones: name -> import path of a function from the number of outputs, and arguments, to a module."""

_AUXILIARY = ("inception_v3", "googlenet")
_LEAST_SIDE = {"alexnet": 63, "convnext": 32, "densenet": 29, "googlenet": 15, "squeezenet": 21, "vgg": 32}
_ONLY_SIDE = {"inception_v3": 299, "poster_v2": 224}
_SIDE_ARGUMENT = {"vit_scratch": ("image_size", 256), "maxvit": ("input_size", 224), "vit": ("image_size", 224)}


def check_backbone(name: str) -> str:
    """Return `name` if it is a known backbone or has the form of an import path, else raise InputError."""
    if name not in OWN_BACKBONES and name not in TORCHVISION and not is_import_path(name):
        known = (*OWN_BACKBONES, *TORCHVISION)
        raise InputError(unknown_name("backbone", name, known))
    return name


def is_import_path(name: str) -> bool:
    """Tell whether a name has the form `package.module:name`."""
    module, colon, attribute = name.partition(":")
    parts = [*module.split("."), *attribute.split(".")]
    return bool(colon) and all(part.isidentifier() for part in parts)


def check_input(backbone: str, arguments: Mapping[str, Any], size: InputSize) -> InputSize:
    """Return `size` if the backbone takes pictures of it; InputError says which ones it takes otherwise.

    Nothing is known of own backbones.
    """
    if is_import_path(backbone):
        return size
    what = f"backbone '{backbone}' cannot take pictures of {size.height}x{size.width} pixels"
    only = _only_size(backbone, arguments)
    if only is not None and only != (size.height, size.width):
        raise InputError(f"{what}: set image_height to {only[0]} and image_width to {only[1]}")
    least = next((side for family, side in _LEAST_SIDE.items() if backbone.startswith(family)), 1)
    if min(size.height, size.width) < least:
        raise InputError(f"{what}: set image_height and image_width to at least {least}")
    return size


def _only_size(backbone: str, arguments: Mapping[str, Any]) -> tuple[int, int] | None:
    """The height and width that a backbone is bound to, if it is."""
    if backbone in _ONLY_SIDE:
        return _ONLY_SIDE[backbone], _ONLY_SIDE[backbone]
    for family, (argument, default) in _SIDE_ARGUMENT.items():
        if backbone.startswith(family):
            side = arguments.get(argument, default)
            return (side[0], side[1]) if isinstance(side, list | tuple) else (side, side)
    return None


def build_backbone(name: str, outputs: int, arguments: Mapping[str, Any], *, imagenet: bool) -> "nn.Module":
    """Build a backbone with random weights: float (N,3,h,w) normalised RGB -> (N,outputs).

    `imagenet` says that it is to hold torchvision's ImageNet weights; Inception and GoogLeNet then expect pixels that
    were normalised otherwise, and torchvision's own conversion in front of them is switched on. Their auxiliary heads
    are left out: no result depends on them.

    An own backbone must be a class derived from torch.nn.Module: its name may come out of a checkpoint file, and no
    other object is called for that.

    Raises InputError for an own name that is no such class, or arguments that do not fit.
    """
    if name in TORCHVISION:
        from torchvision.models import get_model_builder

        builder: Builder = get_model_builder(name)
        given: dict[str, Any] = {"weights": None, "num_classes": outputs, **arguments}
        if name in _AUXILIARY:
            given = {"transform_input": imagenet, "aux_logits": False, "init_weights": True, **given}
        positional: tuple[int, ...] = ()
    else:
        builder = imported("backbone", OWN_BACKBONES.get(name, name))
        given, positional = dict(arguments), (outputs,)
        if name not in OWN_BACKBONES:
            _check_own(name, builder)
    try:
        return builder(*positional, **given)
    except (TypeError, ValueError, AssertionError) as error:
        shown = ", ".join(f"{key}={value!r}" for key, value in arguments.items()) or "no arguments"
        raise InputError(f"backbone '{name}' cannot be built with {shown}: {error}") from error


def _check_own(name: str, found: object) -> None:
    from torch import nn

    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise InputError(f"backbone '{name}' must be a class derived from torch.nn.Module, got {found!r}")


@dataclass(frozen=True, slots=True)
class Classifier:
    """Where things are in a backbone that was given a head.

    `head` is the name of the head's module, `kept` that of the backbone's own last layer ("" where the head
    replaced it), and `original` the name this layer has in the backbone's published weights.
    """

    head: str
    kept: str
    original: str


def place_head(
    backbone: "nn.Module", outputs: int, make_head: "Callable[[int], nn.Module]", *, keep_classes: bool, plain: bool
) -> Classifier:
    """Put a head where the backbone's last layer is, or behind that layer.

    Args:
        backbone: changed in place. Its last layer is its last linear one, in the order of definition, and must have
            `outputs` outputs; SqueezeNet's is a convolution.
        outputs: what the backbone was built with.
        make_head: gets the number of features the head reads.
        keep_classes: the head reads the `outputs` numbers of the last layer, which stays.
        plain: the head is one linear layer that starts as the backbone starts its own; then that one serves.

    Raises:
        InputError: the backbone does not end in such a layer.
    """
    from torch import nn
    from torchvision.models import SqueezeNet

    if isinstance(backbone, SqueezeNet):
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
        return Classifier(f"classifier.{len(layers) - 1}", kept, "classifier.1")
    path, last = _last_linear(backbone, outputs)
    if keep_classes:
        backbone.set_submodule(path, nn.Sequential(last, make_head(outputs)))
        return Classifier(f"{path}.1", f"{path}.0", path)
    if not plain:
        backbone.set_submodule(path, make_head(last.in_features))
    return Classifier(path, "", path)


def _last_linear(backbone: "nn.Module", outputs: int) -> "tuple[str, nn.Linear]":
    from torch import nn

    layers = [(name, module) for name, module in backbone.named_modules() if isinstance(module, nn.Linear)]
    if not layers or layers[-1][1].out_features != outputs or not layers[-1][0]:
        found = f"its last one is {layers[-1][1]}" if layers else "it has none"
        raise InputError(
            f"backbone {type(backbone).__name__} must end in a linear layer of the {outputs} outputs it was asked for, "
            f"which the head replaces; {found}"
        )
    return layers[-1]
