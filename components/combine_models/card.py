"""The model card of several classifiers in one graph."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version

import numpy as np

from serving.runtime.card import ClassificationCard, Combined, Head, Notify
from serving.runtime.notice import mask_rule, rule_of


def combined_card(
    cards: Sequence[ClassificationCard], name: str, label_space: str, heads: tuple[Head, ...], combined: Combined
) -> ClassificationCard:
    """Return the card of a graph with `heads` that computes the models of `cards`, whose inputs and cuts are the same.

    What all members agree on stays. Where they differ, digests become the sha256 of the members' ones, in order, and
    versions are listed; normalization and pseudo-labels are left out. It leaks where a member does.
    """
    first = cards[0]
    return ClassificationCard(
        name=name,
        label_space=label_space,
        heads=heads,
        input=first.input,
        crop=first.crop,
        normalization=first.normalization if _same(card.normalization for card in cards) else None,
        pseudo_labels=first.pseudo_labels if _same(card.pseudo_labels for card in cards) else None,
        leaks=any(card.leaks for card in cards),
        versions=_versions([card.versions for card in cards]) | {"onnx": version("onnx")},
        dataset_digest=_digest([card.dataset_digest for card in cards]),
        training_digest=_digest([*(card.training_digest for card in cards), combined.rule]),
        notify=_notify(cards, heads),
        combined=combined,
    )


def _same(values: Iterable[object]) -> bool:
    first, *others = values
    return all(other == first for other in others)


def _digest(digests: Sequence[str]) -> str:
    """The one digest of all, the sha256 of several, and nothing where one is not known."""
    if not all(digests):
        return ""
    return digests[0] if _same(digests) else hashlib.sha256("\n".join(digests).encode()).hexdigest()


def _versions(versions: Sequence[Mapping[str, str]]) -> dict[str, str]:
    names = dict.fromkeys(name for one in versions for name in one)
    return {name: ", ".join(sorted({one[name] for one in versions if name in one})) for name in names}


def _notify(cards: Sequence[ClassificationCard], heads: tuple[Head, ...]) -> Notify | None:
    """The rule of the members that judge masks; where the heads are others or thresholds differ, theirs or the mean."""
    rules = [rule for card in cards if (rule := rule_of(card)) is not None]
    if not rules:
        return None
    if rules[0].head in {head.name for head in heads} and _same(rules):
        return rules[0]
    return mask_rule(heads, float(np.mean([rule.threshold for rule in rules])))
