"""Who is answered over gRPC: the keys in the metadata of a call."""

import logging
from collections.abc import Callable, Mapping

import grpc

from serving.server.keys import fingerprint, presented_key
from serving.server.state import ServerState

# What proxies and browsers add: such a call is not of this machine alone.
_FROM_ELSEWHERE = {"origin", "forwarded", "x-forwarded-for", "via"}

_log = logging.getLogger(__name__)


class KeyRefusedError(Exception):
    """A call without the key that it needs; `code` says whether it has none or one that may not."""

    def __init__(self, code: grpc.StatusCode, text: str) -> None:
        super().__init__(text)
        self.code = code


def check_key(
    state: ServerState, metadata: Mapping[str, str | bytes], peer: Callable[[], str], *, is_admin: bool
) -> None:
    """Raise KeyRefusedError unless a call has the key that it needs: `authorization: Bearer KEY` or `x-api-key: KEY`.

    Without keys in the server none is needed, but to load and unload models the call must come from this machine.
    """
    keys = state.keys
    if not keys.needed and not is_admin:
        return
    authorization, api_key = metadata.get("authorization"), metadata.get("x-api-key")
    presented = presented_key(
        authorization if isinstance(authorization, str) else None, api_key if isinstance(api_key, str) else None
    )
    forwarded = not keys.needed and _FROM_ELSEWHERE & metadata.keys()
    if keys.permits(presented, admin=is_admin) and not forwarded:
        return
    name = keys.name_of(presented)
    _log.warning("refused a call from %s with %s", peer(), name or fingerprint(presented))
    if not keys.needed:
        text = "loading and unloading models over the network needs --api-keys with an admin key"
        raise KeyRefusedError(grpc.StatusCode.PERMISSION_DENIED, text)
    if name is not None:
        text = f"the key '{name}' may not load or unload models; use an admin key"
        raise KeyRefusedError(grpc.StatusCode.PERMISSION_DENIED, text)
    text = "this server needs an API key: send it as metadata, authorization: Bearer KEY or x-api-key: KEY"
    raise KeyRefusedError(grpc.StatusCode.UNAUTHENTICATED, text)
