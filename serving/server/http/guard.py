"""Who is answered over HTTP: keys and origins; and the headers by which browsers know what not to do."""

from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import JSONResponse, Response
from starlette.routing import compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.server.keys import presented_key, refusal
from serving.server.state import ServerState

# Nobody needs a key to see whether the server works, to read its metrics, or to see pages, which hold no data.
_OPEN = {"/", "/docs", "/openapi.json"}
_OPEN_FOLDER = "/static/"
_CHECKS = {"/metrics", "/ping", "/health", "/v2/health/live", "/v2/health/ready"}
# As the router matches them: a model or a version may be called `ready` too.
_MODEL_CHECKS = [
    compile_path(path)[0] for path in ("/v2/models/{model}/ready", "/v2/models/{model}/versions/{version}/ready")
]

# For answers that do not have them. A page may load what this server has, and be part of no other page.
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"content-security-policy", b"default-src 'self' 'unsafe-inline' data:; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
)


def with_headers(send: Send, *more: tuple[bytes, bytes]) -> Send:
    """Return a function that sends an answer with the headers above, where it does not have them, and with `more`."""

    async def careful(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = message["headers"]
            said = {name for name, _ in headers}
            message["headers"] = [*headers, *more, *(header for header in _HEADERS if header[0] not in said)]
        await send(message)

    return careful


def guards(state: ServerState) -> list[Middleware]:
    """Return the middleware: pages of other origins first, where some are permitted, then keys and headers."""
    guard = Middleware(Guard, state=state)
    if not state.cors_origins:
        return [guard]
    headers = ["Authorization", "X-API-Key", "Content-Type", "Inference-Header-Content-Length", "X-Request-Id"]
    cross_origin = Middleware(
        CORSMiddleware,
        allow_origins=state.cors_origins,
        allow_methods=["GET", "POST"],
        allow_headers=headers,
        expose_headers=["Inference-Header-Content-Length", "X-Request-Id"],
    )
    return [cross_origin, guard]


def is_open(method: str, path: str) -> bool:
    """Tell whether a request needs no key, whoever asks."""
    return method in ("GET", "HEAD") and (path in _OPEN or path.startswith(_OPEN_FOLDER) or is_check(path))


def is_check(path: str) -> bool:
    """Tell whether a path is for those who watch the server: health, readiness, metrics."""
    return path in _CHECKS or any(check.match(path) for check in _MODEL_CHECKS)


def is_admin(path: str) -> bool:
    """Tell whether a request changes what is served."""
    return path.startswith("/v2/repository/") and path != "/v2/repository/index"


def may_know(state: ServerState, headers: Headers) -> bool:
    """Tell whether who asks at an open path may know more than whether the server works: a key, where one is needed."""
    presented = presented_key(headers.get("authorization"), headers.get("x-api-key"))
    return state.keys.permits(presented, admin=False)


class Guard:
    """Refuses requests without the key that they need, before anything of their body is read.

    Args:
        app: what answers the others.
        state: with the keys.
    """

    def __init__(self, app: ASGIApp, state: ServerState) -> None:
        self.app = app
        self.state = state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it with 401 (no known key) or 403 (a key that may not)."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        refusal = None if is_open(scope["method"], scope["path"]) else self._refusal(scope)
        await (refusal or self.app)(scope, receive, send)

    def _refusal(self, scope: Scope) -> Response | None:
        keys, admin = self.state.keys, is_admin(scope["path"])
        headers: dict[str, str] = {}
        if keys.needed or admin:
            headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        client: tuple[str, int] | None = scope["client"]
        refused = refusal(keys, headers, client[0] if client else "?", admin=admin)
        if refused is None:
            return None
        self.state.refused("unauthorized")
        if refused.unknown:
            return JSONResponse({"error": refused.text}, 401, headers={"WWW-Authenticate": "Bearer"})
        return JSONResponse({"error": refused.text}, 403)
