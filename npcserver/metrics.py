"""What an operator watches, for Prometheus. Numbers only: no player's id, name or words."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from npcserver.lobby import Lobby
from npcserver.protocol import TurnDone

REGISTRY = CollectorRegistry()
_SECONDS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.3, 2.0, 3.0, 5.0, 10.0, 30.0)

TURNS = Counter("npcserver_turns", "Turns that ended.", ["status"], registry=REGISTRY)
FIRST_WORD = Histogram(
    "npcserver_first_word_seconds",
    "From the line to the first word of its answer.",
    buckets=_SECONDS,
    registry=REGISTRY,
)
TOKENS = Counter("npcserver_completion_tokens", "Tokens spoken.", registry=REGISTRY)
INSTANCES = Gauge("npcserver_instances", "Live instances of scenes.", registry=REGISTRY)
CONNECTIONS = Gauge("npcserver_connections", "Open connections.", registry=REGISTRY)
RUNNING = Gauge("npcserver_engine_requests", "Requests in the engine.", registry=REGISTRY)
WAITING = Gauge("npcserver_turns_waiting", "Turns waiting for the engine.", registry=REGISTRY)
RESTARTS = Gauge("npcserver_engine_restarts", "Restarts of the engine.", registry=REGISTRY)
KV_USAGE = Gauge("npcserver_kv_cache_usage", "Share of the cache in use.", registry=REGISTRY)


def watch(lobby: Lobby) -> None:
    """Read the gauges off a lobby whenever they are scraped."""
    lobby.on_turn = count
    INSTANCES.set_function(lambda: lobby.instances)
    CONNECTIONS.set_function(lambda: lobby.connections)
    RUNNING.set_function(lambda: lobby.engine.status().running)
    WAITING.set_function(lambda: lobby.admission.waiting)
    RESTARTS.set_function(lambda: lobby.engine.status().restarts)
    KV_USAGE.set_function(lambda: lobby.engine.status().kv_usage or 0.0)


def count(done: TurnDone) -> None:
    """Take in a turn that ended."""
    TURNS.labels(done.status).inc()
    TOKENS.inc(done.usage.completion_tokens)
    if done.text:
        FIRST_WORD.observe(done.timing.ttft_ms / 1000)
