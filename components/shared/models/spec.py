"""Specification of a network: backbone, head, freeze policy and pretrained weights. Imports no torch."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import AfterValidator, Field, field_validator, model_validator

from components.shared.options import parse_options, unknown_name, whole_numbers
from serving.runtime.card import Head, InputSize
from serving.runtime.errors import InputError
from serving.runtime.validation import Frozen

NONE, IMAGENET, BACKBONE = "none", "imagenet", "backbone"

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
"""All classifiers of torchvision by its names; a test compares them with the installed torchvision."""

OWN_BACKBONES: dict[str, str] = {
    "base": "components.shared.models.zoo.from_scratch:BaseCnn",
    "small_resnet": "components.shared.models.zoo.small_resnet:SmallResNet",
    "gabor_ensemble": "components.shared.models.zoo.gabor_ensemble:GaborEnsemble",
    "vit_scratch": "components.shared.models.zoo.from_scratch:vit_scratch",
    "bam_resnet": "components.shared.models.zoo.attention_resnet:bam_resnet",
    "cbam_resnet": "components.shared.models.zoo.attention_resnet:cbam_resnet",
    "poster_v2": "components.shared.models.zoo.poster_v2.model:PosterV2",
}
"""Our own backbones: name -> import path of a callable that gets the number of outputs and the arguments."""

RECIPES: Mapping[str, Mapping[str, Any]] = yaml.safe_load(Path(__file__).with_name("recipes.yaml").read_text("utf-8"))
"""Models under the names of earlier projects: name -> entries of a ModelSpec. They are not listed or suggested."""

# By the beginning of the name: the smallest side, the only side (pixels), and the argument that sets the only side.
_LEAST_SIDE = {"alexnet": 63, "convnext": 32, "densenet": 29, "googlenet": 15, "squeezenet": 21, "vgg": 32}
_ONLY_SIDE = {"inception_v3": 299, "poster_v2": 224}
_SIDE_ARGUMENT = {"vit_scratch": ("image_size", 256), "maxvit": ("input_size", 224), "vit": ("image_size", 224)}


def check_backbone(name: str, *, kind: str = "backbone") -> str:
    """Return `name` if it is a backbone or has the form of an import path, else raise InputError about the `kind`."""
    if name not in OWN_BACKBONES and name not in TORCHVISION and not is_import_path(name):
        raise InputError(unknown_name(kind, name, (*OWN_BACKBONES, *TORCHVISION)))
    return name


def is_import_path(name: str) -> bool:
    """Tell whether a name has the form `package.module:name`."""
    module, colon, attribute = name.partition(":")
    parts = [*module.split("."), *attribute.split(".")]
    return bool(colon) and all(part.isidentifier() for part in parts)


def check_model(name: str) -> str:
    """Return `name` if it is a recipe, a backbone or an import path; InputError lists the backbones otherwise."""
    return name if name in RECIPES else check_backbone(name, kind="model")


def check_input(backbone: str, arguments: Mapping[str, Any], size: InputSize) -> InputSize:
    """Return `size` if the backbone accepts images of that size; InputError says which sizes it accepts otherwise.

    A backbone by import path is not checked.
    """
    if is_import_path(backbone):
        return size
    refusal = f"backbone '{backbone}' does not accept images of {size.height}x{size.width} pixels"
    only = _only_size(backbone, arguments)
    if only is not None and only != (size.height, size.width):
        raise InputError(f"{refusal}: set image_height to {only[0]} and image_width to {only[1]}")
    least = next((side for family, side in _LEAST_SIDE.items() if backbone.startswith(family)), 1)
    if min(size.height, size.width) < least:
        raise InputError(f"{refusal}: set image_height and image_width to at least {least}")
    return size


def _only_size(backbone: str, arguments: Mapping[str, Any]) -> tuple[int, int] | None:
    """The only height and width that a backbone accepts, if there is only one."""
    if backbone in _ONLY_SIDE:
        return _ONLY_SIDE[backbone], _ONLY_SIDE[backbone]
    for family, (argument, default) in _SIDE_ARGUMENT.items():
        if backbone.startswith(family):
            side = arguments.get(argument, default)
            return (side[0], side[1]) if isinstance(side, list | tuple) else (side, side)
    return None


_KINDS_WITH: dict[str, tuple[str, ...]] = {
    "hidden": ("hidden",),
    "dropout": ("hidden", "dropout", "multi_sample_dropout"),
    "samples": ("multi_sample_dropout",),
    "scale": ("arcface",),
    "margin": ("arcface",),
    "easy_margin": ("arcface",),
    "initialization": ("linear", "hidden", "dropout", "multi_sample_dropout"),
    "one_logit": ("linear", "hidden", "dropout", "multi_sample_dropout"),
}


class HeadSpec(Frozen):
    """How one head is built: the layers from features to logits. `serving.runtime.card.Head` is what it predicts.

    `kind`:
        linear: one layer.
        hidden: a layer of `hidden` outputs, dropout, ReLU, and the last layer.
        dropout: dropout in front of the layer.
        multi_sample_dropout: the mean over `samples` dropouts in front of one shared layer (Inoue, 2019,
            arXiv 1905.09788).
        arcface: `scale` times the cosine between features and class vectors; in training the true class's angle
            grows by `margin` radians (Deng et al., 2019, arXiv 1801.07698), with `easy_margin` only where its cosine
            is positive.

    `initialization` of the linear layers: `default` is torch's own, `xavier` a Xavier-uniform weight with the bias
    uniform in +-1/sqrt(inputs), `xavier_constant` the same weight with a bias of 0.01. With `one_logit` a head of two
    labels computes one logit z and returns [0, z]: its softmax is the sigmoid of z, its cross entropy the binary one.
    """

    kind: Literal["linear", "hidden", "dropout", "multi_sample_dropout", "arcface"] = "linear"
    hidden: int = Field(default=512, ge=1)
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    samples: int = Field(default=5, ge=1)
    scale: float = Field(default=30.0, gt=0.0)
    margin: float = Field(default=0.4, ge=0.0, lt=math.pi)
    easy_margin: bool = False
    initialization: Literal["default", "xavier", "xavier_constant"] = "default"
    one_logit: bool = False

    @model_validator(mode="after")
    def _no_entry_without_effect(self) -> Self:
        """Refuse entries that a head of this kind ignores, such as a dropout in a linear head."""
        for name, kinds in _KINDS_WITH.items():
            if self.kind not in kinds and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"'{name}' has no effect in a head of kind {self.kind}; it needs {' or '.join(kinds)}")
        if self.kind in ("dropout", "multi_sample_dropout") and self.dropout == 0:
            raise ValueError(f"a head of kind {self.kind} needs a 'dropout' above 0")
        return self


class ModelSpec(Frozen):
    """A network: `backbone` and its `arguments`, the `head`, the freeze policy and the pretrained weights.

    `heads` has, by name, the label heads that differ from `head`. With `keep_classes` the backbone keeps its own 1000
    outputs and the head reads these. `freeze` is `none`, `backbone` (all but the head), the number of stages from the
    input that are frozen, or names of modules of the backbone. `pretrained` is `none`, `imagenet`, a path or an
    `s3://` address of a weights file; `parts` are such files for single parts of a backbone that is published in
    parts (`ir50` and `mobilefacenet` of `poster_v2`).
    """

    backbone: Annotated[str, AfterValidator(check_backbone)]
    arguments: dict[str, Any] = Field(default_factory=dict)
    keep_classes: bool = False
    head: HeadSpec = HeadSpec()
    heads: dict[str, HeadSpec] = Field(default_factory=dict)
    freeze: Literal["none", "backbone"] | Annotated[int, Field(ge=1)] | tuple[str, ...] = "none"
    pretrained: str = Field(default=NONE, min_length=1)
    parts: dict[str, str] = Field(default_factory=dict)

    @field_validator("arguments")
    @classmethod
    def _whole_numbers(cls, value: dict[str, Any]) -> dict[str, Any]:
        """Turn 384.0 into the integer: Kubeflow passes numbers inside mappings as floats."""
        for name in ("weights", "num_classes", "outputs", "progress", "aux_logits"):
            if name in value:
                raise ValueError(f"'{name}' follows from the label space and from 'pretrained'; leave it out")
        return dict(whole_numbers(value))

    @field_validator("freeze", mode="before")
    @classmethod
    def _freeze_policy(cls, value: Any) -> Any:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        stages = isinstance(value, int) and not isinstance(value, bool) and value >= 1
        names = isinstance(value, list | tuple) and len(value) > 0 and all(isinstance(name, str) for name in value)
        if not (value in (NONE, BACKBONE) or stages or names):
            raise ValueError("must be none, backbone, a number of stages from 1, or a list of module names")
        return tuple(value) if names else value


def resolve_model(model: str | Mapping[str, Any] | ModelSpec, changes: Mapping[str, Any] | None = None) -> ModelSpec:
    """Return the specification that `model` names, with `changes` applied.

    Args:
        model: name of a recipe; a backbone by its name (torchvision's, or one of ours) with a plain linear head and
            random weights; a backbone by import path, `package.module:name`; or the entries of a ModelSpec.
        changes: entries that override, one by one inside `head`, `heads` and `arguments` too. A head of another kind
            starts from the defaults of that kind. An entry of `heads` overrides `head`.

    Raises:
        InputError: an unknown name, with the valid ones; or a wrong entry.
    """
    if isinstance(model, ModelSpec):
        base, subject = model.model_dump(), "the model"
    elif isinstance(model, Mapping):
        base, subject = dict(model), "the model"
    else:
        base, subject = dict(RECIPES.get(check_model(model), {"backbone": model})), f"model '{model}'"
    return _parse(base, _mapping(changes or {}, f"changes of {subject}"), subject)


def head_specs(spec: ModelSpec, heads: Sequence[Head]) -> list[HeadSpec]:
    """Return how each label head is built, in order.

    Raises InputError when the specification names a label head that `heads` lacks, or one logit for a head of more
    than two labels.
    """
    names = [head.name for head in heads]
    if unknown := sorted(spec.heads.keys() - set(names)):
        raise InputError(
            f"the model has a head of its own for {', '.join(unknown)}, but the label space has {', '.join(names)}; "
            "use a label space that has it, such as 'all', or another model"
        )
    specs = [spec.heads.get(name, spec.head) for name in names]
    for head, head_spec in zip(heads, specs, strict=True):
        if head_spec.one_logit and len(head.labels) != 2:
            raise InputError(f"one_logit: head '{head.name}' has {len(head.labels)} labels, not 2")
    return specs


def _parse(base: Mapping[str, Any], changes: Mapping[str, Any], subject: str) -> ModelSpec:
    merged = {**base, **changes}
    for name in ("arguments", "head", "heads"):
        for entries in (base, changes):
            _mapping(entries.get(name, {}), f"{name} of {subject}")
    merged["arguments"] = {**base.get("arguments", {}), **changes.get("arguments", {})}
    head = _override_head(base.get("head", {}), changes.get("head", {}))
    merged["head"] = parse_options(HeadSpec, head, f"head of {subject}")
    own_heads = dict(base.get("heads", {}))
    for name, entries in changes.get("heads", {}).items():
        own_heads[name] = _override_head(own_heads.get(name, {}), _mapping(entries, f"head '{name}' of {subject}"))
    merged["heads"] = {
        name: parse_options(HeadSpec, _override_head(head, _mapping(entries, subject)), f"head '{name}' of {subject}")
        for name, entries in own_heads.items()
    }
    return parse_options(ModelSpec, merged, subject)


def _override_head(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Override a head entry by entry; changes to another kind start from the defaults of that kind."""
    default = HeadSpec.model_fields["kind"].default
    kind = base.get("kind", default)
    return {**base, **changes} if changes.get("kind", kind) == kind else dict(changes)


def _mapping(value: Any, subject: str) -> Mapping[str, Any]:
    if isinstance(value, HeadSpec):
        return value.model_dump()
    if not isinstance(value, Mapping):
        raise InputError(f"{subject}: expected a mapping, got {value!r}")
    return value
