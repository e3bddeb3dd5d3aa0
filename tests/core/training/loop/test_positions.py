import numpy as np

from dskd_core.training.loop.positions import choose_positions


def _choose(n_related, n_others, **options):
    related = np.arange(n_related + n_others) < n_related
    settings = {"share": 0.4, "at_least": 25, "seed": (0, 0, 0)} | options
    eligible = settings.pop("eligible", np.ones_like(related))
    chosen = choose_positions(related, eligible, **settings)
    return int(related[chosen].sum()), int((~related[chosen]).sum())


def test_forty_percent_of_the_related_positions_and_as_many_others():
    assert _choose(100, 200) == (40, 40)


def test_at_least_twenty_five_where_there_are_so_many():
    assert _choose(50, 200) == (25, 25)
    assert _choose(7, 200) == (7, 7)


def test_no_more_others_than_there_are():
    assert _choose(100, 3) == (40, 3)


def test_positions_without_senses_are_never_chosen():
    related = np.array([True, True, False, False])
    eligible = np.array([False, True, False, True])
    chosen = choose_positions(related, eligible, share=1.0, at_least=0, seed=(1,))
    assert chosen.tolist() == [1, 3]


def test_the_choice_depends_on_the_seed_alone():
    related = np.arange(300) < 100
    one, same, other = (
        choose_positions(related, np.ones(300, bool), share=0.4, at_least=25, seed=seed).tolist()
        for seed in ((0, 1, 2), (0, 1, 2), (0, 1, 3))
    )
    assert one == same != other
