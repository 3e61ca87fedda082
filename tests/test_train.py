"""Runs that are killed, stopped or damaged end with the bits of a run that was not; wrong ones say so in one line."""

import dataclasses
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import pytest
from faults.config import STEPS, get_config
from ml_collections import ConfigDict
from numbers_data import make_numbers
from tiny import same_bits

from e2etts_jax import losses, main, run_flags, sharding, train
from e2etts_jax.checkpoint import load_items
from e2etts_jax.data.text import CharTokenizer
from e2etts_jax.stages import parse_run
from e2etts_jax.system import System
from e2etts_jax.types import GROUPS

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]

EVERYTHING = (*GROUPS, "frozen", "opt", "misc")
QUICK = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"  # to compile


@dataclasses.dataclass(frozen=True)
class Life:
    """A process from start to end: exit code, what it printed, and what it left in `checkpoints/`."""

    code: int
    out: str
    err: str
    left: dict[str, set[str]]

    @property
    def last_error(self) -> str:
        return self.err.rstrip().rpartition("\n")[2]

    def compiled(self, program: str) -> int:
        """How often a program was compiled (or looked for in the cache)."""
        return len(re.findall(rf"Compiling jit\({program}\)", self.err))


@dataclasses.dataclass(frozen=True)
class Trainer:
    """Starts `python -m e2etts_jax.main` on the small recipe in processes of its own."""

    root: Path
    data_dir: Path

    def start(
        self, workdir: Path, *options: str, accident: str = "", devices: int = 1, log_compiles: bool = False
    ) -> subprocess.Popen:
        env = os.environ | {
            "PYTHONPATH": os.pathsep.join((str(self.root), str(self.root / "tests"))),
            "JAX_NUM_CPU_DEVICES": str(devices),
            "JAX_LOG_COMPILES": str(int(log_compiles)),
            "XLA_FLAGS": QUICK,
        }
        program = ["tests/faults/run.py", accident] if accident else ["-m", "e2etts_jax.main"]
        config = f"--config=tests/faults/config.py:{self.data_dir}"
        return subprocess.Popen(
            [sys.executable, *program, config, f"--workdir={workdir}", *options],
            cwd=self.root,
            env=env,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def live(self, workdir: Path, *options: str, **kwargs: Any) -> Life:
        return end(self.start(workdir, *options, **kwargs), workdir)


def end(process: subprocess.Popen, workdir: Path) -> Life:
    out, err = process.communicate(timeout=3000)
    left = {path.name: set(os.listdir(path)) for path in sorted(workdir.glob("checkpoints/*"))}
    return Life(process.returncode, out, err, left)


def head(line: dict[str, Any]) -> tuple[str, int]:
    return line["stage"], line["step"]


def lines(workdir: Path) -> list[dict[str, Any]]:
    """The metric lines, without what depends on the clock."""
    text = (workdir / "metrics.jsonl").read_text() if (workdir / "metrics.jsonl").exists() else ""
    whole = text[: text.rfind("\n") + 1].splitlines()  # the last one may be half written
    return [{k: v for k, v in json.loads(line).items() if not k.startswith("perf/")} for line in whole]


def final(workdir: Path, stage: str) -> dict[str, Any]:
    return load_items(str(workdir / "checkpoints" / stage), EVERYTHING, step=STEPS[stage])


def content(workdir: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in workdir.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a `numbers` of two dozen short clips, where programs find it without being told."""
    return make_numbers(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def trainer(repo_root: Path, data_dir: Path) -> Trainer:
    return Trainer(repo_root, data_dir)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def config(data_dir: Path) -> ConfigDict:
    return get_config(str(data_dir))


# --- the processes, two at a time -------------------------------------------------------------------------------------


def hard_life(trainer: Trainer, workdir: Path) -> list[Life]:
    """One run in seven processes; after the fourth, a byte of the newest checkpoint changes."""
    lives = [
        trainer.live(workdir, accident="commit:joint:4"),
        trainer.live(workdir, "--config.log_every=4", accident="SIGTERM:joint:6"),
        trainer.live(workdir, accident="manifest:tune:2"),
        trainer.live(workdir, accident="SIGINT:tune:3"),
    ]
    damaged = max((workdir / "checkpoints/tune/3/llm").rglob("*"), key=lambda path: path.stat().st_size)
    flipped = bytearray(damaged.read_bytes())
    flipped[len(flipped) // 2] ^= 1
    damaged.write_bytes(flipped)
    lives.append(trainer.live(workdir, accident="saved:tune:4"))
    return [*lives, killed_at_random(trainer, workdir), trainer.live(workdir, accident="none::")]


def killed_at_random(trainer: Trainer, workdir: Path) -> Life:
    """Somewhere after tune step 4: in a step, a save, a validation, between stages, or (rarely) after the end."""
    places = [("tune", step) for step in range(5, 7)] + [("chain", step) for step in range(1, 5)]
    place, delay = random.choice(places), random.random()
    process = trainer.start(workdir, accident="none::")
    while process.poll() is None and place not in map(head, lines(workdir)):
        time.sleep(0.02)
    time.sleep(delay)
    process.kill()
    life = end(process, workdir)
    return dataclasses.replace(life, err=f"{life.err}\nkilled {delay:.3f} s after {place}\n")


@pytest.fixture(scope="module")
def later(trainer: Trainer, folder: Path) -> Iterator[dict[str, Future]]:
    """All training processes of this file, started at once."""
    with ThreadPoolExecutor(2) as pool:
        options = ("--config.max_skipped=3", "--config.mesh.shape=(1,2,1)")
        yield {
            "quiet": pool.submit(trainer.live, folder / "quiet", log_compiles=True),
            "hard": pool.submit(hard_life, trainer, folder / "hard"),
            "nan": pool.submit(
                trainer.live, folder / "nan", *options, accident="nan:joint:3", devices=2, log_compiles=True
            ),
        }


@pytest.fixture(scope="module")
def quiet(later: dict[str, Future]) -> Life:
    life = later["quiet"].result()
    assert life.code == 0, life.err
    return life


@pytest.fixture(scope="module")
def hard(later: dict[str, Future], quiet: Life) -> list[Life]:
    return later["hard"].result()


# --- runs that go on --------------------------------------------------------------------------------------------------


def test_a_run_logs_every_step_and_keeps_two_checkpoints_a_stage(quiet: Life, folder: Path):
    assert quiet.left == {"joint": {"4", "6"}, "tune": {"4", "6"}, "chain": {"2", "4"}}
    expected = [(stage, min(step, steps)) for stage, steps in STEPS.items() for step in range(1, steps + 2)]
    assert [head(line) for line in lines(folder / "quiet")] == expected
    validations = [head(line) for line in lines(folder / "quiet") if "val/lm_ce" in line]
    assert validations == list(STEPS.items())


def test_a_step_is_compiled_once_a_stage(quiet: Life):
    assert quiet.compiled("step") == quiet.compiled("evaluate") == len(STEPS)


def test_a_kill_inside_a_save_costs_that_save(hard: list[Life]):
    in_commit, after_it = hard[0], hard[2]
    assert in_commit.code == after_it.code == -signal.SIGKILL, in_commit.err + after_it.err
    assert in_commit.left["joint"] == {"2", "4.orbax-checkpoint-tmp"}
    assert "continuing stage joint at step 2 of 6" in hard[1].out
    assert "joint/4.orbax-checkpoint-tmp can't be used: it is an unfinished save" in hard[1].err
    assert after_it.left["tune"] == {"2"}
    # nothing of tune can be used: its first step follows on the last of joint
    assert "continuing stage joint at step 6 of 6" in hard[3].out
    assert re.search(r"tune/2 can't be used: .*manifest.json", hard[3].err)


def test_a_signal_saves_says_where_and_exits_with_130(hard: list[Life]):
    for life, stage, step in ((hard[1], "joint", 6), (hard[3], "tune", 3)):
        assert life.code == 130, life.err
        assert f"stopped in stage {stage} after step {step}; the same command continues there" in life.out
        assert str(step) in life.left[stage]
        assert "Traceback" not in life.err
    assert "continuing stage joint at step 6 of 6" in hard[2].out


def test_a_damaged_checkpoint_is_named_and_the_one_before_it_used(hard: list[Life]):
    assert re.search(r"tune/3 can't be used: llm/\S+ is not as it was written; moved to 3.damaged", hard[4].err)
    assert "continuing stage tune at step 2 of 6" in hard[4].out


def test_a_kill_after_a_save_costs_nothing(hard: list[Life]):
    assert hard[4].code == -signal.SIGKILL, hard[4].err
    assert hard[4].left["tune"] >= {"2", "4"}
    assert "continuing stage tune at step 4 of 6" in hard[5].out


@pytest.mark.parametrize("stage", STEPS)
def test_the_end_is_the_same_bit_by_bit(hard: list[Life], folder: Path, stage: str):
    assert hard[-1].code == 0, hard[-1].err
    expected, got = final(folder / "quiet", stage), final(folder / "hard", stage)
    different = [item for item in EVERYTHING if not same_bits(expected[item], got[item])]
    assert not different, f"{hard[5].err}\n{different} differ"


def test_the_metrics_are_the_same_digit_by_digit(hard: list[Life], folder: Path):
    unlogged = [("joint", 3), ("joint", 5)]  # by the process that was told to log every 4 steps
    expected = [line for line in lines(folder / "quiet") if head(line) not in unlogged]
    assert lines(folder / "hard") == expected, hard[5].err


def test_a_finished_run_stays_as_it_is(hard: list[Life], folder: Path, config: ConfigDict):
    before = content(folder / "hard")
    train.run(config, str(folder / "hard"))
    assert content(folder / "hard") == before


def test_losses_that_stay_nan_end_the_run(later: dict[str, Future], folder: Path):
    life = later["nan"].result()
    assert life.code == 1
    assert "Traceback" not in life.err
    assert life.last_error.startswith("error: stage joint: loss or gradient was not finite in steps 3 to 5 ")
    assert life.left == {"joint": {"2", "4"}}
    kept = (*GROUPS, "opt")
    good, bad = (load_items(str(folder / "nan/checkpoints/joint"), kept, step=step) for step in (2, 4))
    assert same_bits(good, bad)
    assert life.compiled("step") == 1, "on a mesh of two devices"


# --- wrong commands ---------------------------------------------------------------------------------------------------

CONFIG, NEW = "--config=configs/joint.py", "--workdir={new}"
WRONG = {
    "key": ([CONFIG, NEW, "--config.model.llm.widht=3"], "no such key: 'widht' Did you mean \"width\""),
    "section": ([CONFIG, NEW, "--config.stages.nope.steps=3"], "no such key: 'nope'"),
    "number": ([CONFIG, NEW, "--config.seed=one"], "--config.seed=one: invalid literal for int"),
    "size": ([f"{CONFIG}:huge", NEW], "unknown size 'huge': choose one of tiny, small, base"),
    "pair": ([f"{CONFIG}:tiny,stages.joint.stpes=3", NEW], "the config has no key 'stages.joint.stpes'"),
    "type": ([f"{CONFIG}:tiny,seed=one", NEW], "Could not override field 'seed'"),
    "config": (["--config=configs/jont.py", NEW], "No such file or directory: 'configs/jont.py'"),
    "no config": ([NEW], "say what to train: --config=configs/joint.py"),
    "no workdir": ([CONFIG], "--workdir must have a value"),
    "no dashes": ([CONFIG, NEW, "config.seed=1"], "unexpected argument 'config.seed=1'"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_command_is_one_line_that_names_the_fault(wrong: str, tmp_path: Path, repo_root: Path):
    options, message = WRONG[wrong]
    done = subprocess.run(
        [sys.executable, "-m", "e2etts_jax.main", *(option.format(new=tmp_path / "new") for option in options)],
        cwd=repo_root,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: ") and message in done.stderr
    assert done.stderr.count("\n") == 1 and not done.stdout
    assert not (tmp_path / "new").exists()


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> Callable[..., str]:
    """What the command says of a config that it refuses."""

    def run(config: ConfigDict, workdir: Path, profile: str = "") -> str:
        monkeypatch.setattr(main, "PROFILE", SimpleNamespace(value=profile))
        monkeypatch.setattr(main, "CONFIG", SimpleNamespace(value=config))
        monkeypatch.setattr(run_flags, "WORKDIR", SimpleNamespace(value=str(workdir)))
        assert main.main(["main"]) == 1
        said = capsys.readouterr().err
        assert said.startswith("error: ") and said.count("\n") == 1
        return said

    return run


def changed(config: ConfigDict, **values: Any) -> ConfigDict:
    c = config.copy_and_resolve_references()
    c.update_from_flattened_dict({key.replace("__", "."): value for key, value in values.items()})
    return c


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("stages__joint__train", ("llm", "vocoder"), "'joint' trains unknown group 'vocoder': groups are tokenizer"),
        ("stages__tune__monitor", ("rm_emotion",), "'tune' names unknown term 'rm_emotion': terms are flow_match"),
        ("run", ("joint", "tuen"), "names stage 'tuen'; config.stages has chain, joint, tune"),
        ("run", (), "names no stage"),
        ("stages__chain__monitor", ("recon_mel",), "'chain' computes recon_mel: set plan.fm_unroll_steps"),
        ("model__rm__speaker", 0, "'joint' names unknown term 'rm_spk': terms are flow_match"),
        ("model__fm__speaker", 64, "model.fm.speaker=64: speaker vectors of the data have 256 numbers"),
        ("model__rm__tasks", (("kind", 3),), "gives 'kind' 3 classes, the data has 6: amount"),
    ],
)
def test_a_wrong_stage_is_named(say: Callable, config: ConfigDict, tmp_path: Path, key: str, value: Any, message: str):
    assert message in say(changed(config, **{key: value}), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_task_without_labels_is_named(say: Callable, config: ConfigDict, tmp_path: Path):
    wrong = changed(config, model__rm__tasks=(("emotion", 5),))
    with wrong.stages.tune.terms.unlocked():
        wrong.stages.tune.terms.rm_emotion = 1.0
    assert "stage 'tune' learns 'emotion', but " in (said := say(wrong, tmp_path / "new"))
    assert "has no such label; it has kind" in said


def test_steps_to_trace_that_are_none_are_named(say: Callable, config: ConfigDict, tmp_path: Path):
    assert "--profile=5:2 is not first:last, two steps from 1 on" in say(config, tmp_path / "new", "5:2")
    assert not (tmp_path / "new").exists()


def test_a_workdir_that_is_a_file_is_named(say: Callable, config: ConfigDict, tmp_path: Path):
    (tmp_path / "file").write_text("mine")
    assert f"workdir {tmp_path / 'file'} is a file" in say(config, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_an_unknown_data_set_is_named(say: Callable, config: ConfigDict, tmp_path: Path):
    wrong = changed(config, data__dataset="nubmers")
    assert "no data set 'nubmers': it is neither one of asterisk_en, " in say(wrong, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_config_can_be_corrected_until_something_is_logged(config: ConfigDict, tmp_path: Path):
    for seed in (1, 2):
        train.claim(str(tmp_path), changed(config, seed=seed))
        assert json.loads((tmp_path / "config.json").read_text())["seed"] == seed
    (tmp_path / "metrics.jsonl").write_text("{}\n")
    with pytest.raises(ValueError, match="different: seed"):
        train.claim(str(tmp_path), changed(config, seed=3))
    assert json.loads((tmp_path / "config.json").read_text())["seed"] == 2


def test_a_workdir_of_another_config_is_left_alone(say: Callable, hard: list[Life], config: ConfigDict, folder: Path):
    before = content(folder / "hard")
    other = changed(config, seed=1, model__llm__width=64, log_every=7)
    message = f"{folder / 'hard'} belongs to another config (different: model.llm.width, seed)"
    assert message in say(other, folder / "hard")
    assert content(folder / "hard") == before


def test_a_warm_start_takes_the_groups_it_names(hard: list[Life], config: ConfigDict, folder: Path):
    system = System.from_config(config, CharTokenizer(config.text.alphabet).vocab_size)
    stages = parse_run(config, losses.terms())
    mesh, rules = sharding.make_mesh((1, 1, 1)), sharding.rules_of(config.mesh.rules)

    def first(**values: Any) -> Any:
        c = changed(config, warm_start=str(folder / "hard"), **values)
        return train.initial(SimpleNamespace(config=c, system=system, stages=stages, mesh=mesh, rules=rules))

    trained, fresh = final(folder / "hard", "chain"), system.unboxed(jax.random.key(config.seed))
    assert same_bits(first(), {g: trained[g] for g in GROUPS})
    some = first(warm_groups=("tokenizer", "rm"))
    for group in GROUPS:
        assert same_bits(some[group], (trained if group in ("tokenizer", "rm") else fresh)[group]), group
    with pytest.raises(ValueError, match="warm_groups names unknown group 'vocoder': groups are tokenizer"):
        first(warm_groups=("vocoder",))


def test_commands_share_a_process(repo_root: Path):
    """Two that define the same flag could not be imported by one program, or by one worker of a test run."""
    both = "import e2etts_jax.main, e2etts_jax.synthesize, e2etts_jax.prepare"
    subprocess.run([sys.executable, "-c", both], cwd=repo_root, check=True)
