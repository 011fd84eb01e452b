"""OpenTelemetry traces of requests, sent by OTLP over HTTP where the standard OTEL_* variables ask for it.

OpenTelemetry is imported only then. Spans are made when a request has ended, from the times that were taken anyway.
"""

import asyncio
import os
import threading
from typing import TYPE_CHECKING, Any

from serving.runtime.errors import InputError
from serving.server.exchange import Exchange

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

_STEPS = ("queue", "input", "infer", "output")
_PROTOCOL = "http/protobuf"


def make_tracing() -> "Tracing | None":
    """Return what the OTEL_* variables ask for; None when they ask for no traces.

    Raises:
        InputError: they ask for what there is not.
    """
    environment = os.environ
    exporter = environment.get("OTEL_TRACES_EXPORTER", "")
    endpoints = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
    named = any(environment.get(name) for name in endpoints)
    off = exporter == "none" or environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if off or not (named or exporter):
        return None
    if exporter not in ("", "otlp"):
        raise InputError(f"OTEL_TRACES_EXPORTER: '{exporter}' is not supported; expected otlp or none")
    for name in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if environment.get(name, _PROTOCOL) != _PROTOCOL:
            raise InputError(f"{name}: '{environment[name]}' is not supported; expected {_PROTOCOL}")
    return Tracing(_provider())


def _provider() -> "TracerProvider":
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise InputError(f"OTEL_* variables ask for traces, but {error.name} is not installed") from None
    named = os.environ.get("OTEL_SERVICE_NAME") or "service.name=" in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    provider = TracerProvider(resource=Resource.create({} if named else {SERVICE_NAME: "facet-serving"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider


class Tracing:
    """Makes the spans of requests: one for each, and below it those of queue, input, infer and output.

    Args:
        provider: where spans go; it sends them from a thread of its own.
    """

    def __init__(self, provider: "TracerProvider") -> None:
        from opentelemetry import trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._provider = provider
        self._tracer = provider.get_tracer("serving")
        self._parent = TraceContextTextMapPropagator()
        self._trace: Any = trace

    def add(self, exchange: Exchange) -> None:
        """Trace a request that has ended. Spans say what the log says: no client, no key, no picture."""
        trace = self._trace
        parent = self._parent.extract({"traceparent": exchange.traceparent}) if exchange.traceparent else None
        span = self._tracer.start_span(
            f"{exchange.method} {exchange.endpoint}",
            parent,
            kind=trace.SpanKind.SERVER,
            start_time=exchange.began_ns,
            attributes={
                "http.request.method": exchange.method,
                "url.path": exchange.path,
                "http.response.status_code": exchange.status,
                "facet.request_id": exchange.id,
            },
        )
        end_ns = exchange.began_ns + _ns(exchange.seconds)
        if span.is_recording():
            if exchange.reason:
                span.set_attribute("error.type", exchange.reason)
            if exchange.status >= 500:
                span.set_status(trace.StatusCode.ERROR)
            self._add_steps(exchange, trace.set_span_in_context(span), end_ns)
        span.end(end_ns)

    def _add_steps(self, exchange: Exchange, parent: Any, end_ns: int) -> None:
        # The times of a call are sums, so that its steps are drawn one after the other, the last one at its end.
        for call in exchange.calls:
            took = {step: _ns(getattr(call, f"{step}_s")) for step in _STEPS}
            start = max(exchange.began_ns, min(call.ended_ns, end_ns) - sum(took.values()))
            attributes: dict[str, Any] = {
                "facet.model": call.model,
                "facet.version": call.version,
                "facet.rows": call.rows,
            }
            for step in _STEPS:
                child = self._tracer.start_span(step, parent, start_time=start, attributes=attributes)
                start += took[step]
                child.end(start)

    async def start(self) -> None:
        """Do nothing: the provider has started."""

    async def stop(self, seconds: float) -> None:
        """Send what is left, for so many seconds at most."""
        # A daemon, which does not keep the process when the collector does not answer.
        thread = threading.Thread(target=self._provider.shutdown, daemon=True)
        thread.start()
        deadline = asyncio.get_running_loop().time() + seconds
        while thread.is_alive() and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.01)


def _ns(seconds: float) -> int:
    return int(1e9 * seconds)
