"""Training a vocoder: what the critics see, who moves by which term, and that a run leaves a file that speaks."""

import dataclasses
import functools
import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn
from jax.sharding import NamedSharding, PartitionSpec
from ml_collections import ConfigDict
from numbers_data import make_numbers
from tiny import fast_jit, load, same_bits

from e2etts_jax import flops, sharding, stages, state, train
from e2etts_jax.features import MelConfig, log_mel, magnitudes
from e2etts_jax.infer import vocoder
from e2etts_jax.infer.synthesizer import Synthesizer
from e2etts_jax.models.critics import Critics, CriticsConfig
from e2etts_jax.rng import Streams
from e2etts_jax.step import make_train_step
from e2etts_jax.types import Batch
from e2etts_jax.vocoding import TERMS, VocoderPlan, VocoderSystem, draw_segment

ROWS, FRAMES = 8, 40


def shrink(config: ConfigDict) -> ConfigDict:
    """The shipped config at sizes that compile in seconds: hop 64, 4 tokens of 10 frames a row."""
    c = config.copy_and_resolve_references()
    c.audio.sample_rate, c.audio.samples_per_token = 8000, 640
    c.mel.n_fft, c.mel.win, c.mel.hop, c.mel.n_mels, c.mel.fmax = 256, 256, 64, 20, 4000.0
    v, k = c.model.vocoder, c.model.critics
    v.width, v.rates, v.kernels, v.res_kernels, v.dilations = 32, (8, 8), (16, 16), (3,), (1, 3)
    k.periods, k.period_width, k.resolutions, k.resolution_width = (2, 3), 1, ((128, 30, 100),), 2
    c.data.buckets = (FRAMES // 10,)
    s = c.stages.vocoder
    s.steps, s.batch_size, s.plan.segment = 60, ROWS, 16
    s.lr.vocoder = s.lr.critics = 3e-3
    return c


@functools.cache
def built() -> tuple[VocoderSystem, stages.Stage]:
    c = shrink(load("vocoder"))
    system = VocoderSystem.from_config(c)
    return system, stages.parse_run(c, system.terms(), system.groups, system.plan_type)[0]


@functools.cache
def fresh() -> Any:
    return fast_jit(built()[0].unboxed)(jax.random.key(0))


def batch(seed: int = 0) -> Batch:
    """Ragged tones with overtones; the last row is filler."""
    rng, wav, width = np.random.default_rng(seed), np.zeros((ROWS, FRAMES * 64), np.float32), FRAMES * 64
    length = np.array([width - 300 * i for i in range(ROWS - 1)] + [0], np.int32)
    for row in range(ROWS - 1):
        phase = 2 * np.pi * rng.uniform(100, 400) / 8000 * np.arange(length[row])
        wav[row, : length[row]] = sum(0.3 / k * np.sin(k * phase) for k in range(1, 6))
    none = np.zeros(ROWS, np.int32)
    row = np.arange(ROWS, dtype=np.int32)
    return jax.tree.map(
        jnp.asarray,
        Batch(wav, length, none, none[:, None], none, np.zeros((ROWS, 0), np.float32), none > 0, {}, row),
    )


@functools.cache
def step() -> Any:
    system, stage = built()
    return fast_jit(make_train_step(system, stage, system.terms()))


# --- critics ----------------------------------------------------------------------------------------------------------


def test_critics_have_the_papers_shapes():
    critics, wav = Critics(CriticsConfig()), jax.ShapeDtypeStruct((2, 8192), np.float32)
    made, params = jax.eval_shape(lambda key, wav: critics.init_with_output(key, wav), jax.random.key(0), wav)
    scores = [judged[-1].shape for judged in made]
    assert [s[2] for s in scores[:5]] == [2, 3, 5, 7, 11] and [s[2] for s in scores[5:]] == [513, 1025, 257]
    assert [s[1] for s in scores] == [51, 34, 21, 15, 10, 9, 5, 21]
    assert [x.shape[-1] for x in made[0]] == [32, 128, 512, 1024, 1024, 1]
    sizes = {n: sum(x.size for x in jax.tree.leaves(p)) for n, p in nn.unbox(params["params"]).items()}
    assert sum(sizes[f"period_{p}"] for p in (2, 3, 5, 7, 11)) == 5 * 8_218_433  # HiFi-GAN's, without weight norm
    assert sizes["resolution_1024"] == 32 * 27 + 3 * 32 * 32 * 27 + 32 * 32 * 9 + 32 * 9 + 5 * 32 + 1


@pytest.mark.parametrize("period", [2, 3])
def test_a_period_critic_looks_at_each_column_alone(period: int):
    critics = Critics(CriticsConfig(periods=(period,), period_width=1, resolutions=()))
    wav = jax.random.normal(jax.random.key(1), (1, 600))
    params = critics.init(jax.random.key(0), wav)
    slope = np.asarray(jax.grad(lambda wav: jnp.sum(critics.apply(params, wav)[0][-1][:, :, 1]))(wav))[0]
    seen = slope.reshape(-1, period)
    assert np.abs(seen[:, 1]).max() > 0 and not np.delete(seen, 1, axis=1).any()


def test_a_resolution_critic_sees_the_spectrum():
    wav = np.random.default_rng(0).standard_normal(960).astype(np.float32)
    cfg = MelConfig(n_fft=128, hop=30, win=100)
    made = np.asarray(magnitudes(wav[None], cfg, every=True))[0]
    padded = np.pad(wav, cfg.pad)
    taper = np.pad(0.5 - 0.5 * np.cos(2 * np.pi * np.arange(100) / 100), 14)
    wanted = [np.abs(np.fft.rfft(padded[30 * m : 30 * m + 128] * taper)) for m in range(32)]
    np.testing.assert_allclose(made, wanted, atol=1e-4)


# --- segments ---------------------------------------------------------------------------------------------------------


def test_segments_lie_inside_the_clips_and_carry_their_mel():
    system, _ = built()
    b, frames = batch(), 16
    whole = np.asarray(log_mel(b.wav, system.mel))
    starts = set()
    for seed in range(6):
        made = draw_segment(b, Streams(jax.random.key(seed), b.row), system.mel, frames)
        assert made.mel.shape == (ROWS, frames, 20) and made.wav.shape == (ROWS, frames * 64)
        for row in range(ROWS - 1):
            wav = np.asarray(b.wav[row])
            at = [m for m in range(FRAMES) if np.array_equal(wav[m * 64 :][: frames * 64], made.wav[row])]
            assert len(at) == 1, "a segment begins on a frame of its clip"
            room = max(int(b.wav_len[row]) // 64 - frames, 0)
            assert at[0] <= room, "a segment holds no padding where the clip is long enough"
            starts.add((row, at[0]))
            np.testing.assert_allclose(made.mel[row], whole[row, at[0] : at[0] + frames], atol=1e-5)
    assert len({at for row, at in starts if row == 0}) > 2
    bytes_ = draw_segment(
        b.replace(wav=(b.wav * 32768).astype(jnp.int16)), Streams(jax.random.key(0), b.row), system.mel, 16
    )
    assert np.abs(bytes_.wav).max() <= 1


# --- terms ------------------------------------------------------------------------------------------------------------


@functools.cache
def weighted() -> Any:
    """Compiled `(params, batch, weights) -> weighted sum of the terms' means, its gradient`."""
    system, stage = built()
    terms = system.terms()
    needs = tuple({need for term in terms.values() for need in term.needs})

    def total(params: Any, b: Batch, weights: jax.Array) -> jax.Array:
        out = system.forward(params, b, Streams(jax.random.key(1), b.row), stage.plan, needs)
        return weights @ jnp.stack([term.fn(out, b).mean for term in terms.values()])

    return fast_jit(jax.value_and_grad(total))


@pytest.mark.parametrize("name", TERMS)
def test_a_term_moves_whom_it_says_and_nobody_else(name: str):
    system, stage = built()
    moves = {"critic": "critics"}.get(name, "vocoder")
    assert TERMS[name].groups(stage.plan) == {moves}
    b, only = batch(), jnp.array([float(name == other) for other in TERMS])
    value, grads = weighted()(fresh(), b, only)
    for group in system.groups:
        largest = max(float(jnp.abs(x).max()) for x in jax.tree.leaves(grads[group]))
        assert (largest > 0) == (group == moves), (group, largest)
    loud = b.replace(wav=b.wav.at[-1].set(1.0))
    assert float(weighted()(fresh(), loud, only)[0]) == float(value), "a row without a clip counts"


def test_training_learns_and_both_sides_move():
    made, lines = state.create(jax.tree.map(jnp.copy, fresh()), built()[1], 0), []
    for i in range(50):
        made, metrics = step()(made, batch(i % 4))
        lines.append({name: float(value) for name, value in metrics.items()})
    assert np.isfinite([list(line.values()) for line in lines]).all()
    mel = [line["loss/mel"] for line in lines]
    assert np.mean(mel[-4:]) < 0.7 * np.mean(mel[:4]), mel
    assert not any(name.startswith("tokens/") for name in lines[0])
    assert {f"loss/{n}" for n in (*built()[0].terms(), "total")} <= set(lines[0])
    assert all(line[f"update_norm/{g}"] > 0 for line in lines for g in built()[0].groups)


def test_eight_devices_take_the_step_of_one():
    system, stage = built()
    mesh = sharding.make_mesh((2, 4, 1))
    rules = sharding.rules_of(load("vocoder").mesh.rules)
    alone, metrics = step()(state.create(fresh(), stage, 0), batch())
    with jax.set_mesh(mesh), nn.logical_axis_rules(rules):
        places = state.shardings(system, stage, (), mesh, rules)
        spread = jax.device_put(state.create(fresh(), stage, 0), places)
        rows = jax.device_put(batch(), NamedSharding(mesh, PartitionSpec(("data", "fsdp"))))
        together, theirs = step()(spread, rows)
    assert {n: float(v) for n, v in theirs.items()} == pytest.approx(
        {n: float(v) for n, v in metrics.items()}, rel=1e-3
    )
    apart = optax.tree.norm(jax.tree.map(lambda a, b: np.asarray(a) - np.asarray(b), alone.opt, together.opt))
    assert float(apart) < 1e-2


def test_parts_of_a_batch_add_up():
    system, stage = built()
    halves = fast_jit(make_train_step(system, dataclasses.replace(stage, accumulate=2), system.terms()))
    one, two = (run(state.create(fresh(), stage, 0), batch())[1] for run in (step(), halves))
    assert {n: float(v) for n, v in two.items()} == pytest.approx({n: float(v) for n, v in one.items()}, rel=1e-3)


# --- configs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size, millions", [("tiny", (0.9, 0.7)), ("small", (13.9, 41.4)), ("base", (14.4, 41.4))])
def test_configs_hold_together(size: str, millions: tuple[float, float]):
    c = load("vocoder", size)
    system = VocoderSystem.from_config(c)
    assert system.mel == train.System.from_config(load("joint", size), 30).mel, "a run of this size can use it"
    sharding.param_shardings(system.abstract(), sharding.make_mesh((1, 8, 1)), sharding.rules_of(c.mesh.rules))
    sizes = {g: sum(x.size for x in jax.tree.leaves(p)) for g, p in nn.unbox(system.abstract()).items()}
    assert tuple(round(sizes[g] / 1e6, 1) for g in system.groups) == millions
    (stage,) = stages.parse_run(c, system.terms(), system.groups, system.plan_type)
    assert set(stage.terms) == set(system.terms())
    assert "critics" in flops.parameter_table(system)


def test_operations_are_counted():
    system, stage = built()
    made = flops.step(system, stage, system.terms(), flops.Shape(ROWS, 4, 1))
    # first 7 x 20 x 32; up 16 x 32 x 16 / 8, then 2 x 2 x 3 x 16 x 16 a sample; up, blocks of 8; last 7 x 8
    frame = 7 * 20 * 32 + 8 * (16 * 32 * 16 / 8 + 4 * 3 * 16**2) + 64 * (16 * 16 * 8 / 8 + 4 * 3 * 8**2 + 7 * 8)
    assert made["vocoder"] == pytest.approx(3 * 2 * ROWS * 16 * frame)
    assert made["critics"] > 0


@pytest.mark.parametrize(
    "change, words",
    [
        (
            "mel.hop=128,audio.samples_per_token=1024",
            "model.vocoder.rates (8, 8, 2, 2) make 256 samples of a mel frame, but mel.hop is 128",
        ),
        ("mel.scale=log10_whisper", "reads mels of scale 'ln'"),
        ("audio.samples_per_token=1000", "not a multiple of mel.hop 256"),
        ("model.vocoder.kernels=(16,16,4)", "kernels (16, 16, 4) must be as long as rates"),
    ],
)
def test_mistakes_are_named(change: str, words: str):
    with pytest.raises(ValueError) as error:
        VocoderSystem.from_config(load("vocoder", f"tiny,{change}"))
    assert words in str(error.value)
    with pytest.raises(ValueError, match=r"plan\.segment"):
        VocoderPlan(segment=0)


# --- a run ------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_run_goes_on_and_leaves_a_file_that_speaks(tmp_path: Path):
    c = shrink(load("vocoder"))
    c.data.data_dir, c.data.buckets = str(make_numbers(tmp_path / "data")), (28,)
    c.stages.vocoder.steps, c.checkpoint_every, c.log_every = 4, 2, 1
    whole, halted = tmp_path / "whole", tmp_path / "halted"
    train.run(c, str(whole))
    for folder in (halted / "checkpoints" / "vocoder", halted):
        folder.mkdir(parents=True, exist_ok=True)
    # as after a death between the saves of steps 2 and 4
    (whole / "checkpoints" / "vocoder" / "2").rename(halted / "checkpoints" / "vocoder" / "2")
    train.run(c, str(halted))
    lines = [[json.loads(line) for line in (w / "metrics.jsonl").read_text().splitlines()] for w in (whole, halted)]
    last = [{k: v for k, v in line[-1].items() if k.startswith("val/")} for line in lines]
    assert last[0] == last[1] and set(last[0]) == {f"val/{n}" for n in ("mel", "adversarial", "features", "critic")}
    files = [w / "vocoder.safetensors" for w in (whole, halted)]
    shape, mel, params = vocoder.load(files[0])  # the files' headers have no order
    assert same_bits(params, vocoder.load(files[1])[2]), "a run that went on ends with other bits"

    system = VocoderSystem.from_config(c)
    given = np.random.default_rng(0).standard_normal((2, 30, 20)).astype(np.float32)
    mine = np.asarray(system.vocoder.apply({"params": params}, given))
    theirs = vocoder.choose(str(files[0]), dataclasses.replace(mel, mean=0.0, std=1.0)).run(given)
    inside = (30 - shape.reach) * 64
    np.testing.assert_allclose(mine[:, :inside], theirs[:, :inside], atol=1e-5)
    with pytest.raises(ValueError, match="trained a vocoder and speaks no text"):
        Synthesizer.load(whole)

    c.warm_vocoder, c.stages.vocoder.steps = str(files[0]), 1
    setup = train.Setup.of(c)
    assert same_bits(train.published(c.warm_vocoder, setup.system), params)
    c.model.vocoder.width = 64
    with pytest.raises(ValueError, match="warm_vocoder"):
        train.published(c.warm_vocoder, VocoderSystem.from_config(c))
