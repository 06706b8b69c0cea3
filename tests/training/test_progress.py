"""How far a run is: masks weigh what their facts weigh."""

from datetime import timedelta

import pytest

from training.console import TimeLeftColumn, learning_bar
from training.progress import Workload


def test_work_is_weighed_by_facts() -> None:
    work = Workload([300, 100])
    assert work.share == 0
    work.tell(1, 1.0)
    assert work.share == pytest.approx(0.25)
    work.tell(0, 0.5)
    assert work.share == pytest.approx(0.625)
    work.tell(0, 1.0)
    assert work.share == 1


def test_no_work_is_all_done() -> None:
    assert Workload([]).share == 1


def test_time_left_follows_from_the_share_since_the_start() -> None:
    with learning_bar("learning") as (progress, number):
        (task,) = progress.tasks
        assert TimeLeftColumn().render(task).plain == "-:--:-- left"
        progress.update(number, completed=0.25)
        task.start_time, task.stop_time = 0.0, 100.0
        assert TimeLeftColumn().render(task).plain == f"{timedelta(seconds=300)} left"
