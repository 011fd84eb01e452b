"""Errors a user can mend. Their text names the thing, what was expected and what to do."""


class InputError(ValueError):
    """A parameter, file or request is wrong; the message says which and how to mend it."""


class NotFoundError(InputError):
    """Something that was named does not exist: a model, a version, a file."""


class ImageError(InputError):
    """An image that cannot be used.

    `reason` is a short stable code for counting: `empty`, `not_an_image`, `truncated`,
    `too_large`, `unsupported`.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class StorageError(OSError):
    """A storage location cannot be used: bucket, key, credentials or endpoint."""
