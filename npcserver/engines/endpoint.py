"""One server, by its base URL: requests, what came of them, and whether it is well."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import Any, TypeVar

import httpx

from npcserver.errors import EngineError

Json = dict[str, Any]
T = TypeVar("T")

CONNECT_S = 5.0
FIRST_S = 60.0
"""How long the first byte of an answer may take: a long prompt is computed before it."""
BETWEEN_S = 30.0
"""How long the next piece of an answer may take."""
FAILURES = 3
"""After so many failures in a row a server is left alone."""
REST_S = 5.0
"""For so long; then one request may try it."""
MESSAGE_CHARS = 200
BUSY = 429
UNWELL = {502, 503, 504}
TIMEOUT = httpx.Timeout(FIRST_S, connect=CONNECT_S, pool=None)


class Unavailable(EngineError):
    """The server could not take the request; it or another may take it later."""


class Refused(EngineError):
    """The server answered that it will not do this, and why.

    Args:
        status: its HTTP status.
    """

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Breaker:
    """Keeps requests from a server that fails; when it has rested, lets one of them try."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """Args: clock: seconds, never going back."""
        self._clock = clock
        self._failures = 0
        self._rests_until = 0.0

    @property
    def closed(self) -> bool:
        """The server is believed to be well."""
        return self._failures < FAILURES

    def admits(self) -> bool:
        """A request may be sent."""
        return self.closed or self._clock() >= self._rests_until

    def sent(self) -> None:
        """A request is on its way; if it is a trial, others wait for what comes of it."""
        if not self.closed:
            self._rests_until = self._clock() + REST_S

    def succeeded(self) -> None:
        """The server answered."""
        self._failures = 0

    def failed(self) -> None:
        """It did not."""
        self._failures += 1
        self._rests_until = self._clock() + REST_S

    def open(self) -> None:
        """Nobody need find out again that it fails."""
        self._failures = FAILURES
        self._rests_until = self._clock() + REST_S


class Endpoint:
    """A server and how it fares.

    Args:
        url: its base, such as `http://127.0.0.1:8080/v1`.
        key: never told, even if the server's own message tells it.
    """

    def __init__(
        self, url: str, http: httpx.AsyncClient, clock: Callable[[], float], key: str | None = None
    ) -> None:
        self.url = url
        self.breaker = Breaker(clock)
        self.busy = 0
        self.fault = ""
        self._http = http
        self._key = key

    async def models(self) -> list[str]:
        """The models it lists.

        Raises:
            Unavailable: it does not answer.
            Refused: it answers otherwise than with a list.
        """
        async with aclosing(self.events("GET", "models", None)) as answers:
            async for told in answers:
                listed = told.get("data")
                if isinstance(listed, list):
                    return [str(model["id"]) for model in listed if isinstance(model, dict)]
        raise Refused(f"{self.url}/models is no list of models; is it the base URL?", 200)

    async def events(self, method: str, path: str, body: Json | None) -> AsyncGenerator[Json, None]:
        """What it answers: every event of a stream, or one JSON object. Closing ends the request.

        Args:
            path: below the base URL, or with a `/` in front below the server itself.

        Raises:
            Unavailable: it does not answer, is overloaded, or broke off.
            Refused: it answers with an error of its own.
            EngineError: a stream ended with an error.
        """
        self.busy += 1
        self.breaker.sent()
        try:
            async with self._http.stream(method, self._address(path), json=body) as answer:
                await self._check(answer)
                async for event in self._read(answer):
                    yield event
            self.breaker.succeeded()
        except GeneratorExit:  # who asked has heard enough
            self.breaker.succeeded()
            raise
        except (httpx.TransportError, httpx.StreamError, TimeoutError) as error:
            raise self._failed(_why(error)) from None
        finally:
            self.busy -= 1

    def _address(self, path: str) -> str:
        if path.startswith("/"):
            return self.url.removesuffix("/v1") + path
        return f"{self.url}/{path}"

    def _failed(self, why: str) -> Unavailable:
        self.breaker.failed()
        self.fault = why
        return Unavailable(f"{self.url}: {why}")

    async def _check(self, answer: httpx.Response) -> None:
        if answer.is_success:
            return
        message = f"{answer.status_code}: {self._message(await _within(FIRST_S, answer.aread()))}"
        if answer.status_code in UNWELL:
            raise self._failed(message)
        self.breaker.succeeded()
        if answer.status_code == BUSY:
            self.fault = message
            raise Unavailable(f"{self.url}: {message}")
        raise Refused(f"{self.url} answers {message}", answer.status_code)

    async def _read(self, answer: httpx.Response) -> AsyncGenerator[Json, None]:
        if not answer.headers.get("content-type", "").startswith("text/event-stream"):
            yield self._object(await _within(FIRST_S, answer.aread()))
            return
        lines = answer.aiter_lines()
        patience = FIRST_S
        while (line := await _within(patience, _next(lines))) is not None:
            # Read on after [DONE]: only a connection read to its end is used again.
            if line.startswith("data:") and (data := line[5:].strip()) != "[DONE]":
                yield self._object(data)
                patience = BETWEEN_S
        if patience == FIRST_S:
            raise self._failed("it hung up before its first word")

    def _object(self, data: str | bytes) -> Json:
        try:
            told = json.loads(data)
        except ValueError:
            told = None
        if not isinstance(told, dict):
            raise EngineError(f"{self.url}: its answer is not a JSON object")
        if told.get("error"):
            raise EngineError(f"{self.url}: {self._message(data)}")
        return told

    def _message(self, data: str | bytes) -> str:
        text = data if isinstance(data, str) else data.decode(errors="replace")
        return _message(text.replace(self._key, "…") if self._key else text)


async def _next(lines: Any) -> str | None:
    line: str | None = await anext(lines, None)
    return line


async def _within(seconds: float, awaited: Coroutine[Any, Any, T]) -> T:
    async with asyncio.timeout(seconds):
        return await awaited


def _why(error: Exception) -> str:
    match error:
        case httpx.ConnectTimeout() | httpx.ConnectError():
            return f"no connection ({_line(str(error)) or 'it takes too long'})"
        case TimeoutError() | httpx.TimeoutException():
            return "it takes too long"
    return f"the connection broke ({_line(str(error)) or type(error).__name__})"


def _message(text: str) -> str:
    """The first line of a server's own error message, of the shapes that are usual."""
    try:
        told = json.loads(text)
    except ValueError:
        return _line(text) or "no reason was given"
    while isinstance(told, dict | list) and told:
        if isinstance(told, list):
            told = told[0]
        else:
            keys = ("error", "message", "detail", "msg")
            told = next((told[key] for key in keys if told.get(key)), None)
    return _line(str(told or "")) or "no reason was given"


def _line(text: str) -> str:
    return next(iter(text.strip().splitlines()), "")[:MESSAGE_CHARS]
