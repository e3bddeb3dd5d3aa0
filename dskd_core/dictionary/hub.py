"""A dictionary pushed to the hub as a dataset repository, if its licences let everybody have it."""

import tempfile
from pathlib import Path
from typing import Any

from dskd_core.config import DictionaryConfig, RelationsConfig, WordsConfig
from dskd_core.dictionary.download import is_dictionary_file
from dskd_core.dictionary.licences import refused_licences
from dskd_core.dictionary.queries import Sources
from dskd_core.dictionary.store import build_dictionary
from dskd_core.errors import ArtifactError, ConfigError
from dskd_core.relations.tables import build_relations
from dskd_core.store import access
from dskd_core.store import hub as hubs
from dskd_core.store.artifacts import RECORD, Artifact, ArtifactStore
from dskd_core.store.verification import verify
from dskd_core.words.store import build_words


def push_dictionary(
    store: ArtifactStore, dictionary: Artifact, repository: str, *, hub: Any = None
) -> str:
    """Upload a dictionary, its card and its record to a dataset repository; return the commit.

    The repository is made, private, if there is none. Its files are those of the artifact, byte for
    byte, and ``load_dictionary("hub:OWNER/NAME@COMMIT")`` compares them with the record. One commit
    brings them all and takes out what an earlier dictionary left.

    ``repository`` is ``owner/name``, ``hub`` a ``huggingface_hub.HfApi`` (the default client if
    None).

    Raises:
        ConfigError: if this process may not push there, or licences forbid to; each is named with
            its sources.
        DataError: if the repository has a file that is none of a dictionary.
        ArtifactError: if the dictionary is damaged, or the hub does not take it.
    """
    hubs.check_name(repository)
    access.check_push(repository, "The repository")
    if refused := refused_licences(store, dictionary):
        raise ConfigError(
            f"The dictionary {dictionary.fingerprint} has pairs under licences that do not let "
            f"everybody have it as they like: {'; '.join(map(str, refused))}; give "
            "--licence-filter to push one without them, or a lexicon under other licences."
        )
    if problems := verify(dictionary.uri, alone=True).problems:
        raise ArtifactError(
            f"The dictionary {dictionary.uri} is damaged: {problems[0].where} {problems[0].what}; "
            "delete it and run its stage again."
        )
    made = dictionary.folder().resolve()
    with tempfile.TemporaryDirectory(prefix="dskd-push-") as folder:
        for name in (*dictionary.record.files, RECORD):  # and no other that may lie there
            link = Path(folder, name)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(made / name)
        with hubs.told_in_a_sentence(
            f"{repository} did not take the dictionary {dictionary.fingerprint}",
            "see that HF_TOKEN may write there and that the hub can be reached, and push again: "
            "what was uploaded is not sent again.",
        ):
            commit = hubs.push_folder(
                Path(folder),
                repository,
                kind="dataset",
                message=f"Dictionary {dictionary.fingerprint} of dskd",
                is_replaced=is_dictionary_file,
                hub=hub,
            )
    return str(commit.oid)


def without_refused_licences(store: ArtifactStore, dictionary: Artifact) -> Artifact:
    """Return the dictionary with no pair that rests on a licence that keeps it from being pushed.

    Rows under these licences, and pairs derived from them, are left out as
    ``relations.excluded_licences`` leaves them out; a pair that another source says, too, stays.
    Relations, words and the dictionary are built anew, the senses are the same: minutes, no GPU.

    Raises:
        ArtifactError: if what the dictionary was made from is not under this root.
    """
    refused = refused_licences(store, dictionary)
    if not refused:
        return dictionary
    made_from, corpus = Sources(store, dictionary), dictionary.record.inputs["corpus"]
    before = made_from.relations.record
    excluded = {*before.config["excluded_licences"], *(r.licence for r in refused)}
    settings = before.config | {"excluded_licences": sorted(excluded)}
    lexicon = store.get("lexicon", before.inputs["lexicon"])
    relations = build_relations(store, RelationsConfig.model_validate(settings), lexicon)
    config = WordsConfig.model_validate(made_from.words.record.config)
    return build_dictionary(
        store,
        DictionaryConfig.model_validate(dictionary.record.config),
        made_from.senses,
        build_words(store, config, relations, made_from.teacher),
        store.get("corpus", corpus),
    )
