"""Files from the web, and the models made of them."""

import asyncio
import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import gguf
import pytest

from npcserver import models
from npcserver.engines import host
from npcserver.engines.base import Message, Prompt, Sampling
from npcserver.errors import ModelError
from npcserver.fetching import fetch


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A web server of our own, and the folder it serves."""
    folder = tmp_path / "site"
    folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", folder
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_file_is_fetched_once_and_checked(site: tuple[str, Path], tmp_path: Path) -> None:
    url, folder = site
    (folder / "a.gguf").write_bytes(b"weights" * 1000)
    digest = hashlib.sha256(b"weights" * 1000).hexdigest()
    told: list[float] = []
    here = fetch(f"{url}/a.gguf#sha256={digest}", tmp_path / "kept", told.append)
    assert here.read_bytes() == b"weights" * 1000
    assert told[-1] == 1.0
    (folder / "a.gguf").unlink()
    assert fetch(f"{url}/a.gguf#sha256={digest}", tmp_path / "kept") == here


def test_a_file_that_is_not_what_was_said_is_not_kept(
    site: tuple[str, Path], tmp_path: Path
) -> None:
    url, folder = site
    (folder / "a.gguf").write_bytes(b"other")
    with pytest.raises(ModelError, match="has the sha256 d9298a10"):
        fetch(f"{url}/a.gguf#sha256={'0' * 64}", tmp_path / "kept")
    assert not list((tmp_path / "kept").iterdir())


def test_what_cannot_be_had_is_said_in_a_sentence(site: tuple[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="404"):
        fetch(f"{site[0]}/none.gguf", tmp_path)
    with pytest.raises(ModelError, match="could not be fetched"):
        fetch("http://127.0.0.1:9/none.gguf", tmp_path)
    with pytest.raises(ModelError, match="only https"):
        fetch("http://example.org/none.gguf", tmp_path)


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NPCSERVER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.model
def test_a_gguf_file_by_its_address_speaks_as_the_model_it_is(
    site: tuple[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, folder = site
    embedded = models.resolve("embedded")
    (folder / "small.gguf").symlink_to(embedded / models.GGUF_FILE)
    monkeypatch.setenv("NPCSERVER_CACHE", str(tmp_path / "cache"))
    made = models.resolve(f"{url}/small.gguf")
    assert models.resolve(f"{url}/small.gguf") == made
    told = models.facts(made)
    assert told["sha256"] == models.facts(embedded)["sha256"]
    # It was tuned for chat, and says so.
    assert told["template"]["steps"]["user assistant"] == "<|im_end|>\n<|im_start|>assistant\n"
    assert told["context_tokens"] == 8192

    async def words(where: Path) -> str:
        engine = host.openvino(where, cache_gb=1)
        await engine.start()
        asked = Message("user", "What is the capital of France?")
        prompt = Prompt((asked,), "The capital of France is")
        sampling = Sampling(max_tokens=8, temperature=0)
        said = "".join([piece.text async for piece in engine.generate(prompt, sampling)])
        await engine.close()
        return said

    assert asyncio.run(words(made)).startswith(" Paris")


def test_a_file_that_is_no_model_is_refused(empty_cache: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    path.write_bytes(b"this is no model" * 100)
    with pytest.raises(ModelError, match="is not a GGUF file"):
        models.resolve(str(path))


def test_a_model_that_openvino_cannot_read_is_refused(empty_cache: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.gguf"
    writer = gguf.GGUFWriter(path, "mamba")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with pytest.raises(ModelError, match=r"is a mamba model; .* reads llama, qwen2, qwen3"):
        models.resolve(str(path))
    assert not (empty_cache / "models" / "converted").exists()
