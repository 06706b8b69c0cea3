"""Settings: where they come from and what is refused."""

import inspect
from pathlib import Path

import pytest

import relata
from app.errors import SettingsError
from app.settings import Settings, load_settings, unknown_variables


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"RELATA_{name.upper()}", raising=False)


def test_defaults() -> None:
    settings = load_settings()
    assert settings.base == "minilm-l6-mlm"
    assert settings.port == 8000
    assert settings.mask_cache_bytes == 96 * 2**20
    assert settings.threads is None


def test_the_environment_is_read_and_flags_win(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELATA_PACKS", "a, b/c")
    monkeypatch.setenv("RELATA_PORT", "9000")
    monkeypatch.setenv("RELATA_MASK_CACHE_BYTES", "1GiB")
    monkeypatch.setenv("RELATA_THREADS", "")
    settings = load_settings({"port": "9001", "host": None})
    assert settings.packs == (Path("a"), Path("b/c"))
    assert settings.port == 9001
    assert settings.mask_cache_bytes == 2**30
    assert settings.threads is None
    assert load_settings({"packs": ""}).packs == ()


@pytest.mark.parametrize(
    ("name", "value", "right"),
    [
        ("PORT", "eighty", "port to listen on"),
        ("PORT", "70000", "port to listen on"),
        ("THREADS", "0", "at least 1"),
        ("DTYPE", "float16", "float32 or bfloat16"),
        ("DEVICE", "gpu", "auto, cpu"),
        ("MAX_BODY_BYTES", "-1", "at least 1KiB"),
        ("MAX_BODY_BYTES", "lots", "e.g. 1MiB"),
        ("LOG_LEVEL", "loud", "debug, info"),
        ("QUEUE_SIZE", "1.5", "at least 1"),
    ],
)
def test_a_bad_value_names_the_variable_and_what_is_right(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, right: str
) -> None:
    monkeypatch.setenv(f"RELATA_{name}", value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    assert str(caught.value).startswith(f"RELATA_{name} is {value!r}")
    assert right in str(caught.value)


def test_a_request_must_fit_the_queue() -> None:
    with pytest.raises(SettingsError, match="RELATA_MAX_QUERIES is 20, but RELATA_QUEUE_SIZE"):
        load_settings({"max_queries": "20", "queue_size": "10"})


def test_a_slip_of_the_pen_is_noticed() -> None:
    environment = ["RELATA_PROT", "RELATA_PORT", "PATH"]
    assert unknown_variables(environment) == ("RELATA_PROT",)


def test_serve_has_a_flag_for_every_setting() -> None:
    assert set(inspect.signature(relata.serve).parameters) == set(Settings.model_fields)
