"""User-facing errors. The message names the file, field or parameter, what was expected and what to do."""


class InputError(ValueError):
    """A parameter, file or request is wrong; the message says which and what to do."""


class NotFoundError(InputError):
    """A model, version or file does not exist."""


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


class NoAnswerError(StorageError):
    """A server that cannot be reached, or that did not answer while patience lasted."""


class NotReadyError(RuntimeError):
    """A model does not answer yet; the request may be sent again after `retry_after_s` whole seconds."""

    def __init__(self, message: str, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
