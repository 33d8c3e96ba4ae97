"""What a daemon's sources do, as Prometheus metrics, and whether all is well; the only door to prometheus-client."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from ..core.errors import ConfigError
from ..network.socket import parse_endpoint

Told = Mapping[str, Mapping[str, Any]]  # by source what its station told last

_COUNTERS = {
    "frames": ("frames that came", "streamfluo_frames_total"),
    "series": ("series that began", "streamfluo_series_total"),
    "starts": ("how often its process was started", "streamfluo_starts_total"),
}
_GAUGES = {
    "waiting_frames": ("frames that came and are not processed yet", "streamfluo_waiting_frames"),
    "backlog_bytes": ("what waits in memory", "streamfluo_backlog_bytes"),
    "disk_free_bytes": ("what the disk of its sessions has left", "streamfluo_disk_free_bytes"),
    "disk_left_s": ("how long that lasts at the rate of the last minute", "streamfluo_disk_left_seconds"),
}


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: Any) -> None:
        """Say nothing: who asks each second needs no line."""


class Metrics:
    """Answers `/metrics` and `/healthz` at `host:port` of this machine. Raises ConfigError for another place, for one
    that is taken, and without prometheus-client."""

    def __init__(self, address: str, told: Callable[[], Told]) -> None:
        try:
            from prometheus_client import CollectorRegistry, make_wsgi_app
        except ImportError:
            raise ConfigError(
                'metrics need prometheus-client; install it with pip install "streamfluo[daemon]"'
            ) from None
        host, port = _place(address)
        registry = CollectorRegistry()
        registry.register(_Collector(told))
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
        found += [f"{name}: its thread {job} hangs" for job in facts.get("hung") or ()]
        if facts.get("state") == "starting" and facts.get("why"):
            found.append(f"{name}: {facts['why']}")
    return found


class _Collector:
    """Makes metrics of what the stations told last."""

    def __init__(self, told: Callable[[], Told]) -> None:
        self._told = told

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        told = self._told()
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
        yield _by(CounterMetricFamily, "streamfluo_refused_total", "messages dropped, by rule", "rule", "refused", told)
        for figure in ("p50", "p99", "max"):
            name, meaning = f"streamfluo_step_{figure}_seconds", f"what a step takes a frame, {figure}"
            steps = {source: {"steps": _seconds(facts, figure)} for source, facts in told.items()}
            yield _by(GaugeMetricFamily, name, meaning, "step", "steps", steps)
        states = {n: {"is": {str(facts.get("state")): 1}} for n, facts in told.items()}
        yield _by(GaugeMetricFamily, "streamfluo_state", "1 for the state that a source is in", "state", "is", states)
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
