"""The shards of a data set: so many images each, by the order of their ids."""

from collections.abc import Sequence

from components.shared.dataset.annotations import Image
from serving.runtime.errors import InputError

ALL = -1
"""In place of the number of a shard."""


def count_shards(images: int, images_per_shard: int) -> int:
    """Return how many shards so many images make, at least one. Raises InputError when a shard would hold none."""
    if images_per_shard < 1:
        raise InputError(f"images_per_shard: must be at least 1, got {images_per_shard}")
    return max(1, -(-images // images_per_shard))


def images_of_shard(images: Sequence[Image], shard: int, images_per_shard: int) -> list[Image]:
    """Return the images of a shard by the order of their ids, or ALL of them. Raises InputError for no such shard."""
    shards = count_shards(len(images), images_per_shard)
    ordered = sorted(images, key=lambda image: image.id)
    if shard == ALL:
        return ordered
    if not 0 <= shard < shards:
        raise InputError(f"shard: {shard}; {len(ordered)} images are in shards 0 to {shards - 1}, and {ALL} is all")
    return ordered[shard * images_per_shard : (shard + 1) * images_per_shard]
