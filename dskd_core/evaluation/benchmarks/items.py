"""The items of a benchmark in one protocol, written for the tokenizer of a model."""

from pathlib import Path

from dskd_core.config import BenchmarkConfig, EvaluationConfig
from dskd_core.decoder.tokenizer import Tokenizer, load_tokenizer
from dskd_core.evaluation.benchmarks.harness.items import Encoder, harness_items
from dskd_core.evaluation.benchmarks.harness.tasks import version
from dskd_core.evaluation.benchmarks.layout import STAGE, write_items
from dskd_core.evaluation.benchmarks.paper.prompts import PaperPrompts
from dskd_core.evaluation.benchmarks.questions import contents, read_benchmark
from dskd_core.evaluation.benchmarks.scoring import Protocol
from dskd_core.evaluation.models import context_tokens, model_config, model_folder
from dskd_core.progress import Progress, silent
from dskd_core.prompts.chat import ChatFormat
from dskd_core.prompts.questions import LICENCES
from dskd_core.store.artifacts import Artifact, ArtifactStore, Work


def build_items(
    store: ArtifactStore,
    config: EvaluationConfig,
    benchmark: BenchmarkConfig,
    protocol: Protocol,
    model: Artifact,
    *,
    progress: Progress = silent,
) -> Artifact:
    """Read a benchmark and write its items for the tokenizer of a model, unless that is done.

    Models with the same tokenizer, chat template and context share the items. ``model`` may be any
    artifact that points at a checkpoint; its weights are not read.

    Raises:
        ConfigError: if a place holds no file, or lm-evaluation-harness is needed and not there.
        DataError: if a file cannot be read, or has no answers.
    """
    folder = model_folder(model)
    tokenizer = load_tokenizer(folder)
    work = _work(benchmark, protocol, config.benchmark_seed, tokenizer, folder)
    if found := store.find(work):
        return found
    with store.publish(work) as draft:
        read = read_benchmark(benchmark, config.benchmark_seed)
        if protocol == "paper":
            chat = ChatFormat(tokenizer)
            prompts = PaperPrompts(benchmark, chat, context_tokens(folder), config.benchmark_seed)
            items, prefix = list(prompts.items(read, progress)), chat.prefix
        else:
            encoder = Encoder(tokenizer.hf, model_config(folder))
            shots = benchmark.n_exemplars
            items = list(harness_items(read, benchmark.task, shots, encoder, progress))
            prefix = ()
        write_items(draft, items, protocol, prefix)
        draft.report |= {
            "counts": dict(sorted(read.counts.items())),
            "uri": benchmark.uri,
            "licence": LICENCES[benchmark.task],
            "reading": {name: account.report() for name, account in read.accounts.items()},
        }
    return store.get(work.stage, work.fingerprint)


def _work(
    benchmark: BenchmarkConfig, protocol: Protocol, seed: int, tokenizer: Tokenizer, folder: Path
) -> Work:
    """Describe the items: what they depend on differs between the protocols."""
    settings = benchmark.model_dump(
        mode="json", exclude={"uri", "labels_uri", "exemplars_uri", "exemplars_labels_uri"}
    )
    settings |= {"protocol": protocol, "seed": seed}
    inputs = contents(benchmark) | {"tokenizer": tokenizer.fingerprint}
    if protocol == "paper":
        settings["context_tokens"] = context_tokens(folder)
        inputs["chat_format"] = ChatFormat(tokenizer).fingerprint
    else:
        del settings["answer_tokens"]
        settings["lm_eval"] = version()
    return Work(STAGE, settings, inputs)
