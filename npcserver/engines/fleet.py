"""Several servers of one model: who gets a request, and what is tried when one fails."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Collection, Sequence
from contextlib import aclosing

import httpx

from npcserver.client import is_here
from npcserver.engines.endpoint import TIMEOUT, Endpoint, Json, Unavailable
from npcserver.errors import EngineError

PAUSES_S = (0.1, 0.5)
"""Before each further attempt. Nothing is tried again once its answer has begun."""


class NoServerError(EngineError):
    """None of the servers could take the request."""


class Fleet:
    """The servers, by base URL; they share one pool of connections."""

    def __init__(
        self,
        urls: Sequence[str],
        key: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Args: key: sent as a bearer token. clock: seconds, never going back."""
        self._http = httpx.AsyncClient(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=TIMEOUT,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=100),
            trust_env=not all(is_here(url) for url in urls),
        )
        self.endpoints = [Endpoint(url, self._http, clock, key) for url in urls]

    async def close(self) -> None:
        """Close every connection; requests under way fail."""
        await self._http.aclose()

    @property
    def ready(self) -> bool:
        """A request would be sent: to a server that is well, or to one that has rested.

        The second matters: who sends nothing to an engine that is not ready would never hear that
        its servers are back.
        """
        return any(each.breaker.admits() for each in self.endpoints)

    async def meet(self) -> list[str]:
        """Ask every server for its models; those of the first that answers.

        Raises:
            NoServerError: none answers.
        """
        met = await asyncio.gather(*(self._models(each) for each in self.endpoints))
        if all(models is None for models in met):
            raise self._nobody(tries=1)
        return next((models for models in met if models), [])

    async def _models(self, endpoint: Endpoint) -> list[str] | None:
        try:
            return await endpoint.models()
        except Unavailable:
            endpoint.breaker.open()
            return None
        except EngineError:
            return []  # it is there; what it cannot do is told by what is asked next

    async def ask(self, path: str, body: Json) -> Json:
        """One question, one answer. Raises like `events`."""
        async with aclosing(self.events(path, body)) as events:
            async for event in events:
                return event
        raise EngineError("the server answered nothing")

    async def events(self, path: str, body: Json) -> AsyncGenerator[Json, None]:
        """What the least busy server that is well answers. Closing ends the request there.

        Raises:
            NoServerError: none could take it.
            Refused: a server answered with an error of its own.
            EngineError: it failed after its answer had begun.
        """
        tried: list[Endpoint] = []
        for pause in (0.0, *PAUSES_S):
            if (endpoint := self._least_busy(tried)) is None:
                break
            if tried:
                await asyncio.sleep(pause)
            tried.append(endpoint)
            if self._http.is_closed:
                raise EngineError("the engine is closed")
            begun = False
            try:
                async with aclosing(endpoint.events("POST", path, body)) as events:
                    async for event in events:
                        begun = True
                        yield event
                return
            except Unavailable as fault:
                if begun:
                    raise EngineError(f"{fault.message}, amid its answer") from None
        raise self._nobody(len(tried))

    def _least_busy(self, tried: Collection[Endpoint]) -> Endpoint | None:
        """Those not tried yet come first."""
        able = [each for each in self.endpoints if each.breaker.admits()]
        return min(able, key=lambda each: (each in tried, each.busy), default=None)

    def _nobody(self, tries: int) -> NoServerError:
        faults = "; ".join(f"{each.url}: {each.fault}" for each in self.endpoints)
        return NoServerError(f"no server answers (asked {tries} times): {faults}")
