"""What each recipe's step takes beyond the step of KD beside it.

    python -m benchmarks.recipes [--turns 12] [--root work/benchmarks] [--parameters FILE]

A few minutes, and a quarter of an hour the first time, which prepares a small dictionary and
activations under the root. The student is SmolLM2-135M's first 13 layers and its last 2, of which
those beside the cut and the last two train; steps are of 8 windows of 256 tokens, cached. With
``--parameters`` they are the students of that file instead, from what its run has left.

All recipes take the same step in turns, in one process, every other turn backwards, so that what
disturbs the machine disturbs all of them: the built-in ones, and KD with each other term beside it
(``+ TERM``). All but ``recommended``, whose start is fitted, start from the same weights, so that
their first step has the same cross-entropy: it is checked, and its largest difference told. The
last line is JSON: ``overhead`` is for every recipe the median over turns of its step minus KD's,
over KD's median step.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

from benchmarks.machine import machine
from benchmarks.peers.scenario import Stages, smollm2
from dskd_core.config import PipelineConfig, load_config
from dskd_core.decoder.precision import resolved_training
from dskd_core.training.loop.step import Run

GOAL = 0.05
TERMS = ("state_cosine", "state_head_mse", "bridge", "ranking")
BUILT_IN = ("kd", "paper", "recommended")
_N_WARM = 2


def settings(root: Path) -> PipelineConfig:
    """Return the settings of a small student beside a cut."""
    config = smollm2(
        root,
        student={"layers": "first_last", "trainable_layers": "beside_cut"},
        training={"max_train_tokens": 16 * 256},
        senses={"n_senses": 3},
    )
    corpus = config.corpus.model_copy(update={"max_tokens": 65_536})
    return config.model_copy(update={"corpus": corpus})


def with_recipes(config: PipelineConfig) -> PipelineConfig:
    """Return settings that compare the built-in recipes, and KD with each other term."""
    kd = [{"term": "ce"}, {"term": "kl", "weight": 0.7}]
    recipes = [{"name": f"kd_{term}", "terms": [*kd, {"term": term}]} for term in TERMS]
    values = config.model_dump(mode="json")
    values["training"]["recipes"] = recipes
    values["evaluation"]["arms"] = [*BUILT_IN, *(recipe["name"] for recipe in recipes)]
    return PipelineConfig.model_validate(values)


def prepared(config: PipelineConfig) -> dict[str, Run]:
    """Return the run of every recipe, before its first step."""
    stages = Stages(config)
    inputs = stages.inputs("cached")
    common = (stages.store, config.training, config.teacher, inputs)
    return {arm: Run.prepare(*common, arm, 0) for arm in config.evaluation.arms}


def timed(runs: dict[str, Run], n_turns: int) -> tuple[dict[str, list[float]], dict[str, float]]:
    """Let all take step after step in turns.

    Returns:
        (seconds of each measured step, the cross-entropy of the first step), both by recipe.
    """
    seconds: dict[str, list[float]] = {arm: [] for arm in runs}
    first = {}
    for number in range(_N_WARM + n_turns):
        for arm in list(runs)[:: -1 if number % 2 else 1]:
            started = time.perf_counter()
            row = runs[arm].step(number)
            if number >= _N_WARM:
                seconds[arm].append(time.perf_counter() - started)
            if number == 0:
                first[arm] = row["ce"]
    return seconds, first


def main() -> None:
    """Run the benchmark and print its report."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--turns", type=int, default=12)
    parser.add_argument("--root", type=Path, default=Path("work/benchmarks"))
    parser.add_argument("--parameters", type=Path)
    options = parser.parse_args()
    given = load_config(options.parameters) if options.parameters else settings(options.root)
    config = with_recipes(given)
    precision = resolved_training(config.training, "cpu").compute_dtype
    found: dict[str, Any] = dict(machine("cpu", precision))
    runs = prepared(config)
    seconds, first = timed(runs, options.turns)
    kd = statistics.median(seconds["kd"])
    overhead = {}
    for arm, own in seconds.items():
        more = (mine - its for mine, its in zip(own, seconds["kd"], strict=True))
        overhead[arm] = round(statistics.median(more) / kd, 4)
        name = arm.replace("kd_", "+ ") if arm.startswith("kd_") else arm
        print(f"{name:20} {statistics.median(own):7.3f} s a step, {overhead[arm]:+.1%} of KD's")
    copied = [ce for arm, ce in first.items() if not runs[arm].objective.recipe.is_fitted]
    difference = (max(copied) - min(copied)) / min(copied)
    if difference > 1e-5:
        raise SystemExit(f"The first steps' cross-entropies differ by {difference:.2g}: {first}.")
    worst = max(value for arm, value in overhead.items() if arm != "kd")
    print(f"largest overhead {worst:+.1%}, goal <= {GOAL:.0%}")
    found |= {
        "kd_step_s": round(kd, 4),
        "overhead": overhead,
        "largest_overhead": worst,
        "ce_difference": difference,
        "turns": options.turns,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
