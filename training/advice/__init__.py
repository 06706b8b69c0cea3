"""Help with data of a user's own, before anything is learned from it.

`check_facts` gathers what is worth knowing: objects that the base cannot say, facts that leak from
one part of the split into another, relations without sentences. `propose_templates` writes
sentences for a relation, and the unmasked model ranks them.
"""

from training.advice.check import Check, RelationSummary, check_facts, findings_of
from training.advice.findings import Finding
from training.advice.ranking import RankedTemplate, rank_templates
from training.advice.report import check_markdown, template_rows
from training.advice.templates import (
    Proposal,
    complete_templates,
    proposals_for,
    propose_templates,
    save_templates,
    single_token_facts,
)
from training.advice.vocabulary import OutsideObject, objects_outside
from training.advice.wordings import name_words, wordings_of

__all__ = [
    "Check",
    "Finding",
    "OutsideObject",
    "Proposal",
    "RankedTemplate",
    "RelationSummary",
    "check_facts",
    "check_markdown",
    "complete_templates",
    "findings_of",
    "name_words",
    "objects_outside",
    "proposals_for",
    "propose_templates",
    "rank_templates",
    "save_templates",
    "single_token_facts",
    "template_rows",
    "wordings_of",
]
