"""Scenario files as cases: each goes as expected or does not."""

from collections.abc import Mapping

from finetune.evaluate.cases import Case, Suite
from finetune.evaluate.measures import SCENARIOS
from finetune.evaluate.outcomes import Line, Outcome
from finetune.evaluate.subject import Subject
from npcserver import scenarios, trial
from npcserver.judging import Judge
from npcserver.library import LoadedScene
from npcserver.scenarios import LoadedScenario


def suite(subject: Subject, scenes: Mapping[str, LoadedScene], judge: Judge | None) -> Suite:
    """The scenarios beside the scenes."""
    found = [each for loaded in scenes.values() for each in scenarios.load(loaded)]
    if not found:
        return Suite(SCENARIOS, skipped="no scene has scenarios")
    return Suite(SCENARIOS, [_case(subject, each, judge) for each in found])


def _case(subject: Subject, each: LoadedScenario, judge: Judge | None) -> Case:
    sheets = [sheet.model_dump_json() for sheet in each.scene.characters.values()]
    key = {
        "case": each.id,
        "scenario": each.scenario.model_dump_json(),
        "sheets": sheets,
        "judge": judge.name if judge else None,
    }
    return Case(f"{SCENARIOS}/{each.id}", key, lambda: _run(subject, each, judge))


async def _run(subject: Subject, each: LoadedScenario, judge: Judge | None) -> Outcome:
    played = await trial.play(each, subject.stage, judge)
    talk = [Line(who="", text=line) for line in played.transcript]
    signs = [f"step at line {finding.line}: {finding.what}" for finding in played.findings]
    return Outcome(
        suite=SCENARIOS,
        case=f"{SCENARIOS}/{each.id}",
        cluster=each.id,
        scene=each.scene.id,
        npc="",
        talk=[*talk, *([Line(who="", text="", signs=signs)] if signs else [])],
        tallies={"passed": [float(played.passed), 1.0]},
    )
