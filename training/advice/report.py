"""What a check found, and ranked templates, as Markdown."""

from collections.abc import Sequence

from training.advice.check import Check, RelationSummary
from training.advice.findings import Finding
from training.advice.ranking import RankedTemplate
from training.evaluation.report import markdown_table

SHOWN_EXAMPLES = 5

TEMPLATE_HEADS = ["template", "MRR, unmasked", "log-probability", "facts"]


def check_markdown(check: Check, *, examples: int = SHOWN_EXAMPLES) -> str:
    """The whole check: relations, problems, notes, templates; the first examples of each."""
    lines = [f"# Check of {check.files.name} for {check.base}", *check.files.summaries]
    rows = [_relation_row(one) for one in check.relations]
    heads = ["relation", "facts", "usable", "train / validation / test", "objects"]
    heads += ["commonest object", "templates", "MRR, unmasked"]
    lines.append(markdown_table(heads, rows))
    for title, wanted in (("Problems", True), ("Notes", False)):
        found = [finding for finding in check.findings if finding.problem is wanted]
        if found:
            lines.append(f"## {title}")
            lines += [_finding_text(finding, examples) for finding in found]
    lines.append("## Templates")
    for one in check.relations:
        if one.ranked:
            table = markdown_table(TEMPLATE_HEADS, template_rows(one.ranked))
            lines.append(f"{one.relation} ({one.origin}):\n\n{table}")
    problems = sum(finding.problem for finding in check.findings)
    lines.append(
        "No problem was found."
        if check.sound
        else f"{problems} problem{'s were' if problems > 1 else ' was'} found."
    )
    return "\n\n".join(lines) + "\n"


def template_rows(ranked: Sequence[RankedTemplate]) -> list[list[str]]:
    """A line for each template: text, MRR, mean log-probability, facts."""
    return [
        [f"`{one.text}`", f"{one.mrr:.3f}", f"{one.log_probability:.2f}", f"{one.facts:,}"]
        for one in ranked
    ]


def _relation_row(one: RelationSummary) -> list[str]:
    return [
        one.relation,
        f"{one.facts:,}",
        f"{one.usable:,}",
        " / ".join(f"{count:,}" for count in one.parts),
        f"{one.objects:,}",
        "" if one.commonest is None else f"{one.commonest[0]} ({one.commonest[1]:.0%})",
        one.origin if one.ranked else "none",
        f"{one.ranked[0].mrr:.3f}" if one.ranked else "",
    ]


def _finding_text(finding: Finding, examples: int) -> str:
    lines = [f"### {finding.title}", "", finding.advice]
    if finding.examples:
        lines.append("")
        # As code: nothing in a fact is taken for a mark of Markdown.
        lines += [f"- `{text.replace('`', chr(39))}`" for text in finding.examples[:examples]]
        if (more := len(finding.examples) - examples) > 0:
            lines.append(f"- and {more:,} more")
    return "\n".join(lines)
