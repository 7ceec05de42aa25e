"""A training recipe: a YAML file, then flags, then --set; the later wins. Knows no torch."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from finetune.examples import Shape, Slot
from npcserver.errors import SettingError

Share = Annotated[float, Field(ge=0, le=1)]
Below = Annotated[float, Field(ge=0, lt=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]

MOST_HISTORY = 8
EVEN: dict[Slot, float] = {"emotion": 1.0, "action": 1.0, "words": 1.0}
LLAMA_LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Lora(_Part):
    """A low-rank adapter: small, quick to train, and swapped while the server runs."""

    rank: Count = Field(16, description="Rank of each layer's change.")
    alpha: Count = Field(32, description="Scale of the change, over the rank.")
    dropout: Share = Field(0.05, description="Share of inputs dropped on the adapter's way.")
    layers: list[Literal[LLAMA_LAYERS]] = Field(  # type: ignore[valid-type]
        list(LLAMA_LAYERS), min_length=1, description="The linear layers that get one."
    )


class Optimizer(_Part):
    """How weights move."""

    name: Literal["adamw", "adam", "sgd"] = Field("adamw", description="Kind of optimiser.")
    learning_rate: Positive = Field(3e-4, description="Highest learning rate.")
    weight_decay: Annotated[float, Field(ge=0)] = Field(0.01, description="Weight decay.")
    betas: tuple[Below, Below] = Field((0.9, 0.95), description="Adam's averages.")
    momentum: Share = Field(0.9, description="Of sgd.")
    warmup: Share = Field(0.05, description="Share of all steps in which the rate rises.")
    schedule: Literal["cosine", "linear", "constant"] = Field(
        "cosine", description="How the rate falls after that."
    )
    floor: Share = Field(0.1, description="Share of the rate that is left at the end.")
    clip: Positive = Field(1.0, description="Longest gradient.")


class Recipe(_Part):
    """Everything that decides what a run gives, but for the machine."""

    data: Path = Field(description="Folder made by `finetune prepare`.")
    out: Path = Field(description="Folder of the run; made, or gone on with.")
    model: str = Field("embedded", description="Model to start from: by name, or a folder.")
    method: Literal["lora", "full"] = Field("lora", description="What is trained.")
    adapter: Path | None = Field(None, description="Adapter to go on from, instead of a new one.")
    lora: Lora = Lora()
    optimizer: Optimizer = Optimizer()

    most_conversations: Count | None = Field(
        None,
        description="Training conversations used, drawn by the seed; of others a fifth as many.",
    )
    epochs: Count = Field(3, description="Times through the data, at most.")
    max_steps: Count | None = Field(None, description="Steps, at most.")
    row_tokens: Count = Field(2048, description="Tokens computed at once, on one device.")
    rows: Count = Field(8, description="Rows in a step, over all devices.")
    packing: bool = Field(True, description="Several examples to a row; sheets computed once.")
    longest: Count = Field(2048, description="Longest example in tokens; others are left out.")

    history_lines: Annotated[int, Field(ge=0, le=400)] | None = Field(
        None,
        description="Past happenings a prompt holds, in serving too; unset: as many as the data "
        "has, 8 at most.",
    )
    prompt_tokens: Annotated[int, Field(ge=256)] = Field(
        1200, description="Longest prompt, in estimated tokens, as in the server's settings."
    )
    weights: dict[Slot, Annotated[float, Field(ge=0)]] = Field(
        EVEN, description="What a token of each slot counts in the loss."
    )
    label_smoothing: Share = Field(0.0, description="Share of certainty given to all tokens.")
    attention_dropout: Share = Field(0.0, description="Share of attention dropped.")

    beta: Positive = Field(
        0.1, description="Preference tuning: how strongly it is held to what it started from."
    )

    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="How numbers are computed; auto: bf16 on a GPU or a CPU with AMX."
    )
    attention: Literal["forest", "sdpa", "eager"] = Field(
        "forest",
        description="Attention's way of computing; forest leaves out what no example sees.",
    )
    checkpointing: bool = Field(False, description="Compute again what memory has no room for.")
    evaluate_every: Count | None = Field(None, description="Steps; unset: once an epoch.")
    save_every: Count | None = Field(None, description="Steps; unset: at each evaluation.")
    patience: Count = Field(2, description="Evaluations without a better one before it stops.")
    seed: Annotated[int, Field(ge=0)] = Field(0, description="Seed of every draw.")
    tensorboard: bool = Field(False, description="Write TensorBoard's files too.")

    @field_validator("weights")
    @classmethod
    def _every_slot(cls, given: dict[Slot, float]) -> dict[Slot, float]:
        """The weights of all slots, where some are given."""
        weights = EVEN | given
        if not any(weights.values()):
            raise ValueError("one slot must count more than 0")
        return weights

    @property
    def shape(self) -> Shape:
        """How prompts are cut, once `history_lines` is settled."""
        assert self.history_lines is not None
        return Shape(self.history_lines, self.prompt_tokens)

    def settled(self, longest_history: int) -> "Recipe":
        """The recipe with `history_lines` for data with such histories.

        A character who was trained without a history answers badly with one.
        """
        if self.history_lines is not None:
            return self
        return self.model_copy(update={"history_lines": min(MOST_HISTORY, longest_history)})


def load(
    file: Path | None, flags: dict[str, Any], assigned: Mapping[str, Any] = MappingProxyType({})
) -> Recipe:
    """The recipe in force.

    Args:
        flags: by dotted name, `optimizer.learning_rate`; None means not given.
        assigned: likewise, and goes before flags; here None is the value `null`.

    Raises:
        SettingError: something in it is wrong; the message names it.
    """
    values = _read(file) if file else {}
    given = {name: value for name, value in flags.items() if value is not None} | {**assigned}
    for name, value in given.items():
        _put(values, name, value)
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        told = []
        for fault in error.errors(include_url=False, include_input=False):
            name = ".".join(str(part) for part in fault["loc"] if part != "[key]")
            flagged = any(f"{name}.".startswith(f"{flag}.") for flag in given)
            where = f"{file}: " if file and not flagged else ""
            told.append(f"{where}{name}: {_advice(fault['type'], fault['msg'])}")
        raise SettingError("\n".join(told)) from None


def assignments(given: list[str]) -> dict[str, Any]:
    """`name=value` texts by name; values are read as YAML.

    Raises:
        SettingError: one has no `=`, or a value that is not YAML.
    """
    flags = {}
    for each in given:
        name, equals, value = each.partition("=")
        if not equals:
            raise SettingError(f"--set {each}: write name=value")
        try:
            flags[name.strip()] = YAML(typ="safe").load(value)
        except YAMLError:
            raise SettingError(f"--set {each}: the value is not YAML") from None
    return flags


def _advice(kind: str, message: str) -> str:
    if kind == "extra_forbidden":
        return "there is no such setting; see finetune train --help"
    if kind == "missing":
        return "is missing; give it in the recipe or as a flag"
    return message[0].lower() + message[1:]


def _read(path: Path) -> dict[str, Any]:
    try:
        values = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except OSError:
        raise SettingError(f"{path}: there is no such file") from None
    except UnicodeDecodeError:
        raise SettingError(f"{path}: is not UTF-8") from None
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise SettingError(f"{path}:{line}: is not YAML: {error.problem}") from None
    except YAMLError:
        raise SettingError(f"{path}:1: is not YAML: it holds control characters") from None
    if not isinstance(values, dict):
        raise SettingError(f"{path}: holds no settings; `name: value` lines are wanted")
    return values


def _put(values: dict[str, Any], name: str, value: Any) -> None:
    *path, last = name.split(".")
    for part in path:
        inner = values.setdefault(part, {})
        if not isinstance(inner, dict):
            raise SettingError(f"{part}: holds settings of its own, one a line")
        values = inner
    values[last] = value
