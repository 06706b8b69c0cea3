"""docker-compose.yml: what it promises, and that it fits the files and settings it names."""

import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.settings import PREFIX, Settings
from tests.docker.conftest import DOCKER, ROOT, program, read_yaml

COMPOSE = ROOT / "docker-compose.yml"
EXAMPLE = ROOT / ".env.example"
SERVERS = ("server", "server-cuda")
SERVICES = (*SERVERS, "proxy", "redis", "prometheus", "grafana")


@cache
def compose() -> dict[str, Any]:
    content = read_yaml(COMPOSE)
    assert isinstance(content, dict)
    return content


def service(name: str) -> dict[str, Any]:
    found = compose()["services"][name]
    assert isinstance(found, dict)
    return found


def proxy_configuration() -> str:
    return (DOCKER / "proxy" / "haproxy.cfg").read_text(encoding="utf-8")


def seconds(duration: str) -> int:
    match = re.fullmatch(r"(\d+)s", duration)
    assert match, f"{duration} is not in seconds"
    return int(match[1])


def variables(text: str) -> set[str]:
    """Names that Compose fills in."""
    return set(re.findall(r"\$\{(\w+)", text))


def test_the_services_are_those_that_the_tests_know() -> None:
    assert set(compose()["services"]) == set(SERVICES)


def compose_command() -> list[str]:
    """Docker Compose as a plugin or by itself; skips the test where neither is new enough."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]) is None:
            continue
        done = subprocess.run(
            [*command, "version", "--short"], capture_output=True, text=True, check=False
        )
        version = re.match(r"v?(\d+)\.(\d+)", done.stdout)
        if done.returncode == 0 and version and (int(version[1]), int(version[2])) >= (2, 20):
            return command
    pytest.skip("Docker Compose 2.20 or newer is not installed")


@pytest.mark.parametrize("profile", [(), ("--profile", "cuda")])
def test_compose_itself_takes_it(profile: tuple[str, ...]) -> None:
    done = subprocess.run(
        [*compose_command(), *profile, "--env-file", str(EXAMPLE), "config", "--quiet"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", SERVICES)
def test_every_file_that_a_service_names_is_there(name: str) -> None:
    build = service(name).get("build")
    if build:
        assert (ROOT / build["context"] / build["dockerfile"]).is_file()
    for volume in service(name).get("volumes", ()):
        source = volume.partition(":")[0]
        if source.startswith("."):
            assert (ROOT / source).exists(), volume
            assert volume.endswith(":ro"), f"{volume}: the configuration can be written"
        else:
            assert source in compose()["volumes"], volume


@pytest.mark.parametrize("name", SERVICES)
def test_every_container_is_contained(name: str) -> None:
    body = service(name)
    assert body["read_only"] is True
    assert body["cap_drop"] == ["ALL"]
    assert body["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in body
    limits = body["deploy"]["resources"]["limits"]
    assert limits["memory"]
    assert limits["pids"]
    assert all("docker.sock" not in volume for volume in body["volumes"])


@pytest.mark.parametrize("name", SERVICES)
def test_no_image_floats(name: str) -> None:
    tag = service(name)["image"].rpartition(":")[2]
    assert tag not in {"", "latest"}
    assert "/" not in tag, "there is no tag"


@pytest.mark.parametrize("name", SERVICES)
def test_ports_are_published_on_the_loopback_address_unless_asked(name: str) -> None:
    for port in service(name).get("ports", ()):
        assert re.fullmatch(r"\$\{\w+:-127\.0\.0\.1:\d+\}:\d+", port), port


def test_only_the_proxy_publishes_the_service() -> None:
    assert all("ports" not in service(name) for name in SERVERS)
    assert service("proxy")["ports"]


@pytest.mark.parametrize("name", SERVERS)
def test_the_server_gets_every_setting_and_nothing_that_is_none(name: str) -> None:
    given = {
        variable.removeprefix(PREFIX).lower()
        for variable in service(name)["environment"]
        if variable.startswith(PREFIX)
    }
    assert given == set(Settings.model_fields)
    assert all(variable.startswith(PREFIX) for variable in service(name)["environment"])


def test_what_compose_decides_is_valid() -> None:
    fixed = {
        name.removeprefix(PREFIX).lower(): value
        for name, value in service("server")["environment"].items()
        if value is not None and "$" not in str(value)
    }
    settings = Settings(**fixed)
    assert (settings.host, settings.port) == ("0.0.0.0", 8000)


def test_the_servers_differ_only_in_device_image_and_size() -> None:
    cpu, cuda = (dict(service(name)) for name in SERVERS)
    for key in ("image", "build", "deploy", "environment"):
        del cpu[key], cuda[key]
    assert cuda.pop("profiles") == ["cuda"]
    assert cpu == cuda


def test_the_cuda_profile_reserves_a_gpu_and_gets_cuda_wheels() -> None:
    cuda = service("server-cuda")
    (device,) = cuda["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["count"], device["capabilities"]) == ("nvidia", 1, ["gpu"])
    assert cuda["environment"]["RELATA_DEVICE"] == "cuda"
    assert cuda["build"]["args"]["TORCH_INDEX"] == "https://pypi.org/simple"


def test_the_example_names_what_compose_reads() -> None:
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    named = {line.partition("=")[0] for line in lines if line and not line.startswith("#")}
    settings = {name for name in named if name.startswith(PREFIX)}
    assert settings <= set(service("server")["environment"])
    own = {
        name
        for name in variables(COMPOSE.read_text(encoding="utf-8"))
        if not name.startswith(PREFIX)
    }
    assert named - settings == own


def test_the_example_shows_the_defaults() -> None:
    defaults = dict(re.findall(r"\$\{(\w+):-([^}]*)\}", COMPOSE.read_text(encoding="utf-8")))
    for line in EXAMPLE.read_text(encoding="utf-8").splitlines():
        name, _, value = line.partition("=")
        if value and not line.startswith("#"):
            assert defaults[name] == value


def test_keys_are_kept_out_of_git_and_of_the_image() -> None:
    assert ".env" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()[1] == "*"


def longest_question() -> float:
    return float(Settings.model_fields["request_timeout"].default)


@pytest.mark.parametrize("name", SERVERS)
def test_a_server_has_time_to_drain(name: str) -> None:
    body = service(name)
    drain = float(body["environment"]["RELATA_DRAIN_SECONDS"])
    assert seconds(body["stop_grace_period"]) > drain + longest_question()
    assert body["init"] is True


def test_the_proxy_sees_that_a_server_stops_before_it_refuses() -> None:
    match = re.search(r"check inter (\d+)s fastinter (\d+)ms .* fall (\d+)", proxy_configuration())
    assert match
    interval, fast, failures = (int(number) for number in match.groups())
    seen = interval + (failures - 1) * fast / 1000
    assert float(service("server")["environment"]["RELATA_DRAIN_SECONDS"]) > seen


def test_the_proxy_has_time_to_drain_and_is_stopped_first() -> None:
    match = re.search(r"hard-stop-after (\S+)", proxy_configuration())
    assert match
    proxy = service("proxy")
    assert longest_question() < seconds(match[1]) < seconds(proxy["stop_grace_period"])
    assert proxy["stop_signal"] == "SIGUSR1"
    # Compose stops what depends on others before them.
    assert set(proxy["depends_on"]) == set(SERVERS)
    assert proxy["depends_on"]["server-cuda"]["required"] is False


def test_the_proxy_waits_longer_than_a_request_may_take() -> None:
    match = re.search(r"timeout server (\S+)", proxy_configuration())
    assert match
    assert seconds(match[1]) > Settings.model_fields["max_request_timeout"].default


@pytest.mark.parametrize("name", SERVERS)
def test_everything_finds_the_servers_by_their_names(name: str) -> None:
    networks = service(name)["networks"]
    (asked,), (scraped,) = networks["edge"]["aliases"], networks["monitoring"]["aliases"]
    # The proxy is in both networks: under one name it would find each replica twice.
    assert asked != scraped
    assert f'"${{PROXY_REPLICAS-{asked}:8000}}"' in proxy_configuration()
    prometheus = read_yaml(DOCKER / "prometheus" / "prometheus.yml")
    jobs = {job["job_name"]: job for job in prometheus["scrape_configs"]}
    (discovery,) = jobs["relata"]["dns_sd_configs"]
    assert (discovery["names"], discovery["type"], discovery["port"]) == ([scraped], "A", 8000)
    assert service(name)["environment"]["RELATA_PORT"] == "8000"


def test_services_share_the_networks_that_they_meet_in() -> None:
    def networks(name: str) -> set[str]:
        return set(service(name)["networks"])

    assert "edge" in networks("proxy") & networks("server")
    assert networks("redis") == {"cache"} <= networks("server")
    assert "monitoring" in networks("prometheus") & networks("server") & networks("proxy")
    assert "monitoring" in networks("grafana") & networks("prometheus")
    assert compose()["networks"]["cache"] == {"internal": True}


def test_redis_evicts_answers_only_and_keeps_changes() -> None:
    command = service("redis")["command"]
    options = dict(zip(command[::2], command[1::2], strict=True))
    assert options["--maxmemory-policy"] == "volatile-lru"
    assert options["--appendonly"] == "yes"
    # The servers come from other addresses than its own.
    assert options["--protected-mode"] == "no"
    assert "--maxmemory" in options
    assert f"{options['--dir']}" in {
        volume.partition(":")[2] for volume in service("redis")["volumes"]
    }


@pytest.mark.parametrize("name", ["proxy", "redis", "prometheus", "grafana"])
def test_every_other_service_says_whether_it_is_well(name: str) -> None:
    assert service(name)["healthcheck"]["test"][0] == "CMD"


def guide() -> str:
    return (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")


def test_the_guide_names_every_service_variable_and_alert() -> None:
    own = {
        name
        for name in variables(COMPOSE.read_text(encoding="utf-8"))
        if not name.startswith(PREFIX)
    }
    alerts = {
        rule["alert"]
        for group in read_yaml(DOCKER / "prometheus" / "alerts.yml")["groups"]
        for rule in group["rules"]
    }
    for name in (*SERVICES, *own, *alerts):
        assert f"`{name}`" in guide(), name


def test_the_guide_s_override_fits_the_compose_file() -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", guide(), re.DOTALL)
    override = yaml.safe_load(text)["services"]
    assert set(override) <= set(SERVERS)
    body = override["server"]
    assert set(body["environment"]) <= set(service("server")["environment"])
    mounted = [volume.split(":")[1] for volume in body["volumes"]]
    assert all(
        any(value.startswith(f"{path}/") for path in mounted)
        for value in body["environment"].values()
    )


def yaml_files() -> list[Path]:
    found = [COMPOSE, *DOCKER.rglob("*.yml"), *DOCKER.rglob("*.yaml")]
    assert len(found) > 4
    return found


def test_the_yaml_is_tidy() -> None:
    yamllint = program("yamllint", package="PyPI: yamllint")
    rules = (
        "{extends: default, rules: {line-length: {max: 120}, document-start: disable, "
        "braces: {max-spaces-inside: 0}, indentation: {indent-sequences: consistent}}}"
    )
    done = subprocess.run(
        [yamllint, "--strict", "-d", rules, *map(str, yaml_files())],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
