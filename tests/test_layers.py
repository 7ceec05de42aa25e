"""Imports run downward only. The rooms of the house, from the cellar up."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
NPCSERVER = [
    ["errors", "bounds", "relevance", "guard", "engines.base", "engines.machine"],
    [
        "acquaintance",
        "admission",
        "fetching",
        "slips",
        "commands",
        "documents",
        "fields",
        "lorebook",
        "mailbox",
        "conversion",
        "recall",
        "engines.options",
        "engines.thinking",
        "engines.worker",
    ],
    ["engines.speech", "engines.pieces", "plot"],
    ["protocol", "config", "sheets", "relations", "models", "engines.render", "engines.vocabulary"],
    ["answers", "dialogues", "plotting", "story", "happening"],
    [
        "engines.chat",
        "engines.deciding",
        "engines.echo",
        "engines.gguf_form",
        "engines.asked",
        "engines.sources",
        "engines.torch_manager",
        "engines.torch_scoring",
        "engines.torch_tokens",
        "engines.torch_weights",
        "inventory",
        "library",
        "memory",
        "tokens",
        "journal",
        "session",
        "client",
        "engines.fuse",
        "engines.swap",
        "engines.endpoint",
        "judging",
    ],
    [
        "access",
        "engines.surprising",
        "memories",
        "journal_writer",
        "engines.convert",
        "engines.fleet",
        "engines.openvino_form",
        "scenarios",
        "pace",
        "unfolding",
    ],
    ["state", "engines.writing"],
    ["hearing", "knowledge", "views", "erasing", "engines.asking", "engines.questions"],
    ["discretion"],
    ["notes"],
    ["window"],
    ["prompt"],
    ["explaining", "authored"],
    ["director", "turn", "casting", "surprise", "waiting", "engines.forcing", "engines.replying"],
    ["drafts", "telling", "engines.probing"],
    ["floor"],
    ["hosting", "initiative"],
    ["scene"],
    ["rewriting"],
    ["engines.host", "engines.openvino", "engines.torch_batching"],
    ["engines.scripted", "engines.remote", "engines.appraisal"],
    ["lobby"],
    ["connection", "metrics", "engines.choice", "api.characters", "rehearsal"],
    ["api.openai", "api.systemone", "served", "expectations"],
    ["api.admin", "trial"],
    ["app", "reference"],
    ["serving", "chat", "operate", "scene_commands"],
    ["cli"],
    ["__main__"],
]
FINETUNE = [
    ["errors", "provenance", "flops", "folders", "pages.html", "formats.names", "commands"],
    ["evaluate.statistics", "evaluate.texts", "evaluate.outcomes", "evaluate.voices"],
    ["evaluate.asking", "evaluate.likelihood"],
    ["records", "checkpoints", "pieces"],
    ["examples", "dataset", "cleaning", "replies", "duplicates", "formats.base", "base", "curves"],
    ["config", "rows", "split", "preferences", "served", "augment"],
    ["formats.scenes", "formats.chat", "formats.kdconv", "formats.persona_chat"],
    ["formats.cpdc", "formats.card", "formats.sharegpt", "formats.table", "formats.journal"],
    ["attention", "formats.light", "formats.preference", "objective"],
    ["formats.registry", "pages.data", "pages.view", "pages.run", "train"],
    ["prepare", "scratch", "tensorboard"],
    ["tune"],
    ["export", "preference", "terminal"],
    ["evaluate.measures", "evaluate.controls", "evaluate.cases", "evaluate.agreement"],
    ["evaluate.results", "evaluate.subject", "reference"],
    ["evaluate.talks", "evaluate.compare", "evaluate.subjects", "pages.evaluation"],
    ["evaluate.reference", "evaluate.probes", "evaluate.attacks", "evaluate.staged"],
    ["pages.comparison", "evaluate.run"],
    ["evaluation_commands"],
    ["cli"],
    ["__main__"],
]
PACKAGES = {"npcserver": NPCSERVER, "finetune": FINETUNE}
HEIGHT = {
    f"{package}.{module}": height
    for package, layers in PACKAGES.items()
    for height, layer in enumerate(layers)
    for module in layer
}
PURE = [
    *(
        f"npcserver.{name}"
        for name in (
            "state",
            "hearing",
            "director",
            "prompt",
            "knowledge",
            "memory",
            "turn",
            "guard",
        )
    ),
    *(f"npcserver.{name}" for name in ("memories", "recall", "window")),
    *(
        f"npcserver.{name}"
        for name in ("scene", "floor", "views", "pace", "casting", "waiting", "telling", "hosting")
    ),
    *(f"npcserver.{name}" for name in ("relations", "story", "unfolding", "notes", "authored")),
    "npcserver.discretion",
    *(f"npcserver.{name}" for name in ("lorebook", "plotting")),
    *(f"finetune.{name}" for name in ("examples", "cleaning", "replies", "duplicates", "split")),
    *(f"finetune.{name}" for name in ("rows", "objective", "augment", "preferences")),
    *(f"finetune.evaluate.{name}" for name in ("statistics", "texts", "measures", "voices")),
    *(f"finetune.evaluate.{name}" for name in ("asking", "compare")),
]
TORCH_PROCESS = {
    f"npcserver.engines.{name}"
    for name in (
        *("torch_batching", "torch_manager", "torch_scoring", "torch_weights"),
        *("appraisal", "gguf_form", "openvino_form"),
    )
}
"""What runs in processes of its own only, so that the server needs no torch."""
IO_MODULES = {"socket", "sqlite3", "pathlib", "os", "subprocess", "time", "fastapi", "threading"}
LONGEST = {"npcserver.protocol": 700}


def path_of(module: str) -> Path:
    """The file of a module."""
    return ROOT / f"{module.replace('.', '/')}.py"


def imports(module: str) -> set[str]:
    """What a module imports, by full name."""
    found = set()
    for node in ast.walk(ast.parse(path_of(module).read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return found


def modules() -> list[str]:
    """Every module of the packages."""
    paths = (path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
    names = (path.relative_to(ROOT).with_suffix("") for path in paths)
    return sorted(".".join(name.parts) for name in names if name.name != "__init__")


@pytest.mark.parametrize("module", modules())
def test_imports_run_downward(module: str) -> None:
    assert module in HEIGHT, f"say where {module} stands in its package's layers"
    package = module.split(".", maxsplit=1)[0]
    ours = {name for name in imports(module) & HEIGHT.keys() if name.split(".")[0] == package}
    upward = {name for name in ours if HEIGHT[name] >= HEIGHT[module] and name != module}
    assert not upward


@pytest.mark.parametrize("module", [name for name in modules() if name.startswith("npcserver.")])
def test_serving_knows_nothing_of_training(module: str) -> None:
    heavy = {"finetune", "torch", "transformers", "peft", "accelerate", "trl", "datasets"}
    allowed = {"torch", "transformers", "peft"} if module in TORCH_PROCESS else set()
    assert not {name.split(".")[0] for name in imports(module)} & (heavy - allowed)
    assert module in TORCH_PROCESS or not imports(module) & TORCH_PROCESS


@pytest.mark.parametrize("module", PURE)
def test_the_core_does_no_io(module: str) -> None:
    assert not {name.split(".")[0] for name in imports(module)} & IO_MODULES


@pytest.mark.parametrize("module", modules())
def test_modules_stay_small_and_say_what_they_are_for(module: str) -> None:
    text = path_of(module).read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(text))
    assert len(text.splitlines()) <= LONGEST.get(module, 400)
