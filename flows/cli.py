"""The command ``dskd``: plan and run the pipeline, look words up, check and compare artifacts.

Every command imports what it alone needs: settings take as long as all the rest of this module.
"""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError

from dskd_core.errors import ConfigError, DskdError
from dskd_core.training.ranks.launched import launched
from flows.limits import limit_reached
from flows.settings import PORT, use_own_prefect
from flows.tables import (
    PrintedProgress,
    console,
    print_comparison,
    print_places,
    print_rows,
)

if TYPE_CHECKING:
    from dskd_core.config import PipelineConfig

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
ParameterFile = Annotated[Path, typer.Argument(help="A file of deployments/parameters/.")]
Root = Annotated[str, typer.Option(help="Where the artifacts are.")]
ArtifactUri = Annotated[str, typer.Argument(help="Folder or s3:// prefix of an artifact.")]
Gigabytes = Annotated[
    float | None,
    typer.Option(help="Gigabytes (10^9) that must suffice.", min=0, max=1e9),
]
SAMPLE = Path("deployments/parameters/smollm2-135m.yaml")


@contextmanager
def refusals() -> Iterator[None]:
    """Print a refusal in red instead of a traceback, and exit with 2."""
    try:
        yield
    except DskdError as error:
        console.print(f"[bold red]{type(error).__name__}[/bold red]", end=": ")
        console.print(str(error), markup=False)
        raise typer.Exit(2) from error
    except (MemoryError, OSError, RuntimeError, ImportError) as error:
        if isinstance(error, typer.Exit) or not (sentence := limit_reached(error)):
            raise
        console.print(sentence, markup=False)
        raise typer.Exit(1) from None


@app.command()
def run(parameters: ParameterFile) -> None:
    """Run every stage in this process; print where the artifacts lie and how students compare."""
    from dskd_core.config import load_config

    with refusals():
        config = load_config(parameters)
        _check_places(config.root_uri)
        if place := launched():
            from flows.torchrun import join

            join(place, config, lambda: _run(parameters, config))
        else:
            _run(parameters, config)


def _run(parameters: Path, config: "PipelineConfig") -> None:
    """Run the pipeline, shown as it goes."""
    from flows.view.watch import watched

    with _readable_settings():
        use_own_prefect()
    with watched(config, str(parameters)) as watch:
        with _readable_settings():
            from flows.named_server import check_server
        check_server()
        from flows.pipeline import pipeline
        from flows.runners.choice import ChosenRunner

        watch.hear_logs()
        ChosenRunner().duplicate()  # a wrong place is refused before a server starts
        watch.estimate(config)
        state = pipeline(config, return_state=True)
    uris = _result(state, watch.log)
    print_places(uris)
    print_comparison(uris.report)
    run_id = state.state_details.flow_run_id
    served = os.environ.get("PREFECT_API_URL", "").removesuffix("/api")
    console.print(f"\n{watch.outcome()}", highlight=False)
    first = "" if served else " [bold]make serve[/bold], then"
    console.print(f"This run in the Prefect UI:{first} open")
    console.print(f"  {served or f'http://127.0.0.1:{PORT}'}/runs/flow-run/{run_id}")


@app.command()
def torchrun(
    parameters: ParameterFile,
    nnodes: Annotated[int, typer.Option(help="Machines.", min=1, max=1024)] = 1,
    nproc_per_node: Annotated[
        int, typer.Option(help="Processes on each: its GPUs.", min=1, max=1024)
    ] = 1,
    rdzv_endpoint: Annotated[
        str, typer.Option(help="HOST:PORT; the machine with this address listens there.")
    ] = "127.0.0.1:29400",
    rdzv_id: Annotated[str, typer.Option(help="Name of the run, the same everywhere.")] = "dskd",
    max_restarts: Annotated[
        int, typer.Option(help="Starts after a lost process or machine.", min=0, max=100)
    ] = 0,
    rdzv_timeout: Annotated[
        int, typer.Option(help="Seconds to wait for all machines.", min=1, max=86_400)
    ] = 600,
) -> None:
    """Run with one student over several machines: the same command on each of them."""
    from dskd_core.config import load_config

    with refusals():
        config = load_config(parameters)
        from flows.torchrun import Launch, launch

        settings = Launch(
            nnodes, nproc_per_node, rdzv_endpoint, rdzv_id, max_restarts, rdzv_timeout
        )
        code = launch(settings, ["-m", "flows.cli", "run", str(parameters)], config)
    raise typer.Exit(code)


@app.command()
def plan(
    parameters: ParameterFile = SAMPLE,
    gpu: Annotated[str, typer.Option(help="A GPU by name, or here: this machine.")] = "",
    memory: Gigabytes = None,
    disk: Gigabytes = None,
    tokens: Annotated[
        int | None, typer.Option(help="Tokens of the corpus, if known.", min=1, max=10**15)
    ] = None,
    count: Annotated[bool, typer.Option(help="Tokenize a local corpus to count it.")] = False,
    config_json: Annotated[Path | None, typer.Option(help="The teacher's config.json.")] = None,
    gpus: Annotated[
        list[int] | None,
        typer.Option(help="Also the times on so many GPUs (once a number).", min=1, max=10**6),
    ] = None,
) -> None:
    """Say what every stage stores, holds, computes, and takes on GPUs and here; nothing runs."""
    from dskd_core.config import load_config
    from dskd_core.planning.hours.hardware import SHOWN, named_gpu
    from dskd_core.planning.hours.probe import this_machine
    from dskd_core.planning.page import (
        hour_rows,
        scaling_rows,
        sentences,
        size_rows,
        stage_rows,
    )
    from dskd_core.planning.plan import check, make_plan, misfits

    with refusals():
        config = load_config(parameters)
        named = named_gpu(gpu) if gpu not in {"", "here"} else None
        here = this_machine()
        others = [named] if named else [] if gpu else [named_gpu(name) for name in SHOWN]
        devices, chosen = [*others, here], named or (here if gpu else None)
        made = make_plan(
            config, n_tokens=tokens, count=count, config_json=config_json, device=named
        )
        print_rows(stage_rows(made), f"Plan of {parameters}")
        print_rows(hour_rows(made, devices))
        print_rows(size_rows(made))
        if gpus:
            each = named or named_gpu(SHOWN[-1])
            print_rows(scaling_rows(made, each, sorted(set(gpus))), f"On GPUs {each.name}, by what")
        for sentence in sentences(made, devices):
            console.print(sentence, markup=False, highlight=False)
        limits = {"memory_bytes": memory, "disk_bytes": disk}
        given = {name: int(value * 1e9) for name, value in limits.items() if value is not None}
        check(made, misfits(made, device=chosen, **given))


@app.command()
def inspect(
    word: Annotated[str, typer.Argument(help="A word of the lexicon, such as bank.")],
    root: Root = "work/artifacts",
) -> None:
    """Show the senses of a word, what each means to the teacher, and its relations."""
    from dskd_core.dictionary.description import describe
    from dskd_core.store.artifacts import ArtifactStore

    with refusals():
        store = ArtifactStore(root)
        text = describe(store, _latest(store, "dictionary"), word)
        console.print(text, markup=False, highlight=False)


@app.command()
def explore(
    root: Annotated[str, typer.Argument(help="Where the artifacts are.")] = "work/artifacts",
    port: Annotated[int, typer.Option(help="0 is a free one.", min=0, max=65535)] = 0,
    export: Annotated[Path | None, typer.Option(help="Write files instead of serving.")] = None,
    words: Annotated[Path | None, typer.Option(help="To export: a file, a word a line.")] = None,
    most_frequent: Annotated[int, typer.Option(help="To export, without a file.", min=1)] = 100,
    dictionary: Annotated[
        str, typer.Option(help="Its fingerprint, or how it begins; the newest if empty.")
    ] = "",
) -> None:
    """Look into a dictionary in the browser: words, pairs, maps, comparison, training."""
    with refusals():
        if export is not None:
            from dskd_core.explorer.export import export_pages

            made = export_pages(
                root,
                export,
                words_file=words,
                most_frequent=most_frequent,
                dictionary=dictionary,
            )
            if made.unknown:
                unknown = f"The dictionary has no {', '.join(made.unknown)}."
                console.print(unknown, markup=False, highlight=False)
            told = f"{made.n_pages} pages: open {export / 'index.html'}"
            console.print(told, markup=False, highlight=False)
            return
        from dskd_core.explorer.server import serve

        def tell(address: str) -> None:
            console.print(f"{address}  (Ctrl-C ends it)")

        serve(root, port=port, tell=tell, dictionary=dictionary)


@app.command()
def score(
    model: Annotated[str, typer.Argument(help="An artifact, a transformers folder or a hub id.")],
    parameters: Annotated[Path, typer.Option(help="Names benchmarks and root.")] = SAMPLE,
) -> None:
    """Score any checkpoint on a parameter file's benchmarks; finished parts are kept."""
    from dskd_core.config import load_config
    from dskd_core.evaluation.benchmarks.checkpoints import open_checkpoint, score_checkpoint
    from dskd_core.store.artifacts import ArtifactStore

    with refusals():
        config = load_config(parameters)
        store = ArtifactStore(config.root_uri)
        subject = open_checkpoint(store, config.teacher, model)
        scores = score_checkpoint(
            store, config.evaluation, config.teacher, subject, progress=PrintedProgress()
        )
    print_rows(scores.record.report["accuracies"], f"Benchmarks of {model}")
    console.print(f"Every item: {scores.uri}/items.parquet", markup=False, highlight=False)


@app.command()
def verify(
    uri: ArtifactUri,
    alone: Annotated[bool, typer.Option(help="Its inputs stand elsewhere.")] = False,
) -> None:
    """Check checksums, shapes, indices and fingerprints of an artifact; exit with 1 on any."""
    from dskd_core.store.verification import verify as verified

    with refusals():
        checked = verified(uri, alone=alone)
    print_rows([problem.row() for problem in checked.problems], f"Problems of {uri}")
    console.print(checked.summary(), markup=False, highlight=False)
    if checked.problems:
        raise typer.Exit(1)


@app.command()
def diff(
    before: ArtifactUri,
    after: ArtifactUri,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
) -> None:
    """Say what changed between two dictionaries: tokens, words, pairs, moved senses."""
    from dskd_core.dictionary.difference import compare

    with refusals():
        found = compare(before, after)
    if as_json:
        print(json.dumps(found.as_json()))
        return
    print_rows(found.counts(), f"{before} -> {after}")
    print_rows(found.most_moved, "Most moved tokens")
    for line in (*found.settings, *found.notes):
        console.print(line, markup=False, highlight=False)


@app.command()
def push_dictionary(
    repository: Annotated[str, typer.Argument(help="OWNER/NAME of a dataset on the hub.")],
    root: Root = "work/artifacts",
    fingerprint: Annotated[str, typer.Option(help="Of the dictionary; the newest if empty.")] = "",
    licence_filter: Annotated[
        bool, typer.Option("--licence-filter", help="Leave out pairs that may not be passed on.")
    ] = False,
) -> None:
    """Push a dictionary to the hub; licences that do not let everybody have it are refused."""
    from dskd_core.dictionary import hub
    from dskd_core.store.artifacts import ArtifactStore

    with refusals():
        store = ArtifactStore(root)
        chosen = store.get("dictionary", fingerprint) if fingerprint else None
        dictionary = chosen or _latest(store, "dictionary")
        if licence_filter:
            dictionary = hub.without_refused_licences(store, dictionary)
        commit = hub.push_dictionary(store, dictionary, repository)
    told = f'{dictionary.uri} is at load_dictionary("hub:{repository}@{commit}")'
    console.print(told, markup=False, highlight=False, soft_wrap=True)


@app.command()
def parameters(file: ParameterFile) -> None:
    """Print a parameter file as JSON, for prefect deployment run dskd/train --params "$(...)"."""
    from dskd_core.config import load_config

    with refusals():
        print(json.dumps({"config": load_config(file).model_dump(mode="json")}))


def _check_places(root_uri: str) -> None:
    """Refuse what a run could write nothing to, before anything is started."""
    from dskd_core.store.access import check_writable
    from dskd_core.store.trial import check_takes_files

    try:
        home = os.environ.get("PREFECT_HOME") or str(Path.cwd() / "work/prefect")
        temporary = tempfile.gettempdir()
    except FileNotFoundError as error:
        raise ConfigError(
            f"This run has no working folder or no temporary one ({error.strerror}); change to a "
            "folder that is there, or set TMPDIR to one that takes files."
        ) from error
    check_takes_files(check_writable(root_uri, "root_uri"), "root_uri")
    check_takes_files(home, "PREFECT_HOME")
    check_takes_files(temporary, "TMPDIR")
    database = Path(home).expanduser() / "prefect.db"
    if database.exists() and not os.access(database, os.W_OK):
        raise ConfigError(
            f"Prefect's database {database} may not be written by this user; have its owner allow "
            "it, or set PREFECT_HOME to another folder."
        )


@contextmanager
def _readable_settings() -> Iterator[None]:
    """Refuse settings that Prefect cannot read: it reads them as soon as it is imported."""
    try:
        yield
    except DskdError:
        raise
    except (ValueError, RuntimeError) as error:
        # Not pydantic's own message: it repeats values, and an address may have a login.
        told = error.errors() if isinstance(error, ValidationError) else []
        reasons = "; ".join(f"{'.'.join(map(str, e['loc']))} {e['msg']}".strip() for e in told)
        raise ConfigError(
            f"Prefect cannot read its settings ({reasons or str(error).splitlines()[0]}); correct "
            "the PREFECT_ variable, or the line of its profile, .env, prefect.toml or "
            "pyproject.toml, that says so."
        ) from None


def _result(state: Any, log: Path) -> Any:
    """Return what a run made; say why it failed, and exit with 1."""
    try:
        return state.result()
    except DskdError:
        raise
    except Exception as error:
        console.print("[bold red]The run failed[/bold red]", end=": ")
        said = limit_reached(error) or f"{type(error).__name__}: {error}"
        console.print(said, markup=False)
        console.print(f"Its traceback is in {log}.", markup=False, highlight=False)
        console.print("Finished work is kept; the same command goes on from there.")
        raise typer.Exit(1) from None


def _latest(store: Any, stage: str) -> Any:
    found = store.of_stage(stage)
    # get() knows how to say what is missing.
    return found[-1] if found else store.get(stage, "none")


if __name__ == "__main__":
    app()
