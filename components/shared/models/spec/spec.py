"""What a network is composed of: backbone, freeze policy, head and first weights. Imports no torch."""

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from components.shared.models.spec.backbone_names import check_backbone
from components.shared.models.spec.classifiers import check_classifier
from components.shared.models.spec.presets import PRESETS
from components.shared.options import parse_options
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
    """What turns features into logits.

    `kind`:
        linear: one layer.
        hidden: a layer of `hidden` outputs, dropout, ReLU, and the last layer.
        dropout: dropout in front of the layer.
        multi_sample_dropout: the mean over `samples` dropouts in front of one shared layer (Inoue, 2019,
            arXiv 1905.09788).
        arcface: `scale` times the cosine between features and class vectors; in training the true class's angle
            grows by `margin` radians (Deng et al., 2019, arXiv 1801.07698), with `easy_margin` only where its cosine
            is positive.

    `initialization` is that of the layers: `default` is torch's own, `xavier` a Xavier-uniform weight with the bias
    uniform in +-1/sqrt(inputs), `xavier_constant` the same weight with a bias of 0.01. With `one_logit` a head of two
    labels computes one logit z and gives [0, z]: its softmax is the sigmoid of z, its cross entropy the binary one.
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
    def _of_use(self) -> Self:
        """Refuse entries without an effect: a dropout that is written down must happen."""
        for name, kinds in _KINDS_WITH.items():
            if self.kind not in kinds and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"'{name}' does nothing in a head of kind {self.kind}; it needs {' or '.join(kinds)}")
        if self.kind in ("dropout", "multi_sample_dropout") and self.dropout == 0:
            raise ValueError(f"a head of kind {self.kind} needs a 'dropout' above 0")
        return self


class ModelSpec(_Frozen):
    """A network: `backbone` and its `arguments`, the `head`, what is frozen, and where the weights begin.

    `heads` are those of single label heads, by name, where they differ from `head`. With `keep_classes` the
    backbone keeps its own 1000 outputs and the head reads these. `freeze` is `none`, `backbone` (all but the
    head), the number of stages from the input that are frozen, or names of modules of the backbone. `pretrained` is
    `none`, `imagenet`, a path or an `s3://` address of a weights file; `parts` are such files for single parts of a
    backbone that is published in parts (`ir50` and `mobilefacenet` of `poster_v2`).
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
        """Make 384.0 the integer that was meant: Kubeflow knows no integers inside mappings."""
        for name in ("weights", "num_classes", "outputs", "progress", "aux_logits"):
            if name in value:
                raise ValueError(f"'{name}' follows from the label space and from 'pretrained'; leave it out")
        whole: dict[str, Any] = _whole(value)
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
    """Return the composition that `model` names, with `changes` laid over it.

    Args:
        model: name of a preset; a backbone by its name (torchvision's, or one of ours) with a plain linear head and
            random weights; an own backbone as `package.module:name`; or the entries of a ModelSpec.
        changes: entries that win, laid over entry by entry inside `head`, `heads` and `arguments` too. A head of
            another kind starts from the defaults of that kind. An entry of `heads` is laid over `head`.

    Raises:
        InputError: an unknown name, with the known ones; or an entry that is wrong.
    """
    if isinstance(model, ModelSpec):
        base, subject = model.model_dump(), "the model"
    elif isinstance(model, Mapping):
        base, subject = dict(model), "the model"
    else:
        check_classifier(model)
        base, subject = dict(PRESETS.get(model, {"backbone": model})), f"model '{model}'"
    return _parse(base, _mapping(changes or {}, f"changes of {subject}"), subject)


def head_specs(spec: ModelSpec, heads: Sequence[Head]) -> list[HeadSpec]:
    """Return the head of each label head, in order.

    Raises InputError when `heads` names a label head that is not there, or one logit is asked to tell more than two
    labels apart.
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
            raise InputError(f"one_logit: head '{head.name}' has {len(head.labels)} labels, one logit tells two apart")
    return specs


def _parse(base: Mapping[str, Any], changes: Mapping[str, Any], subject: str) -> ModelSpec:
    merged = {**base, **changes}
    for name in ("arguments", "head", "heads"):
        for entries in (base, changes):
            _mapping(entries.get(name, {}), f"{name} of {subject}")
    merged["arguments"] = {**base.get("arguments", {}), **changes.get("arguments", {})}
    head = _head_over(base.get("head", {}), changes.get("head", {}))
    merged["head"] = parse_options(HeadSpec, head, f"head of {subject}")
    own_heads = dict(base.get("heads", {}))
    for name, entries in changes.get("heads", {}).items():
        own_heads[name] = _head_over(own_heads.get(name, {}), _mapping(entries, f"head '{name}' of {subject}"))
    merged["heads"] = {
        name: parse_options(HeadSpec, _head_over(head, _mapping(entries, subject)), f"head '{name}' of {subject}")
        for name, entries in own_heads.items()
    }
    return parse_options(ModelSpec, merged, subject)


def _head_over(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Lay the entries of one head over another's, which count only if both are of one kind."""
    default = HeadSpec.model_fields["kind"].default
    kind = base.get("kind", default)
    return {**base, **changes} if changes.get("kind", kind) == kind else dict(changes)


def _mapping(value: Any, subject: str) -> Mapping[str, Any]:
    if isinstance(value, HeadSpec):
        return value.model_dump()
    if not isinstance(value, Mapping):
        raise InputError(f"{subject}: expected a mapping, got {value!r}")
    return value


def _whole(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {name: _whole(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_whole(entry) for entry in value]
    return value
