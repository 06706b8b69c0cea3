"""The resident masked LM and its execution under masks: loading, prompts, engine, completion.

Data walks from `load_base` and `encode_prompt` through `Engine` to `complete`. Importing this
package imports torch; transformers is imported when a base is loaded.
"""

from plm.affine import AnyLinear, BlockedLinear, Linear, MaskedLinear, PlainLinear
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
from plm.candidates import (
    MAX_OBJECT_TOKENS,
    Candidates,
    TokenGroup,
    candidate_probes,
    candidate_scores,
)
from plm.choices import (
    NORMALIZATIONS,
    SCORINGS,
    ChoicePlan,
    ChoiceScore,
    ScoredToken,
    ScoreTerms,
    plan_choices,
    read_in_passes,
    score_choices,
)
from plm.cloze import EncodedBatch, EncodedPrompt, Template, collate, encode_prompt
from plm.completion import Completion, Query, Ranking, check_wanted, complete, ranking
from plm.digest import weights_digest
from plm.engine import DEFAULT_CACHE_BYTES, Engine, PreparedPass
from plm.errors import (
    BaseModelError,
    ObjectError,
    PlmError,
    PromptError,
    RowLimitError,
    TemplateError,
)
from plm.layers import GroupedLayer, LayerWeights, Norm, transformer_layer
from plm.layout import Layout, Slots
from plm.loading import embedded_bases, load_base
from plm.mask_cache import CacheStats, MaskCache
from plm.masked import MaskedLayers, masked_layers, materialise
from plm.network import activation_of
from plm.objects import answer_token_ids, object_text, object_token_id, tokenise_objects
from plm.packing import PackedRows, pack_rows, span_slots, token_layout
from plm.pair import EncodedText, check_text, encode_texts
from plm.parameters import Parameters
from plm.plausibility import Scored, ScoringPlan, plan_scores
from plm.precision import dtype_named
from plm.probe import Probe, Reading, TokenScores, TopTokens
from plm.readout import top_tokens
from plm.repeated import DEFAULT_KEPT_BYTES, RepeatedRows
from plm.rows import EncodedRow
from plm.states import attention_bias, lower_states, run_layers, upper_rows
from plm.text import collapse_spaces, fold_text, forbidden_character

__all__ = [
    "ARCHITECTURES",
    "DEFAULT_CACHE_BYTES",
    "DEFAULT_KEPT_BYTES",
    "MAX_OBJECT_TOKENS",
    "NORMALIZATIONS",
    "ROLES",
    "SCORINGS",
    "AnyLinear",
    "Architecture",
    "BaseModel",
    "BaseModelError",
    "BlockedLinear",
    "CacheStats",
    "Candidates",
    "ChoicePlan",
    "ChoiceScore",
    "Completion",
    "EncodedBatch",
    "EncodedPrompt",
    "EncodedRow",
    "EncodedText",
    "Engine",
    "GroupedLayer",
    "Head",
    "LayerWeights",
    "Layout",
    "Linear",
    "MaskCache",
    "MaskableWeight",
    "MaskedLayers",
    "MaskedLinear",
    "Norm",
    "ObjectError",
    "PackedRows",
    "Parameters",
    "PlainLinear",
    "PlmError",
    "PreparedPass",
    "Probe",
    "PromptError",
    "Query",
    "Ranking",
    "Reading",
    "RepeatedRows",
    "Role",
    "RowLimitError",
    "ScoreTerms",
    "Scored",
    "ScoredToken",
    "ScoringPlan",
    "Slots",
    "Template",
    "TemplateError",
    "TokenGroup",
    "TokenScores",
    "TopTokens",
    "activation_of",
    "answer_token_ids",
    "architecture_of",
    "attention_bias",
    "candidate_probes",
    "candidate_scores",
    "check_text",
    "check_wanted",
    "collapse_spaces",
    "collate",
    "complete",
    "default_layer_range",
    "dtype_named",
    "embedded_bases",
    "encode_prompt",
    "encode_texts",
    "fold_text",
    "forbidden_character",
    "load_base",
    "lower_states",
    "maskable_names",
    "maskable_weights",
    "masked_layers",
    "materialise",
    "object_text",
    "object_token_id",
    "pack_rows",
    "plan_choices",
    "plan_scores",
    "ranking",
    "read_in_passes",
    "run_layers",
    "score_choices",
    "span_slots",
    "token_layout",
    "tokenise_objects",
    "top_tokens",
    "transformer_layer",
    "upper_rows",
    "weights_digest",
]
