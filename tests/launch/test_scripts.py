"""Launch files: what they would do is what is meant, and nothing is done that was not asked for."""

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

LAUNCH = Path(__file__).parents[2] / "launch"
MINE = {"ZONE": "us-west4-a", "ACCELERATOR": "v5litepod-16", "BUCKET": "gs://mine"}
SETUP = ["ask", "copy", "install", "start"]


def write_program(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/usr/bin/env bash\n{text}\n")
    path.chmod(0o755)


@pytest.mark.parametrize("path", sorted(LAUNCH.glob("*.sh")), ids=lambda path: path.name)
def test_scripts_parse(path: Path):
    subprocess.run(["bash", "-n", path], check=True)


def test_no_file_names_the_host_of_a_registry():
    hosts = r"pypi\.|pythonhosted|github\.com|huggingface|(gcr|pkg|ghcr|quay|docker)\.(io|dev)|conda\.|://(?!<|mine|bucket)\w"
    for path in LAUNCH.iterdir():
        assert not re.findall(hosts, path.read_text()), path.name


# --- tpu_pod.sh -------------------------------------------------------------------------------------------------------


class Cloud:
    """A `gcloud` that notes how it was called, and answers what it is told to."""

    def __init__(self, folder: Path):
        self.bin, self.log, self.folder = folder / "bin", folder / "calls", folder
        self.log.touch()
        self.answers(states=[], codes=[])

    def answers(self, states: list[str], codes: list[str]) -> None:
        """In this order: states of the resource, `worker.sh state`. The last stays; `!WORD` = the call fails."""
        script = f"""
            printf '%s\\n' "$*" >>{self.log}
            case "$*" in
              *describe*) file={self.bin}/states ;;
              *"worker.sh state"*) file={self.bin}/codes ;;
              *) exit 0 ;;
            esac
            answer=$(head -n 1 "$file")
            (($(wc -l <"$file") > 1)) && sed -i 1d "$file"
            echo 'a hint of gcloud' >&2
            [[ $answer == '!'* ]] && echo "error: $answer" >&2 && exit 1
            echo "$answer" """
        write_program(self.bin / "gcloud", script)
        for name, values in (("states", states), ("codes", codes)):
            (self.bin / name).write_text("".join(f"{value}\n" for value in values))

    def run(self, *arguments: str, **env: str) -> subprocess.CompletedProcess:
        given = {name: os.environ[name] for name in ("HOME", "LANG") if name in os.environ}  # and none that counts
        given |= {"PATH": f"{self.bin}:{os.environ['PATH']}", "TMPDIR": str(self.folder), "EVERY": "0", **env}
        command = ["bash", LAUNCH / "tpu_pod.sh", *arguments]
        return subprocess.run(command, env=given, capture_output=True, text=True, timeout=60)

    def verbs(self) -> list[str]:
        """What was called, in order, in a word each."""
        kinds = {
            " describe ": "look", "resources create": "create", "resources delete": "delete", " scp ": "copy",
            "worker.sh install": "install", "worker.sh start": "start", "worker.sh state": "ask", "train.log": "logs",
        }  # fmt: skip
        return [
            next(word for sign, word in kinds.items() if sign in call) for call in self.log.read_text().splitlines()
        ]


@pytest.fixture
def cloud(tmp_path: Path) -> Cloud:
    return Cloud(tmp_path)


def shown(done: subprocess.CompletedProcess) -> list[list[str]]:
    """The commands that a dry run printed, read as a shell would."""
    assert done.returncode == 0 and not done.stderr, done.stderr
    return [shlex.split(line) for line in done.stdout.splitlines()]


def sent(command: list[str]) -> list[str]:
    """What a command of gcloud has a worker run, read as the worker's shell would."""
    return [word for text in command if text.startswith("--command=") for word in shlex.split(text[10:])]


def test_a_dry_run_shows_every_command_and_runs_none(cloud: Cloud):
    done = cloud.run("--dry-run", "all", "--config.data.dataset=it's mine", **MINE | {"BUCKET": "gs://mine/a b"})
    commands = shown(done)
    assert not cloud.log.read_text() and not (cloud.folder / "e2etts_jax-e2etts.tar.gz").exists()
    assert [" ".join(command[3:5]) if command[0] == "gcloud" else command[0] for command in commands] == [
        "queued-resources describe", "queued-resources create", "queued-resources describe", "tpu-vm ssh",
        "git", "tpu-vm scp", "rm", "tpu-vm ssh", "tpu-vm ssh", "tpu-vm ssh", "mkdir", "tpu-vm ssh",
        "queued-resources delete",
    ]  # fmt: skip
    assert all("--zone=us-west4-a" in command for command in commands if command[0] == "gcloud")
    words = {"--accelerator-type=v5litepod-16", "--runtime-version=v2-alpha-tpuv5-lite", "--spot", "--node-id=e2etts"}
    assert words <= set(commands[1])
    assert all("--worker=all" in commands[i] for i in (5, 7, 8, 11))
    assert sent(commands[7])[-2:] == ["e2etts_jax/launch/worker.sh", "install"]
    assert sent(commands[8]) == [
        "env", "JAX_COMPILATION_CACHE_DIR=gs://mine/a b/compiled", "bash", "e2etts_jax/launch/worker.sh", "start",
        "--config=configs/joint.py:base", "--workdir=gs://mine/a b/e2etts", "--config.mesh.shape=(1,-1,1)",
        "--config.data.dataset=it's mine",
    ]  # fmt: skip


@pytest.mark.parametrize("command", ["create", "install", "run", "logs", "delete"])
def test_each_part_can_be_had_alone(cloud: Cloud, command: str):
    commands = shown(cloud.run("--dry-run", command, **MINE))
    last = {"create": "describe", "install": "install", "run": "state", "logs": "train.log", "delete": "delete"}
    assert last[command] in " ".join(commands[-1]) and not cloud.log.read_text()


def test_several_slices_are_one_resource_of_several_nodes(cloud: Cloud):
    env = {"SPOT": "0", "CREATE": "--reserved --network=n", "ACCELERATOR": "v4-16"}
    for done in (
        cloud.run("--dry-run", "--slices=2", "run", **MINE | env),
        cloud.run("--dry-run", "run", SLICES="2", **MINE | env),
    ):
        commands = shown(done)
        create = next(command for command in commands if command[4] == "create")
        words = {"--node-count=2", "--node-prefix=e2etts", "--reserved", "--network=n"}
        assert words | {"--runtime-version=tpu-ubuntu2204-base"} <= set(create) and "--spot" not in create
        nodes = {word for command in commands for word in command if re.fullmatch(r"e2etts-\d(:.*)?", word)}
        assert nodes == {"e2etts-0", "e2etts-1", "e2etts-0:e2etts_jax.tar.gz", "e2etts-1:e2etts_jax.tar.gz"}
        started = [sent(command) for command in commands if "start" in sent(command)]
        assert len(started) == 2 and all("--config.mesh.shape=(0,-1,1)" in words for words in started)


def test_a_run_that_is_preempted_is_started_again(cloud: Cloud):
    cloud.answers(
        states=["!NOT_FOUND", "WAITING_FOR_RESOURCES", "ACTIVE", "SUSPENDED", "SUSPENDED", "!NOT_FOUND", "ACTIVE"],
        codes=["!no shell", "running", "!no shell", "none", "running", "0"],
    )
    done = cloud.run("run", **MINE)
    assert done.returncode == 0, done.stderr
    assert cloud.verbs() == [
        *["look", "create", "look", "look", *SETUP, "ask", "ask"],  # running, then not to be reached
        *["look", "look", "delete", "look", "create", "look", *SETUP, "ask", "ask"],
    ]


@pytest.mark.parametrize("code", ["130", "lost"])
def test_a_run_that_lost_its_host_for_a_while_goes_on(cloud: Cloud, code: str):
    cloud.answers(states=["ACTIVE"], codes=["none", code, "none", "0"])
    assert cloud.run("run", **MINE).returncode == 0
    assert cloud.verbs() == ["look", *SETUP, "ask", "look", "look", *SETUP, "ask"]


def test_a_run_that_is_on_is_followed_and_not_started_twice(cloud: Cloud):
    cloud.answers(states=["ACTIVE"], codes=["running", "running", "0"])
    assert cloud.run("run", **MINE).returncode == 0
    assert cloud.verbs() == ["look", "ask", "ask", "ask"]


def test_a_run_that_fails_is_started_again_only_so_often(cloud: Cloud):
    cloud.answers(states=["ACTIVE"], codes=["none", "1"])
    done = cloud.run("all", NAME="wrong", RETRIES="1", **MINE)
    assert done.returncode == 1 and "error: the run failed 2 times; 'logs' brings its output" in done.stderr
    again = ["look", *SETUP, "ask", "look"]
    assert cloud.verbs() == [*again, *again, "logs", "delete"]
    shutil.rmtree(LAUNCH.parent / "runs" / "wrong")


def test_what_gcloud_cannot_say_creates_nothing(cloud: Cloud):
    cloud.answers(states=["!PERMISSION_DENIED"], codes=[])
    done = cloud.run("run", **MINE)
    assert done.returncode == 1 and "PERMISSION_DENIED" in done.stderr and set(cloud.verbs()) == {"look"}


@pytest.mark.parametrize(
    ("arguments", "env", "message"),
    [
        (["run"], {"ZONE": ""}, "error: set ZONE, "),
        (["create"], {"ACCELERATOR": ""}, "error: set ACCELERATOR, "),
        (["create"], {"ACCELERATOR": "v9-8"}, "error: set VERSION, the image of the hosts for ACCELERATOR=v9-8"),
        (["run"], {"BUCKET": ""}, "error: set BUCKET=gs://bucket, "),
        (["run"], {"BUCKET": "/tmp/x"}, "error: set BUCKET=gs://bucket, "),
        (["run"], {"SPOT": "yes"}, "error: SPOT=yes is neither 0 nor 1"),
        (["--slices=two", "run"], {}, "error: SLICES=two is not a number"),
        (["--dryrun", "run"], {}, "error: unknown option --dryrun"),
        (["start"], {}, "error: unknown command start"),
    ],
)
def test_wrong_words_are_named_in_one_line(cloud: Cloud, arguments: list[str], env: dict[str, str], message: str):
    done = cloud.run(*arguments, **MINE | env)
    assert done.returncode == 2 and done.stderr.startswith(message) and done.stderr.count("\n") == 1
    assert not cloud.log.read_text() and not done.stdout


def test_without_a_command_it_says_what_there_is(cloud: Cloud):
    done = cloud.run()
    named = set(re.findall(r"^  ([A-Z]+) ", done.stderr, re.M))
    assert done.returncode == 2 and {"NAME", "ZONE", "ACCELERATOR", "VERSION", "BUCKET", "SLICES", "SPOT"} <= named


# --- worker.sh --------------------------------------------------------------------------------------------------------


class Host:
    """A checkout whose Python sleeps, unless it is told its exit code."""

    def __init__(self, root: Path):
        self.root = root
        for name in ("worker.sh", "env.sh"):
            (root / "launch").mkdir(exist_ok=True)
            shutil.copy(LAUNCH / name, root / "launch")
        script = """
            trap 'echo saved; exit 130' TERM
            echo $$ >>pids
            echo "$E2ETTS_PROCESSES $*"
            case $4 in --code=*) exit "${4#*=}" ;; esac
            while true; do sleep 0.1; done"""
        write_program(root / ".venv" / "bin" / "python", script)

    def call(self, *arguments: str) -> str:
        command = ["bash", self.root / "launch" / "worker.sh", *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.strip()

    def pids(self) -> list[int]:
        """Of the programs that were started, first to last."""
        path = self.root / "pids"
        return [int(line) for line in path.read_text().splitlines()] if path.exists() else []

    def log(self) -> list[str]:
        return (self.root / "train.log").read_text().splitlines()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    made = Host(tmp_path)
    yield made
    for pid in made.pids():
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def wait(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_worker_says_how_its_run_is(host: Host):
    assert host.call("state") == "none"
    host.call("start", "--code=3", "--name=it's mine")
    wait(lambda: host.call("state") != "running")
    assert host.call("state") == "3"
    assert host.log() == ["auto -u -m e2etts_jax.main --code=3 --name=it's mine"]


def test_a_worker_ends_what_is_still_there_before_it_starts_anew(host: Host):
    host.call("start", "--first")
    wait(lambda: len(host.log()) == 1)
    assert host.call("state") == "running"
    host.call("start", "--second")
    wait(lambda: len(host.log()) == 3)
    assert host.call("state") == "running"
    first, second = (f"auto -u -m e2etts_jax.main --{word}" for word in ("first", "second"))
    assert host.log() == [first, "saved", second]


def test_a_worker_whose_host_was_started_anew_has_lost_its_run(host: Host):
    host.call("start", "--code=0")
    wait(lambda: host.call("state") == "0")
    (host.root / "train.exit").unlink()
    assert host.call("state") == "lost"


# --- slurm.sh, gke.yaml -----------------------------------------------------------------------------------------------


def slurm(folder: Path, code: int, **env: str) -> tuple[subprocess.CompletedProcess, list[str]]:
    """Runs the script as sbatch does, with an `srun` that returns `code`; with what it called."""
    (folder / "e2etts_jax").mkdir()
    (folder / "e2etts_jax" / "main.py").touch()
    for name, ends in (("srun", code), ("scontrol", 0)):
        given = 'echo "$JAX_COMPILATION_CACHE_DIR $SRUN_CPUS_PER_TASK" >>calls' if name == "srun" else ""
        write_program(folder / "bin" / name, f'{given}\necho "{name} $*" >>calls\nexit {ends}')
    given = {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "SLURM_JOB_ID": "7", "SLURM_SUBMIT_DIR": str(folder)}
    given |= {"SLURM_NTASKS_PER_NODE": "8", "SLURM_GPUS_ON_NODE": "8", "SLURM_CPUS_PER_TASK": "6", **env}
    command = ["bash", LAUNCH / "slurm.sh", "--config.seed=1"]
    done = subprocess.run(command, env=given, capture_output=True, text=True, timeout=60)
    calls = folder / "calls"
    return done, calls.read_text().splitlines() if calls.exists() else []


def test_slurm_gives_every_gpu_a_process_and_time_to_save():
    options = dict(re.findall(r"^#SBATCH --([\w-]+)(?:=(\S+))?$", (LAUNCH / "slurm.sh").read_text(), re.M))
    assert options["ntasks-per-node"] == options["gpus-per-node"] and options["signal"] == "TERM@120"
    assert {"requeue", "open-mode"} <= set(options) and "gpus-per-task" not in options


def test_slurm_queues_a_run_again_that_was_stopped(tmp_path: Path):
    done, (env, started, requeued) = slurm(tmp_path, 130, WORKDIR="gs://mine/run")
    assert env == "gs://mine/compiled 6"
    assert started.endswith("--workdir=gs://mine/run --config.mesh.shape=(1,-1,1) --config.seed=1")
    assert requeued == "scontrol requeue 7" and done.returncode == 130


@pytest.mark.parametrize("code", [0, 1])
def test_slurm_does_not_queue_a_run_again_that_ended(tmp_path: Path, code: int):
    done, calls = slurm(tmp_path, code, WORKDIR="/shared/runs/a")
    assert done.returncode == code and calls[0] == "/shared/runs/compiled 6" and len(calls) == 2


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ({}, "error: set WORKDIR, "),
        ({"WORKDIR": "/r", "SLURM_SUBMIT_DIR": ""}, "error: submit this with sbatch"),
        ({"WORKDIR": "/r", "SLURM_SUBMIT_DIR": "/"}, "error: call sbatch in the checkout, not in /"),
        ({"WORKDIR": "/r", "SLURM_NTASKS_PER_NODE": "1"}, "error: one task a GPU: --ntasks-per-node=1 and"),
    ],
)
def test_slurm_names_what_is_wrong(tmp_path: Path, env: dict[str, str], message: str):
    done, calls = slurm(tmp_path, 0, **env)
    assert done.returncode == 2 and done.stderr.startswith(message) and not calls


def test_the_jobset_asks_for_whole_slices_and_has_time_to_save():
    job = yaml.safe_load((LAUNCH / "gke.yaml").read_text())
    slices = job["spec"]["replicatedJobs"][0]["template"]["spec"]
    pod = slices["template"]["spec"]
    (container,) = pod["containers"]
    x, y = map(int, pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"].split("x"))
    assert job["kind"] == "JobSet" and slices["completionMode"] == "Indexed"
    chips = container["resources"]["limits"]["google.com/tpu"]
    assert slices["parallelism"] == slices["completions"] == x * y // chips
    assert container["command"][0] == "python" and pod["terminationGracePeriodSeconds"] > 120
    assert "--workdir=gs://<BUCKET>/joint" in container["args"]
    assert {"name": "JAX_COMPILATION_CACHE_DIR", "value": "gs://<BUCKET>/compiled"} in container["env"]


# --- judge.sh ---------------------------------------------------------------------------------------------------------


def test_judge_makes_the_environment_in_the_clone_and_reads_paths_from_where_it_is_called(tmp_path: Path):
    clone, here = tmp_path / "clone", tmp_path / "here"
    here.mkdir()
    (clone / "launch").mkdir(parents=True)
    shutil.copy(LAUNCH / "judge.sh", clone / "launch")
    (clone / "launch" / "env.sh").write_text(f'make_env() {{ echo "$PWD $1"; PATH={clone}/bin:$PATH; }}\n')
    write_program(clone / "bin" / "python", 'printf "%s\\n" "$PWD" "$@"')
    arguments = ["--list=a b.lst", "--wavs=A=x"]
    run = subprocess.run(
        ["bash", "../clone/launch/judge.sh", *arguments], cwd=here, check=True, capture_output=True, text=True
    )
    expected = [f"{clone} requirements.lock", str(here), "-m", "e2etts_jax.evaluate", *arguments]
    assert run.stdout.splitlines() == expected
