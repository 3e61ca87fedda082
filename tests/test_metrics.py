"""metrics.jsonl is exact, parsable and can be cut back to a checkpoint; TensorBoard gets the same."""

import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest
from tensorboardX.proto.event_pb2 import Event

from e2etts_jax.metrics import MetricsWriter


@pytest.fixture
def writer(tmp_path):
    writer = MetricsWriter(str(tmp_path))
    yield writer
    writer.close()


def read_lines(workdir: Path) -> list[dict]:
    def reject(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    text = (workdir / "metrics.jsonl").read_text()
    return [json.loads(line, parse_constant=reject) for line in text.splitlines()]


def read_events(workdir: Path, stage: str) -> list[Event]:
    events = []
    for path in sorted((workdir / "tb" / stage).iterdir()):
        content, position = path.read_bytes(), 0
        while position < len(content):  # length u64, its crc u32, the event, its crc u32
            length = int.from_bytes(content[position : position + 8], "little")
            events.append(Event.FromString(content[position + 12 : position + 12 + length]))
            position += 16 + length
    return events


def test_a_line_is_flushed_sorted_and_exact(writer, tmp_path):
    third = jnp.float32(1) / 3
    writer.scalars({"loss/b": third, "loss/a": 0.1 + 0.2, "grad_norm/llm": np.float32(1e-30)}, step=3, stage="joint")
    assert (tmp_path / "metrics.jsonl").read_text() == (
        '{"stage": "joint", "step": 3, "grad_norm/llm": 1.0000000031710769e-30, '
        '"loss/a": 0.30000000000000004, "loss/b": 0.3333333432674408}\n'
    )
    assert np.float32(read_lines(tmp_path)[0]["loss/b"]).tobytes() == np.asarray(third).tobytes()


def test_non_finite_values_stay_json_and_read_back_with_float(writer, tmp_path):
    values = {"a": float("nan"), "b": jnp.float32("inf"), "c": -np.inf, "d": -0.0}
    writer.scalars(values, step=1, stage="joint")
    line = read_lines(tmp_path)[0]
    assert [line["a"], line["b"], line["c"]] == ["nan", "inf", "-inf"]
    for name, value in values.items():
        np.testing.assert_array_equal(np.signbit(float(line[name])), np.signbit(float(value)))
        np.testing.assert_array_equal(float(line[name]), float(value))


def test_reserved_names_are_an_error(writer, tmp_path):
    with pytest.raises(ValueError, match=r"\['step'\] can't be names"):
        writer.scalars({"step": 1.0}, step=1, stage="joint")
    assert (tmp_path / "metrics.jsonl").read_text() == ""


def log(writer: MetricsWriter, stage: str, steps: range) -> None:
    for step in steps:
        writer.scalars({"loss": step / 7}, step=step, stage=stage)


def heads(workdir: Path) -> list[tuple[str, int]]:
    return [(line["stage"], line["step"]) for line in read_lines(workdir)]


@pytest.mark.parametrize(
    ("stage", "step", "left"),
    [
        ("joint", 2, 2),  # the later stage goes too: it came from the lost steps
        ("joint", 3, 5),
        ("tune", 1, 4),
        ("tune", 0, 3),
        ("tune", 9, 5),
        ("chain", 0, 5),
    ],
)
def test_truncate_drops_what_came_after_and_writing_goes_on(tmp_path, stage, step, left):
    writer = MetricsWriter(str(tmp_path))
    log(writer, "joint", range(1, 4))
    log(writer, "tune", range(1, 3))
    writer.close()
    before = (tmp_path / "metrics.jsonl").read_bytes().splitlines()
    writer = MetricsWriter(str(tmp_path))
    writer.truncate(step, stage)
    assert (tmp_path / "metrics.jsonl").read_bytes().splitlines() == before[:left]
    log(writer, stage, range(step + 1, step + 2))
    writer.close()
    assert heads(tmp_path)[left:] == [(stage, step + 1)]
    assert os.listdir(tmp_path).count("metrics.tmp") == 0


def test_a_resumed_run_has_the_lines_of_an_uninterrupted_one(tmp_path):
    straight, resumed = tmp_path / "a", tmp_path / "b"
    writer = MetricsWriter(str(straight))
    log(writer, "joint", range(1, 8))
    writer.close()
    writer = MetricsWriter(str(resumed))
    log(writer, "joint", range(1, 6))
    writer.close()
    writer = MetricsWriter(str(resumed))
    writer.truncate(3, "joint")
    log(writer, "joint", range(4, 8))
    writer.close()
    assert (straight / "metrics.jsonl").read_bytes() == (resumed / "metrics.jsonl").read_bytes()


def test_lines_survive_a_kill_and_a_torn_one_is_dropped(tmp_path, repo_root):
    code = (
        "import os, signal, sys\nfrom e2etts_jax.metrics import MetricsWriter\nw = MetricsWriter(sys.argv[1])\n"
        "w.scalars({'loss': 1.5}, 1, 'joint')\nos.kill(os.getpid(), signal.SIGKILL)"
    )
    environment = os.environ | {"PYTHONPATH": str(repo_root)}
    child = subprocess.run([sys.executable, "-c", code, str(tmp_path)], env=environment, timeout=60)
    assert child.returncode == -signal.SIGKILL
    assert heads(tmp_path) == [("joint", 1)]
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"stage": "joint", "st')
    writer = MetricsWriter(str(tmp_path))
    log(writer, "joint", range(2, 3))
    writer.close()
    assert heads(tmp_path) == [("joint", 1), ("joint", 2)]


def test_truncating_hides_the_points_from_tensorboard(tmp_path):
    writer = MetricsWriter(str(tmp_path))
    log(writer, "joint", range(1, 6))
    writer.truncate(3, "joint")
    log(writer, "joint", range(4, 5))
    writer.close()
    events = read_events(tmp_path, "joint")
    seen = [(event.step, value.tag, value.simple_value) for event in events for value in event.summary.value]
    assert [(step, tag) for step, tag, _ in seen] == [(step, "loss") for step in (1, 2, 3, 4, 5, 4)]
    np.testing.assert_allclose([value for _, _, value in seen], np.array([1, 2, 3, 4, 5, 4]) / 7, rtol=1e-6)
    assert [event.step for event in events if event.HasField("session_log")] == [4]


def test_images_and_audio_reach_tensorboard(writer, tmp_path):
    colour = np.arange(120, dtype=np.uint8).reshape(8, 5, 3)
    writer.image("mel/grey", colour[..., 0], step=2, stage="tune")
    writer.image("mel/colour", colour, step=2, stage="tune")
    writer.audio("wav", np.sin(np.arange(2205) / 10).astype(np.float32), 22050, step=2, stage="tune")
    writer.close()
    values = {value.tag: value for event in read_events(tmp_path, "tune") for value in event.summary.value}
    for tag, pixels in (("mel/grey", np.repeat(colour[..., :1], 3, axis=-1)), ("mel/colour", colour)):
        shown = PIL.Image.open(io.BytesIO(values[tag].image.encoded_image_string))
        np.testing.assert_array_equal(np.asarray(shown), pixels)
    assert values["wav"].audio.sample_rate == 22050
    assert values["wav"].audio.encoded_audio_string.startswith(b"RIFF")


@pytest.mark.parametrize("pixels", [np.zeros((8, 5), np.float32), np.zeros((3, 8, 5), np.uint8), np.zeros(8, np.uint8)])
def test_other_images_are_an_error(writer, pixels):
    with pytest.raises(ValueError, match="image 'mel' is .*wanted uint8"):
        writer.image("mel", pixels, step=1, stage="joint")


def test_stereo_audio_is_an_error(writer):
    with pytest.raises(ValueError, match=r"audio 'wav' has shape \[2, 10\]"):
        writer.audio("wav", np.zeros((2, 10), np.float32), 22050, step=1, stage="joint")
