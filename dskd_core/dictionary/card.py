"""The card of a dictionary: what it is, what it came from, its licences, and how to read it."""

from collections.abc import Iterable, Sequence
from typing import Any

from dskd_core import markdown
from dskd_core.markdown import Markdown, code, escape
from dskd_core.store.artifacts import Artifact, ArtifactStore

CARD = "README.md"
_ATTRIBUTIONS = {
    "wiktextract": "Wiktionary contributors, by way of Wiktextract (T. Ylonen, LREC 2022)",
    "roget": "Roget's Thesaurus, 1911, Project Gutenberg #10681",
    "moby": "Moby Thesaurus II, Grady Ward",
    "wordnet": "WordNet, Princeton University",
    "morphynet": "MorphyNet, K. Batsuren, G. Bella, F. Giunchiglia, 2021, from Wiktionary",
    "morpholex": "MorphoLEX-English, C. H. Sanchez-Gutierrez et al., 2018",
}
_TEMPLATE = """# A sense dictionary of {teacher}

For every token of a language model the senses in which a corpus uses it, as centroids of the
model's own final states, and beside them the senses of its synonyms and of its antonyms. Made by
[dskd](https://arxiv.org/abs/2602.22351). {senses_of}.

{counts}

Of the positions of the corpus {with_senses:.1%} are followed by a token with senses,
{with_relations:.1%} by one with relations, {with_antonyms:.1%} by one with antonyms.

## What it was made from

{inputs}

Teacher: {teacher}. Corpus: {corpus}.

## Sources and licences

{sources}

{licences}

A pair made by negation carries the licence of its parent and of the morphology. The senses hold no
text, but were computed from the corpus by the teacher: their licences are theirs. CC BY and
CC BY-SA want attribution, and SA that what is made from it stays under the same licence; NC forbids
commercial use; `unstated` means that nobody said: find out before you publish.

## Reading it

`dictionary.zarr` has the rows and the lists, `words.parquet` says which rows are whose: `row_start`
to `row_stop`, -1 where a token of the word has no senses.

    import pyarrow.parquet as pq, zarr
    dictionary = zarr.open_group("dictionary.zarr", mode="r")
    rows = dictionary["rows"]  # [{n_rows}, {hidden_size}] float16
    words = pq.read_table("words.parquet").to_pylist()
    token = {token}  # any token id
    own = slice(*dictionary["own_offsets"][token : token + 2])
    antonyms = slice(*dictionary["antonym_offsets"][token : token + 2])
    print(rows[own].shape, dictionary["antonym_rows"][antonyms])
    print(*(w["word"] for w in words if w["row_start"] == own.start))

Rows are final states after the norm: W s are the logits that sense s gives, W being the teacher's
output matrix.

## Citation

    @article{{dskd2026, title={{Decoder-based Sense Knowledge Distillation}},
      author={{Wang and Zaki and Kollias and Kalantzis}},
      journal={{arXiv:2602.22351}}, year={{2026}}}}
"""


def dictionary_card(
    store: ArtifactStore,
    inputs: dict[str, Artifact],
    counts: dict[str, int],
    shares: dict[str, float],
    shape: tuple[int, ...],
    token: int,
) -> str:
    """Return the Markdown of a dictionary's card; equal inputs give equal text.

    ``shares`` of the corpus' positions are with_senses, with_relations and with_antonyms; ``token``
    has senses and is the example.
    """
    senses, words, corpus = (inputs[name] for name in ("senses", "words", "corpus"))
    teacher = store.get("teacher", senses.record.inputs["teacher"]).record
    relations = store.get("relations", words.record.inputs["relations"])
    lexicon = store.get("lexicon", relations.record.inputs["lexicon"])
    fingerprints = {name: artifact.fingerprint for name, artifact in inputs.items()} | {
        "relations": relations.fingerprint,
        "lexicon": lexicon.fingerprint,
        "teacher": senses.record.inputs["teacher"],
        "tokenizer": words.record.inputs["tokenizer"],
    }
    config = senses.record.config
    adaptive = config.get("choice") == "adaptive"
    most = config["max_senses" if adaptive else "n_senses"]
    key = senses.group("senses.zarr").attrs["key"]
    listed = [(name.replace("_", " "), f"{n:,}") for name, n in counts.items()]
    named = [(name, code(value)) for name, value in fingerprints.items()]
    return _TEMPLATE.format(
        teacher=escape(teacher.report["source"]),
        senses_of=f"At most {most} senses a token, of states filed under the key {code(key)}",
        counts=_table(("", ""), listed),
        inputs=_table(("input", "fingerprint"), named),
        corpus=escape(_corpus(corpus)),
        sources=_table(("source", "licence", "attribution"), _source_rows(relations, lexicon)),
        licences=_table(("pairs under", "n"), _licence_rows(relations)),
        n_rows=shape[0],
        hidden_size=shape[1],
        token=token,
        **shares,
    )


def provenance(store: ArtifactStore, words: Artifact) -> list[dict[str, str]]:
    """Return kind, file and licence of every lexicon and morphology behind some words."""
    relations = store.get("relations", words.record.inputs["relations"])
    sources = _sources(relations, store.get("lexicon", relations.record.inputs["lexicon"]))
    return [{key: source[key] for key in ("kind", "file", "licence")} for source in sources]


def _sources(relations: Artifact, lexicon: Artifact) -> list[dict[str, Any]]:
    """Return the sources of a lexicon, but for those whose licence the relations leave out."""
    left_out = relations.record.config["excluded_licences"]
    return [s for s in lexicon.record.config["sources"] if s["licence"] not in left_out]


def _corpus(corpus: Artifact) -> str:
    counts = corpus.record.counts
    return (
        f"{counts['n_documents']:,} documents, {counts['n_tokens']:,} tokens, format "
        f"{corpus.record.config['format']}; its own licence holds (Wikipedia: CC BY-SA 4.0, "
        "Wikipedia contributors)"
    )


def _source_rows(relations: Artifact, lexicon: Artifact) -> list[tuple[str, ...]]:
    return [
        (
            f"{source['kind']} ({source['file']})",
            source["licence"],
            _ATTRIBUTIONS.get(source["kind"], "see the file"),
        )
        for source in _sources(relations, lexicon)
    ]


def _licence_rows(relations: Artifact) -> list[tuple[str, str]]:
    rows = relations.query(
        "SELECT array_to_string(licences, ' and ') AS name, count(*) AS n FROM pairs "
        "GROUP BY ALL ORDER BY n DESC, name",
        pairs="pairs.parquet",
    ).to_pylist()
    return [(row["name"], f"{row['n']:,}") for row in rows]


def _table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> Markdown:
    return markdown.table(headers, rows, is_words=True)
