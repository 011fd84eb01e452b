"""Several classifiers as one model.onnx: the folds of one, or masks and gender_age as the 18 classes."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import numpy as np
import onnx
from numpy.typing import NDArray

from components.combine_models.card import combined_card
from components.combine_models.graph import HeadGroup, combine_graphs
from components.shared.dataset.label_spaces import label_space
from components.shared.models.graph_file import graph_file
from components.shared.models.graph_speed import open_session, speeds
from components.shared.prediction.combine import JOINED, JOINT, Floats, combine_probabilities, joint_probabilities
from serving.runtime.card import INPUT_NAME, ClassificationCard, Combined, CombineRule, Member
from serving.runtime.detector import Detector
from serving.runtime.errors import InputError
from serving.runtime.load import read_model
from serving.runtime.machine import usable_cpus
from serving.runtime.output import check_output, whole_folder
from serving.runtime.predictor import Classifier
from serving.runtime.registry import MODEL_FILE
from serving.runtime.validation import known

RULES: tuple[CombineRule, ...] = get_args(CombineRule)
_TOLERANCE = 1e-4
_NOISE = 8  # images of noise that the new graph and its members are compared on
_LARGEST = 2**31 - 2**20  # bytes that protobuf can write, with room for the card

Answers = dict[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class CombineResult:
    """What was written.

    Attributes:
        sha256: of the file.
        members: how many models were combined.
        sizes: bytes of the members' files together, and of the new one.
        max_difference: the largest difference of a probability from the combination of the members' own, on noise.
        cpu_ms: milliseconds of CPU time for one face in one thread: of the members together, and of the new graph.
    """

    sha256: str
    members: int
    sizes: tuple[int, int]
    max_difference: float
    cpu_ms: tuple[float, float]

    @property
    def metrics(self) -> dict[str, float]:
        """All of it as numbers."""
        return {
            "members": self.members,
            "megabytes_of_members": self.sizes[0] / 1e6,
            "megabytes": self.sizes[1] / 1e6,
            "max_difference": self.max_difference,
            "cpu_ms_of_members": self.cpu_ms[0],
            "cpu_ms": self.cpu_ms[1],
        }


def combine_models(sources: Sequence[str], output: Path, *, name: str, rule: str = "mean") -> CombineResult:
    """Write the folder `output` with model.onnx, which computes several classifiers and combines what they say.

    Models with the same heads, such as the folds of a cross-validation, become one with these heads; see
    `combine_graphs` for the rules. A model of `mask` and one of `gender_age`, or several of each, become one of
    `mask_gender_age`: the probability of a class is the product of its two parts, so that the most probable class is
    6 * mask + gender_age. All see the same cut of a face, and each normalizes it itself. The bytes depend only on the
    members, their order, the arguments and the version of onnx.

    Args:
        sources: two models or more: files, folders with one, s3:// or registered models; classifiers in fp32.
        output: a new or empty folder.
        name: the name in the new card.
        rule: `mean` or `log_mean`, for models with the same heads.

    Raises:
        InputError: a name or number cannot be used, a model is not a classifier in fp32 or is given twice, the heads do
            not fit each other, or the models see different cuts of a face.
        NotFoundError: no such registered model.
        StorageError: there is no model.
        RuntimeError: the new graph does not give what its members give.
    """
    if not name.strip():
        raise InputError("name: must not be empty, the model is registered and served under it")
    how = next((one for one in RULES if one == rule), None)
    if how is None:
        raise InputError(f"rule: unknown '{rule}'{known(rule, RULES)}")
    if len(sources) < 2:
        raise InputError(f"models and weights: expected two models or more, got {len(sources)}")
    for source in sources:
        if not source.startswith(("models:", "s3:")):
            check_output(output, Path(source))
    members = [_open(source) for source in sources]
    _check_same_cut(members)
    groups = _groups(members)
    joint = label_space(JOINT).heads[0] if len(groups) > 1 else None
    first = groups[0][0].card
    ordered = [member for group in groups for member in group]
    card = combined_card(
        [member.card for member in ordered],
        name,
        JOINT if joint else first.label_space,
        (joint,) if joint else first.heads,
        Combined(rule=how, members=tuple(Member(name=one.card.name, sha256=one.sha256) for one in ordered)),
    )
    grouped = [
        HeadGroup(group[0].card.heads, tuple(onnx.load_from_string(one.content) for one in group)) for group in groups
    ]
    sizes = sum(len(one.content) for one in members)
    if sizes > _LARGEST:
        raise InputError(f"the models have {sizes / 1e9:.1f} GB together; one ONNX file holds 2 GB: combine fewer")
    with whole_folder(output) as folder:
        content = graph_file(combine_graphs(grouped, first.input, rule, joint), card)
        difference = _difference(content, groups, card, rule)
        if not difference <= _TOLERANCE:  # also true for NaN
            raise RuntimeError(
                f"the combined graph differs from its members: probabilities by up to {difference:.2g}, at most "
                f"{_TOLERANCE:g} is allowed"
            )
        (folder / MODEL_FILE).write_bytes(content)
    times = [speed.cpu_ms for speed in speeds([*(one.content for one in members), content], first.input)]
    return CombineResult(
        sha256=hashlib.sha256(content).hexdigest(),
        members=len(members),
        sizes=(sizes, len(content)),
        max_difference=difference,
        cpu_ms=(sum(times[:-1]), times[-1]),
    )


@dataclass(frozen=True, slots=True)
class _Member:
    source: str
    content: bytes
    sha256: str
    card: ClassificationCard


def _open(source: str) -> _Member:
    files = read_model(source)
    predictor = files.open()
    if not isinstance(predictor, Classifier):
        kind = "detector" if isinstance(predictor, Detector) else "composite"
        raise InputError(f"{source}: is a {kind}; only classifiers are combined in one graph")
    if predictor.card.precision != "fp32":
        raise InputError(
            f"{source}: is in {predictor.card.precision}; combine the models in fp32, then `facet step quantize` "
            "makes one of them all"
        )
    return _Member(source, files.content, predictor.sha256, predictor.card)


def _check_same_cut(members: Sequence[_Member]) -> None:
    first = members[0]
    for other in members[1:]:
        if other.sha256 == first.sha256:
            raise InputError(f"{other.source}: is the same model as {first.source}; give each model once")
        for what, one, another in (
            ("input", _size(first), _size(other)),
            ("crop rule", first.card.crop.model_dump(exclude_none=True), other.card.crop.model_dump(exclude_none=True)),
        ):
            if one != another:
                raise InputError(
                    f"{other.source}: has the {what} {another}, {first.source} has {one}; one graph sees one cut of a "
                    "face: combine their answers with `facet predict`, or serve a composite of both"
                )


def _size(member: _Member) -> str:
    return f"{member.card.input.height}x{member.card.input.width}"


def _groups(members: Sequence[_Member]) -> list[list[_Member]]:
    """Return the members with the same heads together: one group, or those of masks and then those of gender_age."""
    groups: dict[str, list[_Member]] = {}
    for member in members:
        group = groups.setdefault(member.card.label_space, [])
        if group and group[0].card.heads != member.card.heads:
            raise InputError(f"{member.source}: its heads are not those of {group[0].source}")
        group.append(member)
    if len(groups) == 1:
        return list(groups.values())
    if groups.keys() == set(JOINED) and all(groups[part][0].card.heads == label_space(part).heads for part in JOINED):
        return [groups[part] for part in JOINED]
    raise InputError(
        f"label spaces {', '.join(groups)}: expected models of the same one, or of {' and '.join(JOINED)}; a composite "
        "serves models with different heads together"
    )


def _difference(content: bytes, groups: Sequence[Sequence[_Member]], card: ClassificationCard, rule: str) -> float:
    """Return the largest difference between the graph and the combination of its members' answers, on noise."""
    images = np.random.default_rng(0).integers(0, 256, (_NOISE, card.input.height, card.input.width, 3), dtype=np.uint8)
    parts: list[Floats] = []
    for group in groups:
        answers = [_run(one.content, images) for one in group]
        parts += [
            combine_probabilities(rule, [answer[head.name] for answer in answers]) for head in group[0].card.heads
        ]
    if len(groups) > 1:
        parts = [joint_probabilities(parts[0], parts[1])]
    combined = _run(content, images)
    return max(float(np.abs(combined[head.name] - part).max()) for head, part in zip(card.heads, parts, strict=True))


def _run(content: bytes, images: NDArray[np.uint8]) -> Answers:
    session = open_session(content, usable_cpus())
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {INPUT_NAME: images}), strict=True))
