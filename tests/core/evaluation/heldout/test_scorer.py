"""Which of a token's senses a state is nearest to."""

from dataclasses import replace

import numpy as np
import torch

from dskd_core.decoder.decoder import load_teacher
from dskd_core.dictionary.store import load_dictionary
from dskd_core.evaluation.heldout.scorer import HeldoutScorer


def test_an_equal_distance_is_not_nearer(miniature):
    dictionary = load_dictionary(miniature.dictionary())
    teacher = load_teacher(miniature.teacher(), miniature.config.teacher)
    scorer = HeldoutScorer.from_student(teacher, miniature.inputs(), "float32")
    lists = dictionary.synonyms, dictionary.antonyms
    has_synonyms, has_antonyms = (np.diff(csr.offsets) > 0 for csr in lists)
    both = int(np.flatnonzero(has_synonyms & has_antonyms)[0])
    neither = int(np.flatnonzero(~has_synonyms & ~has_antonyms)[0])
    synonym, antonym = (dictionary.rows[csr.rows_of(both)[0]].astype(np.float32) for csr in lists)
    states = torch.from_numpy(np.stack([synonym, antonym]))
    assert scorer.nearer(states, np.array([both, both])) == (2, 1)
    assert scorer.nearer(states, np.array([neither, neither])) == (0, 0)
    equal = replace(scorer, rows=torch.zeros_like(scorer.rows))
    assert equal.nearer(states, np.array([both, both])) == (2, 0)
