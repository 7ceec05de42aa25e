"""Settings: a file, then the environment, then flags; the later wins.

The file is `npcserver.toml` in the working folder, or the one named by `--config`. A variable of
the environment is `NPCSERVER_` and the setting's name in capitals.
"""

import tomllib
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from platformdirs import user_data_path
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from npcserver.errors import SettingError

DEFAULT_FILE = Path("npcserver.toml")
DEFAULT_MODEL = "embedded"
MAX_HISTORY = 400
FLAGS = {"remote_urls": "--remote-url"}
"""Flags that are called otherwise than their setting."""
_HOUR = 3600


class Settings(BaseSettings):
    """What an operator can set. Every bound has a refusal that names it."""

    model_config = SettingsConfigDict(env_prefix="NPCSERVER_", extra="forbid", frozen=True)

    scenes: Path = Field(Path("scenes"), description="Folder of scenes, one folder a scene.")
    model: str = Field(
        DEFAULT_MODEL,
        description="Model by name: `embedded`, a folder, a GGUF file, its address, or owner/name "
        "on the hub. With `remote` its name there; `embedded` then stands for the first that is "
        "listed.",
    )
    adapter: Path | None = Field(
        None,
        description="Folder of a fine-tuned adapter, merged into the model at start; unset: what "
        "the model comes with; `none`: no adapter.",
    )
    engine: Literal["auto", "openvino", "transformers", "remote", "scripted"] = Field(
        "auto",
        description="What runs the model; `remote` asks the servers in `remote_urls`, `scripted` "
        "plays the scenes' own examples. `auto` takes `transformers` where torch finds a GPU, else "
        "`openvino`.",
    )
    remote_urls: list[str] = Field(
        [], description="Base URLs of servers that speak OpenAI's completions, for `remote`."
    )
    remote_key: SecretStr | None = Field(None, description="Key that those servers ask for.")
    remote_template: Literal["script", "chatml"] = Field(
        "script", description="How prompts are written for those servers: a transcript, or ChatML."
    )
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 picks a free one.")
    data: Path = Field(
        default_factory=lambda: user_data_path("npcserver"),
        description="Folder of the journal, which holds everything that must last.",
    )
    secret: SecretStr | None = Field(
        None, min_length=32, description="Key that signs tokens; without it loopback only."
    )
    allowed_origins: list[str] = Field(
        [], description="Origins whose pages may connect, besides the server's own."
    )

    frame_bytes: int = Field(16_384, ge=1024, le=1_048_576, description="Largest frame, in bytes.")
    line_chars: int = Field(500, ge=1, le=2000, description="Longest line, in characters.")
    lines_per_minute: int = Field(40, ge=1, description="Lines one player may say in a minute.")
    messages_per_second: int = Field(
        30, ge=1, description="Messages a connection may send, on average; bursts of three times."
    )
    connections_per_player: int = Field(4, ge=1, description="Connections of one player id.")
    connections_per_address: int = Field(64, ge=1, description="Connections from one address.")
    instances: int = Field(256, ge=1, description="Live instances of scenes at once.")
    send_queue: int = Field(1000, ge=16, description="Messages waiting for a slow client.")
    resume_messages: int = Field(4000, ge=16, description="Messages kept for a resume.")
    resume_seconds: int = Field(120, ge=1, le=_HOUR, description="How long a resume is possible.")
    instance_idle_seconds: int = Field(
        600, ge=1, description="An instance nobody is in is put away after this; its journal stays."
    )

    turn_seconds: float = Field(30.0, gt=0, description="A turn is stopped after this.")
    waiting_turns: int = Field(4, ge=1, description="Turns that may wait for one character.")
    reply_tokens: int = Field(60, ge=1, le=1024, description="Longest reply, in tokens.")
    prompt_tokens: int = Field(1200, ge=256, description="Longest prompt, in tokens.")
    history_lines: int | None = Field(
        None,
        ge=0,
        le=MAX_HISTORY,
        description="Past happenings a prompt holds; unset: what the model was tuned with, "
        "or none.",
    )
    recall_tokens: int | None = Field(
        None,
        ge=0,
        le=1000,
        description="What a line may recall of what its prompt no longer holds, in tokens; unset: "
        "120, or nothing where an adapter was tuned without.",
    )
    written_answers: bool = Field(
        True,
        description="Whether a line that a writer answered, on a sheet or at the start of a "
        "dialogue, is answered in the writer's words, once to each player.",
    )
    temperature: float = Field(0.35, ge=0, le=2, description="How freely words are drawn; 0: not.")
    seed: int = Field(0, ge=0, description="Seed of every draw.")
    cache_gb: Annotated[int, Field(ge=1)] | None = Field(
        None, description="Key-value cache, in GB; unset: an eighth of the memory, 1 to 8."
    )

    @field_validator("remote_urls")
    @classmethod
    def _base_urls(cls, urls: list[str]) -> list[str]:
        return [_base_url(url) for url in urls]

    @property
    def is_open(self) -> bool:
        """No secret is set: everyone on this machine is player, host and admin."""
        return self.secret is None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Flags arrive as init settings; the file is added below both by `load`."""
        return init_settings, env_settings


def load(flags: dict[str, Any], file: Path | None = None) -> Settings:
    """The settings in force.

    Args:
        flags: settings given on the command line; None means not given.
        file: a TOML file; without it `npcserver.toml`, where there is one.

    Raises:
        SettingError: one of them is wrong; the message names it and where it came from.
    """
    path = file or DEFAULT_FILE
    from_file = _read(path) if file or path.exists() else {}
    given = {name: value for name, value in flags.items() if value is not None}

    class Layered(Settings):
        @classmethod
        def settings_customise_sources(
            cls, settings_cls: type[BaseSettings], *args: Any, **kwargs: Any
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            above = Settings.settings_customise_sources(settings_cls, *args, **kwargs)
            return *above, InitSettingsSource(settings_cls, from_file)

    try:
        settings = Layered(**given)
    except ValidationError as error:
        raise SettingError(_explain(error, given, from_file, path)) from None
    if settings.is_open and not _is_loopback(settings.host):
        raise SettingError(
            f"host: {settings.host} can be reached from other machines, and no secret is set; "
            "set NPCSERVER_SECRET (at least 32 characters), or listen on 127.0.0.1"
        )
    if settings.engine == "remote" and not settings.remote_urls:
        raise SettingError(
            "remote_urls: engine remote has no server to ask; name one with "
            "--remote-url http://127.0.0.1:8080/v1"
        )
    return settings


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingError(f"{path}: there is no such file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingError(f"{path}: is not TOML: {error}") from None


def _explain(
    error: ValidationError, flags: dict[str, Any], from_file: dict[str, Any], path: Path
) -> str:
    lines = []
    for fault in error.errors(include_url=False, include_input=False):
        name = ".".join(str(part) for part in fault["loc"])
        top = str(fault["loc"][0]) if fault["loc"] else name
        if top in flags:
            source = FLAGS.get(top) or f"--{top.replace('_', '-')}"
        elif top in from_file and fault["type"] == "extra_forbidden":
            lines.append(f"{path}: {name}: there is no such setting")
            continue
        else:
            source = f"{path}: {name}" if top in from_file else f"NPCSERVER_{top.upper()}"
        lines.append(f"{source}: {fault['msg'][0].lower()}{fault['msg'][1:]}")
    return "\n".join(lines)


def _base_url(url: str) -> str:
    """A base URL as requests are built on it. Raises ValueError; its message holds no secret."""
    parts = urlsplit(url.strip())
    if parts.username is not None or parts.password is not None:
        raise ValueError("a URL holds a user or a password; set remote_key instead")
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise ValueError("a base URL looks like http://127.0.0.1:8080/v1")
    path = parts.path.rstrip("/") or "/v1"
    return f"{parts.scheme}://{parts.netloc}{path}"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
