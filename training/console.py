"""What the commands of training print: what was read, how learning goes, what was fitted."""

import resource
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from training.advice import Finding, Proposal
from training.calibration import Fit
from training.facts import Facts
from training.run import Event

console = Console()
_SHOWN_PROBLEMS = 5


def show_facts(facts: Facts, out: Path | None, prefix: str = "") -> None:
    """Print what was read and passed over; every passed-over line goes into a file of `out`."""
    for summary in facts.summaries:
        console.print(summary)
    problems = [f"{line.source} line {line.number}: {line.reason}" for line in facts.bad_lines] + [
        f"<{item.triple.subject}, {item.triple.relation}, {item.triple.object}>: {item.reason}"
        for item in facts.rejected
    ]
    if not problems:
        return
    for problem in problems[:_SHOWN_PROBLEMS]:
        console.print(f"  passed over: {problem}", style="yellow", markup=False)
    rest = len(problems) - _SHOWN_PROBLEMS
    where = ""
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        path = out / f"{prefix}passed-over.txt"
        path.write_text("\n".join(problems) + "\n", encoding="utf-8")
        where = f" (all in {path})"
    if rest > 0:
        console.print(f"  and {rest:,} more{where}", style="yellow")


def show_advice(findings: Sequence[Finding]) -> None:
    """A line on each problem with its first example; `relata check` has all of them."""
    problems = [finding for finding in findings if finding.problem]
    for finding in problems:
        example = f", e.g. {finding.examples[0]}" if finding.examples else ""
        console.print(f"  {finding.title}{example}", style="yellow", markup=False)
    if problems:
        console.print("  `relata check` says more of them and of what would be right")


def show_proposals(proposals: Mapping[str, Proposal], path: Path) -> None:
    """Say which relations had no templates, and which are used for them."""
    for relation, proposal in proposals.items():
        best = proposal.ranked[0]
        console.print(
            f"{relation} has no templates: {best.text!r} is used for evaluation (MRR "
            f"{best.mrr:.3f}, unmasked), {len(proposal.templates.training)} others for training",
            markup=False,
        )
    if proposals:
        console.print(f"  they are in {path}; better ones of your own go to --templates")


def show_event(progress: Progress, task: TaskID, event: Event) -> None:
    """Move the bar, and print a line on each relation that is done."""
    place = f"{event.relation} ({event.index + 1} of {event.relations})"
    if event.resumed:
        progress.console.print(f"{place}: already learned, resumed past it")
    elif event.progress is not None:
        now = event.progress
        progress.update(
            task,
            completed=event.share,
            description=f"{place} loss {now.loss:.2f}, validation MRR {now.validation_mrr:.3f}",
        )
    elif event.learned is not None:
        metrics = event.learned.validation
        progress.console.print(
            f"{place}: validation MRR {metrics['mrr']:.3f} "
            f"(unmasked {metrics['unmasked_mrr']:.3f}), "
            f"chosen at step {event.learned.step} of {event.learned.steps}"
        )
        if event.fit is not None:
            progress.console.print(f"  {fit_line(event.fit)}")
        progress.update(task, completed=event.share)


def peak_memory() -> str:
    """The most memory that this process took, and that it took of the GPU if there is one."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in KiB, macOS in bytes.
    text = f"{peak * (1 if sys.platform == 'darwin' else 1024) / 2**20:,.0f} MiB"
    if torch.cuda.is_available():
        text += f", {torch.cuda.max_memory_allocated() / 2**20:,.0f} MiB on the GPU"
    return text


def fit_line(fit: Fit) -> str:
    """A line on a mask's calibration, or on why there is none."""
    found = fit.calibration
    if found is None:
        return f"not calibrated: {fit.reason}"
    return (
        f"calibrated: slope {found.slope:.2f}, intercept {found.intercept:+.2f}, likely true from "
        f"{found.threshold:.1%}: precision {found.precision:.1%}, recall {found.recall:.1%}, "
        f"F1 {found.f1:.3f} on validation facts"
    )


class TimeLeftColumn(ProgressColumn):
    """Time left if the rest goes on as what is done did, seen from the start.

    Learning tells of its progress at validations only, seconds to minutes apart: too seldom for an
    estimate from the last moments.
    """

    def render(self, task: Task) -> Text:
        """The estimate, or dashes before there is one."""
        share, elapsed = task.percentage / 100, task.finished_time or task.elapsed
        if not share or elapsed is None:
            return Text("-:--:-- left")
        left = timedelta(seconds=round(elapsed * (1 - share) / share))
        return Text(f"{left} left")


def learning_bar(description: str) -> AbstractContextManager[tuple[Progress, TaskID]]:
    """A bar of the share that is done, from 0 to 1, with the time it takes and what is left."""
    return _bar(description, TaskProgressColumn(), total=1.0)


def steady_bar(description: str) -> AbstractContextManager[tuple[Progress, TaskID]]:
    """A bar with the count of what is done, where each step takes about as long, maybe minutes."""
    return _bar(description, MofNCompleteColumn(), total=None)


@contextmanager
def _bar(
    description: str, done: ProgressColumn, *, total: float | None
) -> Iterator[tuple[Progress, TaskID]]:
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        done,
        TimeElapsedColumn(),
        TimeLeftColumn(),
        console=console,
    ) as progress:
        yield progress, progress.add_task(description, total=total)


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """A bar with the count of what is done and the time it takes."""
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
    ) as progress:
        yield progress
