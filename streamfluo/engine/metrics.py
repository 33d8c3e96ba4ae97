"""What a daemon's sources do, as Prometheus metrics, and whether all is well; the only door to prometheus-client."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from ..core.errors import ConfigError
from ..network.socket import parse_endpoint
from ..session.disk_calls import BOUNDS_S

NOTHING: Mapping[str, Any] = MappingProxyType({})
Told = Mapping[str, Mapping[str, Any]]  # by source what its station told last

_COUNTERS = {
    "frames": ("frames that came", "streamfluo_frames_total"),
    "series": ("series that began", "streamfluo_series_total"),
    "starts": ("how often its process was started", "streamfluo_starts_total"),
    "unrecorded": ("frames that were processed and not written", "streamfluo_unrecorded_frames_total"),
}
_OF_SOURCE = (  # what there is one of by name: metric, meaning, label, key
    ("streamfluo_muted", "1 for a step that raised and is left out", "step", "muted"),
    ("streamfluo_disk_call_blocked", "1 for a call to the disk that does not come back", "call", "blocked"),
)
_KEPT_COUNTERS = {
    "exported": ("sessions exported and verified", "streamfluo_exported_sessions_total"),
    "exported_bytes": ("bytes of their exports", "streamfluo_exported_bytes_total"),
    "deleted": ("sessions deleted", "streamfluo_deleted_sessions_total"),
    "deleted_bytes": ("bytes that this gave back", "streamfluo_deleted_bytes_total"),
}
_KEPT_GAUGES = {
    "to_export": ("sessions that wait for their export", "streamfluo_sessions_to_export"),
    "refused_exports": ("sessions that are not exported, or stay, for a reason", "streamfluo_sessions_refused"),
}
_GAUGES = {
    "waiting_frames": ("frames that came and are not processed yet", "streamfluo_waiting_frames"),
    "backlog_bytes": ("what waits in memory", "streamfluo_backlog_bytes"),
    "backlog_s": ("how long the frames that wait took to come", "streamfluo_backlog_seconds"),
    "bytes_per_s": ("what came a second, over the last minute", "streamfluo_bytes_per_second"),
    "disk_free_bytes": ("what the disk of its sessions has left", "streamfluo_disk_free_bytes"),
    "disk_left_s": ("how long that lasts at the rate of the last minute", "streamfluo_disk_left_seconds"),
}


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Say nothing: who asks each second needs no line."""


class Metrics:
    """Answers `/metrics` and `/healthz` at `host:port` of this machine. Raises ConfigError for another place, for one
    that is taken, and without prometheus-client. `told` gives what the sources tell, `kept` what housekeeping does."""

    def __init__(
        self, address: str, told: Callable[[], Told], kept: Callable[[], Mapping[str, Any]] = lambda: NOTHING
    ) -> None:
        try:
            from prometheus_client import CollectorRegistry, make_wsgi_app
        except ImportError:
            raise ConfigError(
                'metrics need prometheus-client; install it with pip install "streamfluo[daemon]"'
            ) from None
        host, port = _place(address)
        registry = CollectorRegistry()
        registry.register(_Collector(told, kept))
        metrics = make_wsgi_app(registry)

        def answer(environ: dict[str, Any], start: Any) -> Iterable[bytes]:
            if environ.get("PATH_INFO") != "/healthz":
                found: Iterable[bytes] = metrics(environ, start)
                return found
            wrong = complaints(told())
            start("503 Service Unavailable" if wrong else "200 OK", [("Content-Type", "text/plain; charset=utf-8")])
            return ["\n".join(wrong or ["all is well"]).encode() + b"\n"]

        try:
            self._server: WSGIServer = make_server(host, port, answer, handler_class=_Quiet)
        except OSError as error:
            raise ConfigError(f"metrics at {address}: cannot be bound: {error.strerror}") from None
        self.address = f"{host}:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, name="metrics", daemon=True).start()

    def close(self) -> None:
        """Give the port back."""
        self._server.shutdown()
        self._server.server_close()


def complaints(told: Told) -> list[str]:
    """Return what is wrong with sources, a sentence each: frames that come and are not written first of all."""
    found = []
    for name, facts in told.items():
        found += [f"{name}: {job} cannot write: {reason}" for job, reason in dict(facts.get("stalled") or {}).items()]
        found += [f"{name}: {call} {since}" for call, since in dict(facts.get("blocked") or {}).items()]
        found += [f"{name}: its thread {job} hangs" for job in facts.get("hung") or ()]
        if facts.get("unrecorded_lately"):
            found.append(f"{name}: {facts['unrecorded_lately']} frames of the last minute were not written")
        if facts.get("cannot_write"):
            found.append(f"{name}: {facts.get('why')}")
        if facts.get("state") == "starting" and facts.get("why"):
            found.append(f"{name}: {facts['why']}")
    return found


class _Collector:
    """Makes metrics of what the stations told last."""

    def __init__(self, told: Callable[[], Told], kept: Callable[[], Mapping[str, Any]]) -> None:
        self._told, self._kept = told, kept

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        told, kept = self._told(), self._kept()
        asked = {**told, "": kept}  # of the daemon's own endpoints
        families: list[Any] = []
        for kind, rows in ((CounterMetricFamily, _COUNTERS), (GaugeMetricFamily, _GAUGES)):
            for key, (meaning, name) in rows.items():
                family = kind(name, meaning, labels=["source"])
                for source, facts in told.items():
                    if isinstance(value := facts.get(key), int | float):
                        family.add_metric([source], value)
                families.append(family)
        yield from families
        yield _by(CounterMetricFamily, "streamfluo_lost_frames_total", "frames that never came", "reason", "lost", told)
        yield _by(
            CounterMetricFamily, "streamfluo_refused_total", "messages dropped, by rule", "rule", "refused", asked
        )
        for figure in ("p50", "p99", "max"):
            name, meaning = f"streamfluo_step_{figure}_seconds", f"what a step takes a frame, {figure}"
            steps = {source: {"steps": _seconds(facts, figure)} for source, facts in told.items()}
            yield _by(GaugeMetricFamily, name, meaning, "step", "steps", steps)
        for name, meaning, label, key in _OF_SOURCE:
            ones = {source: {"is": dict.fromkeys(dict(facts.get(key) or {}), 1)} for source, facts in told.items()}
            yield _by(GaugeMetricFamily, name, meaning, label, "is", ones)
        calls = HistogramMetricFamily(
            "streamfluo_disk_call_seconds", "what calls to the disk take", labels=["source", "call"]
        )
        for source, facts in told.items():
            for call, found in dict(facts.get("disk_calls") or {}).items():
                below = [(str(bound), float(n)) for bound, n in zip(BOUNDS_S, found["below"], strict=False)]
                calls.add_metric([source, call], [*below, ("+Inf", float(found["count"]))], found["sum_s"])
        yield calls
        for kind, rows in ((CounterMetricFamily, _KEPT_COUNTERS), (GaugeMetricFamily, _KEPT_GAUGES)):
            for key, (meaning, name) in rows.items():
                yield kind(name, meaning, value=float(kept.get(key) or 0))
        states = {n: {"is": {str(facts.get("state")): 1}} for n, facts in told.items()}
        yield _by(GaugeMetricFamily, "streamfluo_state", "1 for the state that a source is in", "state", "is", states)
        yield GaugeMetricFamily(
            "streamfluo_warnings", "sentences that status has as warnings", value=float(kept.get("warnings") or 0)
        )
        well = GaugeMetricFamily("streamfluo_healthy", "0 where frames come and are not written, or a process ended")
        well.add_metric([], 0 if complaints(told) else 1)
        yield well


def _seconds(facts: Mapping[str, Any], figure: str) -> dict[str, float]:
    return {step: times.get(figure, 0.0) / 1e3 for step, times in dict(facts.get("steps_ms") or {}).items()}


def _by(kind: Any, name: str, meaning: str, label: str, key: str, told: Told) -> Any:
    family = kind(name, meaning, labels=["source", label])
    for source, facts in told.items():
        for of, value in dict(facts.get(key) or {}).items():
            family.add_metric([source, str(of)[:64]], value)
    return family


def _place(address: str) -> tuple[str, int]:
    endpoint = parse_endpoint(f"tcp://{address}")
    if endpoint.host not in ("127.0.0.1", "localhost", "[::1]"):
        raise ConfigError(f"metrics at {address}: only at 127.0.0.1; put a proxy or a tunnel before it")
    return endpoint.host, endpoint.port or 0
