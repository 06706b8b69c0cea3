"""A server with calibrated masks and knowledge bases, and an obvious twin of its model."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from torch.nn.utils import prune
from transformers import AutoModelForMaskedLM, PreTrainedModel

from masks import Calibration, RelationMask, combine_masks, write_pack
from plm import BaseModel, answer_token_ids
from tests.hugging_face import tokenizer_of

CALIBRATION = Calibration(
    slope=0.75,
    intercept=1.5,
    threshold=0.35,
    subjects=5,
    candidates=50,
    facts=9,
    precision=0.5,
    recall=0.25,
    f1=1 / 3,
    expected_calibration_error=0.1,
    brier=0.2,
)
CALIBRATED = ("IsA", "HasProperty")

ANIMALS = """\
# animals, as anybody knows them
dog\tIsA\tanimal
Dog\tisa\tpet
dog\tIsA\tdog
cat\tIsA\tpet
cat\tIsA\thot dog
bird\tIsA\tzebra
knife\tUsedFor\tcut  food
knife\tUsedFor\tcuts
knife\tUsedFor\teat
only two\tcolumns
house\tMadeOf\twood
table\tMadeOf\twood
dog\tIsA\tanimal
"""
THINGS = """\
relation,object,subject
MadeOf,"wood, paper",house
IsA,fabric,Dog
"""


@pytest.fixture(scope="session")
def knowledge_files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("knowledge")
    animals, things = folder / "animals.tsv", folder / "things.csv"
    animals.write_text(ANIMALS)
    things.write_text(THINGS)
    return animals, things


@pytest.fixture(scope="session")
def calibrated_masks(relation_masks: Mapping[str, RelationMask]) -> dict[str, RelationMask]:
    """The masks of the sixteen relations, two of them calibrated."""
    return {
        name: mask.with_calibration(CALIBRATION) if name in CALIBRATED else mask
        for name, mask in relation_masks.items()
    }


@pytest.fixture(scope="session")
def client(
    start_server: Callable[..., Any],
    tmp_path_factory: pytest.TempPathFactory,
    base_folder: Path,
    calibrated_masks: Mapping[str, RelationMask],
    knowledge_files: tuple[Path, Path],
) -> httpx.Client:
    """Talks to a server of the calibrated masks and both knowledge bases."""
    pack = tmp_path_factory.mktemp("packs") / "calibrated"
    write_pack(pack, calibrated_masks.values(), name="calibrated")
    server = start_server(
        "--base", str(base_folder), "--packs", str(pack), "--threads", "1",
        "--knowledge", ",".join(map(str, knowledge_files)),
        "--max-queries", "64", "--max-completions", "2000", "--max-candidates", "5000",
    )  # fmt: skip
    client: httpx.Client = server.client
    return client


@pytest.fixture
def post(client: httpx.Client) -> Callable[..., dict[str, Any]]:
    """Ask an endpoint something that it must answer."""

    def send(path: str, **body: Any) -> dict[str, Any]:
        response = client.post(path, json=body)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    return send


@dataclass
class Twin:
    """The model as anybody would run it: Hugging Face's, pruned by torch, sentence by sentence."""

    base: BaseModel
    folder: Path
    masks: Mapping[str, RelationMask]
    models: dict[tuple[str, ...], PreTrainedModel] = field(default_factory=dict)

    def model(self, relations: tuple[str, ...]) -> PreTrainedModel:
        """Under the union of the relations' masks; without relations unmasked."""
        if relations not in self.models:
            model = AutoModelForMaskedLM.from_pretrained(self.folder, dtype=torch.float32).eval()
            if relations:
                mask = combine_masks([self.masks[name] for name in relations])
                for name in mask.shapes:
                    module = model.get_submodule(name.removesuffix(".weight"))
                    prune.custom_from_mask(
                        module, "weight", torch.from_numpy(mask.keep(name).copy())
                    )
            self.models[relations] = model
        return self.models[relations]

    def tokens(self, text: str) -> list[int]:
        ids: list[int] = tokenizer_of(self.base)(text, add_special_tokens=False)["input_ids"]
        return ids

    def log_probs(self, sentence: str, relations: tuple[str, ...]) -> torch.Tensor:
        """(masks of the sentence, V)."""
        encoded = tokenizer_of(self.base)(sentence, return_tensors="pt")
        with torch.no_grad():
            logits = self.model(relations)(**encoded).logits[0]
        return logits[encoded["input_ids"][0] == self.base.mask_token_id].log_softmax(dim=1)

    def token_scores(
        self, template: str, given: str, text: str, relations: Sequence[str], asked: str = "object"
    ) -> list[float]:
        """Log-probability of each token of `text` at the end that is asked for."""
        tokens = self.tokens(text)
        masks = " ".join(["[MASK]"] * len(tokens))
        subject, object_ = (given, masks) if asked == "object" else (masks, given)
        sentence = template.replace("[X]", subject).replace("[Y]", object_)
        log_probs = self.log_probs(sentence, tuple(relations))
        assert len(log_probs) == len(tokens)
        return [float(row[token]) for row, token in zip(log_probs, tokens, strict=True)]

    def score(
        self, template: str, given: str, text: str, relations: Sequence[str], asked: str = "object"
    ) -> float:
        """The mean of them."""
        scores = self.token_scores(template, given, text, relations, asked)
        return sum(scores) / len(scores)

    def ranking(
        self,
        texts: Sequence[str],
        template: str,
        given: str,
        relations: Sequence[str],
        asked: str = "object",
    ) -> list[tuple[str, float]]:
        """Texts and scores, the highest first."""
        scored = [(text, self.score(template, given, text, relations, asked)) for text in texts]
        return sorted(scored, key=lambda pair: -pair[1])


@pytest.fixture(scope="session")
def twin(base: BaseModel, base_folder: Path, calibrated_masks: Mapping[str, RelationMask]) -> Twin:
    return Twin(base, base_folder, calibrated_masks)


@pytest.fixture(scope="session")
def words(base: BaseModel) -> list[str]:
    """The vocabulary's whole words."""
    return [
        tokenizer_of(base).convert_ids_to_tokens(token)
        for token in answer_token_ids(base).nonzero()[:, 0].tolist()
    ]
