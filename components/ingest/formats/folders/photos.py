"""Photos of which nothing is known: a tree of pictures, to be predicted."""

from components.ingest.formats.listing import Listing, Options, Record, image_paths
from components.ingest.sources.source import Source
from components.shared.dataset.annotations import Face


class PhotosOptions(Options):
    """Options of photos without labels: those of every format."""


def read_photos(source: Source, options: PhotosOptions) -> Listing:
    """Find all pictures; each is one face without attributes or a box."""
    listing = Listing()
    listing.layout.append("photos without labels: each is one face")
    listing.records += [Record(path, (Face(0, None, {}),)) for path in image_paths(source.paths, listing)]
    return listing
