"""Specification of a network: backbone, head, freeze policy and pretrained weights. Imports no torch."""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from components.shared.models.spec.backbone_names import check_backbone
from components.shared.models.spec.recipes import RECIPES, check_model
from components.shared.options import parse_options, whole_numbers
from serving.runtime.card import Head
from serving.runtime.errors import InputError

NONE, IMAGENET, BACKBONE = "none", "imagenet", "backbone"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


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


class HeadSpec(_Frozen):
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


class ModelSpec(_Frozen):
    """A network: `backbone` and its `arguments`, the `head`, the freeze policy and the pretrained weights.

    `heads` has, by name, the label heads that differ from `head`. With `keep_classes` the backbone keeps its own 1000
    outputs and the head reads these. `freeze` is `none`, `backbone` (all but the head), the number of stages from the
    input that are frozen, or names of modules of the backbone. `pretrained` is `none`, `imagenet`, a path or an
    `s3://` address of a weights file; `parts` are such files for single parts of a backbone that is published in
    parts (`ir50` and `mobilefacenet` of `poster_v2`).
    """

    backbone: str
    arguments: dict[str, Any] = {}
    keep_classes: bool = False
    head: HeadSpec = HeadSpec()
    heads: dict[str, HeadSpec] = {}
    freeze: Literal["none", "backbone"] | Annotated[int, Field(ge=1)] | tuple[str, ...] = "none"
    pretrained: str = Field(default=NONE, min_length=1)
    parts: dict[str, str] = {}

    @field_validator("backbone")
    @classmethod
    def _known_backbone(cls, value: str) -> str:
        return check_backbone(value)

    @field_validator("arguments")
    @classmethod
    def _whole_numbers(cls, value: dict[str, Any]) -> dict[str, Any]:
        """Turn 384.0 into the integer: Kubeflow passes numbers inside mappings as floats."""
        for name in ("weights", "num_classes", "outputs", "progress", "aux_logits"):
            if name in value:
                raise ValueError(f"'{name}' follows from the label space and from 'pretrained'; leave it out")
        whole: dict[str, Any] = whole_numbers(value)
        return whole

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
