"""What all pages share: one self-contained document, and the few things it is made of.

Whatever is put into a page is escaped, unless one of these functions made it. Knows nothing of
records, tokens and runs.
"""

import html
import io
import re
from collections.abc import Callable, Container, Iterable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, LINE, ACCENT = "#010101", "#010102", "#010103"
SLOT_COLOURS = {"emotion": "#010104", "action": "#010105", "words": "#010106"}
# What a figure is drawn in stands for the page's colours, which change with light and dark.
_VARIABLES = {INK: "ink", LINE: "line", ACCENT: "accent"} | {
    colour: slot for slot, colour in SLOT_COLOURS.items()
}
_DRAWN: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "finetune",
    "text.parse_math": False,
    "text.color": INK,
    "font.size": 10,
    "axes.edgecolor": LINE,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": LINE,
    "grid.linewidth": 0.5,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "legend.fontsize": 9,
}
_UNSEEN = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""Controls that a page cannot hold, or that would turn the text around them about."""

STYLE = """
:root { --paper: #f7f1e5; --card: #fffdf7; --ink: #2f2721; --soft: #6f6152; --line: #d8c8a8;
  --accent: #a5482b; --bad: #b3261e; --good: #3d6b39; --trunk: #e6e0f0;
  --emotion: #b0468f; --action: #b96a00; --words: #2b6fb3; color-scheme: light dark; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #1d1a18; --card: #292521; --ink: #efe6d6; --soft: #b3a591; --line: #4d443a;
    --accent: #e08a5f; --bad: #ff8a80; --good: #8fc78a; --trunk: #33304a;
    --emotion: #e58cc8; --action: #efaa4a; --words: #7db8f0; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 68rem; padding: 1rem clamp(.8rem, 3vw, 2rem) 4rem;
  background: var(--paper); color: var(--ink); overflow-wrap: anywhere;
  font: 16px/1.5 system-ui, "Noto Sans CJK SC", "PingFang SC", "Microsoft YaHei", sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: .6rem 0; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .5rem; border-bottom: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.2rem 0 .4rem; }
p { margin: .4rem 0; max-width: 48rem; }
.soft, figcaption, th { color: var(--soft); }
.soft, figcaption, table { font-size: .9rem; }
.note { padding: .6rem .9rem; margin: .5rem 0; background: var(--card); max-width: none;
  border: 1px solid var(--line); border-left: 5px solid var(--good); border-radius: 6px; }
.note.warn { border-left-color: var(--action); }
.note.bad { border: 2px solid var(--bad); border-left-width: 10px; font-weight: 600; }
.note.loud { font-size: 1.15rem; }
.facts { display: flex; flex-wrap: wrap; gap: .6rem; margin: .8rem 0; padding: 0; }
.facts div { background: var(--card); border: 1px solid var(--line); border-radius: 6px;
  padding: .4rem .8rem; }
.facts dt { color: var(--soft); font-size: .8rem; }
.facts dd { margin: 0; font-size: 1.15rem; font-weight: 600; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; background: var(--card); margin: .4rem 0; }
th, td { padding: .3rem .7rem; text-align: left; vertical-align: top; white-space: pre-wrap;
  overflow-wrap: break-word; border-bottom: 1px solid var(--line); }
th { font-weight: 600; }
td { max-width: 25rem; min-width: 5rem; }
td:last-child:not(.number) { min-width: 13rem; }
td.number, th.number { text-align: right; min-width: 0; white-space: nowrap;
  font-variant-numeric: tabular-nums; }
tr.strong td { font-weight: 600; background: color-mix(in srgb, var(--accent) 12%, transparent); }
.figures { display: grid; gap: 1rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 23rem), 1fr)); }
.figures > * { min-width: 0; }
figure { margin: 0; padding: .6rem; background: var(--card); border: 1px solid var(--line);
  border-radius: 6px; }
svg { display: block; width: 100%; height: auto; }
.bars { display: grid; grid-template-columns: fit-content(40%) 1fr auto; gap: .2rem .6rem;
  align-items: center; font-size: .9rem; }
.bars i { display: block; height: .9rem; min-width: 1px; background: var(--words);
  border-radius: 2px; }
.bars i.soft { background: var(--line); }
.bars .number { text-align: right; font-variant-numeric: tabular-nums; }
summary { cursor: pointer; color: var(--soft); }
"""


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def escaped(value: object) -> Markup:
    """A value as text of a page; Markup stays as it is."""
    if isinstance(value, Markup):
        return value
    return Markup(html.escape(_UNSEEN.sub("\N{REPLACEMENT CHARACTER}", str(value))))


def tag(name: str, *inner: object, **attributes: object) -> Markup:
    """An element; what is in it is escaped. Args: attributes: `class_` stands for `class`."""
    given = "".join(
        f' {key.strip("_").replace("_", "-")}="{escaped(value)}"'
        for key, value in attributes.items()
    )
    return Markup(f"<{name}{given}>{''.join(map(escaped, inner))}</{name}>")


def joined(parts: Iterable[object]) -> Markup:
    """Parts one after the other."""
    return Markup("".join(map(escaped, parts)))


def document(title: str, *parts: object, style: str = "") -> str:
    """A whole page. Args: style: rules that only this page needs."""
    head = joined(
        [
            Markup('<meta charset="utf-8">'),
            Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
            Markup('<meta name="referrer" content="no-referrer">'),
            tag("title", title),
            tag("style", Markup(STYLE + style)),
        ]
    )
    body = tag("body", tag("h1", title), *parts)
    return f'<!doctype html>\n<html lang="en">{tag("head", head)}\n{body}</html>\n'


def section(title: str, *parts: object) -> Markup:
    """A headed part of a page."""
    return tag("section", "\n", tag("h2", title), *parts)


def note(text: object, kind: str = "warn") -> Markup:
    """A remark in a box. Args: kind: `good`, `warn` or `bad`, and `loud`."""
    sign = "" if "good" in kind else "⚠ "
    return tag("p", sign, text, class_=f"note {kind}")


def facts(named: Iterable[tuple[str, object]]) -> Markup:
    """A few numbers worth a glance."""
    return tag(
        "dl",
        *(tag("div", tag("dt", name), tag("dd", value)) for name, value in named),
        class_="facts",
    )


def table(
    head: Sequence[str],
    rows: Iterable[Sequence[object]],
    left: int = 1,
    strong: Container[int] = (),
) -> Markup:
    """A table; columns after the first `left` hold numbers. Args: strong: rows that stand out."""

    def cell(name: str, at: int, value: object) -> Markup:
        return tag(name, value, **({"class_": "number"} if at >= left else {}))

    def row(number: int, values: Sequence[object]) -> Markup:
        cells = (cell("td", at, value) for at, value in enumerate(values))
        return tag("tr", *cells, **({"class_": "strong"} if number in strong else {}))

    headed = tag("thead", tag("tr", *(cell("th", at, name) for at, name in enumerate(head))))
    body = tag("tbody", *(row(number, values) for number, values in enumerate(rows)))
    return tag("div", tag("table", headed, body), class_="scroll", tabindex="0")


def bars(rows: Sequence[tuple[object, int, str]]) -> Markup:
    """Counts as bars, with their share of all. Args: rows: name, count, and `soft` or nothing."""
    whole, most = sum(count for _, count, _ in rows), max((c for _, c, _ in rows), default=0)
    cells: list[Markup] = []
    for name, count, kind in rows:
        width = f"width: {100 * count / max(most, 1):.2f}%"
        cells.append(tag("span", name))
        cells.append(tag("i", style=width, class_=kind))
        cells.append(tag("span", f"{count:,} · {share(count, whole)}", class_="number"))
    return tag("div", *cells, class_="bars")


def share(part: float, whole: float) -> str:
    """A part as percent; what is little is not told as nothing, nor nearly all as all."""
    if not whole or part in (0, whole):
        return "100%" if whole and part else "0%"
    return f"{min(max(100 * part / whole, 0.1), 99.9):.1f}%"


def told(value: object) -> str:
    """A setting or fact in words."""
    match value:
        case None:
            return "–"
        case bool():
            return "yes" if value else "no"
        case int():
            return f"{value:,}"
        case float():
            return f"{value:.6g}"
        case list() | tuple():
            return ", ".join(map(told, value))
        case dict():
            return ", ".join(f"{name} {told(inner)}" for name, inner in value.items())
    return str(value)


def figure(
    draw: Callable[["Axes"], None], label: str, caption: object, *, height: float = 2.9
) -> Markup:
    """A picture, drawn by `draw` in the colours of this module. Args: height: in inches."""
    import matplotlib as mpl  # noqa: PLC0415 - slow to import, and most commands need none
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    with mpl.rc_context(_DRAWN):
        canvas = FigureCanvasAgg(Figure(figsize=(5.2, height), layout="constrained"))
        draw(canvas.figure.subplots())
        drawn = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        canvas.figure.savefig(drawn, format="svg", transparent=True, metadata=nothing)
    named = f'<svg role="img" aria-label="{escaped(label)}"'
    picture = _inline(drawn.getvalue()).replace("<svg", named, 1)
    return tag("figure", Markup(picture), tag("figcaption", caption))


def _inline(svg: str) -> str:
    """A picture as part of a page: nothing but shapes, in the page's colours and letters."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"| (?:width|height)="[\d.]+pt"', "", svg)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg).replace("xlink:href", "href")
    svg = re.sub(r"font-family: [^;]*; ?", "", svg)
    svg = re.sub(r"\n\s*", " ", svg)
    return re.sub("#01010[1-6]", lambda found: f"var(--{_VARIABLES[found[0]]})", svg)
