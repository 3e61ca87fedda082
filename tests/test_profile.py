"""Traces of some steps, and where the time of a stage goes."""

from pathlib import Path
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from tiny import tiny

from e2etts_jax import chips, progress
from e2etts_jax.profile import Profile
from e2etts_jax.progress import StageLog


def test_the_steps_that_were_asked_for_are_traced(tmp_path: Path):
    profile = Profile("2:3", str(tmp_path), "joint")
    for step in range(1, 6):
        profile.before(step)
        jnp.ones(3).sum().block_until_ready()
    profile.close()
    assert len(list((tmp_path / "profile" / "joint").rglob("*.xplane.pb"))) == 1
    none = Profile("", str(tmp_path / "other"), "joint")
    none.before(1)
    none.close()
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("steps", ["3", "5:2", "0:4", "a:b"])
def test_steps_that_are_none_are_refused(steps: str):
    with pytest.raises(ValueError, match="is not first:last"):
        Profile(steps, "", "joint")


def test_time_is_shared_out_and_flops_are_shares_of_the_peak(monkeypatch: pytest.MonkeyPatch, capsys):
    now, lines = [0.0], []
    monkeypatch.setattr(progress.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(progress.chips, "find", lambda kind: chips.CHIPS["TPU v5e"])
    writer = SimpleNamespace(scalars=lambda values, step, stage: lines.append(values))
    t = tiny()
    spt, rate = t.config.audio.samples_per_token, t.config.audio.sample_rate
    log = StageLog(t.config, writer, t.stages["joint"], 0, lambda tokens: {"llm": 1e12 * tokens, "fm": 3e12})
    rows = {"wav": np.zeros((2, 10 * spt)), "wav_len": np.array([5 * spt, 10 * spt])}
    for _ in range(2):  # the second step is not compiled
        with log.phase("input"):
            now[0] += 1.0
        with log.call(10 * spt):
            now[0] += 3.0
        log.dispatched(20 * spt, rows)
    log.write(2, {"guard/skipped": 0.0, "loss/total": 1.0})
    now[0] += 2.0
    log.close()
    (values,) = lines
    shares = {name: values[f"perf/{name}_share"] for name in progress.PHASES}
    assert shares == {"step": 3 / 8, "compile": 3 / 8, "input": 2 / 8, "save": 0.0}
    assert values["perf/audio_s_per_s"] == pytest.approx(40 * spt / rate / 8)
    assert values["perf/tokens_per_s_chip"] == pytest.approx(40 / 8 / log.chips)
    assert values["perf/flops_per_s"] == pytest.approx(2 * 13e12 / 8)
    assert values["perf/mfu_llm"] == pytest.approx(20e12 / 8 / log.chips / 197e12)
    assert values["perf/mfu"] == pytest.approx(26e12 / 8 / log.chips / 197e12)
    assert "joint: 10 s, of which step 30%, compile 30%, input 20%, other 20%" in capsys.readouterr().out
