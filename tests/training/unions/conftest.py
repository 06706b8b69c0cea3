"""The shipped masks on their base, and a few questions."""

import json
from pathlib import Path

import pytest

import plm
from masks import MaskPack, RelationMask

ROOT = Path(__file__).parents[3]
PACK = ROOT / "masks" / "packs" / "conceptnet"
RELATIONS = ("AtLocation", "CapableOf", "IsA", "UsedFor")
QUESTIONS = (
    {
        "context": "A knife is used for",
        "choices": ["cutting bread.", "drinking water.", "sleeping."],
        "answer": 0,
    },
    {"context": "You can find a boat on a", "choices": ["lake.", "shelf."], "answer": 0},
    {
        "context": "The man fell asleep because",
        "choices": ["he was very hungry.", "he was tired after working all night."],
        "answer": 1,
    },
    {"choices": ["A dog is a kind of fruit.", "A dog is a kind of animal."], "answer": 1},
    {
        "context": "Birds like to",
        "choices": ["drive cars.", "sing.", "read.", "fly."],
        "answer": 3,
        "scoring": "answer",
        "normalize": "token",
    },
    {"context": "A chair is made of", "choices": ["wood.", "water."], "answer": 0},
)


@pytest.fixture(scope="session")
def minilm() -> plm.BaseModel:
    return plm.load_base("minilm-l6-mlm", device="cpu")


@pytest.fixture(scope="session")
def shipped() -> dict[str, RelationMask]:
    pack = MaskPack.open(PACK)
    return {name: pack.load(name) for name in RELATIONS}


@pytest.fixture
def questions_file(tmp_path: Path) -> Path:
    path = tmp_path / "questions.jsonl"
    path.write_text("\n".join(map(json.dumps, QUESTIONS)) + "\n\n")
    return path
