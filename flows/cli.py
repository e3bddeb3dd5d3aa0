"""The command ``dskd``: run the pipeline here, look a word up, print a file as JSON."""

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from dskd_core.config import load_config
from dskd_core.errors import DskdError
from flows.settings import PORT, end_orphaned_servers, use_own_prefect

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
console = Console(soft_wrap=True)
if not console.is_terminal:
    console.width = 140
ParameterFile = Annotated[Path, typer.Argument(help="A file of deployments/parameters/.")]


@app.command()
def run(parameters: ParameterFile) -> None:
    """Run every stage in this process; print where the artifacts lie and how students compare."""
    try:
        config = load_config(parameters)
    except DskdError as error:
        _refuse(error)
    console.print(f"dskd: {parameters}, artifacts under {config.root_uri}; starting Prefect")
    use_own_prefect()
    end_orphaned_servers()
    from flows.pipeline import pipeline

    state = pipeline(config, return_state=True)
    try:
        made = state.result()
    except DskdError as error:
        _refuse(error)
    except Exception as error:  # its traceback is in the log above
        console.print("[bold red]The run failed[/bold red]", end=": ")
        console.print(f"{type(error).__name__}: {error}", markup=False)
        console.print("Finished work is kept; the same command goes on from there.")
        raise typer.Exit(1) from None
    _print_places(made)
    _print_comparison(made["report"])
    run_id = state.state_details.flow_run_id
    served = os.environ.get("PREFECT_API_URL", "").removesuffix("/api")
    first = "" if served else " [bold]make serve[/bold], then"
    console.print(f"\nThis run in the Prefect UI:{first} open")
    console.print(f"  {served or f'http://127.0.0.1:{PORT}'}/runs/flow-run/{run_id}")


@app.command()
def inspect(
    word: Annotated[str, typer.Argument(help="A word of the lexicon, such as bank.")],
    root: Annotated[str, typer.Option(help="Where the artifacts are.")] = "work/artifacts",
) -> None:
    """Show the senses of a word, what each means in the corpus, and its relations."""
    from dskd_core.artifacts import ArtifactStore
    from dskd_core.dictionary.explorer import describe

    try:
        store = ArtifactStore(root)
        dictionary = _latest(store, "dictionary")
        senses = store.get("senses", dictionary.record.inputs["senses"])
        words = store.get("words", dictionary.record.inputs["words"])
        relations = store.get("relations", words.record.inputs["relations"])
        console.print(describe(dictionary, senses, words, relations, word), markup=False)
    except DskdError as error:
        _refuse(error)


@app.command()
def parameters(file: ParameterFile) -> None:
    """Print a parameter file as JSON, for prefect deployment run dskd/train --params "$(...)"."""
    try:
        print(json.dumps({"config": load_config(file).model_dump(mode="json")}))
    except DskdError as error:
        _refuse(error)


def _latest(store: Any, stage: str) -> Any:
    found = store.of_stage(stage)
    # get() knows how to say what is missing.
    return found[-1] if found else store.get(stage, "none")


def _print_places(made: dict[str, Any]) -> None:
    from dskd_core.artifacts import ArtifactStore
    from tasks.artifacts import in_bytes

    root = made["report"].rsplit("/", 2)[0]
    table = Table("stage", "size", "place", title=f"Artifacts under {root}", title_justify="left")
    for stage, uris in made.items():
        several = [uris] if isinstance(uris, str) else uris
        size = in_bytes(sum(_bytes_with_shards(ArtifactStore(root), uri) for uri in several))
        place = several[0].removeprefix(f"{root}/")
        if len(several) > 1:
            place = f"{place.partition('/')[0]}/ ({len(several)} of them)"
        table.add_row(stage, size, place)
    console.print(table)


def _bytes_with_shards(store: Any, uri: str) -> int:
    artifact = store.open(uri)
    shards = artifact.record.report.get("parts", [])
    stage = f"{artifact.record.stage}-shard"
    return artifact.record.n_bytes + sum(store.get(stage, s).record.n_bytes for s in shards)


def _print_comparison(report_uri: str) -> None:
    from dskd_core.artifacts import ArtifactStore

    report = ArtifactStore.open(report_uri).record.report
    if arms := report.get("table"):
        # One column an arm: a person compares along a line.
        subject, *measures = arms[0]
        table = Table(subject, *(str(row[subject]) for row in arms), title="Teacher and students")
        for name in measures:
            table.add_row(name, *(_cell(row.get(name)) for row in arms))
        console.print(table)
    if rows := report.get("comparison"):
        table = Table(*map(str, rows[0]), title="Paired differences")
        for row in rows:
            table.add_row(*(_cell(value) for value in row.values()))
        console.print(table)
    console.print(f"The whole report: {report_uri}/report.html")


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if type(value) is int else str(value)


def _refuse(error: DskdError) -> None:
    console.print(f"[bold red]{type(error).__name__}[/bold red]", end=": ")
    console.print(str(error), markup=False)
    raise typer.Exit(2) from error


if __name__ == "__main__":
    app()
