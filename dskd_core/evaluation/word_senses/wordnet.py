"""WordNet's own example sentences: each shows a word in one synset, so it is tagged as it stands.

    wordnet_examples  words in sentences, the synset being the sense
    wordnet_wic       two sentences of a word and part of speech: T if their synset is the same

A sentence shows the first lemma of its synset that stands in it once, as it is or inflected:
regularly, or as the exception lists (``noun.exc``, ...) say where they are beside the data. Lemmas
of several words are passed over. Every sentence is used once, whatever its punctuation and
capitals, so that none is both in the train split and scored, nor in two pairs.
"""

import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from dskd_core.config import TaggedSourceConfig
from dskd_core.evaluation.word_senses.items import Context, Dirt, Item, Split
from dskd_core.lexicon.files import local_path
from dskd_core.lexicon.readers.wordnet import FILES, Synset, read_synsets
from dskd_core.store import access, input_files

KINDS = ("wordnet_examples", "wordnet_wic")
Irregular = dict[str, set[str]]
_MIN_SENTENCES = 2
_VOWELS = "aeiou"
_BACK_SHIFT = ("ed", "ing")
_DEGREES = ("er", "est")


@dataclass(frozen=True)
class Example:
    """A sentence that shows a word in one of its synsets.

    Attributes:
        place: file, offset of the synset, number of the sentence.
        pos: part of speech of the synset.
        sense: first lemma, part of speech and offset of the synset.
        context: the word where it stands.
    """

    place: str
    pos: str
    sense: str
    context: Context

    @property
    def word(self) -> str:
        """The lemma."""
        return self.context.word

    @property
    def rank(self) -> str:
        """A hash of the sentence, by which sentences are drawn."""
        return _hash(self.context.text)


def files_of(uri: str) -> dict[str, Path]:
    """Return the files that are read by their name: the data, and exception lists if any.

    Raises:
        ConfigError: if a file of the data is not there or may not be read.
    """
    folder = local_path(uri, tuple(FILES))
    lists = [folder / f"{pos}.exc" for pos in FILES.values()]
    there = [path for path in lists if path.is_file()]
    for path in there:  # a link in the folder may lead out of it
        access.check_readable(str(path), "evaluation.tagged")
    return {name: folder / name for name in FILES} | {path.name: path for path in there}


def read_wordnet(source: TaggedSourceConfig, dirt: Dirt) -> list[Item]:
    """Return the items of a WordNet folder, each in its split.

    Args:
        source: its ``train_share`` is that of a synset's sentences (at least one, and never all),
            or of the words that pairs are made of; ``max_items`` takes whole words of least hash.
        dirt: where what is left out is counted.
    """
    found = shown_once(source.uri, dirt)
    make = _sentences if source.kind == "wordnet_examples" else _pairs
    return _whole_words(make(found, source.train_share, dirt), source.max_items)


def read_examples(uri: str, dirt: Dirt) -> Iterator[Example]:
    """Yield every sentence of a WordNet folder that shows a lemma of its synset once."""
    files = files_of(uri)

    def damaged(_: str, number: int) -> None:
        dirt.note("broken_line", f"{path.name}:{number}")

    for name, pos in FILES.items():
        path = files[name]
        irregular = _irregular(files.get(f"{pos}.exc"))
        for offset, synset in read_synsets(path, damaged):
            sense = f"{synset.words[0].replace(' ', '_')}.{pos}.{offset:08d}"
            for number, text in enumerate(synset.examples, start=1):
                place = f"{name}:{offset:08d}:{number}"
                context = _shown(synset, text, pos, irregular, dirt, place)
                if context is not None:
                    yield Example(place, pos, sense, context)


def _shown(
    synset: Synset, text: str, pos: str, irregular: Irregular, dirt: Dirt, place: str
) -> Context | None:
    """Return the synset's first lemma that stands in a sentence, None if it is not usable."""
    words = list(re.finditer(r"[^\W_]+(?:['-][^\W_]+)*", text))
    repeated = False
    for lemma in synset.words:
        if not lemma.isalpha():
            continue
        forms = forms_of(lemma.casefold(), pos) | irregular.get(lemma.casefold(), set())
        places = [w for w in words if w[0].casefold().removesuffix("'s") in forms]
        if len(places) == 1:
            start = places[0].start()
            if start == 0:
                dirt.note("opens_the_text", place)
                return None
            stop = start + len(re.sub(r"'s\Z", "", places[0][0], flags=re.IGNORECASE))
            return Context(lemma, text, start, stop)
        repeated |= bool(places)
    dirt.note("word_ambiguous" if repeated else "word_not_found", place)
    return None


@lru_cache(maxsize=1 << 16)
def forms_of(lemma: str, pos: str) -> frozenset[str]:
    """Return a lemma with its regular inflections; forms that nobody writes may be among them.

    >>> sorted(forms_of("stop", "verb") & {"stops", "stopped", "stopping", "stoped", "stopper"})
    ['stoped', 'stopped', 'stopping', 'stops']
    >>> "cities" in forms_of("city", "noun"), "happiest" in forms_of("happy", "adj")
    (True, True)
    """
    endings = {"noun": ("s",), "verb": ("s", *_BACK_SHIFT), "adj": _DEGREES, "adv": _DEGREES}[pos]
    stems = {lemma}
    if lemma.endswith("y") and lemma[-2:-1] not in _VOWELS:
        stems.add(f"{lemma[:-1]}i")
    if lemma.endswith("e"):
        stems.add(lemma[:-1])
    if lemma[-1] not in f"{_VOWELS}wxy" and lemma[-2:-1] in set(_VOWELS):
        stems.add(lemma + lemma[-1])
    found = {lemma}
    for ending in endings:
        found |= {f"{lemma}s", f"{lemma}es", f"{lemma[:-1]}ies"} if ending == "s" else set()
        found |= {stem + ending for stem in stems} if ending != "s" else set()
    return frozenset(found)


def _irregular(path: Path | None) -> Irregular:
    """Return the inflections of an exception list by lemma; its lines are: form, lemmas."""
    found: Irregular = defaultdict(set)
    for line in input_files.utf8_lines(path) if path else ():
        form, *lemmas = line.split()
        for lemma in lemmas:
            found[lemma].add(form)
    return found


def shown_once(uri: str, dirt: Dirt) -> list[Example]:
    """Return the first example of every sentence of a WordNet folder."""
    known: dict[str, Example] = {}
    for example in read_examples(uri, dirt):
        text = " ".join(re.findall(r"\w+", example.context.text.casefold()))
        if known.setdefault(text, example) is not example:
            dirt.note("duplicate", example.place)
    return list(known.values())


def _sentences(examples: Sequence[Example], train_share: float, dirt: Dirt) -> list[Item]:
    """Return sentences of words with two synsets or more of two sentences or more.

    Every synset has sentences in both splits: one that is asked for has always been shown.
    """
    items = []
    for word, senses in _grouped(examples, lambda e: e.word).items():
        several = {s: own for s, own in senses.items() if len(own) >= _MIN_SENTENCES}
        for own in senses.values():
            for example in own:
                if len(several) < 2 or example.sense not in several:
                    dirt.note("too_few_sentences", example.place)
        for sense, own in several.items() if len(several) >= 2 else ():
            n_train = min(len(own) - 1, max(1, round(train_share * len(own))))
            for number, e in enumerate(own):
                split: Split = "train" if number < n_train else "test"
                items.append(Item(e.place, word, sense, (e.context,), split))
    return items


def _pairs(examples: Sequence[Example], train_share: float, dirt: Dirt) -> list[Item]:
    """Return as many T as F pairs of every word and part of speech, words whole in a split."""
    items = []
    for key, senses in _grouped(examples, lambda e: f"{e.word}\t{e.pos}").items():
        split: Split = "train" if int(_hash(key)[:8], 16) < train_share * 2**32 else "test"
        left = [list(own) for own in senses.values()]
        while drawn := _same_and_different(left):
            for gold, (one, other) in zip("TF", drawn, strict=True):
                contexts = (one.context, other.context)
                items.append(Item(f"{one.place} {other.place}", one.word, gold, contexts, split))
        for example in (e for own in left for e in own):
            dirt.note("too_few_sentences", example.place)
    return items


def _same_and_different(left: list[list[Example]]) -> list[tuple[Example, Example]]:
    """Take a pair of one synset and a pair of two from what is left; none if not both are there."""
    left.sort(key=len, reverse=True)
    rest = sorted([len(left[0]) - 2, *map(len, left[1:])], reverse=True)
    if len(left) < 2 or len(left[0]) < 2 or rest[1] < 1:
        return []
    same = (left[0].pop(0), left[0].pop(0))
    left.sort(key=len, reverse=True)
    return [same, (left[0].pop(0), left[1].pop(0))]


def _grouped(
    examples: Iterable[Example], key: Callable[[Example], str]
) -> dict[str, dict[str, list[Example]]]:
    """Return examples by key and sense, in the order of their hashes."""
    found: dict[str, dict[str, list[Example]]] = {}
    for example in sorted(examples, key=lambda e: (e.rank, e.place)):
        found.setdefault(key(example), {}).setdefault(example.sense, []).append(example)
    return dict(sorted(found.items()))


def _whole_words(items: Sequence[Item], max_items: int | None) -> list[Item]:
    if max_items is None:
        return list(items)
    words: dict[str, list[Item]] = {}
    for item in items:
        words.setdefault(item.word, []).append(item)
    kept: list[Item] = []
    room = {"train": max_items, "test": max_items}
    for _, own in sorted(words.items(), key=lambda pair: _hash(pair[0])):
        sizes = {split: sum(item.split == split for item in own) for split in room}
        if all(sizes[split] <= room[split] for split in room):
            room = {split: n - sizes[split] for split, n in room.items()}
            kept += own
    return kept


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
