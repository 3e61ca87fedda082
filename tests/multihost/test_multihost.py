"""Two processes on the loopback address compute, save, stop and fail as one would."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from multihost.config import STEPS
from test_train import QUICK, Life, data_dir, end, head, lines  # noqa: F401 -- data_dir is a fixture

pytestmark = [pytest.mark.multihost, pytest.mark.slow, pytest.mark.timeout(1800)]

RUN = "tests/multihost/run.py"


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Machines:
    """Starts one process with all devices, or two that share them."""

    def __init__(self, root: Path, data: Path):
        self.root, self.data = root, data

    def start(self, program: list[str], count: int, index: int, port: int, devices: int, **env: str) -> Any:
        settings = os.environ | {
            "PYTHONPATH": os.pathsep.join((str(self.root), str(self.root / "tests"))),
            "JAX_NUM_CPU_DEVICES": str(devices),
            "XLA_FLAGS": QUICK,
        }
        if count > 1:
            settings |= {"E2ETTS_COORDINATOR": f"127.0.0.1:{port}", "E2ETTS_PROCESSES": str(count)}
            settings |= {"E2ETTS_PROCESS": str(index), "E2ETTS_HEARTBEAT": "20"}
        pipe = subprocess.PIPE
        return subprocess.Popen(
            [sys.executable, *program], cwd=self.root, env=settings | env, text=True, stdout=pipe, stderr=pipe
        )

    def live(self, workdir: Path, accidents: list[str], *options: str, last: str = "") -> list[Life]:
        """A run from start to end, one process an accident; `last` is an option of the last process alone."""
        config, port = f"--config=tests/multihost/config.py:{self.data}", free_port()
        common = [config, f"--workdir={workdir}", *options]
        started = []
        for index, accident in enumerate(accidents):
            own = [last] if last and index == len(accidents) - 1 else []
            program = [RUN, accident, *common, *own]
            started.append(self.start(program, len(accidents), index, port, 2 // len(accidents)))
        with ThreadPoolExecutor(len(started)) as pool:
            return list(pool.map(lambda process: end(process, workdir), started))


def good(lives: list[Life]) -> list[Life]:
    for life in lives:
        assert life.code == 0, life.err
    return lives


def close(a: list[dict[str, Any]], b: list[dict[str, Any]]) -> float:
    """The largest relative difference of a loss between two logs of the same steps."""
    assert [head(line) for line in a] == [head(line) for line in b]
    names = [(x, y, name) for x, y in zip(a, b, strict=True) for name in x if name.startswith(("loss/", "val/"))]
    assert len(names) > 10
    return max(abs(x[name] - y[name]) / abs(x[name]) for x, y, name in names)


@pytest.fixture(scope="module")
def machines(repo_root: Path, data_dir: Path) -> Machines:  # noqa: F811
    return Machines(repo_root, data_dir)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("multihost")


NONE = ["none::", "none::"]


def whole(machines: Machines, folder: Path) -> dict[str, list[Life]]:
    """The runs whose results are compared; then others go on from what they saved."""
    lives = {"one": machines.live(folder / "one", ["none::"])}
    lives["two"] = machines.live(folder / "two", ["sampled::", "sampled::"])
    shutil.copytree(folder / "one", folder / "one_two", ignore=shutil.ignore_patterns("tune"))
    lives["one_two"] = machines.live(folder / "one_two", NONE)
    before = {path: path.read_bytes() for path in (folder / "two").rglob("*") if path.is_file()}
    begun = time.monotonic()
    lives["refused"] = machines.live(folder / "two", NONE, "--config.seed=1")
    assert time.monotonic() - begun < 60
    assert before == {path: path.read_bytes() for path in (folder / "two").rglob("*") if path.is_file()}
    return lives


def broken(machines: Machines, folder: Path) -> dict[str, list[Life]]:
    """One run in many processes, two at a time; the last is alone. And one that does not begin."""
    hard = folder / "hard"
    return {
        "stopped": machines.live(hard, ["slow:joint:1", "SIGTERM:joint:1"]),
        "killed": machines.live(hard, ["none::", "kill:tune:1"]),
        "error": machines.live(hard, ["none::", "error:tune:2"]),
        "alone": machines.live(hard, ["none::"]),
        "other": machines.live(folder / "other", NONE, last="--config.seed=1"),
    }


@pytest.fixture(scope="module")
def later(machines: Machines, folder: Path) -> Iterator[dict[str, Future]]:
    with ThreadPoolExecutor(2) as pool:
        yield {"whole": pool.submit(whole, machines, folder), "broken": pool.submit(broken, machines, folder)}


@pytest.fixture(scope="module")
def runs(later: dict[str, Future]) -> dict[str, list[Life]]:
    return later["whole"].result()


@pytest.fixture(scope="module")
def accidents(later: dict[str, Future]) -> dict[str, list[Life]]:
    return later["broken"].result()


def test_two_processes_log_what_one_does(runs: dict[str, list[Life]], folder: Path):
    good(runs["one"]), good(runs["two"])
    assert [head(line) for line in lines(folder / "two")] == [
        (stage, min(step, steps)) for stage, steps in STEPS.items() for step in range(1, steps + 2)
    ]
    difference = close(lines(folder / "one"), lines(folder / "two"))
    print(f"largest relative difference of a loss: {difference:.1e}")
    assert difference < 1e-5


def test_only_process_0_prints(runs: dict[str, list[Life]], folder: Path):
    spoken, silent = ([line for line in life.out.splitlines() if "[Gloo]" not in line] for life in runs["two"])
    assert any(line.endswith("on 2 device(s) of 2 processes") for line in spoken)
    assert any("val/lm_ce" in line for line in spoken)
    assert not silent
    assert {path.name for path in (folder / "two" / "tb").iterdir()} == set(STEPS)
    events = b"".join(path.read_bytes() for path in (folder / "two" / "tb" / "joint").iterdir())
    assert b"synthesis/0" in events and b"RIFF" in events, "the samples are there"


def test_what_one_process_saved_two_take_up(runs: dict[str, list[Life]], folder: Path):
    good(runs["one_two"])
    assert "continuing stage joint at step 4 of 4" in runs["one_two"][0].out
    assert close(lines(folder / "one"), lines(folder / "one_two")) < 1e-5


def test_a_signal_to_one_stops_both_after_the_same_step(accidents: dict[str, list[Life]], folder: Path):
    both = accidents["stopped"]
    assert [life.code for life in both] == [130, 130], both[0].err + both[1].err
    at = int(both[0].out.split("stopped in stage joint after step ")[1].split(";")[0])
    assert str(at) in both[1].left["joint"] and "Traceback" not in both[0].err + both[1].err
    assert f"continuing stage joint at step {at} of 4" in accidents["killed"][0].out


def test_two_processes_go_on_as_if_they_had_not_stopped(runs: Any, accidents: dict[str, list[Life]], folder: Path):
    good(accidents["alone"])
    hard, two = ([line for line in lines(folder / name) if line["stage"] == "joint"] for name in ("hard", "two"))
    assert hard == two, "digit by digit"


def test_what_two_processes_saved_one_takes_up(runs: Any, accidents: dict[str, list[Life]], folder: Path):
    assert "continuing stage joint at step 4 of 4" in good(accidents["alone"])[0].out
    assert close(lines(folder / "two"), lines(folder / "hard")) < 1e-5


def test_a_workdir_of_another_config_is_refused_by_both(runs: dict[str, list[Life]], folder: Path):
    said = f"error: workdir {folder / 'two'} belongs to another config (different: seed): "
    for life in runs["refused"]:
        assert life.code == 1 and life.last_error.startswith(said), life.err


def test_processes_of_different_configs_are_refused_by_both(accidents: dict[str, list[Life]], folder: Path):
    for life in accidents["other"]:
        assert life.code == 1 and "error: process 1 has another config than process 0" in life.last_error, life.err
    assert not (folder / "other").exists()


def test_an_error_of_one_ends_both_with_its_words(accidents: dict[str, list[Life]]):
    for life in accidents["error"]:
        assert life.code == 1 and life.last_error == "error: process 1 of 2: clip 7 can't be read", life.err


def test_a_killed_process_ends_the_other(accidents: dict[str, list[Life]]):
    alive, killed = accidents["killed"]
    assert killed.code == -signal.SIGKILL
    assert alive.code not in (0, None)
    assert "error: process 0 of 2: JaxRuntimeError" in alive.err or "another task died" in alive.err


def test_rows_are_where_they_belong(machines: Machines):
    port = free_port()
    program = ["tests/multihost/places.py", str(machines.data)]
    started = [machines.start(program, 2, index, port, 2) for index in range(2)]
    out = []
    for process in started:
        said, err = process.communicate(timeout=300)
        assert process.returncode == 0, err
        out.append([line for line in said.splitlines() if "[Gloo]" not in line])
    everything = "0/1 0,1,2,3,4,5,6,7 0,1,2,3,4,5,6,7"  # the tensor axis spans both processes
    assert out[0] == ["0/2 0,1 2,3", "0/2 0,1 2,3", "0/2 0,1,2,3 0,1,2,3", everything, "0/2 0,1 2,3"]
    assert out[1] == ["1/2 4,5 6,7", "1/2 4,5 6,7", "1/2 4,5,6,7 4,5,6,7", everything, "1/2 4,5 6,7"]


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({"E2ETTS_PROCESS": "1"}, "error: process 1 of 2 could not join the others at 127.0.0.1:{port} within 3 s"),
        ({"E2ETTS_PROCESS": "0"}, "error: process 0 of 2 could not join the others at 127.0.0.1:{port} within 3 s"),
        ({"E2ETTS_PROCESS": ""}, "is set, but not E2ETTS_PROCESS: set all three, or none"),
    ],
)
def test_a_start_that_fails_is_one_line(machines: Machines, tmp_path: Path, env: dict[str, str], message: str):
    port = free_port()
    program = ["-m", "e2etts_jax.main", "--config=configs/joint.py", f"--workdir={tmp_path / 'new'}"]
    process = machines.start(program, 2, 0, port, 1, **env, E2ETTS_PATIENCE="3")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 1 and message.format(port=port) in err and err.count("\n") == 1, err
    assert not (tmp_path / "new").exists() and not out
