"""Is she still herself: what a character says of themselves, what they do not know, a long talk.

The questions come from the scene's own files, so that a studio's character is probed like ours.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from finetune.evaluate import asking, talks, texts, voices
from finetune.evaluate.cases import Case, Suite
from finetune.evaluate.measures import PROBES
from finetune.evaluate.outcomes import Outcome, timed
from finetune.evaluate.subject import Subject
from finetune.evaluate.talks import Said
from npcserver import relevance, slips
from npcserver.knowledge import open_facts
from npcserver.library import LoadedScene

OTHERS_ASKED = 8
"""Facts of others that are asked for, the first ones of each other character in turn."""


def suite(subject: Subject, scenes: Mapping[str, LoadedScene]) -> Suite:
    """The probes of every character."""
    return Suite(PROBES, [case for loaded in scenes.values() for case in _cases(subject, loaded)])


def _cases(subject: Subject, loaded: LoadedScene) -> Iterator[Case]:
    probing = _Probing(subject, loaded)
    language = loaded.scene.language
    for npc in loaded.characters:
        fixed: list[tuple[str, Sequence[str]]] = [
            ("name", asking.NAME[language]),
            ("wishes", asking.WISH[language]),
        ]
        for kind, lines in fixed:
            yield probing.case(npc, kind, lines, None)
        for number, fact in enumerate(asking.facts(loaded, npc)):
            if fact.terms:
                yield probing.case(npc, f"facts/{number}", [fact.question], fact)
        for number, fact in enumerate(_in_turn(loaded, npc)):
            yield probing.case(npc, f"others_facts/{number}", [fact.question], fact)
        yield probing.case(npc, "long", asking.ORDINARY[language], None)


def _in_turn(loaded: LoadedScene, npc: str) -> list[asking.FactAsked]:
    """Facts of the others, spread over the list."""
    every = list(asking.others_facts(loaded, npc))
    step = max(1, len(every) // OTHERS_ASKED)
    return every[::step][:OTHERS_ASKED]


class _Probing:
    def __init__(self, subject: Subject, loaded: LoadedScene) -> None:
        self._subject = subject
        self._loaded = loaded
        self._voices = voices.of_scene(loaded)
        self._written = [*open_facts(loaded)] + [
            f"{example.line} {example.reply}"
            for sheet in loaded.characters.values()
            for example in sheet.examples
        ]

    def case(
        self, npc: str, kind: str, lines: Sequence[str], fact: asking.FactAsked | None
    ) -> Case:
        case = f"{PROBES}/{self._loaded.id}/{npc}/{kind}"
        sheet = self._loaded.characters[npc].model_dump_json()
        key: dict[str, Any] = {"case": case, "lines": list(lines), "sheet": sheet}
        return Case(case, key, lambda: self._run(case, npc, kind, lines, fact))

    async def _run(
        self, case: str, npc: str, kind: str, lines: Sequence[str], fact: asking.FactAsked | None
    ) -> Outcome:
        # In a new instance each, so that no answer hangs on another; a long talk is one.
        if kind == "long":
            said = await talks.talk(self._subject, self._loaded, npc, lines)
        else:
            said = [
                each
                for line in lines
                for each in await talks.talk(self._subject, self._loaded, npc, [line])
            ]
        signs, tallies = self._read(npc, said, kind == "long")
        tallies |= self._answered(npc, kind, said, fact)
        return Outcome(
            suite=PROBES,
            case=case,
            cluster=f"{self._loaded.id}/{npc}/{kind}",
            scene=self._loaded.id,
            npc=npc,
            talk=talks.transcript(self._loaded, npc, said, signs),
            tallies=tallies,
            timing=_times(said),
        )

    def _read(
        self, npc: str, said: Sequence[Said], in_a_row: bool
    ) -> tuple[list[list[str]], dict[str, list[float]]]:
        """What every reply shows, whatever was asked."""
        signs: list[list[str]] = []
        count = dict.fromkeys(("slips", "loops", "language", "made_up_numbers", "voice"), 0.0)
        before: list[str] = []
        language = self._loaded.scene.language
        for each in said:
            text, wrong = (
                each.heard.text,
                talks.out_of_character(self._loaded, npc, each.heard.text),
            )
            count["slips"] += bool(wrong)
            if again := slips.loops(text, before if in_a_row else []):
                wrong.append(f"says again: {again}")
            count["loops"] += bool(again)
            numbers = slips.made_up_numbers(text, [*self._written, each.line])
            wrong += [f"made up: {number}" for number in numbers]
            count["made_up_numbers"] += bool(numbers)
            count["language"] += slips.other_language(text, language) is None
            count["voice"] += self._voices.of(text) == npc
            before.append(text)
            signs.append(wrong)
        tallies = {name: [found, len(said)] for name, found in count.items()}
        if in_a_row:
            return signs, tallies | _variety(before)
        del tallies["loops"]
        return signs, tallies

    def _answered(
        self, npc: str, kind: str, said: Sequence[Said], fact: asking.FactAsked | None
    ) -> dict[str, list[float]]:
        """How well the question was answered."""
        sheet = self._loaded.characters[npc]
        if kind == "name":
            called = [sheet.name, *sheet.name.split()]
            hits = sum(any(name in each.heard.text for name in called) for each in said)
            return {"name": [float(hits), len(said)]}
        if kind == "wishes":
            wanted = asking.wishes(sheet)
            if not wanted:
                return {}
            return {"wishes": [sum(_held(each, wanted) for each in said), len(said)]}
        if fact is None:
            return {}
        if kind.startswith("facts"):
            return {"facts": [_held(said[0], fact.terms), 1]}
        told = _held(said[0], fact.terms) >= slips.TOLD
        return {"others_facts": [float(told), 1]}


def _variety(replies: Sequence[str]) -> dict[str, list[float]]:
    """How much of a talk is new."""
    seen: set[tuple[str, ...]] = set()
    again = whole = 0
    for reply in replies:
        runs = texts.ngrams(reply, 4)
        again += sum(run in seen for run in runs)
        whole += len(runs)
        seen.update(runs)
    pairs = texts.distinct(replies, 2)
    return {"repeated": [again, whole], "distinct_2": [*pairs]}


def _held(said: Said, terms: frozenset[str]) -> float:
    """The share of terms that an answer holds; a few are as many as fit into one."""
    most = min(len(terms), 4)
    return min(1.0, len(terms & relevance.terms(said.heard.text)) / most)


def _times(said: Sequence[Said]) -> dict[str, list[float]]:
    told: dict[str, list[float]] = {}
    for each in said:
        for name, values in timed(each.heard).items():
            told.setdefault(name, []).extend(values)
    return told
