"""User-facing errors of local servers and clusters."""


class ServerError(RuntimeError):
    """A server of the local stack does not start or has ended; the message names its log."""


class ClusterError(RuntimeError):
    """The cluster cannot be used with these settings, or a run there failed; the message says what to do."""
