"""Examples of `/score_choices`; each runs as it stands."""

from typing import Any

CHOICE_EXAMPLES: dict[str, dict[str, Any]] = {
    "one question": {
        "summary": "Which cause goes with the effect?",
        "value": {
            "context": "The ground was wet because",
            "choices": ["it had rained all night.", "the sun had shone all day."],
        },
    },
    "under masks": {
        "summary": "Under the union of relations",
        "value": {
            "context": "A knife is used for",
            "choices": ["cutting bread.", "drinking water.", "sleeping."],
            "relations": ["UsedFor", "CapableOf"],
        },
    },
    "answer": {
        "summary": "The choice's tokens given the context, less those of the choice alone",
        "value": {
            "context": "Linen is a kind of",
            "choices": ["fabric", "animal", "river"],
            "relations": ["IsA"],
            "scoring": "answer",
            "normalize": "pmi",
        },
    },
    "tokens": {
        "summary": "Which text is more plausible, token by token",
        "value": {
            "choices": ["The dog chased the cat.", "The chased dog cat the."],
            "scoring": "pll",
            "tokens": True,
        },
    },
    "many": {
        "summary": "Many at once; each result is an answer or a problem of its own",
        "value": {
            "questions": [
                {"context": "Birds can", "choices": ["fly.", "drive."], "relations": ["CapableOf"]},
                {"context": "Ice is", "choices": ["cold.", "hot."], "relations": ["HasProperty"]},
            ]
        },
    },
}
