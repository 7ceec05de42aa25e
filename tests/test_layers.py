"""Imports run downward only. The rooms of the house, from the cellar up."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LAYERS = [
    ["errors", "bounds", "relevance", "guard", "engines.base"],
    ["protocol", "config", "sheets", "models", "engines.render", "engines.vocabulary"],
    ["engines.deciding", "library", "tokens", "journal", "session", "client", "engines.fuse", "engines.swap"],
    ["access", "engines.convert"],
    ["state"],
    ["hearing", "prompt", "views"],
    ["director", "turn"],
    ["floor"],
    ["scene"],
    ["engines.host", "engines.openvino", "engines.scripted"],
    ["lobby"],
    ["connection", "metrics", "engines.choice", "api.characters"],
    ["api.openai", "api.systemone", "served"],
    ["api.admin"],
    ["app", "reference"],
    ["serving", "chat", "operate"],
    ["cli"],
]
HEIGHT = {module: height for height, layer in enumerate(LAYERS) for module in layer}
PURE = ["state", "hearing", "director", "prompt", "turn", "guard", "scene", "floor", "views"]
IO_MODULES = {"socket", "sqlite3", "pathlib", "os", "subprocess", "time", "fastapi", "threading"}


def imports(module: str) -> set[str]:
    """What a module imports, by full name."""
    path = ROOT / "npcserver" / f"{module.replace('.', '/')}.py"
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module}
    return found


def modules() -> list[str]:
    """Every module of the package."""
    paths = (ROOT / "npcserver").rglob("*.py")
    names = (path.relative_to(ROOT / "npcserver").with_suffix("") for path in paths)
    return sorted(".".join(name.parts) for name in names if name.name != "__init__")


@pytest.mark.parametrize("module", modules())
def test_imports_run_downward(module: str) -> None:
    assert module in HEIGHT, f"say where {module} stands in LAYERS"
    ours = {name.removeprefix("npcserver.") for name in imports(module)} & HEIGHT.keys()
    upward = {name for name in ours if HEIGHT[name] >= HEIGHT[module] and name != module}
    assert not upward


@pytest.mark.parametrize("module", PURE)
def test_the_core_does_no_io(module: str) -> None:
    assert not {name.split(".")[0] for name in imports(module)} & IO_MODULES


@pytest.mark.parametrize("module", modules())
def test_modules_stay_small_and_say_what_they_are_for(module: str) -> None:
    path = ROOT / "npcserver" / f"{module.replace('.', '/')}.py"
    text = path.read_text(encoding="utf-8")
    assert ast.get_docstring(ast.parse(text))
    most = 700 if module == "protocol" else 400
    assert len(text.splitlines()) <= most
