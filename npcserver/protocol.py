"""Every message on the wire, as typed values. The reference in docs/protocol.md is made from them.

Client messages are hostile until they have passed `parse`: this is the one place where they are
checked. Knows nothing of sockets or scenes.
"""

import re
import unicodedata
from collections.abc import Iterable
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic.json_schema import SkipJsonSchema

from npcserver.errors import Rejected

VERSION = 1
MAX_LINE = 2000
MAX_ARGS_CHARS = 4000

# Text direction overrides and isolates: they make a line read as something else than it is.
# Control characters, lone surrogates, private use, line and paragraph separators.
_FORBIDDEN = frozenset(("Cc", "Cs", "Co", "Zl", "Zp"))
_BIDI = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
# What separates the speakers of a chat for one model or another. No player's line needs them.
_MARKUP = re.compile(
    r"<[|｜].{0,40}?[|｜]>|</?s>|\[/?INST\]|<</?SYS>>|<(?:start|end)_of_turn>", re.IGNORECASE
)


def _clean(text: str, *, newlines: bool) -> str:
    if newlines:
        text = re.sub(r"[\t\r\n\u2028\u2029]+", " ", text)
    for char in text:
        if unicodedata.category(char) in _FORBIDDEN or char in _BIDI:
            raise ValueError(f"holds the control character U+{ord(char):04X}; remove it")
    if markup := _MARKUP.search(text):
        raise ValueError(f"holds prompt markup ({markup.group()!r}); remove it")
    return unicodedata.normalize("NFC", text).strip()


def _line(text: str) -> str:
    return _clean(text, newlines=True)


def _spoken(text: str) -> str:
    text = _line(text)
    if not text:
        raise ValueError("is empty; say something")
    return text


def _name(text: str) -> str:
    text = _clean(text, newlines=False)
    if not text:
        raise ValueError("is empty")
    if set(text) & set('()[]{}<>:;|\\"`\n'):
        raise ValueError('may not hold any of ()[]{}<>:;|\\"`')
    return text


def _small(value: dict[str, Any]) -> dict[str, Any]:
    """Bound what a game may attach to an act or event: size, depth, and clean strings."""
    chars = 0
    stack: list[tuple[Any, int]] = [(value, 0)]
    while stack:
        item, depth = stack.pop()
        if depth > 4:
            raise ValueError("is nested more than 4 deep")
        if isinstance(item, dict):
            stack.extend((x, depth + 1) for pair in item.items() for x in pair)
        elif isinstance(item, list):
            stack.extend((x, depth + 1) for x in item)
        elif isinstance(item, str):
            chars += len(item)
            if _line(item) != item:
                raise ValueError("holds text with line breaks or spaces at its ends")
        chars += 8
        if chars > MAX_ARGS_CHARS:
            raise ValueError(f"is larger than {MAX_ARGS_CHARS} characters")
    return value


Id = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_.\-]+$")]
Name = Annotated[str, Field(min_length=1, max_length=40), AfterValidator(_name)]
Line = Annotated[str, Field(min_length=1, max_length=MAX_LINE), AfterValidator(_spoken)]
Draft = Annotated[str, Field(max_length=MAX_LINE), AfterValidator(_line)]
Detail = Annotated[str, Field(max_length=300), AfterValidator(_line)]
Args = Annotated[dict[str, Any], AfterValidator(_small)]
Coordinate = Annotated[float, Field(ge=-1e6, le=1e6, allow_inf_nan=False)]
Position = tuple[Coordinate, Coordinate, Coordinate]
Volume = Literal["whisper", "talk", "shout"]
TurnStatus = Literal["completed", "interrupted", "silent", "timeout", "blocked", "failed"]


Because = Literal[
    "addressed",
    "named",
    "pronoun",
    "gaze",
    "attention",
    "nearest",
    "interest",
    "model",
    "act",
    "result",
    "exchange",
    "event",
    "arrival",
    "silence",
]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PlayerInfo(_Strict):
    """Who plays."""

    id: Id
    name: Name
    about: Detail | None = None


class Resume(_Strict):
    """Where a dropped session goes on."""

    session_id: Id
    after_seq: int = Field(ge=0)


class ClientMessage(_Strict):
    """What every client message may carry: an `id` of its choosing, answered by one `ack`."""

    id: Id | None = None


class SessionStart(ClientMessage):
    """The first message of a connection; nothing else is accepted before it."""

    type: Literal["session.start"]
    protocol: Literal[1]
    player: PlayerInfo
    resume: Resume | None = None


class PlayerSay(ClientMessage):
    """A line the player says; one that names nobody is for whom the avatar is `looking_at`."""

    type: Literal["player.say"]
    text: Line
    to: list[Id] = Field(default_factory=list, max_length=8)
    looking_at: Id | None = None
    volume: Volume = "talk"
    deadline_ms: int | None = Field(default=None, ge=1, le=600_000)


class PlayerTyping(ClientMessage):
    """What stands in the input box so far: warms the answer, is never history, never shown."""

    type: Literal["player.typing"]
    text: Draft


class PlayerMove(ClientMessage):
    """Where the avatar stands: a place, or a position."""

    type: Literal["player.move"]
    place: Id | None = None
    position: Position | None = None

    @model_validator(mode="after")
    def _one_of(self) -> "PlayerMove":
        if (self.place is None) == (self.position is None):
            raise ValueError("give either place or position")
        return self


class PlayerAct(ClientMessage):
    """Something done without words."""

    type: Literal["player.act"]
    action: Id
    target: Id | None = None
    args: Args = Field(default_factory=dict)


class SceneEvent(ClientMessage):
    """The world tells the scene something (role host)."""

    type: Literal["scene.event"]
    name: Id
    args: Args = Field(default_factory=dict)
    seen_by: list[Id] | None = Field(default=None, max_length=64)


class SceneLock(ClientMessage):
    """The game plays a scripted scene (role host): who speaks stops, and nobody speaks or answers
    until `scene.unlock`, or until whoever locked it leaves."""

    type: Literal["scene.lock"]


class SceneUnlock(ClientMessage):
    """The scripted scene is over (role host)."""

    type: Literal["scene.unlock"]


class SceneSet(ClientMessage):
    """What the game keeps has another value (role host): one of the scene's `flags`."""

    type: Literal["scene.set"]
    name: Id
    value: bool | int | Annotated[str, Field(max_length=80)]


class TurnCancel(ClientMessage):
    """Barge-in: stop that turn, or every turn addressed to this player."""

    type: Literal["turn.cancel"]
    turn_id: Id | None = None


class TurnHeard(ClientMessage):
    """How many characters of the turn this player has really heard or read."""

    type: Literal["turn.heard"]
    turn_id: Id
    chars: int = Field(ge=0, le=1_000_000)


class TurnRate(ClientMessage):
    """Whether this player liked a turn; the last word counts. Tuning learns from it."""

    type: Literal["turn.rate"]
    turn_id: Id
    rating: Literal["good", "bad", "none"]


class ActionResult(ClientMessage):
    """What became of a character's action in the game."""

    type: Literal["action.result"]
    action_id: Id
    status: Literal["done", "failed", "refused"]
    detail: Detail | None = None


class SceneSave(ClientMessage):
    """Checkpoint the scene (role host)."""

    type: Literal["scene.save"]
    save_id: Id


class SceneRestore(ClientMessage):
    """Go back to a checkpoint (role host)."""

    type: Literal["scene.restore"]
    save_id: Id


CLIENT_MESSAGES: tuple[type[ClientMessage], ...] = (
    SessionStart,
    PlayerSay,
    PlayerTyping,
    PlayerMove,
    PlayerAct,
    SceneEvent,
    SceneLock,
    SceneUnlock,
    SceneSet,
    TurnCancel,
    TurnHeard,
    TurnRate,
    ActionResult,
    SceneSave,
    SceneRestore,
)
_BY_TYPE = {cls.model_fields["type"].annotation.__args__[0]: cls for cls in CLIENT_MESSAGES}  # type: ignore[union-attr]


class _Envelope(BaseModel):
    """What is read first, so that even a wrong message can be answered by its id."""

    type: str
    id: Id | None = None


class BadFrame(Rejected):
    """A frame that is not a message of this protocol.

    Args:
        ref: the `id` the client gave, where one could be read.
    """

    code = "bad_message"

    def __init__(self, message: str, code: str = "bad_message", ref: str | None = None) -> None:
        super().__init__(message, code)
        self.ref = ref


_OBJECT: TypeAdapter[dict[str, Any]] = TypeAdapter(dict[str, Any])


_ID: TypeAdapter[str] = TypeAdapter(Id)


def is_id(text: str) -> bool:
    """Whether a text may be an id on the wire."""
    try:
        _ID.validate_python(text)
    except ValidationError:
        return False
    return True


def parse(frame: str) -> ClientMessage:
    """Turn one text frame into a message.

    Raises:
        BadFrame: it is not JSON (`bad_json`), of no known type (`unknown_type`), or has a wrong
            field (`bad_message`); the message names the field.
    """
    try:
        data = _OBJECT.validate_json(frame)
    except (ValidationError, RecursionError) as error:
        raise BadFrame("the frame is not a JSON object", "bad_json") from error
    try:
        head = _Envelope.model_validate(data, strict=True)
    except ValidationError as error:
        raise BadFrame(_explain(error)) from error
    cls = _BY_TYPE.get(head.type)
    if cls is None:
        known = ", ".join(sorted(_BY_TYPE))
        raise BadFrame(
            f"unknown type {head.type[:40]!r}; known are {known}", "unknown_type", head.id
        )
    try:
        return cls.model_validate_json(frame, strict=True)
    except ValidationError as error:
        raise BadFrame(_explain(error), ref=head.id) from error


def _explain(error: ValidationError) -> str:
    """The first few faults as `field: what is wrong`, without echoing what was sent."""
    faults = []
    for fault in error.errors(include_url=False, include_input=False)[:3]:
        where = ".".join(str(part) for part in fault["loc"]) or "message"
        faults.append(f"{where[:80]}: {fault['msg'].removeprefix('Value error, ')}")
    return "; ".join(faults)


# ---- server → client ----------------------------------------------------------------------------


class ServerMessage(BaseModel):
    """What the server sends. `seq` is added per session when it is sent."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    type: str
    # Fields that are left out when they are None; all others are always there.
    optional: ClassVar[frozenset[str]] = frozenset()
    unsent: ClassVar[frozenset[str]] = frozenset()  # kept in the journal only

    def wire(self) -> str:
        """The message as JSON, still without `seq`."""
        absent = {name for name in self.optional if getattr(self, name) is None}
        skip: set[str] = absent.union(self.unsent)
        return self.model_dump_json(exclude=skip)


class ErrorBody(_Strict):
    """Why something was refused."""

    code: str
    message: str


class Ack(ServerMessage):
    """The one answer to a message that carried an `id`."""

    type: Literal["ack"] = "ack"
    ref: str
    status: Literal["ok", "rejected"]
    error: ErrorBody | None = None
    optional: ClassVar[frozenset[str]] = frozenset({"error"})


class Limits(_Strict):
    """The bounds this server holds a client to."""

    frame_bytes: int
    line_chars: int
    lines_per_minute: int
    messages_per_second: int
    connections_per_player: int
    send_queue: int
    resume_messages: int
    resume_seconds: int


class SessionStarted(ServerMessage):
    """The session is open. `resumed` says whether what was missed follows."""

    type: Literal["session.started"] = "session.started"
    session_id: str
    player_id: str
    scene: str
    instance: str
    protocol: int = VERSION
    limits: Limits
    resumed: bool


class PlaceView(_Strict):
    """A place to draw: centre, width and depth in metres, and how far talk carries."""

    id: str
    name: str
    position: Position
    size: tuple[float, float]
    earshot: float


class PropView(_Strict):
    """A thing that actions may be done to."""

    id: str
    name: str
    place: str
    position: Position


class PersonView(_Strict):
    """A player where they stand."""

    id: str
    name: str
    about: str | None = None
    place: str
    position: Position


class NpcView(_Strict):
    """A character where they stand, with the face they wear (a VRM expression preset)."""

    id: str
    name: str
    place: str
    position: Position
    emotion: str
    face: str
    glyph: str


class SaidView(_Strict):
    """A line of the recent past that this player heard."""

    speaker: str
    name: str
    text: str
    to: list[str]
    volume: Volume
    turn_id: str | None = None
    status: TurnStatus | None = None
    at_ms: int


class SceneSnapshot(ServerMessage):
    """What a client needs to draw the scene. `locked` is who plays a scripted scene, if anybody."""

    type: Literal["scene.snapshot"] = "scene.snapshot"
    scene: str
    name: str
    language: str
    places: list[PlaceView]
    npcs: list[NpcView]
    players: list[PersonView]
    props: list[PropView]
    emotions: dict[str, str]
    actions: list[str]
    recent: list[SaidView]
    locked: str | None = None
    optional: ClassVar[frozenset[str]] = frozenset({"locked"})


class PlayerJoined(ServerMessage):
    """Another player came in."""

    type: Literal["player.joined"] = "player.joined"
    player: PersonView


class PlayerLeft(ServerMessage):
    """A player is gone."""

    type: Literal["player.left"] = "player.left"
    player: str


class PlayerSaid(ServerMessage):
    """Another player's line, to those who can hear it. `line_id` is what `in_reply_to` names."""

    type: Literal["player.said"] = "player.said"
    line_id: str
    player: str
    name: str
    text: str
    to: list[str]
    volume: Volume


class PlayerMoved(ServerMessage):
    """A player stands elsewhere now."""

    type: Literal["player.moved"] = "player.moved"
    player: str
    place: str
    position: Position


class PlayerActed(ServerMessage):
    """A player did something without words."""

    type: Literal["player.acted"] = "player.acted"
    player: str
    action: str
    target: str | None = None
    args: dict[str, Any]
    optional: ClassVar[frozenset[str]] = frozenset({"target"})


class TurnStarted(ServerMessage):
    """A character takes the floor. `in_reply_to` is the `id` of the line, where it had one, or the
    turn of another character. `because` is why it is this one; where the model chose,
    `probabilities` are those of everybody it chose among. `to` is empty when a character speaks of
    their own accord to whoever hears it."""

    type: Literal["turn.started"] = "turn.started"
    turn_id: str
    npc: str
    in_reply_to: str | None = None
    to: list[str]
    volume: Volume
    because: Because | None = None
    probabilities: dict[str, float] | None = None
    optional: ClassVar[frozenset[str]] = frozenset({"in_reply_to", "because", "probabilities"})
    line: SkipJsonSchema[int | None] = None  # the number of the happening it answers
    unsent: ClassVar[frozenset[str]] = frozenset({"line"})


class TurnEmotion(ServerMessage):
    """The emotion of the words that follow; before the words it colours."""

    type: Literal["turn.emotion"] = "turn.emotion"
    turn_id: str
    emotion: str
    face: str
    intensity: float
    at: int
    probabilities: dict[str, float]


class TurnAction(ServerMessage):
    """Something the character does: only what the scene declares, with arguments it allows."""

    type: Literal["turn.action"] = "turn.action"
    turn_id: str
    action_id: str
    name: str
    target: str | None = None
    args: dict[str, Any]
    at: int
    probabilities: dict[str, float]
    optional: ClassVar[frozenset[str]] = frozenset({"target"})


class TurnText(ServerMessage):
    """Spoken text as it is made; `at` is where it begins, in code points of the turn."""

    type: Literal["turn.text"] = "turn.text"
    turn_id: str
    delta: str
    at: int


class TurnSentence(ServerMessage):
    """A finished sentence: `start` to `end`, in code points of the turn's text."""

    type: Literal["turn.sentence"] = "turn.sentence"
    turn_id: str
    index: int
    start: int
    end: int


class UsageBody(_Strict):
    """Tokens this turn took."""

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0


class TimingBody(_Strict):
    """Milliseconds: waiting for the floor; from the line to the first word; the whole turn."""

    queue_ms: int = 0
    ttft_ms: int = 0
    total_ms: int = 0


class TurnDone(ServerMessage):
    """Always the last message of a turn. `text` is all that was said; `authored` is the id of the
    line, where it was one that a writer wrote."""

    type: Literal["turn.done"] = "turn.done"
    turn_id: str
    npc: str
    status: TurnStatus
    text: str
    reason: str | None = None
    usage: UsageBody = UsageBody()
    timing: TimingBody = TimingBody()
    authored: str | None = None
    optional: ClassVar[frozenset[str]] = frozenset({"reason", "authored"})

    @property
    def said_whole(self) -> str | None:
        """The writer's line, where it was not cut short."""
        return self.authored if self.status == "completed" else None


class SceneChanged(ServerMessage):
    """The scene is not as it was: an event, a character moving, a save, a restore, a lock."""

    type: Literal["scene.changed"] = "scene.changed"
    what: Literal["event", "npc_moved", "saved", "restored", "locked", "unlocked", "flag"]
    name: str | None = None
    """The event's name, the save's id, the flag's name, or who locked or unlocked the scene."""
    args: dict[str, Any] = Field(default_factory=dict)
    optional: ClassVar[frozenset[str]] = frozenset({"name"})


class ErrorMessage(ServerMessage):
    """Something went wrong, in words one can act on; after `fatal` the socket closes."""

    type: Literal["error"] = "error"
    code: str
    message: str
    ref: str | None = None
    fatal: bool = False
    optional: ClassVar[frozenset[str]] = frozenset({"ref"})


SERVER_MESSAGES: tuple[type[ServerMessage], ...] = (
    Ack,
    SessionStarted,
    SceneSnapshot,
    PlayerJoined,
    PlayerLeft,
    PlayerSaid,
    PlayerMoved,
    PlayerActed,
    TurnStarted,
    TurnEmotion,
    TurnAction,
    TurnText,
    TurnSentence,
    TurnDone,
    SceneChanged,
    ErrorMessage,
)

CLOSE_CODES: dict[int, str] = {
    1007: "a text frame that is not UTF-8",
    1008: "bad token, role or origin",
    1009: "frame too large",
    1013: "overloaded, flooding or too slow; come back later and resume",
    4400: "not the protocol (an `error` comes before it)",
    4404: "no such scene",
    4409: "the player connected elsewhere; the newer connection wins",
}


def types(messages: Iterable[type[BaseModel]]) -> list[str]:
    """The wire names of message classes."""
    return [cls.model_fields["type"].annotation.__args__[0] for cls in messages]  # type: ignore[union-attr]
