"""How surely a line that a writer answered is known again: each wording, among the others.

    python benchmarks/answers.py scenes

Every wording of every dialogue's first line is taken away and looked for among all others of its
character. It is found where another says the same, by `npcserver.relevance`, and rightly where that
one has the same answer, or one that is given to the same words elsewhere. Writers list wordings
that differ, so what players say is found more often than this.
"""

import argparse
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from npcserver.library import load_scenes
from npcserver.relevance import Index, terms
from npcserver.sheets import Example


def looked_up(examples: Sequence[Example]) -> tuple[int, int]:
    """How many wordings are found among the others, and how many of those rightly."""
    index = Index([example.line for example in examples])
    fitting: defaultdict[frozenset[str], set[str]] = defaultdict(set)
    for example in examples:
        fitting[terms(example.line)].add(example.reply)
    found = right = 0
    for at, example in enumerate(examples):
        best = next((each for each in index.same(example.line) if each != at), None)
        if best is not None:
            found += 1
            right += bool(fitting[terms(examples[best].line)] & fitting[terms(example.line)])
    return found, right


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scenes", type=Path)
    print("| scene | character | wordings | found | rightly |\n|---|---|---|---|---|")
    for scene in load_scenes(parser.parse_args().scenes).values():
        for npc, begun in scene.beginnings.items():
            found, right = looked_up(begun)
            share = f"{right / found:.3f}" if found else "–"
            print(f"| {scene.id} | {npc} | {len(begun)} | {found} | {share} |")


if __name__ == "__main__":
    main()
