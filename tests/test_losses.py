"""What terms count: rows that can't be read, rows that say nothing, rows without a label."""

import jax.numpy as jnp
import numpy as np
import pytest

from e2etts_jax import losses
from e2etts_jax.forward import RmOut
from e2etts_jax.types import Batch, Outputs

V = 5


def batch(texts: list[list[int]], labels: dict[str, np.ndarray] | None = None, filler: int = 0) -> Batch:
    rows = len(texts)
    text = np.zeros((rows, 4), np.int32)
    for row, ids in enumerate(texts):
        text[row, : len(ids)] = ids
    wav_len = np.full(rows, 100, np.int32)
    wav_len[rows - filler :] = 0
    none = np.zeros(rows, np.int32)
    return Batch(
        wav=np.zeros((rows, 100), np.float32),
        wav_len=wav_len,
        prompt_len=none,
        text=text,
        text_len=np.array([len(ids) for ids in texts], np.int32),
        speaker=np.zeros((rows, 2), np.float32),
        speaker_mask=none > 0,
        labels=labels or {},
        row=np.arange(rows, dtype=np.int32),
    )


def out(frames: list[int], **heads: np.ndarray) -> Outputs:
    made = RmOut({"asr": jnp.zeros((len(frames), 6, V)), **heads}, jnp.array(frames))
    return Outputs(rm=made, rm_sampled=made)


def test_a_recording_too_short_for_its_text_counts_in_neither_sum():
    b = batch([[1, 2], [3, 3]])
    enough, short = losses.rm_ctc(out([6, 6]), b), losses.rm_ctc(out([6, 2]), b)  # "3 3" needs a blank between
    assert float(enough.den) == 4 and float(short.den) == 2
    alone = losses.rm_ctc(out([6]), batch([[1, 2]]))
    assert float(short.num) == pytest.approx(float(alone.num)) and float(short.mean) > 0


def test_the_reward_model_writes_a_text_of_its_own():
    b = batch([[1, 2], [3, 3]])
    own = batch([[4], [1, 2, 3]])
    both = b.replace(rm_text=own.text, rm_text_len=own.text_len)
    rng = np.random.default_rng(0)
    made = RmOut({"asr": jnp.asarray(rng.standard_normal((2, 6, V)), jnp.float32)}, jnp.array([6, 6]))
    for term in (losses.rm_ctc, losses.rm_ctc_sampled):
        given = Outputs(rm=made, rm_sampled=made)
        assert term(given, both) == term(given, own) != term(given, b)


def test_saying_nothing_is_no_way_to_a_good_reward():
    b = batch([[1, 2], [3, 4], [1]], filler=1)
    said, silent = losses.rm_ctc_sampled(out([6, 6, 6]), b), losses.rm_ctc_sampled(out([0, 1, 0]), b)
    assert float(said.den) == float(silent.den) == 4, "counts do not depend on what was drawn"
    assert float(silent.mean) == pytest.approx(np.log(V)), "every character as if guessed"
    sure = jnp.full((1, 6, V), -20.0).at[0, jnp.arange(6), jnp.array([1, 0, 0, 0, 0, 2])].set(20.0)
    good = losses.rm_ctc_sampled(Outputs(rm_sampled=RmOut({"asr": sure}, jnp.array([6]))), batch([[1, 2]]))
    assert float(good.mean) < 0.01 < float(silent.mean)


def test_rows_without_a_label_contribute_exactly_nothing():
    head = jnp.asarray(np.random.default_rng(0).standard_normal((3, 4)), jnp.float32)
    term, texts = losses.rm_task("mood"), [[1]] * 3
    some = term(out([6] * 3, mood=head), batch(texts, {"mood": np.array([2, -1, 0], np.int32)}))
    first = term(out([6], mood=head[:1]), batch(texts[:1], {"mood": np.array([2], np.int32)}))
    last = term(out([6], mood=head[2:]), batch(texts[:1], {"mood": np.array([0], np.int32)}))
    assert float(some.den) == 2 and float(some.num) == pytest.approx(float(first.num + last.num))
    none = term(out([6] * 3, mood=head), batch(texts, {"mood": np.full(3, -1, np.int32)}))
    absent = term(out([6] * 3, mood=head), batch(texts))
    assert [float(x) for x in (none.num, none.den, absent.num, absent.den)] == [0, 0, 0, 0]


def test_terms_are_those_of_the_heads():
    assert "rm_spk" in losses.terms() and "rm_spk" not in losses.terms(speaker=False)
    assert "rm_mood" in losses.terms((("mood", 3),))
