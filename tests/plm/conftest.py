"""Tiny random models of every architecture, made on the spot and loaded as a user would."""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from torch.nn.utils import prune
from transformers import (
    AddedToken,
    AutoModelForMaskedLM,
    BertConfig,
    BertForMaskedLM,
    DistilBertConfig,
    MPNetConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    RobertaConfig,
)

import plm
from masks import Combine, CombinedMask, PackedMask, RelationMask, combine_masks

ARCHITECTURES = ("bert", "distilbert", "roberta", "mpnet")
LAYERS = 4
POSITIONS = 40
# As in the published tokenizers, the mask token takes in the space before it.
MASK = AddedToken("<mask>", lstrip=True, special=True)
VOCABULARY = (
    "a an the is are of in can be used for to made from part kind thing linen cloth dog animal "
    "creature water wood paper glass house bed room red blue small large 1990 eat run sleep "
    "[unused1] ##ing ##s ##en . , ! - ? s e n o"
)
WORDS = VOCABULARY.split()
SENTENCES = (
    "a linen is a kind of cloth .",
    "a dog is an animal and a creature , a small one .",
    "paper can be made from wood .",
    "the bed is part of a house , in a room .",
    "water is used for glass in 1990 .",
)


def _wordpiece(specials: Sequence[str], cls: str, sep: str, unk: str, between: str) -> Tokenizer:
    vocab = {token: index for index, token in enumerate((*specials, *WORDS))}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token=unk))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{cls} $A {sep}",
        pair=f"{cls} $A {between} $B:1 {sep}:1",
        special_tokens=[(cls, vocab[cls]), (sep, vocab[sep])],
    )
    return tokenizer


def _byte_bpe() -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        min_frequency=1,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        special_tokens=["<s>", "<pad>", "</s>", "<unk>", MASK],
        show_progress=False,
    )
    tokenizer.train_from_iterator([f" {' '.join(WORDS)}", *SENTENCES] * 4, trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return tokenizer


def make_tokenizer(model_type: str) -> PreTrainedTokenizerFast:
    if model_type in ("bert", "distilbert"):
        specials = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
        return PreTrainedTokenizerFast(
            tokenizer_object=_wordpiece(specials, "[CLS]", "[SEP]", "[UNK]", "[SEP]"),
            pad_token="[PAD]",
            unk_token="[UNK]",
            cls_token="[CLS]",
            sep_token="[SEP]",
            mask_token="[MASK]",
            model_max_length=512,
            model_input_names=["input_ids", "attention_mask"],
        )
    unknown = "<unk>" if model_type == "roberta" else "[UNK]"
    backend = (
        _byte_bpe()
        if model_type == "roberta"
        else _wordpiece(
            ("<s>", "<pad>", "</s>", unknown, "<mask>", "[CLS]"),
            "<s>",
            "</s>",
            unknown,
            "</s> </s>",
        )
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<s>",
        eos_token="</s>",
        cls_token="<s>",
        sep_token="</s>",
        pad_token="<pad>",
        unk_token=unknown,
        mask_token=MASK,
        model_max_length=512,
        model_input_names=["input_ids", "attention_mask"],
    )


def make_config(model_type: str, vocab_size: int) -> PreTrainedConfig:
    if model_type == "distilbert":
        return DistilBertConfig(
            vocab_size=vocab_size,
            dim=32,
            n_layers=LAYERS,
            n_heads=4,
            hidden_dim=64,
            max_position_embeddings=POSITIONS,
            initializer_range=0.2,
        )
    kind = {"bert": BertConfig, "roberta": RobertaConfig, "mpnet": MPNetConfig}[model_type]
    return kind(
        vocab_size=vocab_size,
        hidden_size=32,
        num_hidden_layers=LAYERS,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=POSITIONS,
        initializer_range=0.2,
        **({} if model_type == "bert" else {"pad_token_id": 1}),
    )


def make_folder(model_type: str, folder: Path) -> Path:
    """Save a tiny random model with its tokenizer; every parameter is off its initial value."""
    tokenizer = make_tokenizer(model_type)
    torch.manual_seed(ARCHITECTURES.index(model_type))
    model = AutoModelForMaskedLM.from_config(make_config(model_type, len(tokenizer)))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


EditConfig = Callable[[Path, dict[str, Any]], None]


@dataclass(frozen=True)
class Tiny:
    """A tiny base, where it was loaded from, and prompts for it."""

    base: plm.BaseModel
    folder: Path
    prompts: tuple[plm.EncodedPrompt, ...]

    def mask(
        self,
        seed: int = 0,
        layers: tuple[int, int] = (3, 4),
        *,
        sparsity: float = 0.3,
        relation: str = "IsA",
    ) -> RelationMask:
        return relation_mask(self.base, seed, layers, sparsity=sparsity, relation=relation)

    def in_rows(self) -> "Tiny":
        """The same with matrices row by row, as on a processor without AVX-512."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("plm.affine.blocked_kernel", lambda: None)
            return replace(self, base=plm.load_base(self.folder, device="cpu"))

    def combined(self, seed: int = 0, layers: tuple[int, int] = (3, 4)) -> CombinedMask:
        return combine_masks([self.mask(seed, layers)])

    def expectation(self, seed: int = 0, layers: tuple[int, int] = (3, 4)) -> RelationMask:
        return expectation_mask(self.base, seed, layers)

    def union(self, *seeds: int) -> CombinedMask:
        masks = [self.mask(seed, relation=f"R{seed}") for seed in seeds]
        return combine_masks(masks, Combine("union"))

    def reference(self, mask: CombinedMask | None = None) -> PreTrainedModel:
        """The Hugging Face model in eval mode, pruned by torch itself."""
        model = AutoModelForMaskedLM.from_pretrained(self.folder, dtype=torch.float32).eval()
        if mask is not None:
            for name in mask.shapes:
                module = model.get_submodule(name.removesuffix(".weight"))
                keep = torch.from_numpy(mask.keep(name).copy())
                prune.custom_from_mask(module, "weight", keep)
        return model

    def reference_logits(
        self, prompts: Sequence[plm.EncodedPrompt], mask: CombinedMask | None = None
    ) -> torch.Tensor:
        """The reference's logits (B, V) at the mask positions of a padded batch."""
        batch = plm.collate(prompts, self.base)
        with torch.no_grad():
            logits = self.reference(mask)(
                input_ids=batch.input_ids, attention_mask=batch.attention_mask
            ).logits
        return logits[torch.arange(len(prompts)), batch.mask_positions]


def relation_mask(
    base: plm.BaseModel,
    seed: int,
    layers: tuple[int, int],
    *,
    sparsity: float = 0.3,
    relation: str = "IsA",
) -> RelationMask:
    random = np.random.default_rng(seed)
    return RelationMask.from_keep(
        {name: random.random(shape) >= sparsity for name, shape in base.shapes(*layers).items()},
        relation=relation,
        base_model=base.name,
        base_digest=base.digest,
        architecture=base.architecture.model_type,
        layers=layers,
        method="deterministic",
        threshold=0.5,
        templates=("[X] is a [Y].",),
        data_name="random",
        data_digest="sha256:" + "0" * 64,
        seed=seed,
        validation={},
        tool_version="0",
    )


def _prompts(base: plm.BaseModel) -> tuple[plm.EncodedPrompt, ...]:
    templates = (
        ("[X] is a [Y].", "linen"),
        ("[Y] can be made from [X], in the house.", "small paper"),
        ("a [Y] is part of the [X].", "dog"),
        ("a [Y].", None),
        ("the [X] is used for the [Y], for a bed and to run in a room!", "Water"),
    )
    return tuple(
        plm.encode_prompt(base, plm.Template.parse(text), subject) for text, subject in templates
    )


@pytest.fixture(scope="session")
def tiny_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Tiny]:
    """Makes the tiny model of an architecture once a session."""

    @cache
    def make(model_type: str) -> Tiny:
        folder = make_folder(model_type, tmp_path_factory.mktemp(model_type) / f"tiny-{model_type}")
        base = plm.load_base(folder, device="cpu")
        return Tiny(base, folder, _prompts(base))

    return make


@pytest.fixture(params=ARCHITECTURES)
def tiny(request: pytest.FixtureRequest, tiny_of: Callable[[str], Tiny]) -> Tiny:
    """Every architecture in turn."""
    return tiny_of(request.param)


@pytest.fixture
def bert(tiny_of: Callable[[str], Tiny]) -> Tiny:
    return tiny_of("bert")


@pytest.fixture
def roberta(tiny_of: Callable[[str], Tiny]) -> Tiny:
    return tiny_of("roberta")


@pytest.fixture
def mpnet(tiny_of: Callable[[str], Tiny]) -> Tiny:
    return tiny_of("mpnet")


@pytest.fixture(scope="session")
def wide(tiny_of: Callable[[str], Tiny], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT whose matrices fill vectors of integers, in the vocabulary of the tiny one."""
    bert = tiny_of("bert")
    folder = tmp_path_factory.mktemp("wide") / "model"
    shutil.copytree(bert.folder, folder)
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=bert.base.vocab_size,
        hidden_size=128,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=256,
    )
    # In half precision, as many are published.
    BertForMaskedLM(config).half().save_pretrained(folder)
    return folder


@pytest.fixture
def edit_config() -> EditConfig:
    """Changes keys of a folder's `config.json`."""

    def edit(folder: Path, changes: dict[str, Any]) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return edit


@dataclass(frozen=True, eq=False)
class OtherMask:
    """A mask whose parts need not agree, as `masks` lets nobody make them."""

    base_digest: str
    digest: str
    sparsity: float
    shapes: Mapping[str, tuple[int, int]]
    packed: Mapping[str, NDArray[np.uint8]]
    bits_per_weight: int = 1

    @classmethod
    def of(cls, mask: PackedMask, **changes: Any) -> "OtherMask":
        same = {field.name: getattr(mask, field.name) for field in fields(cls)}
        return cls(**(same | changes))


def expectation_mask(
    base: plm.BaseModel, seed: int, layers: tuple[int, int], *, relation: str = "IsA"
) -> RelationMask:
    random = np.random.default_rng(seed)
    metadata = replace(
        relation_mask(base, seed, layers, relation=relation).metadata,
        method="stochastic",
        threshold=None,
        bits_per_weight=8,
    )
    shapes = metadata.shapes.items()
    return RelationMask(
        metadata, {name: random.integers(256, size=shape, dtype="u1") for name, shape in shapes}
    )


@pytest.fixture
def mask_of() -> Callable[..., RelationMask]:
    """Makes a random mask for a base: (base, seed, layers, sparsity=...)."""
    return relation_mask
