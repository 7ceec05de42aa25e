"""An evaluation: suites of cases, one after the other, kept as they are made, then counted."""

import hashlib
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finetune import folders, provenance
from finetune.dataset import Dataset, Split
from finetune.errors import DataError
from finetune.evaluate import attacks, probes, reference, results, staged
from finetune.evaluate.attacks import Attack
from finetune.evaluate.cases import Case, Suite
from finetune.evaluate.measures import ATTACKS, OUTSIDE, PROBES, REFERENCE, SCENARIOS
from finetune.evaluate.outcomes import Kept, Outcome
from finetune.evaluate.results import REPORT, Evaluation, Results
from finetune.evaluate.subject import Subject
from finetune.formats import cpdc
from finetune.formats.base import Faults
from finetune.pages import evaluation as pages
from finetune.records import Dropped, Record, Stage
from finetune.replies import records
from npcserver.judging import Judge
from npcserver.library import LoadedScene

SUITES = (REFERENCE, PROBES, ATTACKS, SCENARIOS, OUTSIDE)
Tell = Callable[[str, int, int], None]
"""Told the suite, how many of its cases are done, and how many there are."""


@dataclass(frozen=True)
class Wanted:
    """What to ask.

    Args:
        data: held-out replies; without it the suite `reference` is skipped.
        part: which part of the data.
        attacks: a folder of public attacks.
        outside: a file of CPDC 2025; without it the suite `outside` is skipped.
        most: cases of a suite at most, drawn by the seed.
    """

    scenes: Mapping[str, LoadedScene]
    suites: Sequence[str] = SUITES
    data: Dataset | None = None
    part: Split = "test"
    attacks: Path | None = None
    outside: Path | None = None
    judge: Judge | None = None
    most: int | None = None
    seed: int = 0


@dataclass
class _Notes:
    """What was left out, and why."""

    skipped: dict[str, str] = field(default_factory=dict)


async def evaluate(
    subject: Subject, wanted: Wanted, out: Path, tell: Tell = lambda suite, done, of: None
) -> Evaluation:
    """Ask a subject, and write what came of it to `out`. What stands there already is used.

    Raises:
        DataError: something to ask from is not what it should be.
        NpcError: the subject could not go on; what was done until then is kept.
    """
    notes, outcomes = _Notes(), []
    kept = Kept(out, subject.digest(wanted.seed))
    for suite in _suites(subject, wanted, notes):
        if suite.skipped:
            notes.skipped[suite.name] = suite.skipped
        cases = _drawn(suite, wanted)
        for done, case in enumerate(cases):
            tell(suite.name, done, len(cases))
            outcomes.append(await _outcome(case, kept))
        tell(suite.name, len(cases), len(cases))
    evaluation = Evaluation(
        Results(
            subject=subject.about,
            made=_made(wanted),
            skipped=notes.skipped,
            metrics=results.metrics(outcomes, wanted.seed),
            timing=results.timing(outcomes) | {"machine": provenance.machine()},
        ),
        outcomes,
    )
    results.save(evaluation, out)
    folders.write_text(out / REPORT, pages.page(evaluation))
    return evaluation


async def _outcome(case: Case, kept: Kept) -> Outcome:
    found = kept.get(case.key)
    if found is None:
        found = await case.run()
        kept.put(case.key, found)
    return found


def _drawn(suite: Suite, wanted: Wanted) -> list[Case]:
    """The cases of a suite, in their order; as many as are wanted."""
    cases = list(suite.cases)
    if wanted.most is None or len(cases) <= wanted.most:
        return cases
    drawn = random.Random(f"{wanted.seed} {suite.name}")
    return [cases[at] for at in sorted(drawn.sample(range(len(cases)), wanted.most))]


def _suites(subject: Subject, wanted: Wanted, notes: _Notes) -> Iterator[Suite]:
    """The suites that are wanted. Who can only say what was written is asked nothing else."""
    makers: dict[str, Callable[[], Suite]] = {
        REFERENCE: lambda: _reference(subject, wanted),
        PROBES: lambda: probes.suite(subject, wanted.scenes),
        ATTACKS: lambda: attacks.suite(
            subject, wanted.scenes, _attacks(wanted, notes), wanted.seed
        ),
        SCENARIOS: lambda: staged.suite(subject, wanted.scenes, wanted.judge),
        OUTSIDE: lambda: _outside(subject, wanted),
    }
    written = "nobody wrote what to say here"
    for name in SUITES:
        if name in wanted.suites:
            unknown = subject.key is not None and name not in (REFERENCE, OUTSIDE)
            yield Suite(name, skipped=written) if unknown else makers[name]()


def _reference(subject: Subject, wanted: Wanted) -> Suite:
    if wanted.data is None:
        return Suite(REFERENCE, skipped="no data was named; make some with: finetune prepare")
    held = reference.Held(wanted.data.stages, wanted.data.splits[wanted.part])
    return reference.suite(subject, held, wanted.seed)


def _attacks(wanted: Wanted, notes: _Notes) -> list[Attack]:
    if wanted.attacks is None:
        return []
    found, missing = attacks.public(wanted.attacks)
    if missing:
        notes.skipped["attacks of the public"] = f"not there: {', '.join(missing)}"
    return found


def _outside(subject: Subject, wanted: Wanted) -> Suite:
    if wanted.outside is None:
        return Suite(OUTSIDE, skipped="no file of CPDC 2025 was named")
    faults = Faults()
    stages: dict[str, Stage] = {}
    found: list[Record] = []
    for conversation in cpdc.read(wanted.outside, faults):
        if isinstance(conversation, Dropped):
            continue
        stages[conversation.stage.id] = conversation.stage
        found += [each for each in records(conversation) if isinstance(each, Record)]
    faults.check()
    if not found:
        raise DataError(f"{wanted.outside}:1: holds no dialogues")
    return reference.suite(subject, reference.Held(stages, found), wanted.seed, OUTSIDE)


def _made(wanted: Wanted) -> dict[str, Any]:
    return {
        "seed": wanted.seed,
        "revision": provenance.revision(),
        "suites": list(wanted.suites),
        "most": wanted.most,
        "data": wanted.data.sha256 if wanted.data else None,
        "part": wanted.part if wanted.data else None,
        "scenes": {name: _digest(loaded) for name, loaded in wanted.scenes.items()},
        "judge": wanted.judge.name if wanted.judge else None,
    }


def _digest(loaded: LoadedScene) -> str:
    whole = hashlib.sha256(loaded.scene.model_dump_json().encode())
    for sheet in loaded.characters.values():
        whole.update(sheet.model_dump_json().encode())
    return whole.hexdigest()[:16]
