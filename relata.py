"""The command line: the composition root, which alone may know both the service and training."""

import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from app.client import AsyncClient, Client, RelataConnectionError, RelataError, RelataProblem
    from app.fill import FillOptions
    from app.fill.ray_data import complete_dataset
    from app.settings import Settings, load_settings

# For programs: `relata.Client` and what belongs to it, and what completes a dataset of Ray Data.
# The rest of this file is the command line.
__all__ = [
    "AsyncClient",
    "Client",
    "FillOptions",
    "RelataConnectionError",
    "RelataError",
    "RelataProblem",
    "complete_dataset",
    "load_settings",
]

_HOMES = {
    "FillOptions": "app.fill",
    "complete_dataset": "app.fill.ray_data",
    "load_settings": "app.settings",
}


def __getattr__(name: str) -> object:
    """Names for programs, imported when they are asked for: commands need no httpx."""
    if name not in __all__:
        raise AttributeError(f"module 'relata' has no attribute {name!r}")
    return getattr(import_module(_HOMES.get(name, "app.client")), name)


app = typer.Typer(
    name="relata",
    help="Relation-specialised masked language models: serve them, ask them, look at their masks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
masks_app = typer.Typer(
    help="Look at mask packs, check them, cut expectations, import masks.",
    no_args_is_help=True,
)
app.add_typer(masks_app, name="masks")
pack_app = typer.Typer(help="Send mask packs to others, and fetch theirs.", no_args_is_help=True)
app.add_typer(pack_app, name="pack")

# Settings are given on as text: `app.settings` alone decides what is right.
Base = Annotated[
    str | None, typer.Option(metavar="NAME", help="Embedded base, folder or hub id. [RELATA_BASE]")
]
Packs = Annotated[
    str | None,
    typer.Option(metavar="FOLDERS", help="Mask packs, separated by commas. [RELATA_PACKS]"),
]
Device = Annotated[
    str | None, typer.Option(metavar="DEVICE", help="auto, cpu, cuda, cuda:N. [RELATA_DEVICE]")
]
Dtype = Annotated[
    str | None, typer.Option(metavar="TYPE", help="auto, float32, bfloat16 or int8. [RELATA_DTYPE]")
]
Threads = Annotated[
    str | None, typer.Option(metavar="N", help="CPU threads of a forward pass. [RELATA_THREADS]")
]
CombineOption = Annotated[
    str | None, typer.Option(help="union (default), intersection, difference or vote:k.")
]
TemplateOption = Annotated[
    str | None, typer.Option(help="A sentence with [X] and [Y] (default: the relation's).")
]
Unmasked = Annotated[bool, typer.Option("--unmasked", help="Ask the unmasked model.")]
Pack = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="The pack (default: those of RELATA_PACKS)."),
]


def _version(wanted: bool) -> None:
    if wanted:
        from app.version import relata_version

        typer.echo(f"relata {relata_version()}")
        raise typer.Exit


@app.callback()
def _relata(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Relation-specialised masked language models."""


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    add_help_option=False,
)
def serve(context: typer.Context) -> None:
    """Start the REST service; every setting is a flag, see `relata serve --help`."""
    from app.commands import flags
    from app.commands import serve as command

    if "--help" in context.args:
        flags.show_help()
        return
    command.run(_settings(flags.parse(context.args)))


@app.command()
def complete(
    subject: Annotated[str, typer.Argument(help="What the question is about, e.g. linen.")],
    relation: Annotated[
        str, typer.Argument(help="A relation, or several separated by commas, e.g. IsA,MadeOf.")
    ],
    *,
    combine: CombineOption = None,
    top_k: Annotated[int, typer.Option(help="How many completions.")] = 10,
    template: TemplateOption = None,
    unmasked: Unmasked = False,
    json: Annotated[bool, typer.Option("--json", help="Print what the server would send.")] = False,
    base: Base = None,
    packs: Packs = None,
    device: Device = None,
    dtype: Dtype = None,
    threads: Threads = None,
) -> None:
    """Answer one query without a server."""
    settings = _settings(
        {"base": base, "packs": packs, "device": device, "dtype": dtype, "threads": threads}
    )
    from app.commands import complete as command
    from app.features.specialise import relations_of

    command.run(
        settings,
        {
            "subject": subject,
            "relation": relations_of(relation),
            "combine": combine,
            "top_k": top_k,
            "template": template,
            "masked": not unmasked,
        },
        as_json=json,
    )


@app.command()
def fill(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT", help="Rows: .csv, .tsv, .jsonl or .parquet; with --ray also a folder."
        ),
    ],
    output: Annotated[
        Path,
        typer.Argument(
            metavar="OUTPUT",
            help="The rows with their completions, likewise; with --ray a folder of .parquet.",
        ),
    ],
    *,
    relation: Annotated[
        str | None, typer.Option(help="Of all rows, or several separated by commas.")
    ] = None,
    subject_column: Annotated[str, typer.Option(help="Column of the subjects.")] = "subject",
    relation_column: Annotated[str, typer.Option(help="Column of the relations.")] = "relation",
    combine: CombineOption = None,
    top_k: Annotated[int, typer.Option(min=1, help="Completions of each row.")] = 1,
    template: TemplateOption = None,
    targets: Annotated[
        str | None, typer.Option(help="Rank only these words, separated by commas.")
    ] = None,
    likely: Annotated[
        bool, typer.Option("--likely", help="Only completions that are likely true.")
    ] = False,
    unmasked: Unmasked = False,
    restart: Annotated[
        bool, typer.Option("--restart", help="Begin again instead of going on.")
    ] = False,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Run on Ray: local, auto (this machine's cluster) or HOST:PORT of a cluster.",
        ),
    ] = None,
    ray_actors: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Models at work, of --threads (1) each (default: all)."
        ),
    ] = None,
    base: Base = None,
    packs: Packs = None,
    device: Device = None,
    dtype: Dtype = None,
    threads: Threads = None,
) -> None:
    """Complete every row of a file; a run that is broken off goes on where it was."""
    if ray is None and ray_actors is not None:
        raise typer.BadParameter("it needs --ray", param_hint="--ray-actors")
    if ray is not None and restart:
        raise typer.BadParameter("with --ray every run begins anew", param_hint="--restart")
    settings = _settings(
        {"base": base, "packs": packs, "device": device, "dtype": dtype, "threads": threads}
    )
    from app.commands import fill as command
    from app.fill import FillOptions

    words = None if targets is None else tuple(word.strip() for word in targets.split(","))
    options = FillOptions(
        subject_column=subject_column,
        relation_column=relation_column,
        relation=relation,
        combine=combine,
        top_k=top_k,
        template=template,
        masked=not unmasked,
        targets=words,
        likely=likely,
    )
    if ray is not None:
        command.run_on_ray(settings, source, output, options, address=ray, actors=ray_actors)
        return
    command.run(settings, source, output, options, restart=restart)


Data = Annotated[
    list[Path],
    typer.Option(metavar="PATH", help="A file or folder of triples; may be given several times."),
]
Further = Annotated[
    list[Path] | None,
    typer.Option(metavar="PATH", help="Further triples to learn from, never to test on."),
]
Templates = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help="Wordings of your relations (JSON), beside the shipped."),
]
DataFormat = Annotated[
    str, typer.Option("--format", help="auto, tsv, csv, jsonl, lama or conceptnet-100k.")
]
Seed = Annotated[int, typer.Option(help="Of the split, the start and the order of learning.")]
ThreadCount = Annotated[
    int | None, typer.Option("--threads", min=1, metavar="N", help="CPU threads.")
]
TrainBase = Annotated[
    str, typer.Option("--base", metavar="NAME", help="Embedded base, folder or hub id.")
]
OnlyRelations = Annotated[
    list[str] | None, typer.Option(help="This relation only; may be repeated.")
]
ObjectTokens = Annotated[
    int, typer.Option(min=1, max=32, metavar="N", help="Tokens that an object may have.")
]
OutFolder = Annotated[Path, typer.Option(metavar="FOLDER", help="Where the results go.")]


@app.command()
def train(
    *,
    data: Data,
    out: OutFolder,
    base: Annotated[
        str, typer.Option(metavar="NAME", help="Embedded base, folder or hub id.")
    ] = "minilm-l6-mlm",
    templates: Templates = None,
    further: Further = None,
    relation: Annotated[
        list[str] | None, typer.Option(help="Learn this relation only; may be repeated.")
    ] = None,
    format: DataFormat = "auto",
    preset: Annotated[
        str,
        typer.Option(
            help="near-identity, paper, paper-stochastic, stochastic, top-k or hard-concrete."
        ),
    ] = "near-identity",
    method: Annotated[
        str | None,
        typer.Option(help="deterministic, stochastic, top-k or hard-concrete (default: preset's)."),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=NUMBER", help="Of the method; may be repeated."),
    ] = None,
    export: Annotated[
        str | None,
        typer.Option(help="binary, or for stochastic also expectation (default: preset's)."),
    ] = None,
    score_mean: Annotated[float | None, typer.Option(help="Of the scores at the start.")] = None,
    score_deviation: Annotated[
        float | None, typer.Option(help="Of the scores at the start.")
    ] = None,
    learning_rate: Annotated[
        list[float] | None,
        typer.Option(help="Of the scores; of several, validation chooses each relation's."),
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the facts.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Facts a step.")] = None,
    wordings: Annotated[
        int | None, typer.Option(help="Sentences under which a step shows each of its facts.")
    ] = None,
    schedule: Annotated[
        str | None, typer.Option(help="Of the rate: constant, linear or cosine.")
    ] = None,
    first_layer: Annotated[int | None, typer.Option(help="First masked layer, from 1.")] = None,
    precision: Annotated[
        str | None, typer.Option(help="Of the products: float32 or bfloat16.")
    ] = None,
    remember: Annotated[
        Path | None,
        typer.Option(metavar="PATH", help="Text on which answers are to stay as they are."),
    ] = None,
    remember_weight: Annotated[
        float | None, typer.Option(help="Of that text, beside the facts (default 0.3).")
    ] = None,
    object_tokens: ObjectTokens = 1,
    seed: Seed = 0,
    name: Annotated[str | None, typer.Option(help="Name of the pack (default: --out's).")] = None,
    threads: ThreadCount = None,
    together: Annotated[
        int, typer.Option(min=1, help="Relations that are learned side by side.")
    ] = 1,
    random_weights: Annotated[
        int | None,
        typer.Option(metavar="SEED", help="A control: draw the base's weights from this seed."),
    ] = None,
    learning_curve: Annotated[
        bool,
        typer.Option("--learning-curve", help="Learn from a quarter and a half of the facts too."),
    ] = False,
) -> None:
    """Learn a mask for each relation of your triples, and report on held-out facts."""
    from training.commands import train_command

    train_command(
        data=data,
        out=out,
        base=base,
        preset=preset,
        changes={
            "learning_rate": learning_rate[0] if learning_rate else None,
            "epochs": epochs,
            "batch_size": batch_size,
            "wordings": wordings,
            "schedule": schedule,
            "precision": precision,
            "remember": 0.3 if remember and remember_weight is None else remember_weight,
            "first_layer": first_layer,
            "method": method,
            "export": export,
            "score_mean": score_mean,
            "score_deviation": score_deviation,
        },
        options=option or (),
        templates=templates,
        further=further or (),
        relations=relation or (),
        format=format,  # type: ignore[arg-type]  # the reader refuses what it does not know
        seed=seed,
        name=name,
        threads=threads,
        together=together,
        random_weights=random_weights,
        remember=remember,
        object_tokens=object_tokens,
        further_rates=(learning_rate or ())[1:],
        learning_curve=learning_curve,
    )


@app.command()
def check(
    *,
    data: Data,
    base: TrainBase = "minilm-l6-mlm",
    templates: Templates = None,
    relation: OnlyRelations = None,
    format: DataFormat = "auto",
    seed: Annotated[int, typer.Option(help="Of the split, as in training.")] = 0,
    object_tokens: ObjectTokens = 1,
    examples: Annotated[int, typer.Option(min=0, help="Shown of each finding.")] = 5,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the report there, all examples.")
    ] = None,
) -> None:
    """Say what is wrong with your triples before anything is learned; exit with 1 if there is."""
    from training.commands import check_command

    sound = check_command(
        data=data,
        base=base,
        templates=templates,
        relations=relation or (),
        format=format,  # type: ignore[arg-type]  # the reader refuses what it does not know
        seed=seed,
        out=out,
        object_tokens=object_tokens,
        examples=examples,
    )
    if not sound:
        raise typer.Exit(1)


@app.command()
def templates(
    *,
    data: Data,
    base: TrainBase = "minilm-l6-mlm",
    templates: Templates = None,
    relation: OnlyRelations = None,
    format: DataFormat = "auto",
    seed: Annotated[int, typer.Option(help="Of the split, as in training.")] = 0,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the templates there, as JSON.")
    ] = None,
) -> None:
    """Rank the sentences of your relations by the unmasked model, and propose missing ones."""
    from training.commands import templates_command

    templates_command(
        data=data,
        base=base,
        templates=templates,
        relations=relation or (),
        format=format,  # type: ignore[arg-type]  # the reader refuses what it does not know
        seed=seed,
        out=out,
    )


@app.command()
def calibrate(
    *,
    pack: Annotated[Path, typer.Option(metavar="FOLDER", help="The pack to calibrate.")],
    split: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The split of the run that made the pack.")
    ] = None,
    data: Annotated[
        list[Path] | None,
        typer.Option(metavar="PATH", help="In place of a split: the triples it was learned from."),
    ] = None,
    further: Annotated[
        list[Path] | None,
        typer.Option(metavar="PATH", help="The further triples it was learned with."),
    ] = None,
    relation: Annotated[
        list[str] | None, typer.Option(help="Calibrate this mask only; may be repeated.")
    ] = None,
    base: Annotated[
        str | None, typer.Option(metavar="NAME", help="The base (default: the pack's).")
    ] = None,
    format: DataFormat = "auto",
    seed: Annotated[int, typer.Option(help="Of the split, as in training; with --data.")] = 0,
    threads: ThreadCount = None,
) -> None:
    """Fit again how likely a pack's answers are true, on the validation facts; masks stay."""
    from training.commands import calibrate_command

    calibrate_command(
        pack=pack,
        base=base,
        split=split,
        data=data or (),
        further=further or (),
        relations=relation or (),
        format=format,  # type: ignore[arg-type]  # the reader refuses what it does not know
        seed=seed,
        threads=threads,
    )


@app.command()
def baselines(
    *,
    pack: Annotated[Path, typer.Option(metavar="FOLDER", help="The pack to hold them against.")],
    out: OutFolder,
    split: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The split that `train` made.")
    ] = None,
    data: Annotated[
        list[Path] | None, typer.Option(metavar="PATH", help="Or the triples it was given.")
    ] = None,
    base: Annotated[
        str | None, typer.Option(metavar="NAME", help="The base (default: the pack's).")
    ] = None,
    further: Annotated[
        list[Path] | None,
        typer.Option(metavar="PATH", help="The further triples that `train` was given."),
    ] = None,
    relation: Annotated[
        list[str] | None, typer.Option(help="This relation only; may be repeated.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="fine-tuning or lora; may be repeated.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the facts.")] = None,
    format: DataFormat = "auto",
    seed: Seed = 0,
    threads: ThreadCount = None,
) -> None:
    """Learn fine-tuned weights and LoRA on the facts of a pack's masks, and report all of them."""
    from training.commands import baselines_command

    baselines_command(
        pack=pack,
        out=out,
        base=base,
        split=split,
        data=data or (),
        further=further or (),
        relations=relation or (),
        only=only or (),
        epochs=epochs,
        format=format,  # type: ignore[arg-type]  # the reader refuses what it does not know
        seed=seed,
        threads=threads,
    )


@app.command()
def evaluate(
    *,
    pack: Annotated[Path, typer.Option(metavar="FOLDER", help="The pack to assess.")],
    split: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A split of `train`: its test facts.")
    ] = None,
    data: Annotated[
        list[Path] | None, typer.Option(metavar="PATH", help="Files of triples: all their facts.")
    ] = None,
    prior_data: Annotated[
        list[Path] | None,
        typer.Option(metavar="PATH", help="Training triples, for the frequency prior."),
    ] = None,
    base: Annotated[
        str | None, typer.Option(metavar="NAME", help="The base (default: the pack's).")
    ] = None,
    further: Annotated[
        list[Path] | None,
        typer.Option(metavar="PATH", help="The further triples that `train` was given."),
    ] = None,
    templates: Templates = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Where report.md and report.json go.")
    ] = None,
    format: DataFormat = "auto",
    seed: Seed = 0,
    threads: ThreadCount = None,
    dtype: Annotated[
        str,
        typer.Option(metavar="TYPE", help="Of products: float32, bfloat16, int8 or auto."),
    ] = "float32",
) -> None:
    """Rank held-out facts with a pack's masks, beside the unmasked model and the controls."""
    from training.commands import evaluate_command

    evaluate_command(
        pack=pack,
        base=base,
        split=split,
        data=data or (),
        prior_data=prior_data or (),
        further=further or (),
        templates=templates,
        out=out,
        format=format,  # type: ignore[arg-type]  # the reader refuses what it does not know
        seed=seed,
        threads=threads,
        dtype=dtype,
    )


@app.command()
def study(
    *,
    pack: Annotated[
        list[Path],
        typer.Option(metavar="FOLDER", help="The pack; further ones are of other seeds."),
    ],
    out: OutFolder,
    split: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The split that `train` made.")
    ] = None,
    data: Annotated[
        list[Path] | None, typer.Option(metavar="PATH", help="Or the triples it was given.")
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="overlap, ablation, seeds, embedding, attention or layers; "
            "several with commas (default: all but layers, which learns)."
        ),
    ] = None,
    relation: OnlyRelations = None,
    base: Annotated[
        str | None, typer.Option(metavar="NAME", help="The base (default: the pack's).")
    ] = None,
    format: DataFormat = "auto",
    seed: Annotated[int, typer.Option(help="Of the split, as in training, and of all draws.")] = 0,
    learn_seed: Annotated[
        list[int] | None, typer.Option(help="That layers learns with; may be repeated.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the facts, in layers.")] = None,
    threads: ThreadCount = None,
) -> None:
    """Study a pack's masks, and write one page of figures and tables on them."""
    from training.commands import study_command

    study_command(
        packs=pack,
        out=out,
        base=base,
        split=split,
        data=data or (),
        only=only or (),
        relations=relation or (),
        format=format,  # type: ignore[arg-type]  # the reader refuses what it does not know
        seed=seed,
        learn_seeds=learn_seed or (),
        epochs=epochs,
        threads=threads,
    )


@app.command()
def unions(
    *,
    pack: Annotated[Path, typer.Option(metavar="FOLDER", help="The pack of the relations.")],
    questions: Annotated[
        Path,
        typer.Option(
            metavar="FILE", help="Bodies of /score_choices with `answer`, one JSON object a line."
        ),
    ],
    out: OutFolder,
    sizes: Annotated[
        str, typer.Option(metavar="N,N", help="How many relations to unite.")
    ] = "1,2,3",
    search: Annotated[
        str, typer.Option(help="exhaustive (all unions) or greedy (forward selection alone).")
    ] = "exhaustive",
    scoring: Annotated[
        str | None,
        typer.Option(help="pll, pll_l2r, context or answer (default: as /score_choices)."),
    ] = None,
    normalize: Annotated[
        str | None, typer.Option(help="none (default), token, char or pmi.")
    ] = None,
    limit_relations: Annotated[
        list[str] | None,
        typer.Option(metavar="NAMES", help="These relations only, separated by commas."),
    ] = None,
    base: Annotated[
        str | None, typer.Option(metavar="NAME", help="The base (default: the pack's).")
    ] = None,
    folds: Annotated[int, typer.Option(help="Of the cross-validation.")] = 5,
    seed: Annotated[int, typer.Option(help="Of the folds and the bootstrap.")] = 0,
    threads: ThreadCount = None,
) -> None:
    """Find the relations to unite for a multiple-choice task; goes on where it was broken off."""
    from training.commands import unions_command

    unions_command(
        pack=pack,
        questions=questions,
        out=out,
        sizes=sizes,
        search=search,
        scoring=scoring,
        normalize=normalize,
        relations=limit_relations or (),
        base=base,
        folds=folds,
        seed=seed,
        threads=threads,
    )


@app.command()
def adapt(
    source: Annotated[str, typer.Argument(help="An encoder or masked LM: folder or hub id.")],
    *,
    text: Annotated[
        Path, typer.Option(metavar="FOLDER", help="A folder of .txt, .txt.xz or .txt.gz files.")
    ],
    out: OutFolder,
    settings: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Settings as a JSON object.")
    ] = None,
    token_budget: Annotated[int | None, typer.Option(help="Word pieces to read.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Of the upper layers.")] = None,
    frozen_layers: Annotated[
        int | None, typer.Option(help="Keep the embeddings and so many layers as they are.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of the order and of what is masked.")] = None,
    threads: ThreadCount = None,
) -> None:
    """Turn an encoder back into a masked language model, on a folder of text."""
    from training.commands import adapt_command

    adapt_command(
        source=source,
        text=text,
        out=out,
        settings=settings,
        changes={
            "token_budget": token_budget,
            "learning_rate": learning_rate,
            "frozen_layers": frozen_layers,
            "seed": seed,
        },
        threads=threads,
    )


@masks_app.command("list")
def list_masks(pack: Pack = None) -> None:
    """List the relations."""
    from app.commands import masks as command

    command.show_list(pack)


@masks_app.command("show")
def show_mask(
    relation: Annotated[str, typer.Argument(help="A relation.")], pack: Pack = None
) -> None:
    """Show what a relation's mask says of itself."""
    from app.commands import masks as command

    command.show_mask(relation, pack)


@masks_app.command("verify")
def verify_masks(pack: Pack = None) -> None:
    """Check every file; exit with 1 if one does not hold."""
    from app.commands import masks as command

    if not command.verify(pack):
        raise typer.Exit(1)


@masks_app.command("import-lamp")
def import_lamp(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Of the LAMP paper.")],
    *,
    base: Annotated[
        str,
        typer.Option(metavar="NAME", help="The base they were learned on: folder or hub id."),
    ],
    out: Annotated[Path, typer.Option(metavar="PACK", help="A pack, new or of the same base.")],
    relation: Annotated[
        str | None, typer.Option(help="Of a single file (default: what its name says).")
    ] = None,
    templates: Templates = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace relations that the pack has.")
    ] = False,
) -> None:
    """Turn score files that the LAMP paper's code saved into masks, without running pickles."""
    from training.commands import import_lamp_command

    import_lamp_command(
        files=files,
        base=base,
        out=out,
        relation=relation,
        templates=templates,
        replace=replace,
    )


@masks_app.command("threshold")
def threshold_mask(
    pack: Annotated[Path, typer.Argument(help="The pack.")],
    relation: Annotated[str, typer.Argument(help="A relation whose mask has 8 bits a weight.")],
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="The pack that gets the new mask.")],
    at: Annotated[
        float,
        typer.Option(metavar="SHARE", help="Keep the weights whose value reaches it, 0 to 1."),
    ] = 0.5,
) -> None:
    """Make a mask of one bit a weight of one of 8 bits, which can be combined with others."""
    from app.commands import masks as command

    command.cut_expectation(pack, relation, threshold=at, out=out)


@pack_app.command("push")
def push_pack(
    pack: Annotated[Path, typer.Argument(help="The pack's folder.")],
    target: Annotated[
        str,
        typer.Argument(help="hf://owner/name, ...@branch, .../path, a folder, a store's URL."),
    ],
    *,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace a pack that is there.")
    ] = False,
    private: Annotated[
        bool, typer.Option("--private", help="Where a repository is made: a private one.")
    ] = False,
) -> None:
    """Check a pack and send it to the Hugging Face Hub, a folder or a store."""
    from app.commands import packs as command

    command.push(pack, target, replace=replace, private=private)


@pack_app.command("pull")
def pull_pack(
    source: Annotated[
        str,
        typer.Argument(help="hf://owner/name, ...@revision, .../path, a URL, a folder."),
    ],
    folder: Annotated[Path, typer.Argument(help="Where the pack goes.")],
    *,
    relation: OnlyRelations = None,
    expect: Annotated[
        str | None,
        typer.Option(metavar="DIGEST", help="Refuse any pack but the one with this digest."),
    ] = None,
    base: Annotated[
        str | None, typer.Option(metavar="NAME", help="Refuse a pack for another base.")
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace a pack that is in the folder.")
    ] = False,
) -> None:
    """Fetch a pack, check every mask, and put it in a folder."""
    from app.commands import packs as command

    command.pull(
        source, folder, relations=relation or (), expected=expect, base=base, replace=replace
    )


def main() -> None:
    """Run the command line. A mistake of the user is one line on standard error and exit code 2."""
    try:
        app()
    except Exception as error:
        if (line := _mistake(error)) is None:
            raise
        typer.echo(f"relata: {line}", err=True)
        sys.exit(2)


def _settings(flags: Mapping[str, str | None]) -> "Settings":
    """Settings of a command that runs the model; a mistake in them is told before it is loaded."""
    from app.settings import load_settings

    return load_settings(flags)


def _mistake(error: Exception) -> str | None:
    """What to tell the user of an error that is theirs to mend; None for one that is ours."""
    from app.mistakes import mistake

    if (training := sys.modules.get("training.commands")) is not None and isinstance(
        error, training.MISTAKES
    ):
        return str(error)
    return mistake(error)


if __name__ == "__main__":
    main()
