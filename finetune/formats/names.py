"""Invented first names, for people whose own are not known or not to be kept.

The names come from many languages, and none is an ordinary English word, so that a name can be
found and replaced in a text. Knows nothing of who bears them.
"""

import hashlib
import re
from collections.abc import Callable, Collection, Mapping
from itertools import chain, count

from npcserver.library import LoadedScene

NAMES = tuple(
    """
    Adaeze Aiko Alasdair Amara Anouk Arvid Ayesha Beatriz Bogdan Bram Catalina Chidi Chiara Dalia
    Darius Dimitri Ebba Eilidh Ekene Elif Emeka Enzo Farida Fatou Fergus Freya Gabor Giulia Goran
    Hana Haruto Henrik Ilse Imani Ines Ivana Jaromir Jelena Jorge Kalinda Kamal Katya Kenji Kwame
    Laszlo Leila Linh Lorenzo Lucia Magnus Maira Malik Marisol Mateus Meera Mihai Nadia Naoki
    Nikolai Nneka Odile Omar Oona Padma Pedro Petra Rafael Ravi Rosalind Rustam Sabine Samir
    Sanjay Signe Soraya Svetlana Tadeusz Tamara Tariq Thandiwe Tomasz Ursula Vikram Wanjiru
    Xiomara Yasmin Yusuf Zainab Zoltan
    """.split()
)
LONGEST = 40
"""What a sheet allows for a name, in characters."""
ORDINARY = frozenset("art bill can do grace hope in joy mark may no rose see so to we will".split())
"""Names that are words, too: only where they are written exactly alike are they taken for names."""
CJK = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
"""Writing without spaces, in which no edge of a word can be seen."""


def invented(seed: str, taken: Collection[str] = ()) -> str:
    """A name for whoever `seed` stands for, always the same, and none of those `taken`."""
    free = [name for name in NAMES if name not in taken]
    drawn = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8])
    return free[drawn % len(free)]


def unused(taken: Collection[str]) -> str:
    """The first name that is not `taken`; when all are, `Adaeze 2` and so on."""
    rounds = (f"{name} {round_}" for round_ in count(2) for name in NAMES)
    return next(name for name in chain(NAMES, rounds) if name not in taken)


def public(loaded: LoadedScene) -> set[str]:
    """The names of a scene's own people, and the words in them."""
    sheets = loaded.characters.values()
    whole = {name for sheet in sheets for name in (sheet.name, *sheet.aliases)}
    return whole | {word for name in whole for word in name.split()}


def fitting(name: str) -> str:
    """A name from outside as a sheet allows it; empty where nothing of it is left."""
    name = " ".join(re.sub(r"[():;,\s]+", " ", name).split())
    return name[:LONGEST].rstrip()


def renaming(names: Mapping[str, str], *, exactly: bool = False) -> Callable[[str], str]:
    """What puts other names in a text, wherever the old ones stand as whole words.

    Args:
        exactly: only where they are written with the same capitals, so that no word is taken for a
            name; else rather a word too many, so that no name is left.
    """
    if not names:
        return str
    old = sorted(names, key=len, reverse=True)
    found = re.compile("|".join(_whole_word(name, exactly) for name in old))
    return lambda text: found.sub(lambda match: names[old[(match.lastindex or 1) - 1]], text)


def _whole_word(name: str, exactly: bool) -> str:
    word = re.escape(name)
    if not exactly and name.casefold() not in ORDINARY:
        word = f"(?i:{word})"
    return f"({word})" if CJK.search(name) else rf"(?<!\w)({word})(?!\w)"
