"""Settings: sources, precedence, refusals."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.errors import SettingsError
from infra.settings import load_settings


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import os

    for name in list(os.environ):
        if name.startswith("NIGHTCAST_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def test_the_defaults_are_an_embedded_system() -> None:
    settings = load_settings()
    assert settings.embedded_broker
    assert settings.embedded_registry
    assert settings.bootstrap == "127.0.0.1:19092"
    assert settings.registry_url == "http://127.0.0.1:18081"
    assert settings.data_dir == Path.home() / ".local/share/nightcast"


def test_environment_wins_over_file_and_caller_over_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "nightcast.toml").write_text(
        '[kafka]\nport = 1111\nheap_mb = 500\n[night]\nbands = ["i"]\nvisits = 3\n'
    )
    monkeypatch.setenv("NIGHTCAST_KAFKA__PORT", "2222")
    monkeypatch.setenv("NIGHTCAST_NIGHT__VISITS", "4")
    settings = load_settings(night={"visits": 5})
    assert settings.kafka.port == 2222
    assert settings.kafka.heap_mb == 500
    assert settings.night.visits == 5
    assert settings.night.bands == ("i",)


def test_a_named_file_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other.toml").write_text("[web]\nport = 1234\n")
    monkeypatch.setenv("NIGHTCAST_CONFIG", str(tmp_path / "other.toml"))
    assert load_settings().web.port == 1234


def test_a_cluster_by_address_needs_no_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTCAST_KAFKA__BOOTSTRAP_SERVERS", "one:9092,two:9092")
    settings = load_settings()
    assert not settings.embedded_broker
    assert settings.bootstrap == "one:9092,two:9092"


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("NIGHTCAST_KAFKA__PROT", "1", "kafka.prot: no such setting"),
        ("NIGHTCAST_KAFAK__PORT", "1", "NIGHTCAST_KAFAK__PORT sets nothing"),
        ("NIGHTCAST_KAFKA__PORT", "many", "kafka.port: "),
        ("NIGHTCAST_NIGHT__CLOSE_AFTER_S", "-1", "night.close_after_s: "),
        ("NIGHTCAST_CONFIG", "/nowhere.toml", "which does not exist"),
    ],
)
def test_what_is_wrong_is_named(variable: str, value: str, sentence: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError, match=sentence):
        load_settings()


@pytest.mark.parametrize("text", ["[kafka]\nprot = 1\n", "[nights]\nvisits = 1\n", "[kafka\n"])
def test_a_wrong_file_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "nightcast.toml").write_text(text)
    with pytest.raises(SettingsError):
        load_settings()


def test_a_child_process_reads_the_same_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(
        data_dir=tmp_path, kafka={"port": 1, "heap_mb": 200}, night={"bands": ["u", "y"]}, objects={"fsync": False}
    )
    for name, value in settings.environment().items():
        monkeypatch.setenv(name, value)
    assert load_settings() == settings


def test_relative_folders_become_absolute(tmp_path: Path) -> None:
    settings = load_settings(data_dir="here")
    assert settings.data_dir == tmp_path / "here"
    assert settings.night_dir(20270115) == tmp_path / "here" / "nights" / "20270115"
