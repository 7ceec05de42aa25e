"""Settings: which one wins, and what a wrong one says."""

import os
from pathlib import Path
from typing import Any

import pytest

from npcserver.config import Settings, load
from npcserver.errors import SettingError

SECRET = "thirty-two characters, or some more"


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings but those of the test."""
    for name in [name for name in os.environ if name.startswith("NPCSERVER_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def file(text: str, name: str = "npcserver.toml") -> Path:
    path = Path.cwd() / name
    path.write_text(text, encoding="utf-8")
    return path


def fault(flags: dict[str, Any], path: Path | None = None) -> str:
    with pytest.raises(SettingError) as caught:
        load(flags, path)
    return caught.value.message


def test_the_later_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load({}).port == 8000
    file("port = 1\nline_chars = 2\nseed = 3")
    assert load({}).port == 1
    monkeypatch.setenv("NPCSERVER_PORT", "4")
    monkeypatch.setenv("NPCSERVER_LINE_CHARS", "5")
    assert load({}).port == 4
    settings = load({"port": 6, "line_chars": None})
    assert (settings.port, settings.line_chars, settings.seed) == (6, 5, 3)


def test_a_named_file_takes_the_place_of_the_one_that_is_found() -> None:
    file("port = 1")
    assert load({}, file("seed = 2", "other.toml")).port == 8000


def test_lists_come_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NPCSERVER_ALLOWED_ORIGINS", '["https://game.example"]')
    assert load({}).allowed_origins == ["https://game.example"]


def test_a_wrong_setting_names_itself_and_its_source(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fault({"port": 99_999}).startswith("--port: ")
    monkeypatch.setenv("NPCSERVER_SEED", "x")
    assert fault({}).startswith("NPCSERVER_SEED: ")
    monkeypatch.delenv("NPCSERVER_SEED")
    path = file("seed = -1\nhots = 'a'")
    told = fault({}).split("\n")
    assert len(told) == 2
    assert any(line.endswith("seed: input should be greater than or equal to 0") for line in told)
    assert any(line.endswith("hots: there is no such setting") for line in told)
    assert all(path.name in line for line in told)


def test_a_file_that_is_none() -> None:
    assert "there is no such file" in fault({}, Path("missing.toml"))
    assert "is not TOML" in fault({}, file("port = "))


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.2", "::", "game.example"])
def test_without_a_secret_other_addresses_are_refused(
    host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "NPCSERVER_SECRET" in fault({"host": host})
    monkeypatch.setenv("NPCSERVER_SECRET", SECRET)
    assert load({"host": host}).host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.3.2.1", "::1", "localhost"])
def test_this_machine_needs_no_secret(host: str) -> None:
    assert load({"host": host}).is_open


def test_a_secret_is_long_and_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NPCSERVER_SECRET", "too short")
    assert fault({}).startswith("NPCSERVER_SECRET: ")
    assert "too short" not in fault({})
    monkeypatch.setenv("NPCSERVER_SECRET", SECRET)
    assert SECRET not in repr(load({}))


def test_base_urls_are_brought_into_one_form() -> None:
    urls = ["http://127.0.0.1:8080", "https://models.example/openai/v1/", "http://[::1]:9/v1"]
    loaded = load({"engine": "remote", "remote_urls": urls}).remote_urls
    assert loaded == [
        "http://127.0.0.1:8080/v1",
        "https://models.example/openai/v1",
        "http://[::1]:9/v1",
    ]


@pytest.mark.parametrize("url", ["", "127.0.0.1:8080", "ftp://a", "http://", "http://a/v1?k=v"])
def test_a_wrong_base_url_names_its_flag(url: str) -> None:
    told = fault({"engine": "remote", "remote_urls": [url]})
    assert told.startswith("--remote-url: ")
    assert "looks like http://127.0.0.1:8080/v1" in told


def test_remote_without_a_url_is_refused() -> None:
    assert fault({"engine": "remote"}).startswith("remote_urls: ")


def test_no_password_stands_in_a_url_and_no_key_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    told = fault({"engine": "remote", "remote_urls": ["http://me:hunter2@a.example/v1"]})
    assert "remote_key" in told
    assert "hunter2" not in told
    monkeypatch.setenv("NPCSERVER_REMOTE_KEY", "hunter2")
    assert "hunter2" not in repr(load({}))


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().port = 1  # type: ignore[misc]
