"""Prompt → the text a model continues. Pure functions; knows no tokens.

Two templates: a model tuned for chat reads ChatML; a small one continues a plain transcript better
than it follows markup.
"""

from collections.abc import Callable, Sequence

from npcserver.engines.base import Prompt

Template = Callable[[Prompt], str]


def script(prompt: Prompt) -> str:
    """A transcript: an answer follows its line directly, exchanges are parted by blank lines."""
    text, last = "", ""
    for message in prompt.messages:
        if text:
            text += "\n" if (last, message.role) == ("user", "assistant") else "\n\n"
        text += message.text
        last = message.role
    if not prompt.opening:
        return text
    return text + ("\n" if last == "user" else "\n\n") + prompt.opening


def chatml(prompt: Prompt) -> str:
    """Each message between `<|im_start|>role` and `<|im_end|>`, the last one left open."""
    blocks = [f"<|im_start|>{m.role}\n{m.text}<|im_end|>\n" for m in prompt.messages]
    return "".join(blocks) + (f"<|im_start|>assistant\n{prompt.opening}" if prompt.opening else "")


TEMPLATES: dict[str, Template] = {"script": script, "chatml": chatml}


def neutral(text: str, specials: Sequence[str]) -> str:
    """The text with a space for every special token in it, so that none can be forged."""
    for special in specials:
        text = text.replace(special, " ")
    return text
