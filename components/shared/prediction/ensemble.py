"""One or several classifiers that answer as one, each with its own card: its own input and its own crop rule."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import fmean
from typing import get_args

import numpy as np

from components.shared.dataset.label_spaces import LabelSpace, label_space
from components.shared.prediction.combine import (
    DEFAULT_RULE,
    JOINED,
    JOINT,
    Floats,
    check_rule,
    combine_probabilities,
    combined_rule,
    joined_name,
    joint_probabilities,
)
from components.shared.prediction.found_models import find_models
from components.shared.prediction.inputs import check_finite
from components.shared.prediction.photo_set import GivenFace
from components.shared.prediction.views import IDENTITY, View, check_views, crop_view, parse_views
from serving.runtime.card import ClassificationCard, Head
from serving.runtime.composite import Composite
from serving.runtime.detector import Detector
from serving.runtime.errors import InputError
from serving.runtime.image.photo import Photo
from serving.runtime.load import load_model
from serving.runtime.notice import judge
from serving.runtime.predictor import Classifier, Crop, FaceResult
from serving.runtime.reference import brightness
from serving.runtime.session import Outputs

_DIGITS = 12


@dataclass(frozen=True, slots=True)
class _Answer:
    """What models say of a face: per head (1, K) probabilities; and of each model the mean luma and what was cut."""

    heads: Mapping[str, Floats]
    brightness: list[float]
    crops: list[Crop]


@dataclass(frozen=True, slots=True)
class _Group:
    """Members of the same heads, such as folds."""

    members: tuple[Classifier, ...]
    space: LabelSpace

    def classify(self, photo: Photo, face: GivenFace, views: Sequence[View], rule: str) -> _Answer:
        answer = _Answer({}, [], [])
        outputs: list[Mapping[str, Floats]] = []
        for member in self.members:
            of_views: list[Outputs] = []
            for view in views:
                pixels, placement = crop_view(view, photo, face.box, member.card, face.eyes)
                if view == IDENTITY:
                    answer.brightness.append(brightness(pixels))
                    answer.crops.append(member.crop_kind(face.box, placement))
                of_views.append(member.infer(pixels[None]))
            outputs.append(_combined(rule, self.space.heads, of_views))
        return replace(answer, heads=_combined(rule, self.space.heads, outputs))


class Ensemble:
    """Classifiers that answer as one; several threads may use it at once.

    Members of the same heads are combined by the rule, and so are the views of each. A group for `mask` and one for
    `gender_age` together give the 18 classes, as if the two were independent. The order in which the members are named
    changes nothing.

    Attributes:
        members: the models, in an order of their own.
        space: the label space of the answers; likewise `heads`, its heads.
        name: the name of the members, each once, joined by `+`.
        version: of one member without further views its own; else the first digits of a sha256 over the members, the
            rule and the views.
        sha256: of the member's file, or as `version`, all digits.
        views: what is seen of each face.
        notify: the notice about masks, None where no member judges them.

    Args:
        members: one or several models.
        combine: one of `combine.RULES`.
        tta: views besides the face itself, see `views.parse_views`.

    Raises:
        InputError: members have other heads, but for those of `mask` and `gender_age`; one is named twice; a rule or a
            view is unknown, or a member cannot have it.
    """

    def __init__(self, members: Sequence[Classifier], *, combine: str = DEFAULT_RULE, tta: Sequence[str] = ()) -> None:
        check_rule(combine)
        self.views = parse_views(tta)
        for member in members:
            check_views(self.views, member.card)
        self._rule = combine
        self._groups = _groups(members)
        self.members = tuple(member for group in self._groups for member in group.members)
        self.space = self._groups[0].space if len(self._groups) == 1 else label_space(JOINT)
        self.heads: tuple[Head, ...] = self.space.heads
        self.notify = combined_rule([member.card for member in self.members], self.heads)
        self.name = joined_name([member.name for member in self.members])
        self.version, self.sha256 = self.members[0].version, self.members[0].sha256
        if len(self.members) > 1 or len(self.views) > 1:
            facts = {
                "members": [member.sha256 for member in self.members],
                "views": [str(view) for view in self.views],
                "rule": combine,
            }
            self.sha256 = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
            self.version = self.sha256[:_DIGITS]

    def classify(self, photo: Photo, face: GivenFace) -> FaceResult:
        """Return what the members say together of one face of a photo, with the detector's score that it has.

        Of one member this is what the model answers when it serves. Each view is computed alone, so that no answer
        depends on other faces.

        Raises:
            ImageError: the image cannot be used.
            NotFiniteError: a probability is not a number.
            InputError: the box cannot be used.
        """
        answers = [group.classify(photo, face, self.views, self._rule) for group in self._groups]
        heads = answers[0].heads
        if len(answers) > 1:
            mask, gender_age = (answer.heads[name] for answer, name in zip(answers, JOINED, strict=True))
            heads = {JOINT: joint_probabilities(mask, gender_age)}
        labeled = _labeled(self.heads, heads)
        check_finite(labeled, self.name)
        return FaceResult(
            face.box,
            face.score,
            min((crop for answer in answers for crop in answer.crops), key=get_args(Crop).index),
            labeled,
            notice=judge(self.notify, labeled) if self.notify else None,
            brightness=dict.fromkeys(labeled, fmean(level for answer in answers for level in answer.brightness)),
        )


def _combined(rule: str, heads: Sequence[Head], outputs: Sequence[Mapping[str, Floats]]) -> dict[str, Floats]:
    return {head.name: combine_probabilities(rule, [one[head.name] for one in outputs]) for head in heads}


Model = Ensemble | Detector | Composite
"""What runs over photos."""


def _labeled(heads: Sequence[Head], probabilities: Mapping[str, Floats]) -> dict[str, dict[str, float]]:
    return {
        head.name: dict(zip(head.labels, probabilities[head.name][0].astype(np.float32).tolist(), strict=True))
        for head in heads
    }


def _groups(members: Sequence[Classifier]) -> tuple[_Group, ...]:
    if not members:
        raise InputError("no model is named; name one or several classifiers")
    spaces = {space.name: space for space in map(label_space_of, (member.card for member in members))}
    if len(spaces) > 1 and set(spaces) != set(JOINED):
        listed = "; ".join(f"{member.name} {member.version}: {member.card.label_space}" for member in members)
        raise InputError(
            f"models can be combined when all predict the same, or when they are of {' and '.join(JOINED)}, which give "
            f"{JOINT}; these are {listed}"
        )
    return tuple(_group([m for m in members if label_space_of(m.card).name == name], spaces[name])
                 for name in (JOINED if len(spaces) > 1 else spaces))  # fmt: skip


def _group(members: Sequence[Classifier], space: LabelSpace) -> _Group:
    ordered = sorted(members, key=lambda member: member.sha256)
    for one, other in pairwise(ordered):
        if one.sha256 == other.sha256:
            raise InputError(f"model '{one.name}' {one.version} is named twice; name each model once")
    return _Group(tuple(ordered), space)


def label_space_of(card: ClassificationCard) -> LabelSpace:
    """Return the label space of a model. Raises InputError when the model's heads are not those of its label space."""
    space = label_space(card.label_space)
    if space.heads != card.heads:
        ours, theirs = ([(head.name, head.labels) for head in heads] for heads in (space.heads, card.heads))
        raise InputError(f"model '{card.name}': its heads {theirs} are not those of label space '{space.name}': {ours}")
    return space


def open_models(addresses: Sequence[str], *, combine: str = DEFAULT_RULE, tta: Sequence[str] = ()) -> Model:
    """Open what is at one or several addresses, to run it on many threads, each of which computes alone.

    Args:
        addresses: as `load_model` takes them, or a folder of several models, see `find_models`.
        combine: how several classifiers are combined.
        tta: views of a face besides itself.

    Returns:
        An ensemble of classifiers, or the one detector or composite.

    Raises:
        InputError: an address is invalid or holds no usable model, or the models cannot be combined.
        NotFoundError: no such registered model, version or alias.
        StorageError: an address cannot be reached or holds no model.
    """
    found = [address for one in addresses for address in find_models(one)]
    models = [load_model(address, threads=1) for address in found]
    classifiers = [model for model in models if isinstance(model, Classifier)]
    if len(classifiers) == len(models):
        return Ensemble(classifiers, combine=combine, tta=tta)
    address, other = next(pair for pair in zip(found, models, strict=True) if not isinstance(pair[1], Classifier))
    if len(models) > 1:
        raise InputError(f"{address}: a model of task '{other.card.task}'; only classifiers can be combined")
    for option, changed in (("tta", parse_views(tta) != (IDENTITY,)), ("combine", combine != DEFAULT_RULE)):
        if changed:
            raise InputError(
                f"{address}: a model of task '{other.card.task}'; {option} is for classifiers, leave it out"
            )
    assert isinstance(other, Detector | Composite)
    return other
