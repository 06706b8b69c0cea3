"""The resident masked LM and its execution under masks: loading, prompts, engine, completion.

Data walks from `load_base` and `encode_prompt` through `Engine` to `complete`. Importing this
package imports torch; transformers is imported when a base is loaded.
"""

from plm.architectures import (
    ARCHITECTURES,
    ROLES,
    Architecture,
    MaskableWeight,
    Role,
    architecture_of,
    default_layer_range,
    maskable_names,
    maskable_weights,
)
from plm.base import BaseModel, Head
from plm.cloze import EncodedBatch, EncodedPrompt, Template, collate, encode_prompt
from plm.completion import Completion, Query, Ranking, complete, top_tokens
from plm.digest import weights_digest
from plm.engine import DEFAULT_CACHE_BYTES, Engine
from plm.errors import BaseModelError, ObjectError, PlmError, PromptError, TemplateError
from plm.layers import GroupedLayer, LayerWeights, Norm, transformer_layer
from plm.linear import Linear
from plm.loading import embedded_bases, load_base
from plm.mask_cache import CacheStats, MaskCache
from plm.masked import MaskedLayers, materialise
from plm.objects import answer_token_ids, object_text, object_token_id
from plm.states import attention_bias, lower_states, upper_rows

__all__ = [
    "ARCHITECTURES",
    "DEFAULT_CACHE_BYTES",
    "ROLES",
    "Architecture",
    "BaseModel",
    "BaseModelError",
    "CacheStats",
    "Completion",
    "EncodedBatch",
    "EncodedPrompt",
    "Engine",
    "GroupedLayer",
    "Head",
    "LayerWeights",
    "Linear",
    "MaskCache",
    "MaskableWeight",
    "MaskedLayers",
    "Norm",
    "ObjectError",
    "PlmError",
    "PromptError",
    "Query",
    "Ranking",
    "Role",
    "Template",
    "TemplateError",
    "answer_token_ids",
    "architecture_of",
    "attention_bias",
    "collate",
    "complete",
    "default_layer_range",
    "embedded_bases",
    "encode_prompt",
    "load_base",
    "lower_states",
    "maskable_names",
    "maskable_weights",
    "materialise",
    "object_text",
    "object_token_id",
    "top_tokens",
    "transformer_layer",
    "upper_rows",
    "weights_digest",
]
