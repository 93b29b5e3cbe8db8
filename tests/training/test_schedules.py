"""Learning rates by step."""

import pytest

from lexforge.training.schedules import Schedule


def rates(*arguments, **options):
    schedule = Schedule(*arguments, **options)
    return [schedule(step) for step in range(schedule.steps)]


def test_constant():
    assert rates("constant", 0.01, 4) == [0.01] * 4
    assert Schedule("constant", 0.01, 4)(1000) == 0.01


def test_linear_ends_where_nothing_is_left():
    assert rates("linear", 1.0, 4) == [1.0, 0.75, 0.5, 0.25]
    assert Schedule("linear", 1.0, 4)(4) == Schedule("linear", 1.0, 4)(9) == 0.0


def test_warm_up():
    assert rates("constant", 1.0, 6, warmup_steps=4) == [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    assert rates("linear", 2.0, 6, warmup_steps=2) == [1.0, 2.0, 2.0, 1.5, 1.0, 0.5]


def test_cosine():
    assert rates("cosine", 1.0, 4) == pytest.approx([1.0, 0.853553, 0.5, 0.146447], abs=1e-6)
    assert Schedule("cosine", 1.0, 4)(4) == Schedule("cosine", 1.0, 4)(9) == 0.0


@pytest.mark.parametrize("kind", ["linear", "cosine"])
def test_a_fall_that_ends_above_zero(kind):
    schedule = Schedule(kind, 1.0, 4, lowest=0.2)
    assert [schedule(step) for step in (0, 2, 4, 9)] == pytest.approx([1.0, 0.6, 0.2, 0.2])


def test_all_warm_up():
    """A warm-up as long as the run, or longer, never comes down."""
    assert rates("linear", 1.0, 4, warmup_steps=4) == [0.25, 0.5, 0.75, 1.0]
    assert rates("linear", 1.0, 2, warmup_steps=4) == [0.25, 0.5]


def test_unknown_kind():
    with pytest.raises(
        ValueError, match="kind must be one of constant, linear, cosine, got 'step'"
    ):
        Schedule("step", 0.1, 10)
