"""Extraction: the product's own loop over batches, with the argmax of the key ``predicted``.

The cap is out of reach of so little text, so every state leaves the device: more than in a real
run, whose census admits a part of them. Sorting and writing the shard come after and are not timed.
"""

import numpy as np

from benchmarks.gpu.part import Told
from benchmarks.gpu.scene import Scene, planned_bytes
from dskd_core.embeddings.census import take_census
from dskd_core.embeddings.extraction import extract, training_batches
from dskd_core.planning.quantities import forward_flops
from dskd_core.progress import silent


def measure(scene: Scene, told: Told) -> None:
    """Time batches of the size that the parameter file asks for."""
    sizes, config = scene.sizes, scene.config().embeddings
    plan = scene.plan()
    # A batch counts the tokens of its windows without their prefix.
    whole = config.batch_tokens // (sizes.window_tokens - 1)
    windows = scene.text(whole * (sizes.n_batches + 1))
    census = take_census(windows, config)
    batches = training_batches(census, config)
    model = scene.model()

    def run(some: list[np.ndarray]) -> None:
        extract(model, windows, census, some, config, frozenset(), silent)

    run(batches[:1])
    scene.forget_peak()
    measured = batches[1 : 1 + sizes.n_batches]
    n_tokens = sum(int(census.lengths[batch].sum()) for batch in measured)
    seconds = scene.seconds(lambda: run(measured))
    rate, flops = n_tokens / seconds, forward_flops(plan.quantities, heads=1.0)
    peak = scene.peak_bytes()
    print(
        f"{n_tokens:,} tokens in {seconds:.2f} s: {rate:,.0f} tokens/s, {rate * flops:.4g} FLOP/s"
    )
    told(
        tokens_per_second=rate,
        flops_per_second=rate * flops,
        peak_bytes=peak,
        planned_bytes=planned_bytes(plan, "embeddings"),
    )
