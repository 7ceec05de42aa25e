"""Known-better and known-worse speakers: a measure that cannot tell them apart measures nothing.

`parrot` says the player's line again, `reference` says what was written, `shuffled` is the model
with everybody on somebody else's sheet, `random` has weights that were never trained.
"""

from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from typing import Literal

from finetune.records import Stage
from npcserver.engines.base import Decision, EngineStatus, Piece, Prompt, Sampling, Usage
from npcserver.library import LoadedScene
from npcserver.sheets import Character, Example

Control = Literal["parrot", "reference", "shuffled", "random"]


class _Speaker:
    """An engine that computes nothing; what it says is decided by `line`."""

    async def start(self) -> None:
        """Nothing to load."""

    async def close(self) -> None:
        """Nothing to free."""

    def line(self, prompt: Prompt) -> str:
        """What follows a prompt."""
        raise NotImplementedError

    async def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Piece, None]:
        """All words in one piece."""
        yield Piece(self.line(prompt))
        yield Piece("", Usage(), "stop")

    async def decide(self, prompt: Prompt, options: Sequence[str]) -> Decision:
        """What it goes on with; all alike where that is none of the options."""
        text = self.line(prompt)
        best = max((o for o in options if text.startswith(o)), key=len, default=None)
        if best is None:
            return Decision(tuple(1 / len(options) for _ in options))
        return Decision(tuple(float(option == best) for option in options))

    async def warm(self, prompt: Prompt) -> None:
        """Nothing to compute."""

    async def count(self, texts: Sequence[str]) -> list[int]:
        """Words."""
        return [len(text.split()) for text in texts]

    def status(self) -> EngineStatus:
        """Always ready."""
        return EngineStatus("control", type(self).__name__.lower(), ready=True)


class Parrot(_Speaker):
    """Says the newest line of anybody again."""

    def line(self, prompt: Prompt) -> str:
        """The line, without its speaker's name and without notes."""
        text = next((m.text for m in reversed(prompt.messages) if m.role == "user"), "")
        spoken = [line for line in text.split("\n") if not line.startswith("[")] or [text]
        _, _, words = spoken[-1].partition("：" if "：" in spoken[-1] else ":")
        return f" {words.strip()}"


class Reference(_Speaker):
    """Says what was written. Args: answer: all of it, slots included, set before it is asked."""

    answer = ""

    def line(self, prompt: Prompt) -> str:
        """What is left of the answer after the prompt's opening."""
        if self.answer.startswith(prompt.opening):
            return self.answer[len(prompt.opening) :]
        return ""


def shuffled(loaded: LoadedScene) -> LoadedScene:
    """A scene in which everybody has the next one's sheet, under their own name."""
    npcs = list(loaded.characters)
    sheets = {
        npc: _under_the_name_of(
            loaded.characters[npc], loaded.characters[npcs[(at + 1) % len(npcs)]]
        )
        for at, npc in enumerate(npcs)
    }
    return LoadedScene(loaded.id, loaded.scene, sheets, loaded.folder)


def _under_the_name_of(owner: Character, other: Character) -> Character:
    """Another's sheet: who they are and how they speak; body, name and deeds stay the owner's."""
    examples = [
        Example(line=each.line, reply=each.reply, emotion=each.emotion) for each in other.examples
    ]
    taken = {"about": other.about, "voice": other.voice, "wants": other.wants}
    return owner.model_copy(update={**taken, "knows": other.knows, "examples": examples})


def shuffled_stage(stage: Stage, others: Sequence[Stage]) -> Stage:
    """A stage whose characters have each other's sheets; those of another stage if there is one."""
    if len(stage.characters) > 1:
        sheets = shuffled(stage.loaded()).characters
    else:
        at = [each.id for each in others].index(stage.id)
        donor = others[(at + 1) % len(others)]
        other = next(iter(donor.characters.values()))
        (npc,) = stage.characters
        sheet = _under_the_name_of(stage.characters[npc], other)
        known = [e for e in sheet.examples if e.emotion in stage.scene.emotions]
        sheets = {npc: sheet.model_copy(update={"examples": known})}
    return Stage(scene=stage.scene, characters=dict(sheets))


def random_weights(base: Path, out: Path, seed: int) -> Path:
    """A model like the one in `base` whose weights were never trained, as transformers saves it."""
    import torch  # noqa: PLC0415 - heavy, and for this alone
    from transformers import AutoModelForCausalLM  # noqa: PLC0415

    from finetune import base as bases  # noqa: PLC0415
    from npcserver.engines import torch_weights  # noqa: PLC0415

    config = torch_weights.load_weights(base, torch.float32).config
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    out.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(out)
    bases.find(str(base)).save_tokenizer(out)
    return out
