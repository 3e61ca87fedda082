"""The compiled programs against the models called one by one, and against what training computes."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny import Tiny, batch, fast_jit

from e2etts_jax.features import denormalize
from e2etts_jax.forward import forward
from e2etts_jax.infer import programs
from e2etts_jax.models.flow import FlowModel
from e2etts_jax.models.generate import Sampling, generate
from e2etts_jax.models.tokenizer import Tokenizer
from e2etts_jax.rng import Streams
from e2etts_jax.stages import Plan
from e2etts_jax.types import length_mask

IDS = np.array([[5, 0, 80, 33, 7, 0], [9, 9, 1, 0, 0, 0], [0, 0, 0, 0, 0, 0]], np.int32)
LENGTH = np.array([5, 3, 0], np.int32)
STREAMS = Streams(jax.random.key(3), jnp.arange(3))


def test_tokens_and_characters_are_those_of_training(built: Tiny) -> None:
    b = batch(built)
    plan, streams = Plan(), Streams(jax.random.key(0), b.row)
    out = fast_jit(lambda p: dict(forward(built.system, p, b, streams, plan, ("rm",))))(built.params)
    token_len = b.token_len(built.system.samples_per_token)
    valid = length_mask(token_len, b.wav.shape[1] // built.system.samples_per_token)
    ids = programs.tokenize(built.system, built.params, b.wav, b.wav_len)
    np.testing.assert_array_equal(np.asarray(ids)[valid], np.asarray(out["tokens"].ids)[valid])
    assert len(set(np.asarray(ids)[valid].tolist())) > 5  # the recordings do not all sound the same

    best = np.asarray(programs.recognize(built.system, built.params, ids, token_len))
    want = np.argmax(out["rm"].heads["asr"], axis=-1)
    frames = np.repeat(valid, built.system.rm.config.ctc_upsample, axis=1)
    np.testing.assert_array_equal(best[frames], want[frames])


@pytest.mark.parametrize("own", [False, True], ids=["one text", "a text of its own"])
def test_of_several_draws_the_best_read_one_is_kept(built: Tiny, own: bool) -> None:
    """Against every candidate drawn alone and scored by optax, one row at a time."""
    s, p, count = built.system, built.params, 5
    text, text_len = jnp.asarray([[3, 4, 9], [7, 7, 0], [2, 0, 0]]), jnp.asarray([3, 2, 1])
    sampling = Sampling(top_p=1.0, top_k=0, repetition=1.0)
    written = (jnp.asarray([[5, 0], [2, 9], [11, 0]]), jnp.asarray([1, 2, 1])) if own else (text, text_len)
    best, length = programs.speak(s, sampling, 8, count, p, text, text_len, STREAMS, written if own else None)
    codebook = s.tokenizer.apply({"params": p["tokenizer"]}, method=Tokenizer.codebook)
    chosen, firsts = [], []
    for row in range(3):
        first = STREAMS.rows("sample")[row]
        keys = [first, *(jax.random.fold_in(first, k) for k in range(1, count))]
        losses, draws = [], []
        for key in keys:
            args = text[row : row + 1], text_len[row : row + 1], codebook, key[None], 8, sampling
            ids, n = fast_jit(lambda p, args=args: generate(s.llm, p, *args))(p["llm"])
            size = int(n[0])
            alone, mask = codebook[ids[:, :size]], jnp.ones((1, size), bool)
            logits = s.rm.apply({"params": p["rm"]}, alone, mask)["asr"]
            words = written[0][row : row + 1, : int(written[1][row])]
            losses.append(
                float(optax.losses.ctc_loss(logits, jnp.zeros(logits.shape[:2]), words, jnp.zeros(words.shape))[0])
            )
            draws.append(ids[0, :size].tolist())
        chosen.append(int(np.argmin(losses)))
        firsts.append(draws[0])
        assert best[row, : length[row]].tolist() == draws[chosen[-1]]
    assert set(chosen) != {0}  # the first draw was not always the best
    first, size = programs.speak(s, sampling, 8, 1, p, text, text_len, STREAMS)
    assert [first[row, : size[row]].tolist() for row in range(3)] == firsts


@pytest.fixture(scope="module")
def velocities(built: Tiny, speaker: np.ndarray) -> Callable[..., tuple[jax.Array, jax.Array]]:
    """`(x, t)` -> velocity with the tokens and the speaker, and without either, each from its own call."""
    s, mask = built.system, length_mask(jnp.asarray(LENGTH), IDS.shape[1])
    speakers, params = jnp.tile(jnp.asarray(speaker)[None], (3, 1)), built.params

    def at(x: jax.Array, t: float) -> tuple[jax.Array, jax.Array]:
        codebook = s.tokenizer.apply({"params": params["tokenizer"]}, method=Tokenizer.codebook)
        variables, none, blank = {"params": params["fm"]}, jnp.zeros_like(x), jnp.zeros(x.shape[:2], bool)
        cond = s.fm.apply(variables, codebook[IDS] * mask[..., None], mask, method=FlowModel.condition)
        rest = (jnp.full(3, t), cond, none, blank, speakers)
        with_tokens, without = (
            s.fm.apply(variables, x, *rest, jnp.full(3, keep), mask, method=FlowModel.velocity)
            for keep in (True, False)
        )
        return with_tokens, without

    return fast_jit(at)


@pytest.mark.parametrize("guidance", [0.0, 0.7])
def test_flow_is_two_guided_euler_steps(
    built: Tiny, speaker: np.ndarray, velocities: Callable[..., tuple[jax.Array, jax.Array]], guidance: float
) -> None:
    """(1 + w) v_cond - w v_nothing at t = 0 and at t = 1 - cos(pi/4), from the row's own noise."""
    s, middle = built.system, 1 - np.cos(np.pi / 4)
    x = STREAMS.draw("flow_noise", (IDS.shape[1] * s.frames_per_token, s.mel.n_mels))
    for t, span in ((0.0, middle), (middle, 1 - middle)):
        with_tokens, without = velocities(x, t)
        x = x + span * ((1 + guidance) * with_tokens - guidance * without)
    got = programs.flow(s, 2, guidance, built.params, IDS, LENGTH, jnp.asarray(speaker), STREAMS)
    valid = np.repeat(length_mask(jnp.asarray(LENGTH), IDS.shape[1]), s.frames_per_token, axis=1)
    want = np.maximum(denormalize(x, s.mel), np.log(s.mel.floor))
    np.testing.assert_allclose(np.asarray(got)[valid], np.asarray(want)[valid], atol=1e-4)
    np.testing.assert_allclose(np.asarray(got)[~valid], np.log(s.mel.floor), rtol=1e-6)  # silence behind the end


def test_flow_does_not_hear_padding_or_neighbours(built: Tiny, speaker: np.ndarray) -> None:
    def run(ids: np.ndarray, length: np.ndarray, rows: list[int]) -> np.ndarray:
        streams = Streams(jax.random.key(3), jnp.asarray(rows))
        args = (built.params, ids, length, jnp.asarray(speaker), streams)
        return np.asarray(programs.flow(built.system, 2, 0.7, *args))

    want, frames = run(IDS, LENGTH, [0, 1, 2]), LENGTH * built.system.frames_per_token
    longer = np.pad(IDS, ((0, 0), (0, 3)), constant_values=4)
    longer[1, 3:] = 6
    got = run(longer[::-1], LENGTH[::-1], [2, 1, 0])[::-1]
    for row in range(2):
        np.testing.assert_allclose(got[row, : frames[row]], want[row, : frames[row]], atol=1e-4)
    other = run(longer[::-1], LENGTH[::-1], [2, 7, 0])[::-1]  # another seed for row 1
    assert np.abs(other[1] - got[1]).max() > 0.1
    np.testing.assert_array_equal(other[0], got[0])


def test_speech_depends_on_speaker_and_tokens(built: Tiny, speaker: np.ndarray) -> None:
    def run(ids: np.ndarray, voice: np.ndarray) -> np.ndarray:
        return np.asarray(programs.flow(built.system, 2, 0.7, built.params, ids, LENGTH, jnp.asarray(voice), STREAMS))

    want = run(IDS, speaker)
    assert np.abs(run(IDS, -speaker)[:2] - want[:2]).max() > 0.1
    assert np.abs(run((IDS + 1) % 81, speaker)[:2] - want[:2]).max() > 0.1
