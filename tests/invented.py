"""Texts in a language nobody speaks, and what its tokenizer must bear, for tests."""

import random
from pathlib import Path

PLACES = ["the quarry of Ulm", "the salt road", "Orra's mill", "the third bridge"]
WORDS = [a + b for a in "kelu varra mit soni uldo karre".split() for b in ("", "do", "ri", "sem")]

HARD_TEXTS = [
    "",
    " ",
    "  kelu  varra  ",
    "Ada: varrasem mitri kelkelu, the quarry of Ulm! sosonido rrarra miuldotri",
    "\n\nkelu\n \n",
    "茶凉了，客人还没走。",
    "👩‍👩‍👧 🍵",
    "cafe\u0301 \u00a0 \u200d \t\r\n",
    "<0x0A>",
    "soni <0xE8>\n<0x0A>",
    "aaaaaaaaa ......... kekekekekeke",
    "12 345\n\n\n6",
    "\0\x7f\ud7ff\U0001fae8",
]


def corpus(folder: Path, lines: int = 400, seed: int = 0) -> Path:
    """A file of lines of the language, the same for the same seed."""
    rng = random.Random(seed)
    text = "".join(
        f"{rng.choice(['Kit', 'Ada'])}: {' '.join(rng.choices(WORDS, k=3))}, "
        f"{rng.choice(PLACES)}{rng.choice('.!?')}\n"
        for _ in range(lines)
    )
    path = folder / f"language-{seed}.txt"
    path.write_text(text, encoding="utf-8")
    return path
