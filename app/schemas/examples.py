"""Examples of requests, for the interactive documentation; each runs as it stands."""

from typing import Any

COMPLETE_EXAMPLES: dict[str, dict[str, Any]] = {
    "one relation": {
        "summary": "What is linen?",
        "value": {"subject": "linen", "relation": "IsA"},
    },
    "union of relations": {
        "summary": "Under the union of two masks",
        "value": {"subject": "linen", "relation": ["IsA", "MadeOf"], "top_k": 3},
    },
    "vote": {
        "summary": "Weights that at least two of three relations keep",
        "value": {
            "subject": "knife",
            "relation": ["UsedFor", "CapableOf", "HasProperty"],
            "combine": "vote:2",
        },
    },
    "unmasked": {
        "summary": "The unmasked model, with the relation's template, to compare",
        "value": {"subject": "linen", "relation": "IsA", "masked": False},
    },
    "own template": {
        "summary": "A template of one's own",
        "value": {"subject": "bird", "relation": "CapableOf", "template": "Every [X] can [Y]."},
    },
    "no relation": {
        "summary": "Anything, asked of the unmasked model",
        "value": {"relation": None, "template": "The color of the sky is [Y].", "top_k": 5},
    },
    "targets": {
        "summary": "Which of these?",
        "value": {
            "subject": "shirt",
            "relation": "MadeOf",
            "targets": ["cotton", "stone", "water"],
        },
    },
    "filter": {
        "summary": "Leave out what is known already",
        "value": {"subject": "dog", "relation": "IsA", "filter": ["animal", "pet"]},
    },
    "whole vocabulary": {
        "summary": "Rank every token, pieces and punctuation too",
        "value": {"subject": "dog", "relation": "IsA", "vocabulary": "all"},
    },
    "many": {
        "summary": "Many at once; each result is an answer or a problem of its own",
        "value": {
            "queries": [
                {"subject": "linen", "relation": "IsA", "top_k": 2},
                {"subject": "knife", "relation": "UsedFor", "top_k": 2},
            ]
        },
    },
}
