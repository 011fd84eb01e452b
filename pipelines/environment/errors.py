"""Errors of servers and clusters, in words for the user."""


class ServerError(RuntimeError):
    """A server of the local stack does not start or has died; the message says where its log is."""


class ClusterError(RuntimeError):
    """The cluster cannot be used as the settings say, or a run there failed; the message says what to do."""
