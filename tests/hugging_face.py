"""Bases as transformers has them: the truth that ours are held against."""

from functools import cache

import torch
from transformers import (
    AutoModelForMaskedLM,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

import plm


def model_of(base: plm.BaseModel) -> PreTrainedModel:
    """The same model in fp32 and eval mode; shared, so it is not to be changed."""
    return _model(base.source)


def tokenizer_of(base: plm.BaseModel) -> PreTrainedTokenizerFast:
    """The same tokenizer."""
    return _tokenizer(base.source)


@cache
def _model(source: str) -> PreTrainedModel:
    return AutoModelForMaskedLM.from_pretrained(source, dtype=torch.float32).eval()


@cache
def _tokenizer(source: str) -> PreTrainedTokenizerFast:
    return AutoTokenizer.from_pretrained(source)
