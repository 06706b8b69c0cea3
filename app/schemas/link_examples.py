"""Examples of requests about links, triples and paths; each runs as it stands."""

from typing import Any

LINK_EXAMPLES: dict[str, dict[str, Any]] = {
    "objects": {
        "summary": "What is a dog?",
        "value": {"subject": "dog", "relation": "IsA", "top_k": 5},
    },
    "subjects": {
        "summary": "What is made of wood?",
        "value": {"relation": "MadeOf", "object": "wood", "top_k": 5},
    },
    "candidates": {
        "summary": "Which of these, phrases among them?",
        "value": {
            "subject": "knife",
            "relation": "UsedFor",
            "candidates": ["cut food", "eat", "sleep", "cut paper"],
        },
    },
    "truth": {
        "summary": "Where does the truth rank, other truths left out?",
        "value": {
            "subject": "dog",
            "relation": "IsA",
            "truth": ["animal", "pet"],
            "filter": ["cat"],
            "top_k": 3,
        },
    },
    "union of relations": {
        "summary": "Under the union of two masks",
        "value": {"subject": "shirt", "relation": ["MadeOf", "IsA"], "top_k": 3},
    },
    "evaluation": {
        "summary": "Many at once, with mean ranks",
        "value": {
            "queries": [
                {"subject": "dog", "relation": "IsA", "truth": "animal", "top_k": 1},
                {"relation": "MadeOf", "object": "paper", "truth": "house", "top_k": 1},
            ]
        },
    },
}

TRIPLE_EXAMPLES: dict[str, dict[str, Any]] = {
    "word": {
        "summary": "Is a dog an animal?",
        "value": {"subject": "dog", "relation": "IsA", "object": "animal"},
    },
    "phrase": {
        "summary": "An object of several tokens",
        "value": {"subject": "knife", "relation": "UsedFor", "object": "cut paper"},
    },
    "many": {
        "summary": "Many at once; each result is an answer or a problem of its own",
        "value": {
            "triples": [
                {"subject": "shirt", "relation": "MadeOf", "object": "cotton"},
                {"subject": "shirt", "relation": "MadeOf", "object": "stone"},
            ]
        },
    },
}

PATH_EXAMPLES: dict[str, dict[str, Any]] = {
    "two hops": {
        "summary": "What properties has what a dog is?",
        "value": {"subject": "dog", "relations": ["IsA", "HasProperty"], "top_k": 3},
    },
    "three hops": {
        "summary": "With a union of masks on the way, and a narrower beam",
        "value": {
            "subject": "shirt",
            "relations": ["MadeOf", ["IsA", "HasA"], "UsedFor"],
            "beam": 5,
            "top_k": 3,
        },
    },
    "own templates": {
        "summary": "A sentence of one's own for the second hop",
        "value": {
            "subject": "bird",
            "relations": ["IsA", "CapableOf"],
            "templates": [None, "Every [X] can [Y]."],
            "top_k": 3,
        },
    },
}
