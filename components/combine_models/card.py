"""The model card of several classifiers in one graph."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version

from components.shared.prediction.combine import combined_rule
from serving.runtime.card import ClassificationCard, Combined, Head


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
        notify=combined_rule(cards, heads),
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
