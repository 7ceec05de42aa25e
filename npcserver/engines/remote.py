"""An engine that is somebody else's: any server that speaks OpenAI's completions.

vLLM, SGLang, llama.cpp's server, `transformers serve`, Ray Serve, and what is like them. What a
server can do is found out once, when the engine starts; `status` tells it.
"""

import time
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager

from npcserver.engines import probing
from npcserver.engines.asking import Way, decided
from npcserver.engines.base import Decision, EngineStatus, Piece, Prompt, Sampling
from npcserver.engines.endpoint import Json
from npcserver.engines.fleet import Fleet
from npcserver.engines.render import TEMPLATES
from npcserver.engines.replying import Reply
from npcserver.engines.writing import Talk, choices
from npcserver.errors import EngineError, ModelError

NAME = "remote"


class RemoteEngine:
    """A model behind one or more servers that all serve it."""

    def __init__(
        self,
        urls: Sequence[str],
        *,
        key: str | None = None,
        model: str | None = None,
        template: str = "script",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Nothing is asked yet.

        Args:
            urls: base URLs, such as `http://127.0.0.1:8080/v1`.
            key: sent as a bearer token.
            model: its name there; None: the first that is listed.
            template: how a prompt becomes text, a key of `TEMPLATES`.
            clock: seconds, never going back.
        """
        self._fleet = Fleet(urls, key, clock)
        self._model = model
        self._template = TEMPLATES[template]
        self._talk: Talk | None = None
        self._way: Way = probing.Undecided()
        self._counts = False
        self._extras: Json = {}
        self._stops_there = True
        self._running = 0

    # ---- life --------------------------------------------------------------------------------

    async def start(self) -> None:
        """Meet the servers and find out what they can do.

        Raises:
            ModelError: none answers, or the model cannot be asked.
        """
        try:
            listed = await self._fleet.meet()
            self._model = self._model or next(iter(listed), None)
            form = await probing.find_form(self._fleet, self._model, self._template)
            self._talk = Talk(self._fleet, form, self._model)
            self._extras = probing.USAGE if await probing.tells_usage(self._talk) else {}
            self._way = await probing.find_way(self._talk)
            self._counts = await probing.counts(self._talk)
        except EngineError as error:
            raise ModelError(
                f"{error.message}; start that server, or correct --remote-url, --model or "
                "NPCSERVER_REMOTE_KEY"
            ) from None

    async def close(self) -> None:
        """Close every connection; requests under way fail."""
        await self._fleet.close()

    def status(self) -> EngineStatus:
        """What it is doing now, how it decides, and which servers are up."""
        up = [each.url for each in self._fleet.endpoints if each.breaker.closed]
        down = [each.url for each in self._fleet.endpoints if not each.breaker.closed]
        details = {"decides by": self._way.says, "up": ", ".join(up), "down": ", ".join(down)}
        if self._talk is not None:
            details["prompts are"] = self._talk.form.says
        return EngineStatus(
            NAME,
            self._shown_model(),
            ready=self._talk is not None and self._fleet.ready,
            running=self._running,
            details={name: what for name, what in details.items() if what},
        )

    def _shown_model(self) -> str:
        """A name rather than a path on somebody's disk."""
        model = self._model or "the server's model"
        return model.rsplit("/", 1)[-1] if model.startswith("/") else model

    # ---- requests ----------------------------------------------------------------------------

    async def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Piece, None]:
        """Stream the continuation of `prompt`. Closing the iterator ends the request there."""
        with self._counted() as talk:
            while True:
                reply = Reply(talk.form, sampling.stop)
                stops = sampling.stop if self._stops_there else ()
                body = talk.body(prompt, **_fields(sampling, stops), **self._extras)
                async with aclosing(talk.fleet.events(talk.form.path, body)) as events:
                    async for event in events:
                        if text := reply.feed(event):
                            yield Piece(text)
                        if reply.stopped:
                            break
                if not (stops and reply.only_thought and reply.finish == "stop"):
                    break
                # The server stopped inside the thought: from now on stops are found here only.
                self._stops_there = False
            rest, finish = reply.end()
            yield Piece(rest, reply.usage, finish)

    async def decide(self, prompt: Prompt, options: Sequence[str]) -> Decision:
        """Score each option, in the way that `status` tells."""
        if len(options) == 1:
            return Decision((1.0,))
        with self._counted():
            return await decided(self._way, prompt, options)

    async def warm(self, prompt: Prompt) -> None:
        """Let a server compute `prompt`; another one may get what comes later."""
        with self._counted() as talk:
            choices(await talk.ask(prompt, max_tokens=1, temperature=0))

    async def count(self, texts: Sequence[str]) -> list[int]:
        """The number of tokens of each text; an estimate where the server does not count."""
        with self._counted() as talk:
            if not self._counts:
                return [len(text) // 3 + 1 for text in texts]
            return [await probing.count(talk, text) for text in texts]

    @contextmanager
    def _counted(self) -> Iterator[Talk]:
        if self._talk is None:
            raise EngineError("the engine has not started")
        self._running += 1
        try:
            yield self._talk
        finally:
            self._running -= 1


def _fields(sampling: Sampling, stops: Sequence[str]) -> Json:
    """What a request for words says besides the prompt."""
    fields: Json = {
        "stream": True,
        "max_tokens": sampling.max_tokens,
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "seed": sampling.seed,
    }
    if sampling.frequency_penalty:
        fields["frequency_penalty"] = sampling.frequency_penalty
    if stops:
        fields["stop"] = list(stops)
    return fields
