"""The commands of ``millrace features``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from millrace.cli import output
from millrace.cli.features.target import Target, targeted
from millrace.cli.output import Format, Output
from millrace_core.base.lazy_import import lazy_import
from millrace_core.features.types import times

if TYPE_CHECKING:
    import millrace as sdk
    from millrace.cli.features import comparing, describing, reading, rebuilding
else:
    sdk = lazy_import("millrace")
    comparing, describing, reading, rebuilding = (
        lazy_import(f"millrace.cli.features.{name}") for name in ("comparing", "describing", "reading", "rebuilding")
    )

DIFFERENT = 1
ALL = "all"
_PREVIEW = 20

app = typer.Typer(no_args_is_help=True)

View = Annotated[str, typer.Argument(help="Name of the feature view.", show_default=False)]
Views = Annotated[list[str] | None, typer.Argument(metavar="[VIEW]...", help="Names of views; default all.")]
Features = Annotated[
    list[str],
    typer.Option("--features", "-F", help="view:feature[,view:feature]…; may be repeated.", show_default=False),
]
FullNames = Annotated[bool, typer.Option("--full-feature-names", help="Call columns view__feature.")]
Time = Annotated[str | None, typer.Option(metavar="TIME", help="A time, such as 2026-01-31T00:00:00Z.")]


@app.command("list")
@targeted
def list_views(target: Target, form: Format = Output.TABLE) -> None:
    """Lists feature views."""
    found = target.store().list()
    columns = ["name", "entities", "features", "source", "ttl", "online", "owner"]
    columns += ["watermark", "ready"] if any("ready" in each for each in found) else []
    output.rows(found, form, columns)


@app.command()
@targeted
def describe(view: View, target: Target, form: Format = Output.TABLE) -> None:
    """Shows a view: its features, its source, how far it is, and what uses it."""
    found = target.store().describe(view)
    if form is Output.TABLE:
        describing.show(found)
    elif form is Output.CSV:
        output.rows(found["features"], form, describing.FEATURE)
    else:
        output.document(found)


@app.command()
@targeted
def historical(
    features: Features,
    entities: Annotated[
        str, typer.Option("--entities", "-e", help="File of entities and times (.parquet, .csv, .jsonl), or `all`.")
    ],
    target: Target,
    timestamp_column: Annotated[str, typer.Option(help="Column of the times.")] = "event_timestamp",
    created_cutoff: Annotated[
        bool, typer.Option("--created-cutoff", help="See only what was written by then.")
    ] = False,
    full_names: FullNames = False,
    start: Time = None,
    end: Time = None,
    out: Annotated[Path | None, typer.Option(help="File to write (.parquet, .csv).", show_default=False)] = None,
    save: Annotated[str | None, typer.Option(metavar="URI", help="Folder to save it to as a dataset.")] = None,
    form: Format = Output.TABLE,
) -> None:
    """Makes a training set: every row of the entities with the features as they were known at its time.

    With `--entities all` it needs no file: the rows are those of the views themselves, between --start and --end.
    """
    store, refs = target.store(), reading.references(features)
    frame = None if entities == ALL else reading.data_file(Path(entities))
    with output.progress("training set") as report:
        made = store.get_historical_features(
            frame,
            refs,
            timestamp_column,
            created_cutoff,
            full_feature_names=full_names,
            entities=ALL if entities == ALL else None,
            start=start,
            end=end,
            progress=report,
        )
    if out is not None:
        reading.write(made.to_arrow(), out)
        output.note(f"{made.to_arrow().num_rows:,} rows written to {out}")
    if save is not None:
        saved = made.save(save)
        output.note(f"dataset {saved.id} saved to {saved.uri}")
    if out is None and (save is None or form is not Output.TABLE):
        table = made.to_arrow()
        shown = table if form is not Output.TABLE else table.slice(0, _PREVIEW)
        output.rows(shown.to_pylist(), form, table.column_names)
        if shown.num_rows < table.num_rows:
            output.note(f"{table.num_rows - _PREVIEW:,} more rows; --out FILE writes all of them")


@app.command()
@targeted
def online(
    features: Features,
    target: Target,
    entity: Annotated[
        list[str] | None,
        typer.Option("--entity", "-e", metavar="KEY=VALUE[,KEY=VALUE]", help="An entity; may be repeated."),
    ] = None,
    entities: Annotated[Path | None, typer.Option(help="File of entities (.parquet, .csv, .jsonl).")] = None,
    request: Annotated[
        list[str] | None,
        typer.Option(
            "--request", "-r", metavar="FIELD=VALUE", help="A request field, for all entities; may be repeated."
        ),
    ] = None,
    full_names: FullNames = False,
    form: Format = Output.TABLE,
) -> None:
    """Reads the latest values from the online store, or through the gateway."""
    store, refs = target.store(), reading.references(features)
    rows = reading.entity_rows(store, refs, entity or (), entities)
    found = store.get_online_features(
        refs, rows, reading.request_fields(store, refs, request or (), len(rows)), full_feature_names=full_names
    )
    values = found.to_dict()
    if form is Output.JSON:
        keys = [name for name in values if name not in found.statuses]
        output.document(
            [
                {
                    **{name: values[name][row] for name in keys},
                    "features": {
                        name: {
                            "value": values[name][row],
                            "status": found.statuses[name][row],
                            "eventTimestamp": found.event_timestamps[name][row],
                        }
                        for name in found.statuses
                    },
                }
                for row in range(len(rows))
            ]
        )
        return
    output.rows([reading.online_row(found, row, form) for row in range(len(rows))], form, list(values))


@app.command()
@targeted
def materialize(
    target: Target,
    views: Views = None,
    start: Time = None,
    end: Time = None,
    form: Format = Output.TABLE,
) -> None:
    """Brings rows to the online store, in this process.

    Without --end: what is new since the last run. With it: everything up to then, or after --start.
    """
    store = target.store()
    made = []
    for view in target.views(store, views):
        with output.progress(view) as report:
            made.append(store.materialize(view, end, start, progress=report))
    results = [{**asdict(each), **each.details} for each in made]
    for each in made:
        for outcome in each.quality:
            if not outcome.passed:
                output.note(f"{each.view}: {outcome.name}: {outcome.message}")
        _note_later(each)
    output.rows(results, form, ["view", "start", "end", "rows", "written", "skipped", "keys", "seconds"])


@app.command()
@targeted
def rebuild(view: View, target: Target, form: Format = Output.TABLE) -> None:
    """Makes the online rows of a view anew: afterwards the store has what the source has, and nothing else from before.

    Readers see the old row of an entity until they see its new one; rows that are pushed meanwhile stay. It may be
    stopped and called again. With --kubeconfig and without --online a Job of the cluster does it.
    """
    if target.commands_cluster:
        command = rebuilding.command(target, view)
        output.note(
            f"{view}: {command} is set; status.commandResult and status.lastRun tell what becomes of it: "
            f"kubectl get featureview {view} -n {target.namespace} -o yaml"
        )
        return
    store = target.store()
    with output.progress(view) as report:
        made = store.rebuild(view, progress=report)
    columns = ["view", "end", "rows", "written", "removed", "keys", "seconds"]
    _note_later(made)
    output.rows([{**asdict(made), **made.details}], form, columns)


def _note_later(made: sdk.MaterializeResult) -> None:
    if made.later:
        output.note(
            f"{made.view}: {made.later:,} of the source's rows are later than now by more than 5 minutes, and not "
            "written before that time comes"
        )


@app.command()
@targeted
def push(
    view: View,
    data: Annotated[Path, typer.Option(help="File of rows with the columns of the source (.parquet, .csv, .jsonl).")],
    target: Target,
    to: Annotated[str, typer.Option(help="online, offline or online_and_offline.")] = "online_and_offline",
    form: Format = Output.TABLE,
) -> None:
    """Pushes rows: through the gateway where one is named, else to the store and to the view's log itself."""
    made = target.store().push(view, reading.data_file(data), to)
    output.rows([asdict(made)], form, ["view", "accepted", "written", "skipped", "logged"])
    for each in made.rejected:
        output.note(f"row {each.index} is rejected: {each.column}: {each.reason}")


@app.command()
@targeted
def diff(
    target: Target,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="Exit with 1 where something differs.")] = False,
    form: Format = Output.TABLE,
) -> None:
    """Shows what applying YAML files would change against the registry or the cluster, and what that causes."""
    changes = comparing.compare(sdk.FeatureStore.from_files(target.files or [Path()], project=target.namespace), target)
    comparing.show(changes, form)
    if exit_code and any(change.kind != comparing.SAME for change in changes):
        raise typer.Exit(DIFFERENT)


@app.command()
@targeted
def verify(
    view: View,
    target: Target,
    sample: Annotated[int, typer.Option(min=1, help="How many rows to compare.")] = 1000,
    as_of: Annotated[
        str | None, typer.Option(metavar="TIME", help="The time to compare at; default: the view's watermark.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Draw the same rows again.", show_default=False)] = None,
    form: Format = Output.TABLE,
) -> None:
    """The skew check: reads rows of the online store and recomputes them from the source as of the same time.

    Exit code 1 where a value differs, or a row is later than now by more than pushes may be.
    """
    found = target.store().verify(view, sample, as_of, seed=seed)
    mismatches = [
        {
            "entity": dict(each.entity),
            "feature": each.feature,
            "online": each.online,
            "offline": each.offline,
            "asOf": times.render(each.as_of),
        }
        for each in found.mismatches
    ]
    counts = {name: getattr(found, name) for name in ("rows", "values", "different", "ahead", "waiting", "later")}
    if form is Output.JSON:
        later = [{"entity": dict(each.entity), "at": times.render(each.event_time)} for each in found.later_rows]
        output.document({"view": view, **counts, "mismatches": mismatches, "laterRows": later})
    elif mismatches or form is Output.CSV:
        output.rows(mismatches, form, ["entity", "feature", "online", "offline", "asOf"])
    output.note(describing.report(view, found))
    if not found.clean:
        raise typer.Exit(DIFFERENT)
