"""The quay with a story: a rope to mend in three steps, written lines, and what moves trust."""

from dataclasses import replace
from typing import Any

from npcserver.library import LoadedScene
from npcserver.sheets import Character, Scene
from tests.stage import QUAY

STORY: dict[str, Any] = {
    "events": {
        "fog": {"words": "Fog rolls in from the sea."},
        "mended": {
            "words": "The rope is mended.",
            "args": {"by": {"type": "string"}, "how": {"enum": ["well", "badly"]}},
            "required": ["by"],
            "sets": {"rope": "{how}", "boat": True},
        },
    },
    "flags": {"rope": "cut", "boat": False},
    "facts": [
        {"fact": "The rope was cut with a herring knife.", "id": "knife", "known_by": ["cy"]},
        {
            "fact": "Bo sleeps in the lighthouse every Friday.",
            "known_by": ["bo"],
            "when": {"trust": {"at_least": 10}},
        },
        {"fact": "The boat sails at dusk.", "when": {"beat": "sailing"}},
    ],
    "beats": {
        "the_rope": {
            "when": {"said": "ada_asks"},
            "until": {"flags": {"rope": "well"}},
            "wants": {"ada": "Ada wants the rope mended."},
        },
        "suspicion": {"when": {"told": "knife", "beat": "the_rope"}},
        "sailing": {
            "when": {"flags": {"boat": True}},
            "wants": {"ada": "Ada wants everybody aboard."},
        },
    },
    "moves": [
        {"talk": ["Thank you.", "Thanks a lot."], "trust": 5},
        {"talk": ["You are a fool."], "trust": -60},
        {"deed": "give_rope", "trust": 12, "debt": 3},
        {"event": "mended", "player": "by", "of": ["ada"], "trust": 30},
        {"action": "give", "debt": -4},
    ],
}
LINES: list[dict[str, Any]] = [
    {
        "id": "ada_asks",
        "asked": ["What happened to the rope?", "Who cut the rope?"],
        "says": "Somebody cut it. Will you mend it?",
        "emotion": "angry",
        "action": "ring",
        "target": "bell",
    },
    {
        "id": "ada_sails",
        "when": {"beat": "sailing", "trust": {"at_least": 20}},
        "says": "You mended it. Come aboard, Kit: there is room.",
        "always": True,
    },
]


def quest(**changes: Any) -> LoadedScene:
    """The quay with its story. Args: changes: other values of the scene's fields."""
    scene = Scene.model_validate({**QUAY.scene.model_dump(), **STORY, **changes})
    ada = Character.model_validate({**QUAY.characters["ada"].model_dump(), "lines": LINES})
    bo = QUAY.characters["bo"].model_dump()
    bo["hides"] = [
        *bo["hides"],
        {"fact": "Bo cut the rope himself with a herring knife.", "when": {"beat": "suspicion"}},
    ]
    characters = QUAY.characters | {"ada": ada, "bo": Character.model_validate(bo)}
    return replace(QUAY, scene=scene, characters=characters)


QUEST = quest()
