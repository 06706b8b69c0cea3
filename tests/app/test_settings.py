"""Settings: where they come from and what is refused."""

from pathlib import Path

import pytest

from app.commands.flags import parse
from app.errors import SettingsError
from app.settings import Settings, load_settings, shipped_packs, unknown_variables


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


def test_shipped_packs_have_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (shipped,) = shipped_packs()
    assert load_settings({}).packs == (shipped,)
    monkeypatch.chdir(tmp_path)
    found = load_settings({"packs": "conceptnet,mine,my/conceptnet"}).packs
    assert found == (shipped, Path("mine"), Path("my/conceptnet"))
    (tmp_path / "conceptnet").mkdir()
    assert load_settings({"packs": "conceptnet"}).packs == (Path("conceptnet"),)


@pytest.mark.parametrize(
    ("name", "value", "right"),
    [
        ("PORT", "eighty", "port to listen on"),
        ("PORT", "70000", "port to listen on"),
        ("THREADS", "0", "at least 1"),
        ("DTYPE", "float16", "float32, bfloat16"),
        ("DEVICE", "gpu", "auto, cpu"),
        ("MAX_BODY_BYTES", "-1", "at least 1KiB"),
        ("MAX_BODY_BYTES", "lots", "e.g. 1MiB"),
        ("LOG_LEVEL", "loud", "debug, info"),
        ("QUEUE_SIZE", "1.5", "at least 1"),
        ("LOG_FORMAT", "xml", "text or json"),
        ("DRAIN_SECONDS", "-1", "0 to 300"),
        ("DRAIN_SECONDS", "301", "0 to 300"),
        ("REQUEST_TIMEOUT", "0", "above 0"),
        ("MAX_REQUEST_TIMEOUT", "inf", "above 0"),
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


def test_the_usual_deadline_may_be_asked_for() -> None:
    with pytest.raises(SettingsError, match="RELATA_REQUEST_TIMEOUT is 20, but RELATA_MAX_REQ"):
        load_settings({"request_timeout": "20", "max_request_timeout": "10"})


def test_a_slip_of_the_pen_is_noticed() -> None:
    environment = ["RELATA_PROT", "RELATA_PORT", "PATH"]
    assert unknown_variables(environment) == ("RELATA_PROT",)


def test_every_setting_is_a_flag() -> None:
    given = [
        word for name in Settings.model_fields for word in (f"--{name.replace('_', '-')}", "1")
    ]
    assert parse(given) == dict.fromkeys(Settings.model_fields, "1")
    assert parse(["--port=7", "--max-queries", "3"]) == {"port": "7", "max_queries": "3"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--prot", "1"], "no flag '--prot'; did you mean --port"),
        (["port", "1"], "no flag 'port'"),
        (["--port"], "--port needs a value: port to listen on"),
        (["--model-config", "x"], "no flag '--model-config'"),
    ],
)
def test_a_bad_flag_is_named(arguments: list[str], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse(arguments)
    assert message in str(caught.value)
