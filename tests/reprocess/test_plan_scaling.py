"""The simulation of many workers: where nothing is shared it is arithmetic, and a shared disk is its limit."""

import importlib.util
import sys
from pathlib import Path

import pytest

_spec = importlib.util.spec_from_file_location("plan_scaling", Path(__file__).parents[2] / "tools" / "plan_scaling.py")
plan = sys.modules["plan_scaling"] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(plan)
OWN = plan.Store("own", float("inf"), 1000.0)
COSTS = {
    "recording_s": 0.1, "task_s": 0.01,
    "fast": {"frame_s": 1e-4, "state_mb": 10.0, "merge_s": 0.05},
    "learns": {"frame_s": 5e-3, "state_mb": 100.0, "merge_s": 0.0},
}  # fmt: skip


@pytest.mark.parametrize(("workers", "rounds"), [(1, 12), (3, 4), (5, 3), (12, 1), (40, 1)])
def test_on_disks_of_their_own_workers_take_equal_tasks_in_rounds(workers, rounds):
    job = plan.Job(12, 100.0, 0.02, 0.5)
    assert plan.simulated(job, workers, OWN, 0.0) == pytest.approx(rounds * (0.5 + 100 * 0.02))


def test_the_slower_of_reading_and_computing_decides():
    job = plan.Job(1, 100.0, 1e-4, 0.0)
    assert plan.simulated(job, 1, OWN, 0.0) == pytest.approx(0.1)
    assert plan.simulated(job._replace(compute_s_per_mb=0.5), 1, OWN, 0.0) == pytest.approx(50)


def test_a_shared_disk_gives_all_together_what_it_has():
    job, disk = plan.Job(64, 100.0, 1e-3, 0.0), plan.Store("disk", 2000.0, 1000.0)
    assert plan.simulated(job, 2, disk, 0.0) == pytest.approx(64 * 100 / 2000)
    assert plan.simulated(job, 32, disk, 0.0) == pytest.approx(64 * 100 / 2000)
    assert plan.saturating_workers(COSTS, "learns", disk) == pytest.approx(2000 / (plan.FRAME_MB / 5e-3))


def test_the_scheduler_gives_out_one_task_after_the_other():
    job = plan.Job(50, 1e-6, 0.0, 0.0)
    assert plan.simulated(job, 50, OWN, 0.2) == pytest.approx(50 * 0.2, rel=1e-3)


def test_more_workers_are_never_slower_and_never_faster_than_their_number():
    alone = plan.shelf_s(COSTS, "fast", 1, OWN, 40)
    before = 0.0
    for workers in (2, 4, 8, 16):
        speed = alone / plan.shelf_s(COSTS, "fast", workers, OWN, 40)
        assert before < speed <= workers + 1e-9
        before = speed


def test_one_recording_is_limited_by_its_sample_and_by_merging_in_turn():
    whole = plan.long_s(COSTS, "learns", 1, OWN)
    assert whole / plan.long_s(COSTS, "learns", 1000, OWN) < 1 / plan.SAMPLE_SHARE
    tree, in_turn = (plan.long_s(COSTS, "fast", 1000, OWN, tree) for tree in (True, False))
    assert in_turn - tree == pytest.approx((999 - 10) * (0.05 + 10 / 1000))
