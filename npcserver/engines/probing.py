"""What a server can do, found out once by asking it for little."""

from collections.abc import Iterator, Sequence

from npcserver.engines.asking import Echoed, Walked, Way, decided
from npcserver.engines.base import Message, Prompt, Usage
from npcserver.engines.endpoint import Json, Refused
from npcserver.engines.fleet import Fleet, NoServerError
from npcserver.engines.forcing import Forced
from npcserver.engines.questions import CONSTRAINTS, Drawn, Questioned
from npcserver.engines.render import Template
from npcserver.engines.writing import CONTINUING, Chatting, Completing, Form, Talk, choices
from npcserver.errors import EngineError

PROBE = Prompt((Message("user", "Kit: Is it day or night?"),), "Ada:")
OPTIONS = (" qx night", " zv day")
"""Nothing that a model would say unless it is held to it."""
NUMBERS = (200, 20, 5)
"""How many of the likeliest tokens to ask for; servers have their own bounds."""
USAGE: Json = {"stream_options": {"include_usage": True}}
NO_SUCH_PATH = {404, 405, 501}


class Undecided:
    """A server that has no way at all."""

    says = "nothing: the server has no way to weigh options"

    async def weigh(self, prompt: Prompt, options: Sequence[str]) -> tuple[list[float], Usage]:
        """Says what the server lacks."""
        raise EngineError(
            "the server cannot weigh options: it offers neither log-probabilities, nor "
            "/v1/systemone, nor a constraint on what is drawn"
        )


async def find_form(fleet: Fleet, model: str | None, template: Template) -> Form:
    """Text where the server takes text, else messages.

    Raises:
        NoServerError: no server answers.
        EngineError: it answers neither to text nor to messages, and why.
    """
    forms: list[Form] = [Completing(template), *(Chatting(hints) for hints in CONTINUING)]
    last: Refused | None = None
    for form in forms:
        try:
            choices(await Talk(fleet, form, model).ask(PROBE, max_tokens=1, temperature=0))
            return form
        except Refused as refused:
            if isinstance(form, Completing) and refused.status not in NO_SUCH_PATH:
                raise
            last = refused
    assert last
    raise last


async def find_way(talk: Talk) -> Way:
    """The most exact way the server has to weigh options. Raises NoServerError."""
    for way in _ways(talk):
        try:
            await decided(way, PROBE, OPTIONS)
        except NoServerError:
            raise
        except EngineError:
            continue
        return way
    return Undecided()


def _ways(talk: Talk) -> Iterator[Way]:
    """Every way, the most exact first."""
    if isinstance(talk.form, Completing):
        yield Echoed(talk, 0)
        yield Echoed(talk, 1)
        yield Forced(talk)
    for number in NUMBERS:
        yield Walked(talk, number)
    yield Questioned(talk)
    for constraint in CONSTRAINTS:
        yield Drawn(talk, constraint)


async def tells_usage(talk: Talk) -> bool:
    """Whether the server takes the wish to be told what a stream took. Raises NoServerError."""
    try:
        body = talk.body(PROBE, max_tokens=1, stream=True, **USAGE)
        await talk.fleet.ask(talk.form.path, body)
    except Refused:
        return False
    return True


async def counts(talk: Talk) -> bool:
    """Whether the server counts tokens. Raises NoServerError."""
    try:
        return await count(talk, "day") > 0
    except NoServerError:
        raise
    except EngineError:
        return False


async def count(talk: Talk, text: str) -> int:
    """A text's tokens by the server's own `/tokenize`. Raises EngineError."""
    # llama.cpp reads `content`, vLLM `prompt`; each passes over the other's fields.
    asked = {"content": text, "prompt": text, "add_special": False, "add_special_tokens": False}
    answer = await talk.fleet.ask("/tokenize", {**talk.named(), **asked})
    tokens = answer.get("tokens")
    if not isinstance(tokens, list):
        raise EngineError("the server does not count tokens")
    return len(tokens)
