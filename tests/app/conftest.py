"""A tiny base, a pack for it, and real servers started as a user starts them."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import httpx
import numpy as np
import pytest

from masks import RelationMask, write_pack
from plm import BaseModel, load_base

Value = TypeVar("Value")

ROOT = Path(__file__).parents[2]
SHIPPED_PACK = ROOT / "masks" / "packs" / "conceptnet"
# Loading takes seconds, many on a machine that is busy.
START_SECONDS = 240

WORDS = (
    "a an the is are can of in to you for with and it not made used find has wants cause "
    "want part linen cotton stone water animal pet dog cat bird knife cut shirt fabric "
    "cloth sky color blue red fly sleep run eat house tree car wheel play wood paper glass "
    "metal food cold hot "
)
PIECES = ["##ing", "##s", "##ed", *"abcdefghijklmnopqrstuvwxyz", *",.!?'-"]

RELATIONS = {
    "AtLocation": "You can find a [X] in a [Y].",
    "CapableOf": "A [X] can [Y].",
    "Causes": "[X] can cause [Y].",
    "CausesDesire": "[X] makes you want to [Y].",
    "Desires": "A [X] wants [Y].",
    "HasA": "A [X] has [Y].",
    "HasPrerequisite": "To [X] you need to [Y].",
    "HasProperty": "A [X] is [Y].",
    "HasSubevent": "When you [X] you [Y].",
    "IsA": "A [X] is a [Y].",
    "MadeOf": "A [X] is made of [Y].",
    "MotivatedByGoal": "You [X] to [Y].",
    "NotDesires": "A [X] does not want [Y].",
    "PartOf": "A [X] is part of a [Y].",
    "ReceivesAction": "A [X] can be [Y].",
    "UsedFor": "A [X] is used for [Y].",
}


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "shipped: needs the shipped base and its mask pack")


def _command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "relata", *arguments]


def _environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    plain = {name: value for name, value in os.environ.items() if not name.startswith("RELATA_")}
    return plain | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"} | dict(extra or {})


@dataclass
class Server:
    """A running `relata serve`."""

    process: subprocess.Popen[bytes]
    log: Path
    url: str = ""
    first_ready: httpx.Response | None = None
    client: httpx.Client = field(init=False)

    def wait_listening(self) -> None:
        def address() -> str | None:
            match = re.search(r"listening on (http://[^\s\"]+)", self.log.read_text())
            return match[1] if match else None

        self.url = self._wait(address)
        self.client = httpx.Client(base_url=self.url, timeout=120, trust_env=False)

    def wait_ready(self) -> None:
        def ready() -> bool | None:
            response = self.client.get("/ready")
            self.first_ready = self.first_ready or response
            return response.status_code == 200 or None

        self._wait(ready)

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def _wait(self, attempt: Callable[[], Value | None]) -> Value:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if (result := attempt()) is not None:
                return result
            if self.process.poll() is not None:
                pytest.fail(f"the server ended: {self.log.read_text()}")
            time.sleep(0.05)
        pytest.fail(f"the server did not start: {self.log.read_text()}")


StartServer = Callable[..., Server]
RunRelata = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def start_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartServer]:
    """Start `relata serve` on a free port; every server is stopped at the end of the session."""
    started: list[Server] = []

    def start(*flags: str, environment: Mapping[str, str] | None = None) -> Server:
        log = tmp_path_factory.mktemp("server") / "log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                _command("serve", "--port", "0", *flags),
                cwd=ROOT,
                env=_environment(environment),
                stderr=output,
            )
        server = Server(process, log)
        started.append(server)
        server.wait_listening()
        server.wait_ready()
        return server

    yield start
    for server in started:
        if server.process.poll() is None:
            server.process.kill()
            server.process.wait()


@pytest.fixture(scope="session")
def run_relata() -> RunRelata:
    """Run a command of `relata` to its end."""

    def run(
        *arguments: str, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            _command(*arguments),
            cwd=ROOT,
            env=_environment({"COLUMNS": "200"} | dict(environment or {})),
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
            check=False,
        )

    return run


def _write_base(folder: Path, seed: int) -> Path:
    import torch
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertForMaskedLM, PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    # `a` is both a word and a letter; ids have no gaps.
    tokens = dict.fromkeys([*special, *WORDS.split(), *PIECES])
    vocabulary = {token: index for index, token in enumerate(tokens)}
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.BertProcessing(
        ("[SEP]", vocabulary["[SEP]"]), ("[CLS]", vocabulary["[CLS]"])
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=48,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    ).save_pretrained(folder)
    torch.manual_seed(seed)
    BertForMaskedLM(
        BertConfig(
            vocab_size=len(vocabulary),
            hidden_size=32,
            num_hidden_layers=4,
            num_attention_heads=4,
            intermediate_size=64,
            max_position_embeddings=48,
            initializer_range=0.4,
        )
    ).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random BERT of four layers that reads 48 tokens, with a WordPiece tokenizer."""
    return _write_base(tmp_path_factory.mktemp("bases") / "tiny", seed=0)


@pytest.fixture(scope="session")
def base(base_folder: Path) -> BaseModel:
    """The same, loaded here."""
    return load_base(base_folder)


@pytest.fixture(scope="session")
def make_mask(base: BaseModel) -> Callable[..., RelationMask]:
    """A random mask for layers 3 and 4 of the tiny base."""

    def make(relation: str, seed: int = 0, **fields: Any) -> RelationMask:
        generator = np.random.default_rng([seed, *relation.encode()])
        keep = {name: generator.random(shape) < 0.7 for name, shape in base.shapes(3, 4).items()}
        values: dict[str, Any] = {
            "base_model": base.name,
            "base_digest": base.digest,
            "architecture": "bert",
            "layers": (3, 4),
            "method": "deterministic",
            "threshold": 0.5,
            "templates": (RELATIONS[relation], "[X] and [Y]."),
            "data_name": "made up",
            "data_digest": "sha256:" + "0" * 64,
            "seed": seed,
            "validation": {"mrr": 0.25},
            "tool_version": "0.1.0",
            "facts": {"train": 7, "validation": 2},
        }
        return RelationMask.from_keep(keep, relation=relation, **(values | fields))

    return make


@pytest.fixture(scope="session")
def make_expectation(make_mask: Callable[..., RelationMask]) -> Callable[..., RelationMask]:
    """A random mask of eight bits a weight for layers 3 and 4 of the tiny base."""

    def make(relation: str, seed: int = 0, **fields: Any) -> RelationMask:
        metadata = make_mask(relation, seed, method="stochastic", threshold=None, **fields).metadata
        generator = np.random.default_rng([seed, 1, *relation.encode()])
        values = {
            name: generator.integers(256, size=shape, dtype="u1")
            for name, shape in metadata.shapes.items()
        }
        return RelationMask(replace(metadata, bits_per_weight=8), values)

    return make


@pytest.fixture(scope="session")
def relation_masks(make_mask: Callable[..., RelationMask]) -> dict[str, RelationMask]:
    """One mask for each of the sixteen relations."""
    return {relation: make_mask(relation) for relation in RELATIONS}


@pytest.fixture(scope="session")
def pack_folder(
    tmp_path_factory: pytest.TempPathFactory, relation_masks: Mapping[str, RelationMask]
) -> Path:
    """A pack of them."""
    folder = tmp_path_factory.mktemp("packs") / "tiny"
    write_pack(folder, relation_masks.values(), name="tiny")
    return folder


@pytest.fixture(scope="session")
def server(start_server: StartServer, base_folder: Path, pack_folder: Path) -> Server:
    """A server of the tiny base and its pack, with limits low enough to reach."""
    return start_server(
        "--base", str(base_folder), "--packs", str(pack_folder), "--threads", "1",
        "--max-queries", "64", "--max-body-bytes", "64KiB", "--max-completions", "2000",
    )  # fmt: skip


@pytest.fixture(scope="session")
def client(server: Server) -> httpx.Client:
    """Talks to that server."""
    return server.client


@pytest.fixture
def ask(client: httpx.Client) -> Callable[..., dict[str, Any]]:
    """Post a query that must be answered."""

    def post(**query: Any) -> dict[str, Any]:
        response = client.post("/complete", json=query)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    return post


@pytest.fixture
def refused(client: httpx.Client) -> Callable[..., dict[str, Any]]:
    """Check that a response is a problem of a status and type, and that the server lives on."""

    def check(response: httpx.Response, status: int, kind: str) -> dict[str, Any]:
        assert response.status_code == status, response.text
        assert response.headers["content-type"] == "application/problem+json"
        assert response.headers["x-request-id"]
        problem: dict[str, Any] = json.loads(response.text, parse_constant=pytest.fail)
        assert problem["type"] == f"urn:relata:problem:{kind}"
        assert problem["status"] == status
        assert problem["title"]
        assert problem["detail"].endswith((".", "?"))
        assert client.get("/health").status_code == 200
        return problem

    return check


@pytest.fixture(scope="session")
def shipped_server(start_server: StartServer) -> Server:
    """A server as it comes: no setting but a free port."""
    if not SHIPPED_PACK.is_dir():
        pytest.skip("the shipped pack is not in this checkout")
    return start_server()
