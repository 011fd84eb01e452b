"""Exact duplicates (equal files) and near duplicates (similar perceptual hashes)."""

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from components.shared.dataset.annotations import Image
from serving.runtime.errors import InputError

NEAR = 4
"""Bits of 128 by which the fingerprints of two copies of one picture may differ.

docs/measurements.md says how many copies it finds: 98 % of those saved again as JPEG, 75 % of those resized to half. Of
5.6 million pairs of strangers none is taken for a copy. Images are dropped by it, so it is cautious.
"""

FLAT = 16
"""A fingerprint with fewer set bits shows a nearly plain picture, and is not enough to call two of them alike.

The photos that `NEAR` was measured on have 29 to 92 of the 128 bits set, a blank picture has none.
"""

MAX_DISTANCE = 16
"""Largest distance that can be asked for: beyond it lie unlike photos."""

_FINGERPRINT = re.compile(r"[0-9A-Fa-f]{32}")
_WORDS = 2
_SPARE = 3
_SMALL = 32
_BLOCK = 1 << 20

Hashes = npt.NDArray[np.uint64]
Indices = npt.NDArray[np.intp]


def exact_duplicates(images: Iterable[Image]) -> list[list[Image]]:
    """Return the groups of two or more images with equal file content (sha256); those without a digest are left out.

    A group is sorted by image id, the groups by their first id.
    """
    groups: dict[str, list[Image]] = {}
    for image in images:
        if image.sha256 is not None:
            groups.setdefault(image.sha256, []).append(image)
    return _sorted(groups.values())


def near_duplicates(images: Iterable[Image], max_distance: int = NEAR) -> list[list[Image]]:
    """Return the groups of two or more images that look the same, exact copies among them.

    Two images are alike when their fingerprints (`Image.dhash`) differ in at most `max_distance` of 128 bits. A group
    holds everything that is linked by such pairs, so its ends may lie farther apart. Left out are images without a
    fingerprint and nearly plain ones (`flat_images`). A group is sorted by image id, the groups by their first id.

    No pair is missed: the bits are dealt into max_distance + 3 pieces, so two fingerprints that are alike agree in at
    least three whole pieces, and only those that share the same three are compared (Manku et al., "Detecting
    Near-Duplicates for Web Crawling", 2007). On one core 500,000 random fingerprints take 3 seconds and 140 MiB at
    NEAR and 80 seconds at MAX_DISTANCE; 500,000 frames of 2,500 scenes take 10 seconds. Only half a million frames of
    one single scene, most of them just beyond the limit, take two minutes.

    Raises:
        InputError: `max_distance` is not in 0..MAX_DISTANCE, or a fingerprint is not 32 hex digits.
    """
    if not 0 <= max_distance <= MAX_DISTANCE:
        raise InputError(f"max_distance must be 0 to {MAX_DISTANCE} bits, got {max_distance}")
    marked = [image for image in images if image.dhash is not None]
    hashes = _hashes(marked)
    textured = np.flatnonzero(_ones(hashes) >= FLAT)
    distinct, which = np.unique(hashes[textured], axis=0, return_inverse=True)
    labels = _link(distinct, max_distance)[which.reshape(-1)]
    order = np.argsort(labels, kind="stable")
    bounds = np.flatnonzero(np.diff(labels[order])) + 1
    groups = (textured[part] for part in np.split(order, bounds) if len(part) > 1)
    return _sorted([marked[index] for index in group] for group in groups)


def flat_images(images: Iterable[Image]) -> list[Image]:
    """Return the images whose fingerprint has fewer than FLAT bits set: blank or nearly so.

    Raises InputError when a fingerprint is not 32 hex digits.
    """
    marked = [image for image in images if image.dhash is not None]
    return [marked[index] for index in np.flatnonzero(_ones(_hashes(marked)) < FLAT)]


def across_splits(groups: Iterable[Sequence[Image]]) -> list[Sequence[Image]]:
    """Return the groups that have images in more than one split; an image without a split is in none."""
    return [group for group in groups if len({image.split for image in group} - {None}) > 1]


def _sorted(groups: Iterable[list[Image]]) -> list[list[Image]]:
    ordered = (sorted(group, key=lambda image: image.id) for group in groups if len(group) > 1)
    return sorted(ordered, key=lambda group: group[0].id)


def _hashes(images: Sequence[Image]) -> Hashes:
    """Return the fingerprints as (N, 2) words."""
    for image in images:
        if not _FINGERPRINT.fullmatch(image.dhash or ""):
            raise InputError(f"image '{image.file_name}': 'dhash' must be 32 hex digits, got {image.dhash!r}")
    data = bytes.fromhex("".join(image.dhash or "" for image in images))
    return np.frombuffer(data, dtype=np.uint64).reshape(-1, _WORDS)


def _ones(hashes: Hashes) -> npt.NDArray[np.int64]:
    counts: npt.NDArray[np.int64] = np.bitwise_count(hashes).sum(axis=-1, dtype=np.int64)
    return counts


def _link(hashes: Hashes, max_distance: int) -> Indices:
    """Label distinct fingerprints (N, 2): equal labels where a chain of near pairs connects them."""
    parents = np.arange(len(hashes))
    if max_distance == 0 or not len(hashes):
        return parents
    for mask in _masks(max_distance):
        parents = _join(parents, *_near_pairs(hashes, mask, parents, max_distance))
    return parents


def _masks(max_distance: int) -> Iterator[Hashes]:
    """Give the bits of every choice of three pieces. Neighboring bits are alike, so each is dealt to another piece."""
    pieces = max_distance + _SPARE
    owner = np.arange(64 * _WORDS) % pieces
    for chosen in combinations(range(pieces), _SPARE):
        yield np.packbits(np.isin(owner, chosen)).view(np.uint64)


def _near_pairs(hashes: Hashes, mask: Hashes, parents: Indices, limit: int) -> tuple[Indices, Indices]:
    """Return enough near pairs to link everything near that shares the bits of the mask."""
    first, second = hashes.T & mask[:, None]
    # Two halves that differ may give one key: that costs a comparison, never a pair.
    keys = first * np.uint64(0x9E3779B97F4A7C15) ^ second * np.uint64(0xC2B2AE3D27D4EB4F)
    order = np.argsort(keys)
    keys = keys[order]
    starts = np.append(0, np.flatnonzero(keys[1:] != keys[:-1]) + 1)
    ends = np.append(starts[1:], len(keys))
    trees = parents[order]
    mixed = np.minimum.reduceat(trees, starts) != np.maximum.reduceat(trees, starts)
    starts, ends = starts[mixed], ends[mixed]
    small = ends - starts <= _SMALL
    pairs = [_compare_small(hashes, parents, order, starts[small], ends[small], limit)]
    for start, end in zip(starts[~small].tolist(), ends[~small].tolist(), strict=True):
        pairs.append(_compare_large(hashes, parents, order[start:end], limit))
    return np.concatenate([left for left, _ in pairs]), np.concatenate([right for _, right in pairs])


def _compare_small(
    hashes: Hashes, parents: Indices, order: Indices, starts: Indices, ends: Indices, limit: int
) -> tuple[Indices, Indices]:
    """Compare all pairs of small buckets, vectorized over the buckets.

    A bucket is order[start:end]. Round `shift` compares every member with the one `shift` further in its bucket.
    """
    left: list[Indices] = [np.zeros(0, np.intp)]
    right: list[Indices] = [np.zeros(0, np.intp)]
    sizes = ends - starts
    position = np.arange(sizes.sum()) + np.repeat(starts - np.cumsum(sizes) + sizes, sizes)
    end = np.repeat(ends, sizes)
    for shift in range(1, int(sizes.max(initial=0))):
        inside = position + shift < end
        position, end = position[inside], end[inside]
        one, other = order[position], order[position + shift]
        apart = parents[one] != parents[other]
        one, other = one[apart], other[apart]
        near = _ones(hashes[one] ^ hashes[other]) <= limit
        left.append(one[near])
        right.append(other[near])
    return np.concatenate(left), np.concatenate(right)


def _compare_large(hashes: Hashes, parents: Indices, bucket: Indices, limit: int) -> tuple[Indices, Indices]:
    """Link a bucket from one tree on; what is linked is not compared again, so a dense bucket is cheap."""
    left: list[Indices] = [np.zeros(0, np.intp)]
    right: list[Indices] = [np.zeros(0, np.intp)]
    front, rest = bucket[:0], bucket
    while len(rest):
        if not len(front):
            same = parents[rest] == parents[rest[0]]
            front, rest = rest[same], rest[~same]
            continue
        step = max(1, _BLOCK // len(rest))
        some, front = front[:step], front[step:]
        near = _ones(hashes[some][:, None] ^ hashes[rest]) <= limit
        hit = near.any(axis=0)
        left.append(some[near[:, hit].argmax(axis=0)])
        right.append(rest[hit])
        linked = np.isin(parents[rest], parents[rest[hit]])
        front, rest = np.concatenate([front, rest[linked]]), rest[~linked]
    return np.concatenate(left), np.concatenate(right)


def _join(labels: Indices, left: Indices, right: Indices) -> Indices:
    """Merge the components of every pair; a component's label stays the smallest of its parts."""
    if not len(left):
        return labels
    edges = coo_array((np.ones(len(left), dtype=bool), (labels[left], labels[right])), shape=(len(labels),) * 2)
    _, component = connected_components(edges, directed=False)
    smallest = np.full(len(labels), len(labels))
    np.minimum.at(smallest, component, np.arange(len(labels)))
    joined: Indices = smallest[component[labels]]
    return joined
