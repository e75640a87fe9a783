"""Saved training sets, and what they were made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from millrace import Dataset
from millrace.cli import output
from millrace.cli.options import TokenFile
from millrace.cli.output import Format, Output
from millrace.sdk.overview import source
from millrace.sdk.registry import Registry
from millrace_core.base.errors import RejectError

_SHORT = 12

app = typer.Typer(no_args_is_help=True)

RegistryUrl = Annotated[
    str | None,
    typer.Option("--registry", help="URL of the registry.", envvar="MILLRACE_REGISTRY_URL", show_default=False),
]
Namespace = Annotated[str, typer.Option("--namespace", "-n", help="Of the views; default all.", show_default=False)]


@app.command("list")
def list_datasets(
    registry: RegistryUrl = None,
    namespace: Namespace = "",
    view: Annotated[str, typer.Option(help="Only those made of this view.", show_default=False)] = "",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most so many, the newest.")] = 100,
    form: Format = Output.TABLE,
    token_file: TokenFile = None,
) -> None:
    """Lists datasets, newest first, with their lineage."""
    if registry is None:
        raise RejectError("no registry is named", hint="Give --registry URL")
    found = [
        {**each, "lineage": lineage(each)} for each in Registry(registry, token_file).datasets(namespace, view, limit)
    ]
    shown = found if form is Output.JSON else [{**each, "id": short(each["id"])} for each in found]
    output.rows(shown, form, ["id", "createdAt", "rows", "lineage", "uri"])


@app.command()
def describe(
    dataset: Annotated[str, typer.Argument(help="Its id or the beginning of it, or the folder that it lies in.")],
    registry: RegistryUrl = None,
    form: Format = Output.TABLE,
    token_file: TokenFile = None,
) -> None:
    """Shows a dataset's manifest. Of a folder (a path, file:// or s3://) the content is verified as well."""
    if registry is not None and "/" not in dataset:
        found = Registry(registry, token_file).dataset(dataset)
    elif "/" in dataset:
        loaded = Dataset.load(dataset)
        found = {**loaded.manifest, "uri": loaded.uri}
        output.note("the content is what the manifest says")
    else:
        raise RejectError(f"{dataset!r} is no folder, and no registry is named", hint="Give --registry URL, or a path")
    if form is Output.JSON:
        output.document(found)
    elif form is Output.CSV:
        output.rows(found["columns"], form, ["name", "type"])
    else:
        _show(found)


def lineage(manifest: Mapping[str, Any]) -> str:
    """``source → view`` of every view that it was made of."""
    return "; ".join(f"{source(view.get('source') or {})} → {view['name']}" for view in manifest["views"])


def short(identity: str) -> str:
    """The beginning of an id, which is enough to find it."""
    return identity.removeprefix("sha256:")[:_SHORT]


def _show(found: Mapping[str, Any]) -> None:
    console = output.console()
    facts = Table.grid(padding=(0, 2))
    query, code = found["query"], found["code"]
    commit = f", commit {code['commit'][:_SHORT]}{'' if code['clean'] else ' and changes'}" if "commit" in code else ""
    for name, value in {
        "id": found["id"],
        "uri": found["uri"],
        "created": found["createdAt"],
        "rows": f"{found['rows']:,}",
        "features": ", ".join(query["features"]),
        "timestamp column": query["timestampColumn"],
        "created cutoff": "yes" if query["createdCutoff"] else "no",
        "entity frame": found["entityFrame"]["digest"],
        "code": f"millrace {code['millrace']}{commit}",
    }.items():
        facts.add_row(Text(name, style="bold"), Text(str(value)))
    console.print(facts)
    views = [{**view, "source": source(view.get("source") or {})} for view in found["views"]]
    console.print(output.table(views, ["project", "name", "schemaHash", "watermark", "source"], "made of"))
    console.print(output.table(found["columns"], ["name", "type"], "columns"))
