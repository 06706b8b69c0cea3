"""A tiny random BERT on disk, and a few facts that its vocabulary can say."""

from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import BertConfig, BertForMaskedLM, BertModel, PreTrainedTokenizerFast

import plm
from training.data import RelationTemplates, Triple

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
ANIMALS = ("dog", "cat", "horse", "cow", "pig", "hen", "bee", "fox")
TOOLS = ("hammer", "saw", "axe", "drill", "rake", "spade", "knife", "fork")
PLACES = ("barn", "field", "shed", "house", "garden")
OTHERS = (
    "a an the is are of in and kind one you can find big small red animal tool thing place it was "
    "they have some ##s ##ing . , :"
)
WORDS = (*SPECIAL, *ANIMALS, *TOOLS, *PLACES, *OTHERS.split())
TEMPLATES = {
    "IsA": RelationTemplates("IsA", "a [X] is a [Y] .", ("the [X] is one [Y] .", "[X] is a [Y] .")),
    "AtLocation": RelationTemplates(
        "AtLocation", "a [X] is in the [Y] .", ("you can find a [X] in the [Y] .",)
    ),
}


def make_tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = {token: index for index, token in enumerate(WORDS)}
    backend = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=True)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece(prefix="##")
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=40,
        model_input_names=["input_ids", "attention_mask"],
    )


def tiny_config() -> BertConfig:
    return BertConfig(
        vocab_size=len(WORDS),
        hidden_size=32,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=40,
        initializer_range=0.2,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        pad_token_id=0,
    )


@pytest.fixture(scope="session")
def base_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny") / "base"
    torch.manual_seed(0)
    BertForMaskedLM(tiny_config()).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def encoder_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder without a language-model head."""
    folder = tmp_path_factory.mktemp("tiny") / "encoder"
    torch.manual_seed(1)
    BertModel(tiny_config()).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def base(base_folder: Path) -> plm.BaseModel:
    return plm.load_base(base_folder, device="cpu")


@pytest.fixture(scope="session")
def templates() -> dict[str, RelationTemplates]:
    return TEMPLATES


@pytest.fixture(scope="session")
def many_triples() -> tuple[Triple, ...]:
    """112 facts of IsA: enough of them are held out to calibrate on."""
    kinds = [(word, "animal") for word in ANIMALS] + [(word, "tool") for word in TOOLS]
    looks = ("", "big ", "small ", "red ", "big red ", "small red ", "one ")
    return tuple(Triple(look + word, "IsA", kind) for look in looks for word, kind in kinds)


@pytest.fixture(scope="session")
def triples() -> tuple[Triple, ...]:
    """16 facts of IsA and 16 of AtLocation."""
    animals = [Triple(word, "IsA", "animal") for word in ANIMALS]
    tools = [Triple(word, "IsA", "tool") for word in TOOLS]
    places = [
        Triple(word, "AtLocation", PLACES[index % len(PLACES)])
        for index, word in enumerate((*ANIMALS, *TOOLS))
    ]
    return (*animals, *tools, *places)
