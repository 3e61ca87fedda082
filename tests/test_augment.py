"""Noise and speed of what the RM hears."""

import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal

from e2etts_jax import augment

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("factor", [0.5, 0.9, 1.1, 1.25, 0.97, 2.0])
@pytest.mark.parametrize("samples", [1000, 1001, 37])
def test_resampling_is_scipys(factor: float, samples: int):
    wav = RNG.standard_normal((2, samples)).astype(np.float32)
    up, down = augment._ratio(factor)
    assert down / up == pytest.approx(factor)
    want = scipy.signal.resample_poly(wav.astype(np.float64), up, down, axis=1)
    got = np.asarray(augment.resampled(jnp.asarray(wav), factor))
    assert got.shape[1] >= want.shape[1]
    np.testing.assert_allclose(got[:, : want.shape[1]], want, atol=2e-5)


def test_a_tone_said_faster_is_higher_and_shorter():
    rate, lengths = 8000, jnp.array([4000, 3600, 0, 4000])
    tone = np.sin(2 * np.pi * 400 * np.arange(4096) / rate) * (np.arange(4096) < np.asarray(lengths)[:, None])
    out, out_len = augment.speed(jnp.asarray(tone, jnp.float32), lengths, (0.9, 1.0, 1.25), jnp.array([2, 0, 2, 0]))
    assert out_len.tolist() == [3200, 4000, 0, 4000], "the last one would not fit when slower: as recorded"
    np.testing.assert_array_equal(out[3], tone[3].astype(np.float32))
    for row, hertz in ((0, 500), (1, 360)):
        n = int(out_len[row])
        want = np.sin(2 * np.pi * hertz * np.arange(n) / rate)
        np.testing.assert_allclose(np.asarray(out[row, 100 : n - 100]), want[100 : n - 100], atol=0.01)
        assert not out[row, n:].any()
    assert not out[2].any()


def test_noise_has_the_power_that_was_asked_for():
    wav = jnp.asarray(0.1 * RNG.standard_normal((3, 20_000)), jnp.float32)
    lengths = jnp.array([20_000, 10_000, 20_000])
    wav = wav * (jnp.arange(20_000)[None] < lengths[:, None])
    noise = jnp.asarray(RNG.standard_normal(wav.shape), jnp.float32)
    added = augment.white_noise(wav, lengths, jnp.array([10.0, 0.0, jnp.inf]), noise) - wav
    for row, decibels in ((0, 10.0), (1, 0.0)):
        n = int(lengths[row])
        ratio = 10 * np.log10(float(jnp.mean(wav[row, :n] ** 2) / jnp.mean(added[row, :n] ** 2)))
        assert ratio == pytest.approx(decibels, abs=0.3)
        assert not added[row, n:].any()
    assert not added[2].any()
