"""Backbones by name, and the place in them where a head goes. Imports no torch until one is built."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from components.shared.by_name import imported
from components.shared.models.spec.backbone_names import OWN_BACKBONES, TORCHVISION
from serving.runtime.errors import InputError

if TYPE_CHECKING:
    from torch import nn

Builder = Callable[..., "nn.Module"]

_AUXILIARY = ("inception_v3", "googlenet")


def build_backbone(name: str, outputs: int, arguments: Mapping[str, Any], *, imagenet: bool) -> "nn.Module":
    """Build a backbone with random weights: float (N,3,h,w) normalized RGB -> (N,outputs).

    `imagenet` says that it is to hold torchvision's ImageNet weights; Inception and GoogLeNet then expect pixels that
    were normalized otherwise, and torchvision's own conversion in front of them is switched on. Their auxiliary heads
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
