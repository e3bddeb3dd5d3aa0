"""Several metrics in one table: of each, every model's mean and how far it is from KD's."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from dskd_core.config import EvaluationConfig
from dskd_core.evaluation.comparison.arms import BASELINE
from dskd_core.evaluation.comparison.heldout_scores import HeldoutScores, MetricPair
from dskd_core.evaluation.heldout.frequency import BANDS
from dskd_core.evaluation.heldout.metrics import METRICS, Metric
from dskd_core.evaluation.report.differences import HEADERS, difference_cells
from dskd_core.evaluation.report.labels import ARROWS, NAMES, count
from dskd_core.evaluation.report.page import Cell, Section, Table
from dskd_core.evaluation.report.text import mean_sd

Row = tuple[Cell, ...]
_ON_OTHER_TEXT = ("ce", "kl", "top1_agreement", "synonym_nearer")


@dataclass(frozen=True)
class OtherText:
    """The comparison on text of another domain.

    ``pairs`` are every arm minus KD, ``control`` the comparisons with controls, as on held-out
    text.
    """

    name: str
    heldout: HeldoutScores
    pairs: Sequence[MetricPair]
    control: Sequence[MetricPair]


def frequency_sections(
    heldout: HeldoutScores, pairs: Sequence[MetricPair], config: EvaluationConfig
) -> Iterator[Section]:
    """Yield CE by how often training showed the next token; nothing for scores without it."""
    titles = {band.metric: band.title for band in BANDS if heldout.count_positions(band.metric)}
    if not titles:
        return
    absent = ", ".join(band.title for band in BANDS if band.metric not in titles)
    words = (
        "Held-out positions by how often their next token is the next one in the windows that "
        "students train on. Each window is counted once. A lexicon can add most where training "
        "showed a token seldom."
    )
    if absent:
        words += f" There is no position whose next token was {absent}."
    yield Section(
        "Cross-entropy by the frequency of the next token",
        (words,),
        breakdown("next token", "CE (nats) ↓", titles, heldout, pairs, config),
    )


def other_text_sections(texts: Sequence[OtherText], config: EvaluationConfig) -> Iterator[Section]:
    """Yield of every text of another domain the scores and the differences."""
    for other in texts:
        counts = next(iter(other.heldout.artifacts.values())).record.counts
        words = (
            f"The same models on {count(counts['positions'], 'position')} in "
            f"{count(counts['windows'], 'window')} of {count(counts['documents'], 'document')} of "
            f"{other.name}, text of another source than the corpus. Nothing of it is trained on; "
            "documents that stand in the corpus, too, are left out "
            f"({counts['documents_left_out_as_known']:,}). The bootstrap draws "
            f"{other.heldout.cluster_word} and seeds."
        )
        titles = {
            metric: f"{metric.title_with_unit} {ARROWS[metric.better]}"
            for metric in METRICS
            if metric.name in _ON_OTHER_TEXT and other.heldout.count_positions(metric)
        }
        both = [*other.pairs, *other.control]
        table = breakdown("", "mean", titles, other.heldout, both, config)
        yield Section(f"Other text: {other.name}", (words,), table)


def breakdown(
    name: str,
    measured: str,
    titles: Mapping[Metric, str],
    heldout: HeldoutScores,
    pairs: Sequence[MetricPair],
    config: EvaluationConfig,
) -> Table:
    """Return the table: of each metric every model's mean, and how far it is from KD's.

    ``name`` and ``measured`` are the headers of the titles and of the means.
    """
    means = {arm: heldout.summarise(arm) for arm in heldout.arms}
    spreads = {arm: heldout.summarise(arm, spread=True) for arm in heldout.arms}
    rows: list[Row] = []
    for metric, title in titles.items():
        of_metric = [pair for pair in pairs if pair.metric == metric]
        from_kd = {pair.arm: pair for pair in of_metric if pair.baseline == BASELINE}
        lines = [
            _row(NAMES[arm], mean_sd(means[arm], spreads[arm], metric), from_kd.get(arm))
            for arm in heldout.arms
        ]
        lines += [
            _row(f"{NAMES[pair.arm]} minus {NAMES[pair.baseline]}", "", pair)
            for pair in of_metric
            if pair.baseline != BASELINE
        ]
        first = (Cell(title), Cell(f"{heldout.count_positions(metric):,}"))
        rows += [(*first, *lines[0]), *((Cell(""), Cell(""), *line) for line in lines[1:])]
    caption = (
        "Mean over positions and seeds, ± standard deviation between seeds. Differences are from "
        f"KD, or of the two that a row names; intervals at {config.confidence:.0%} as above, over "
        f"{count(len(heldout.seeds(BASELINE)), 'seed')}. record.json has the difference of each "
        "seed."
    )
    headers = (name, "positions", "model", measured, *HEADERS[1:], "")
    return Table(headers, tuple(rows), caption)


def _row(model: str, mean: str, pair: MetricPair | None) -> Row:
    """Return the cells of one model: its mean, and its difference where it was compared."""
    about = (Cell(model), Cell(mean))
    if pair is None:
        return (*about, *(Cell("") for _ in HEADERS))
    difference = difference_cells("", pair, pair.metric.digits)[1:]
    return (*about, *difference, Cell(pair.verdict))
