from dataclasses import dataclass

import numpy as np
import pytest

from dskd_core.config import TrainingConfig
from dskd_core.errors import CapacityError
from dskd_core.training.loop.schedule import Schedule, Step, choose_positions


@dataclass(frozen=True)
class Text:
    """Windows of given lengths, numbered from 100 on."""

    lengths: tuple[int, ...]

    @property
    def training(self):
        return range(100, 100 + len(self.lengths))

    def labels(self, window):
        return np.ones(self.lengths[window - 100], np.int64)

    def roles(self, window):
        return np.zeros(self.lengths[window - 100], np.int64)


def schedule(text, n_sorted, *, n_epochs=3.0, batch=4, seed=0):
    config = TrainingConfig(n_epochs=n_epochs, batch_windows=batch, length_sorted_steps=n_sorted)
    return Schedule(config, text, None, None, seed)


def taken(steps):
    return [steps.step(number).windows for number in range(steps.n_steps)]


def padded_share(steps, text):
    """Positions a step's longest window makes the others carry, of all positions."""
    lengths = [[text.lengths[w - 100] for w in windows] for windows in taken(steps)]
    return 1 - sum(map(sum, lengths)) / sum(len(row) * max(row) for row in lengths)


@pytest.fixture
def uneven():
    return Text(tuple(np.random.default_rng(1).integers(20, 1000, 90).tolist()))


@pytest.mark.parametrize("n_sorted", [1, 2, 5, 1000])
def test_every_window_comes_once_an_epoch_however_long_the_sorted_blocks(uneven, n_sorted):
    # 90 windows are no multiple of 4: steps go across the ends of epochs.
    flat = [w for windows in taken(schedule(uneven, n_sorted, n_epochs=2.0)) for w in windows]
    assert sorted(flat[:90]) == list(range(100, 190))
    assert sorted(flat[90:]) == list(range(100, 190))


def test_steps_of_sorted_windows_pad_far_less(uneven):
    shares = [padded_share(schedule(uneven, n_sorted), uneven) for n_sorted in (1, 5, 20)]
    assert shares[0] > 0.3
    assert shares[1] < shares[0] / 2
    assert shares[2] < shares[1] / 2


def test_sorted_steps_come_in_random_order_anew_in_every_epoch(uneven):
    steps = taken(schedule(uneven, 1000, n_epochs=4.0))
    means = [np.mean([uneven.lengths[w - 100] for w in windows]) for windows in steps]
    epochs = [means[i * 22 : i * 22 + 22] for i in range(4)]
    assert all(epoch != sorted(epoch) for epoch in epochs)
    assert epochs[0] != epochs[2]


def test_one_sorted_step_is_the_order_as_drawn(uneven):
    drawn = np.random.default_rng((7, 0)).permutation(90)[:4]
    assert schedule(uneven, 1, seed=7).step(0).windows == tuple(100 + drawn)


def test_the_seed_decides_the_order(uneven):
    one, same, other = (schedule(uneven, 5, seed=seed) for seed in (3, 3, 4))
    assert taken(one) == taken(same)
    assert taken(one) != taken(other)


def test_a_step_without_a_label_divides_its_zeros_by_one():
    nothing = Step((8,), (np.zeros(1),), (np.empty(0, np.int64),))
    assert nothing.total_weight == 1.0
    assert Step((8,), (np.array([0.5, 0.0, 2.0]),), nothing.chosen).total_weight == 2.5


def test_a_step_of_more_windows_than_there_are_is_refused_with_the_numbers():
    with pytest.raises(CapacityError, match=r"batch_windows 2,000 .* 64 windows .* is 31.2 passes"):
        schedule(Text((9,) * 64), 1, batch=2000)
    assert schedule(Text((9,) * 64), 1, n_epochs=1.0, batch=64).n_steps == 1


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
