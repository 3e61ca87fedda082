"""Which environments mean several processes, and which share of a batch a process then makes."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest

from e2etts_jax import distributed, processes, rows
from e2etts_jax.stages import Stage

BY_HAND = {"E2ETTS_COORDINATOR": "host7:1234", "E2ETTS_PROCESSES": "4", "E2ETTS_PROCESS": "3"}
SLURM = {"SLURM_JOB_ID": "1", "SLURM_NTASKS": "8", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
STEP = {"SLURM_STEP_NODELIST": "n[1-2]", "SLURM_STEP_NUM_TASKS": "8"}


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({}, None),
        ({"E2ETTS_PROCESSES": "auto"}, {}),
        (SLURM, None),  # the script of the job, or a shell of salloc: no task was started
        (SLURM | STEP, {}),
        (SLURM | STEP | {"SLURM_STEP_NUM_TASKS": "1"}, None),
        (SLURM | STEP | {"E2ETTS_PROCESSES": "1"}, None),  # eight runs that have nothing to do with each other
        ({"TPU_WORKER_HOSTNAMES": "localhost"}, None),
        ({"TPU_WORKER_HOSTNAMES": "t-0,t-1", "TPU_WORKER_ID": "1"}, {}),
        ({"TPU_WORKER_HOSTNAMES": "t-0", "MEGASCALE_NUM_SLICES": "2"}, {}),
        ({"MEGASCALE_NUM_SLICES": "1"}, None),
    ],
)
def test_the_environment_says_whether_there_are_several(env: dict[str, str], expected: dict | None):
    assert distributed.settings(env) == expected


def test_by_hand_wins_over_what_a_cluster_says():
    made = distributed.settings(SLURM | STEP | BY_HAND)
    assert made == {
        "coordinator_address": "host7:1234",
        "num_processes": 4,
        "process_id": 3,
        "cluster_detection_method": "deactivate",
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"E2ETTS_PROCESS": ""}, "E2ETTS_COORDINATOR and E2ETTS_PROCESSES is set, but not E2ETTS_PROCESS: set all"),
        ({"E2ETTS_COORDINATOR": "", "E2ETTS_PROCESSES": ""}, "is set, but not E2ETTS_COORDINATOR and E2ETTS_PROCESSES"),
        ({"E2ETTS_PROCESS": "4"}, "E2ETTS_PROCESS=4 of E2ETTS_PROCESSES=4: processes count from 0"),
        ({"E2ETTS_PROCESSES": "many"}, "E2ETTS_PROCESS=3 of E2ETTS_PROCESSES=many"),
        ({"E2ETTS_COORDINATOR": "host7"}, "E2ETTS_COORDINATOR=host7 is not host:port"),
    ],
)
def test_half_an_environment_is_refused(change: dict[str, str], message: str):
    with pytest.raises(ValueError) as error:
        distributed.settings(BY_HAND | change)
    assert message in str(error.value)


def test_alone_nothing_is_started_and_nobody_is_waited_for(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(jax.distributed, "initialize", lambda **_: pytest.fail("a port was opened"))
    distributed.initialize({})
    distributed.check()
    processes.finish()
    assert processes.exchange("x") == ["x"] and processes.first_process()
    assert processes.first(dict) == processes.agreed(dict) == processes.in_turn(dict) == {}
    with pytest.raises(KeyError), processes.together():
        raise KeyError


def test_wrong_seconds_are_named():
    with pytest.raises(ValueError, match="E2ETTS_PATIENCE=long is not a number of seconds"):
        distributed.initialize({"E2ETTS_PROCESSES": "auto", "E2ETTS_PATIENCE": "long"})


def test_workers_that_do_not_know_of_each_other_are_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(jax, "process_count", lambda: 4)
    with pytest.raises(ValueError, match="this is one of 4 workers: set E2ETTS_PROCESSES=auto on all of them"):
        distributed.check()


def mesh(owners: list, tensor: int) -> SimpleNamespace:
    """Process numbers in the order of a mesh's devices, as the part of a mesh that `share` looks at."""
    devices = np.array([SimpleNamespace(process_index=p) for p in owners]).reshape(1, -1, tensor)
    shape = dict(zip(("data", "fsdp", "tensor"), devices.shape, strict=True))
    return SimpleNamespace(devices=devices, shape=shape, size=devices.size)


@pytest.mark.parametrize(
    ("owners", "tensor", "shares"),
    [
        ([0, 0, 1, 1], 1, [(0, 2), (1, 2)]),
        ([0, 1, 0, 1], 1, [(0, 2), (1, 2)]),  # as on the hosts of a torus
        ([1, 1, 0, 0], 1, [(1, 2), (0, 2)]),
        ([0, 0, 1, 1], 2, [(0, 2), (1, 2)]),
        ([0, 0, 1, 1], 4, [(0, 1), (0, 1)]),  # a tensor axis over both
        ([0, 1, 2, 3], 2, [(0, 2), (0, 2), (1, 2), (1, 2)]),
    ],
)
def test_shares_follow_the_devices(monkeypatch: pytest.MonkeyPatch, owners: list[int], tensor: int, shares: list):
    monkeypatch.setattr(jax, "process_count", lambda: len(shares))
    for index, expected in enumerate(shares):
        monkeypatch.setattr(jax, "process_index", lambda index=index: index)
        assert rows.share(mesh(owners, tensor)) == expected


@pytest.mark.parametrize(
    ("owners", "tensor", "message"),
    [
        ([0, 0, 1], 1, "some have a part of their rows in common"),
        ([0, 0, 0, 1, 1, 1], 2, "some have a part of their rows in common"),
        ([0, 0], 1, r"mesh.shape \(1, 2, 1\) uses 2 of 8 devices and none of process 1: use all of them"),
    ],
)
def test_meshes_that_processes_can_not_share_are_refused(
    monkeypatch: pytest.MonkeyPatch, owners: list[int], tensor: int, message: str
):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(ValueError, match=message):
        rows.share(mesh(owners, tensor))


def test_batches_that_do_not_divide_over_the_mesh_are_refused():
    stage = SimpleNamespace(name="joint", batch_size=12, accumulate=1)
    rows.check(mesh([0] * 4, 1), [stage])
    stage.accumulate = 2
    with pytest.raises(ValueError, match=r"'joint': batch_size 12 in 2 parts does not divide over the 4 rows of dev"):
        rows.check(mesh([0] * 4, 1), [stage])
    assert {"batch_size", "accumulate", "name"} <= set(Stage.__dataclass_fields__)
