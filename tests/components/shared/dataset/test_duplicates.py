import itertools

import numpy as np
import pytest

from components.ingest.image_checks import dhash
from components.shared.dataset import duplicates
from components.shared.dataset.annotations import Image
from components.shared.dataset.duplicates import (
    FLAT,
    MAX_DISTANCE,
    NEAR,
    across_splits,
    exact_duplicates,
    flat_images,
    near_duplicates,
)
from serving.runtime.errors import InputError


def images(hashes: np.ndarray, **facts: object) -> list[Image]:
    return [Image(i + 1, f"{i}.jpg", 9, 9, dhash=row.tobytes().hex(), **facts) for i, row in enumerate(hashes)]


def ids(groups: list[list[Image]]) -> list[list[int]]:
    return [[image.id for image in group] for group in groups]


def crowd(rng: np.random.Generator, count: int, centers: int, flips: int) -> np.ndarray:
    """Fingerprints (count, 16) uint8: random centers with up to `flips` bits turned, so chains of near ones arise."""
    bits = rng.integers(0, 2, (centers, 128), dtype=np.uint8)[rng.integers(centers, size=count)]
    for row in bits:
        row[rng.choice(128, rng.integers(flips + 1), replace=False)] ^= 1
    return np.packbits(bits, axis=1)


def brute_force(hashes: np.ndarray, limit: int) -> list[list[int]]:
    bits = np.unpackbits(hashes, axis=1).astype(int)
    told = [i for i in range(len(bits)) if bits[i].sum() >= FLAT]
    owner = {i: {i} for i in told}
    for i, j in itertools.combinations(told, 2):
        if (bits[i] != bits[j]).sum() <= limit and owner[i] is not owner[j]:
            owner[i] |= owner[j]
            for k in owner[j]:
                owner[k] = owner[i]
    groups = {id(group): group for group in owner.values() if len(group) > 1}
    return sorted(sorted(i + 1 for i in group) for group in groups.values())


@pytest.mark.parametrize("limit", [0, 1, 3, NEAR, 8, 11, MAX_DISTANCE])
@pytest.mark.parametrize("centers", [1, 7, 60])
def test_banded_search_finds_what_brute_force_finds(limit: int, centers: int) -> None:
    # Flips around the limit: many pairs lie just inside and just outside, and chains link the ends of a group.
    hashes = crowd(np.random.default_rng([limit, centers]), 150, centers, limit)
    expected = brute_force(hashes, limit)
    assert ids(near_duplicates(images(hashes), limit)) == expected
    assert limit == 0 or any(len(group) > 2 for group in expected)


@pytest.mark.parametrize("small", [1, 4])
def test_large_buckets_agree_with_small_ones(small: int, monkeypatch: pytest.MonkeyPatch) -> None:
    hashes = crowd(np.random.default_rng(small), 400, 5, 9)
    expected = ids(near_duplicates(images(hashes), 8))
    monkeypatch.setattr(duplicates, "_SMALL", small)
    monkeypatch.setattr(duplicates, "_BLOCK", 64)
    assert ids(near_duplicates(images(hashes), 8)) == expected == brute_force(hashes, 8)


def test_a_difference_of_exactly_the_limit_counts_wherever_its_bits_lie() -> None:
    rng = np.random.default_rng(0)
    inside, outside = [], []
    for _ in range(300):
        base = rng.integers(0, 2, 128, dtype=np.uint8)
        near, far = base.copy(), base.copy()
        start = rng.integers(128 - NEAR)
        spots = rng.permutation(128)[: NEAR + 1] if rng.random() < 0.5 else np.arange(start, start + NEAR + 1)
        near[spots[:NEAR]] ^= 1
        far[spots] ^= 1
        inside += [base, near]
        outside += [base, far]
    assert ids(near_duplicates(images(np.packbits(inside, axis=1)))) == [[i, i + 1] for i in range(1, 600, 2)]
    assert near_duplicates(images(np.packbits(outside, axis=1))) == []


def test_the_order_of_the_images_does_not_matter() -> None:
    rng = np.random.default_rng(1)
    ordered = images(crowd(rng, 120, 30, 5))
    shuffled = [ordered[at] for at in rng.permutation(len(ordered))]
    groups = near_duplicates(ordered)
    assert len(groups) > 5 and near_duplicates(shuffled) == groups
    assert all([i.id for i in group] == sorted(i.id for i in group) for group in groups)


def test_plain_pictures_are_named_and_never_compared() -> None:
    rng = np.random.default_rng(2)
    blank = [np.frombuffer(bytes.fromhex(dhash(np.full((64, 64, 3), level, np.uint8))), np.uint8) for level in (0, 255)]
    photo = rng.integers(0, 256, (2, 16), dtype=np.uint8)
    everything = images(np.stack([*blank, *photo, photo[0]]))
    assert ids(near_duplicates(everything)) == [[3, 5]]
    assert [image.id for image in flat_images(everything)] == [1, 2]


def test_a_hundred_thousand_blank_or_equal_pictures_take_no_time() -> None:
    rng = np.random.default_rng(3)
    hashes = np.zeros((100_000, 16), np.uint8)
    hashes[np.arange(0, 100_000, 2), rng.integers(16, size=50_000)] = 1
    hashes[:30_000] = 0xA5
    assert [len(group) for group in near_duplicates(images(hashes))] == [30_000]


def test_one_dense_group_costs_no_square_of_its_size() -> None:
    hashes = crowd(np.random.default_rng(4), 20_000, 1, 2)
    assert [len(group) for group in near_duplicates(images(hashes))] == [20_000]


def test_without_fingerprint_or_digest_an_image_is_left_out() -> None:
    photo = np.random.default_rng(5).integers(0, 256, 16, dtype=np.uint8).tobytes().hex()
    marked = [Image(i, f"{i}.jpg", 9, 9, sha256="ab" * 32, dhash=photo) for i in (1, 3)]
    bare = [Image(i, f"{i}.jpg", 9, 9) for i in (2, 4)]
    assert ids(near_duplicates([*bare, *marked])) == ids(exact_duplicates([*marked, *bare])) == [[1, 3]]
    assert near_duplicates(bare) == exact_duplicates(bare) == near_duplicates([]) == flat_images([]) == []


def test_exact_duplicates_are_sorted_groups_of_equal_digests() -> None:
    digests = ["c", "a", "b", "a", "d", "b", "a"]
    found = exact_duplicates([Image(7 - i, f"{i}", 9, 9, sha256=digest) for i, digest in enumerate(digests)])
    assert ids(found) == [[1, 4, 6], [2, 5]]


def test_groups_across_splits() -> None:
    def group(*splits: str | None) -> list[Image]:
        return [Image(i + 1, f"{i}", 9, 9, split=split) for i, split in enumerate(splits)]

    groups = [group("train", "train"), group("train", None), group("train", None, "val"), group("test", "val")]
    assert across_splits(groups) == groups[2:]


@pytest.mark.parametrize("wrong", ["", "zz" * 16, "00" * 15, "0" * 31 + " ", "ab " * 10 + "00"])
def test_a_wrong_fingerprint_is_named(wrong: str) -> None:
    with pytest.raises(InputError, match="image 'face.jpg': 'dhash' must be 32 hex digits"):
        near_duplicates([Image(1, "face.jpg", 9, 9, dhash=wrong)])


@pytest.mark.parametrize("limit", [-1, MAX_DISTANCE + 1])
def test_an_impossible_distance_is_refused(limit: int) -> None:
    with pytest.raises(InputError, match=f"max_distance must be 0 to {MAX_DISTANCE} bits, got {limit}"):
        near_duplicates([], limit)
