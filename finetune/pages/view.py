"""Examples token by token, as the model reads them: what is trained, as what, how strongly.

Knows no files and no models; of a tokenizer, only how it turns ids into text.
"""

import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

from rich.color import Color
from rich.style import Style
from rich.text import Text

from finetune.examples import Example, Slot
from finetune.pages import html
from finetune.pages.html import Markup, tag

Kind = Literal["trunk", "read", "emotion", "action", "words"]
Weights = Mapping[Slot, float]
Rgb = tuple[int, int, int]

SLOTS: tuple[Slot, ...] = get_args(Slot)
LEGEND: dict[Kind, str] = {
    "trunk": "the sheet, shared by all its examples",
    "read": "only read",
    "emotion": "trained as emotion",
    "action": "trained as action",
    "words": "trained as words",
}
SIGNS = "⏎ a new line, ⟨E4⟩ a byte or what cannot be seen, 你₃ one character of three tokens."
BEHIND: dict[Kind, Rgb] = {
    "trunk": (58, 52, 100),
    "read": (52, 52, 52),
    "emotion": (240, 140, 205),
    "action": (245, 180, 80),
    "words": (125, 190, 250),
}
"""The ground of a token in a terminal. The text's colour is given too, since terminals differ."""
GREY, BLACK, FAINT = (185, 185, 185), (0, 0, 0), (200, 200, 200)
FAINTEST = 0.3
SHADE = 0.2
"""How much darker every second token's ground is."""
LONGEST = 8
"""So many tokens are tried together for a whole character."""
BROKEN = "\N{REPLACEMENT CHARACTER}"
SMALL_DIGITS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
INVISIBLE = ("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp")

STYLE = """
.tokens { white-space: pre-wrap; line-height: 1.8; background: var(--card); padding: .7rem;
  border: 1px solid var(--line); border-radius: 6px; margin: .5rem 0;
  font-family: ui-monospace, "Noto Sans Mono CJK SC", monospace; font-size: .9rem; }
.t { padding: .15rem 0 .15rem 1px; border-left: 1px solid var(--line); }
.t.read, .t.trunk { color: var(--soft); }
.t.trunk { background: var(--trunk); }
.legend span { margin-right: .8em; white-space: nowrap; }
"""


class Decoder(Protocol):
    """The part of a tokenizer that is needed here."""

    def decode(self, ids: Iterable[int]) -> str:
        """The text of some ids."""


@dataclass(frozen=True)
class Piece:
    """A token as it is shown, or the few that make up one character.

    Args:
        at: the number of its first token, from 0.
    """

    at: int
    ids: tuple[int, ...]
    kind: Kind
    text: str


def pieces(example: Example, tokenizer: Decoder, weights: Weights) -> Iterator[Piece]:
    """An example in pieces that can be shown."""
    all_kinds = list(kinds(example, weights))
    at, before = 0, tuple[int, ...]()
    while at < len(example.ids):
        end, text = _whole(tokenizer, example.ids, at, before)
        group, of = tuple(example.ids[at:end]), all_kinds[at:end]
        if len(set(of)) == 1:
            many = str(len(group)).translate(SMALL_DIGITS) if len(group) > 1 else ""
            yield Piece(at, group, of[0], visible(text) + many)
        else:
            shown = zip(group, of, _bytes(text, len(group)), strict=True)
            for number, (token, kind, byte) in enumerate(shown, at):
                yield Piece(number, (token,), kind, byte)
        at, before = end, () if BROKEN in text else group


def kinds(example: Example, weights: Weights) -> Iterator[Kind]:
    """What each token is; one whose slot counts nothing is only read."""
    for at, slot in enumerate(example.slots):
        if at < example.trunk:
            yield "trunk"
        else:
            yield slot if slot is not None and weights.get(slot, 0) > 0 else "read"


def _whole(
    tokenizer: Decoder, ids: Sequence[int], at: int, before: Sequence[int]
) -> tuple[int, str]:
    """Where the fewest tokens from `at` on that make whole characters end; and their text."""
    for end in range(at + 1, min(at + LONGEST, len(ids)) + 1):
        text = _text(tokenizer, ids[at:end], before)
        if BROKEN not in text:
            return end, text
    return at + 1, _text(tokenizer, ids[at : at + 1], before)


def _text(tokenizer: Decoder, ids: Sequence[int], before: Sequence[int]) -> str:
    """The text of ids after others: alone, some tokenizers take a space from the first."""
    earlier = tokenizer.decode(before) if before else ""
    together = tokenizer.decode([*before, *ids])
    return together[len(earlier) :] if together.startswith(earlier) else tokenizer.decode(ids)


def _bytes(text: str, tokens: int) -> list[str]:
    """What each of the tokens of one text is: a byte if there are as many, else unknown."""
    data = text.encode(errors="replace")
    return [f"⟨{byte:02X}⟩" for byte in data] if len(data) == tokens else ["⟨?⟩"] * tokens


def visible(text: str) -> str:
    """A text with a sign for everything in it that would not be seen, or be obeyed."""
    return "".join(map(_sign, text)) or "⟨⟩"


def _sign(character: str) -> str:
    if character == "\n":
        return "⏎\n"
    if character == BROKEN:
        return "⟨?⟩"
    unseen = unicodedata.category(character) in INVISIBLE
    return f"⟨{ord(character):02X}⟩" if unseen else character


def counts(example: Example, weights: Weights) -> dict[str, int]:
    """How many tokens are read, shared, trained, and trained as what."""
    of = Counter(kinds(example, weights))
    trained = {f"as {slot}": of[slot] for slot in SLOTS}
    return {
        "tokens": len(example.ids),
        "in the sheet": of["trunk"],
        "trained": sum(trained.values()),
        **trained,
    }


def strength(kind: Kind, weights: Weights) -> float:
    """How strongly a token's colour is shown, from its weight among the others."""
    if kind == "trunk" or kind == "read":
        return 1.0
    share = weights.get(kind, 0) / max([*weights.values(), 1e-9])
    return FAINTEST + (1 - FAINTEST) * share if share else 0.0


# ---- in a terminal ---------------------------------------------------------------------------


def terminal(example: Example, tokenizer: Decoder, weights: Weights) -> Text:
    """An example for a terminal, its counts and sources and a legend above it."""
    told = ", ".join(f"{number} {name}" for name, number in counts(example, weights).items())
    text = Text(f"{told}\nfrom {visible(', '.join(example.sources))}\n")
    for kind, meaning in LEGEND.items():
        text.append(f" {meaning}{_weight(kind, weights)} ", _style(kind, weights, 0))
        text.append(" ")
    text.append(f"\n{SIGNS}\n")
    for number, piece in enumerate(pieces(example, tokenizer, weights)):
        text.append(piece.text, _style(piece.kind, weights, number % 2))
    return text.append("\n")


def _style(kind: Kind, weights: Weights, odd: int) -> Style:
    full, light = strength(kind, weights), 1 - SHADE * odd
    pairs = zip(BEHIND[kind], FAINT, strict=True)
    ground = Color.from_rgb(*(light * (full * a + (1 - full) * b) for a, b in pairs))
    ink = BLACK if kind in SLOTS else GREY
    return Style(color=Color.from_rgb(*ink), bgcolor=ground)


def _weight(kind: Kind, weights: Weights) -> str:
    return "" if kind == "trunk" or kind == "read" else f" ×{weights.get(kind, 0):g}"


# ---- as a page -------------------------------------------------------------------------------


def page(examples: Sequence[Example], tokenizer: Decoder, weights: Weights) -> str:
    """Examples as one HTML document."""
    rules = "".join(
        f".t.{slot} {{ background: color-mix(in srgb, var(--{slot}) "
        f"{60 * strength(slot, weights):.0f}%, transparent); }}\n"
        for slot in SLOTS
    )
    seen: set[tuple[int, ...]] = set()
    shown = []
    for number, example in enumerate(examples, 1):
        shown.append(_example(number, example, tokenizer, weights, example.key in seen))
        seen.add(example.key)
    above = _legend(weights), _table(examples, weights)
    return html.document("What is trained", *above, *shown, style=STYLE + rules)


def _legend(weights: Weights) -> Markup:
    marks = (
        tag("span", tag("span", meaning, class_=f"t {kind}"), _weight(kind, weights))
        for kind, meaning in LEGEND.items()
    )
    told = "Tokens are parted by thin lines. ×: what one counts in the loss. "
    return html.joined([tag("p", *marks, class_="legend"), tag("p", told, SIGNS, class_="soft")])


def _table(examples: Sequence[Example], weights: Weights) -> Markup:
    told = [counts(example, weights) for example in examples]
    rows: list[list[object]] = [[number, *each.values()] for number, each in enumerate(told, 1)]
    if len(told) > 1:
        rows.append(["all", *(sum(each[name] for each in told) for name in told[0])])
    return html.table(["example", *told[0]], rows) if told else tag("p", "There are no examples.")


def _example(
    number: int, example: Example, tokenizer: Decoder, weights: Weights, known: bool
) -> Markup:
    """An example. Args: known: its sheet was shown before, and is folded."""
    shown = list(pieces(example, tokenizer, weights))
    trunk = html.joined(_span(piece) for piece in shown if piece.kind == "trunk")
    rest = html.joined(_span(piece) for piece in shown if piece.kind != "trunk")
    summary = tag("summary", f"The sheet, {example.trunk:,} tokens" + " again" * known)
    folded = tag(
        "details", summary, tag("div", trunk, class_="tokens"), **({} if known else {"open": ""})
    )
    told = tag("p", "From ", ", ".join(example.sources), class_="soft")
    return html.section(f"Example {number}", told, folded, tag("div", rest, class_="tokens"))


def _span(piece: Piece) -> Markup:
    title = f"{piece.at}: {' '.join(map(str, piece.ids))}"
    return tag("span", piece.text, class_=f"t {piece.kind}", title=title)
