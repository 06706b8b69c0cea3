"""The URL of a Redis: what is taken, what is refused, and that no password is ever shown."""

import traceback
from pathlib import Path

import pytest

from app.errors import SettingsError
from app.redis_address import RedisAddress
from app.settings import load_settings

PASSWORD = "s3cr3t"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://cache", "redis://cache:6379/0"),
        (f"redis://:{PASSWORD}@cache:7000/3", "redis://cache:7000/3"),
        (f"rediss://user:{PASSWORD}@[::1]:6380", "rediss://[::1]:6380/0"),
        ("rediss://cache/?ssl_cert_reqs=none", "rediss://cache:6379/0"),
        ("redis://127.0.0.1:6379/", "redis://127.0.0.1:6379/0"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock?db=0"),
        (f"unix://user:{PASSWORD}@/run/redis.sock?db=2", "unix:///run/redis.sock?db=2"),
    ],
)
def test_what_is_shown_of_a_url_has_no_password(url: str, shown: str) -> None:
    address = RedisAddress.parse(url)
    assert address.url == url
    assert address.shown == shown
    assert PASSWORD not in repr(address)


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://cache:6379", "neither redis:// nor rediss:// nor unix://"),
        ("cache:6379", "neither redis:// nor rediss:// nor unix://"),
        ("redis://", "names no host"),
        ("redis:///0", "names no host"),
        ("redis://cache:0", "a port is 1 to 65535"),
        ("redis://cache:70000", "a port is 1 to 65535"),
        (f"redis://:{PASSWORD}/1@cache", "of a password are written %2F"),
        (f"redis://:{PASSWORD}#1@cache", "in a password these are %23"),
        (f"redis://:{PASSWORD} 1@cache", "in a password these are %23"),
        ("redis://cache/zero", "no number of a database"),
        ("redis://cache/-1", "no number of a database"),
        ("redis://cache?db=1", "redis:// takes none"),
        ("rediss://cache?timeout=1", "rediss:// takes ssl_ca_certs"),
        ("rediss://cache?ssl_cert_reqs=perhaps", "one of required, optional, none"),
        ("rediss://cache?ssl_ca_certs=/no/such/file", "file of its ssl_ca_certs does not exist"),
        ("unix://run/redis.sock", "by its full path"),
        ("unix:///run/redis.sock?db=x", "db is no number"),
        ("unix:///run/redis.sock?timeout=1", "unix:// takes db"),
    ],
)
def test_a_url_that_cannot_be_used_is_refused_with_the_reason(url: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        RedisAddress.parse(url)
    assert PASSWORD not in str(caught.value)


def test_a_certificate_of_ones_own_can_be_named(tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    authority.touch()
    url = f"rediss://cache?ssl_ca_certs={authority}"
    assert RedisAddress.parse(url).shown == "rediss://cache:6379/0"


def test_the_setting_is_checked_and_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELATA_REDIS_URL", f"redis://:{PASSWORD}@cache/1")
    settings = load_settings()
    assert settings.redis_url is not None
    assert settings.redis_url.get_secret_value() == f"redis://:{PASSWORD}@cache/1"
    assert PASSWORD not in repr(settings)
    assert PASSWORD not in str(settings.public())


def test_a_bad_setting_is_named_without_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RELATA_REDIS_URL", f"redis://:{PASSWORD}/x@cache")
    with pytest.raises(SettingsError) as caught:
        load_settings()
    message = str(caught.value)
    assert message.startswith("RELATA_REDIS_URL cannot be used: its host or port cannot be read")
    assert "right is: redis://[user:password@]host" in message
    assert PASSWORD not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("name", "value", "right"),
    [
        ("CACHE", "on", "auto keeps answers in memory"),
        ("CACHE_BYTES", "-1", "0 for none"),
        ("CACHE_TTL", "0", "1 to 315360000"),
        ("CACHE_TTL", "315360001", "1 to 315360000"),
        ("REDIS_TIMEOUT", "0", "above 0, at most 10"),
        ("REDIS_TIMEOUT", "nan", "above 0, at most 10"),
        ("REDIS_TIMEOUT", "11", "above 0, at most 10"),
    ],
)
def test_other_settings_of_the_cache_say_what_is_right(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, right: str
) -> None:
    monkeypatch.setenv(f"RELATA_{name}", value)
    with pytest.raises(SettingsError, match=f"^RELATA_{name} is '{value}'; right is: .*{right}"):
        load_settings()
