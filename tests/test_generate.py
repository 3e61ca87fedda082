"""Decoding: the key-value cache against the teacher-forced pass; the loop and its sampling against scripted logits."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from e2etts_jax.models.generate import REPETITION_WINDOW, Prompt, Sampling, draw, generate
from e2etts_jax.models.llm import LLM, LLMConfig

VOCAB, TEXT_VOCAB, Q = 27, 9, 5
GREEDY = Sampling(temperature=0.0)
TEXT = np.array([[3, 1, 4, 1, 5, 2], [2, 7, 0, 0, 0, 0], [8, 8, 8, 1, 0, 0]], np.int32)
TEXT_LEN = np.array([6, 2, 4], np.int32)
CONFIG = LLMConfig(layers=2, width=32, heads=4, kv_heads=2, head_dim=8, ff=48, adapter_width=16)


@pytest.fixture(scope="module")
def codebook() -> jax.Array:
    return jnp.asarray(np.random.default_rng(0).normal(size=(VOCAB, Q)), jnp.float32)


@pytest.fixture(scope="module")
def model() -> LLM:
    return LLM(CONFIG, TEXT_VOCAB, VOCAB)


@pytest.fixture(scope="module")
def params(model: LLM, codebook: jax.Array) -> Any:
    """Larger than fresh ones, so that every token matters to the next."""
    ids, one = jnp.zeros((1, 2), jnp.int32), jnp.ones(1, jnp.int32)
    fresh = jax.jit(model.init)(jax.random.key(0), ids, one, jnp.zeros((1, 2, Q)), ids, one, codebook)["params"]
    return jax.tree.map(lambda x: 1.5 * x, nn.unbox(fresh))


@pytest.fixture(scope="module")
def forced(model: LLM, params: Any, codebook: jax.Array) -> Callable[..., np.ndarray]:
    """`forced(text, text_len, ids, length)`: logits of the teacher-forced pass."""
    apply = jax.jit(lambda *args: model.apply({"params": params}, *args, codebook)[0])

    def run(text: np.ndarray, text_len: np.ndarray, ids: np.ndarray, length: np.ndarray) -> np.ndarray:
        return np.asarray(apply(text, text_len, codebook[ids], ids, length))

    return run


def keys(rows: int, seed: int = 0) -> jax.Array:
    return jax.random.split(jax.random.key(seed), rows)


# --- the cache --------------------------------------------------------------------------------------------------------


def stepwise(model: LLM, params: Any, codebook: jax.Array, ids: np.ndarray) -> np.ndarray:
    """Logits of the prefix and of every token of `ids`, one cached step at a time."""
    params = model.apart(params)
    variables, steps = {"params": params}, ids.shape[1]
    table = model.apply(variables, codebook, method=LLM.table)
    step = jax.jit(functools.partial(model.apply, method=LLM.step))
    hidden, caches, seen = model.apply(variables, TEXT, TEXT_LEN, steps, method=LLM.prefill)
    made = [hidden]
    for t in range(steps):
        at = TEXT.shape[1] + 2 + t
        seen = seen.at[:, at].set(True)
        hidden, caches = step(variables, table[ids[:, t]], TEXT_LEN + 2 + t, seen, caches, jnp.int32(at))
        made.append(hidden)
    return np.asarray(model.apply(variables, jnp.stack(made, axis=1), table, method=LLM.logits))


def test_cached_steps_have_the_logits_of_the_whole_pass(
    model: LLM, params: Any, codebook: jax.Array, forced: Callable[..., np.ndarray]
) -> None:
    ids = np.random.default_rng(1).integers(0, VOCAB, (3, 9)).astype(np.int32)
    want = forced(TEXT, TEXT_LEN, ids, np.full(3, 9, np.int32))
    np.testing.assert_allclose(stepwise(model, params, codebook, ids), want, atol=1e-4, rtol=0)
    assert want.std() > 0.3  # logits that differ little would agree by accident


def test_text_padding_changes_nothing(forced: Callable[..., np.ndarray]) -> None:
    """Neither what lies in the padding nor how long it is, in the whole pass and so in the cached one."""
    ids = np.random.default_rng(2).integers(0, VOCAB, (3, 9)).astype(np.int32)
    length = np.array([9, 5, 7], np.int32)
    want = forced(TEXT, TEXT_LEN, ids, length)
    dirty = np.where(np.arange(8) < TEXT_LEN[:, None], np.pad(TEXT, ((0, 0), (0, 2))), 7).astype(np.int32)
    np.testing.assert_allclose(forced(dirty, TEXT_LEN, ids, length), want, atol=1e-5, rtol=0)
    other = np.where(np.arange(6) == 1, 6, TEXT).astype(np.int32)  # a character that counts
    assert np.abs(forced(other, TEXT_LEN, ids, length) - want).max() > 0.1


@pytest.fixture(scope="module")
def spoken(model: LLM, params: Any, codebook: jax.Array) -> tuple[np.ndarray, np.ndarray]:
    """Greedy ids and counts of the three texts, 12 tokens at most."""
    run = jax.jit(lambda p: generate(model, p, TEXT, TEXT_LEN, codebook, keys(3), 12, GREEDY))
    ids, count = run(params)
    return np.asarray(ids), np.asarray(count)


def test_greedy_decoding_takes_the_argmax_of_the_whole_pass(
    spoken: tuple[np.ndarray, np.ndarray], forced: Callable[..., np.ndarray]
) -> None:
    ids, count = spoken
    best = forced(TEXT, TEXT_LEN, ids, count).argmax(axis=-1)
    assert len({tuple(row) for row in ids}) == 3 and len(set(ids[0])) > 2  # it says something, and not always the same
    for row in range(3):
        said = count[row]
        np.testing.assert_array_equal(ids[row, :said], best[row, :said])
        assert said == 12 or best[row, said] == VOCAB


def test_what_is_said_already_is_gone_on_from(
    model: LLM, params: Any, codebook: jax.Array, forced: Callable[..., np.ndarray]
) -> None:
    """A prompt of any length, padded; the rest is the argmax of the whole pass behind it, and only that."""
    said = np.random.default_rng(4).integers(0, VOCAB, (3, 6)).astype(np.int32)
    length, words = np.array([6, 0, 3], np.int32), np.array([2, 0, 1], np.int32)
    run = jax.jit(lambda prompt: generate(model, params, TEXT, TEXT_LEN, codebook, keys(3), 7, GREEDY, prompt))
    ids, count = map(np.asarray, run(Prompt(said, length, words)))
    dirty = np.where(np.arange(6) < length[:, None], said, 26).astype(np.int32)
    np.testing.assert_array_equal(run(Prompt(dirty, length, words))[0], ids)
    rows = [np.concatenate([said[r, : length[r]], ids[r, : count[r]]]) for r in range(3)]
    whole = np.stack([np.pad(row, (0, 13 - len(row))) for row in rows]).astype(np.int32)
    best = forced(TEXT, TEXT_LEN, whole, length + count).argmax(axis=-1)
    for r in range(3):
        np.testing.assert_array_equal(ids[r, : count[r]], best[r, length[r] : length[r] + count[r]])
        assert count[r] == 7 or best[r, length[r] + count[r]] == VOCAB
    np.testing.assert_array_equal(
        ids[1], np.asarray(generate(model, params, TEXT, TEXT_LEN, codebook, keys(3), 7, GREEDY)[0])[1]
    )
    short = Sampling(temperature=0.0, max_ratio=0.5)
    _, count = generate(model, params, TEXT, TEXT_LEN, codebook, keys(3), 7, short, Prompt(said, length, words))
    assert (np.asarray(count) <= [2, 1, 2]).all(), "of the text that is left"


def test_sampled_decoding_draws_from_the_whole_pass(
    model: LLM, params: Any, codebook: jax.Array, forced: Callable[..., np.ndarray]
) -> None:
    """Token after token from the logits of the uncached pass, with the same keys: the greedy choice forgives more."""
    plain, tokens = Sampling(temperature=1.0, top_p=1.0, top_k=0, repetition=1.0), 8
    recent, pick = jnp.full(REPETITION_WINDOW, -1, jnp.int32), jax.jit(draw, static_argnums=3)
    run = jax.jit(lambda row_keys: generate(model, params, TEXT, TEXT_LEN, codebook, row_keys, tokens, plain))
    for seed in range(6):
        ids, count = map(np.asarray, run(keys(3, seed)))
        for step in range(tokens):
            logits = forced(TEXT, TEXT_LEN, ids, np.full(3, tokens, np.int32))[:, step]
            for row in np.flatnonzero(step <= count):
                token = int(pick(jax.random.fold_in(keys(3, seed)[row], step), logits[row], recent, plain))
                assert token == (ids[row, step] if step < count[row] else VOCAB), (seed, row, step)


@pytest.mark.parametrize("sampling", [GREEDY, Sampling()], ids=["greedy", "sampled"])
def test_a_row_does_not_depend_on_its_neighbours(
    model: LLM, params: Any, codebook: jax.Array, sampling: Sampling
) -> None:
    run = jax.jit(lambda text, n, keys: generate(model, params, text, n, codebook, keys, 12, sampling))
    ids, count = run(TEXT, TEXT_LEN, keys(3))
    order = np.array([1, 0, 0])  # row 2 gone, row 0 twice
    again, recount = run(TEXT[order], TEXT_LEN[order], keys(3)[order])
    np.testing.assert_array_equal(again, np.asarray(ids)[order])
    np.testing.assert_array_equal(recount, np.asarray(count)[order])
    if sampling.temperature:
        other, _ = run(TEXT, TEXT_LEN, keys(3, seed=1))
        assert np.any(np.asarray(other) != ids)


# --- the loop, on scripted logits -------------------------------------------------------------------------------------


class Script:
    """Stands in for the LLM: after `t` tokens the logits of row b are `script[b, t]`, whatever the tokens are."""

    def __init__(self, script: np.ndarray) -> None:
        self.script, self.vocab = jnp.asarray(script, jnp.float32), script.shape[-1] - 1

    def apart(self, params: Any) -> Any:
        return params

    def apply(self, variables: Any, *args: Any, method: Any) -> Any:
        if method is LLM.prefill:
            text, _, slots, said = args
            assert said is None
            self.prefix = text.shape[1] + 2
            return jnp.zeros((text.shape[0], 1)), (), jnp.zeros((text.shape[0], self.prefix + slots), bool)
        if method is LLM.logits:
            step = args[0][0, 0, 0].astype(jnp.int32)
            return jax.lax.dynamic_index_in_dim(self.script, step, axis=1)
        if method is LLM.step:
            row, *_, caches, index = args
            return jnp.full((row.shape[0], 1), index - self.prefix + 1, jnp.float32), caches
        return args[0]  # the table: rows that are as good as any


def play(
    wanted: list[list[int]], sampling: Sampling, text_len: list[int], max_tokens: int = 8
) -> tuple[list[list[int]], np.ndarray]:
    """Ids that are generated (up to the count), and the whole array, if the model wants these tokens one by one.

    Vocabulary: 0..5, and 6 = the end. The second best is the token after the wanted one.
    """
    script = np.zeros((len(wanted), max_tokens + 1, 7))
    for row, tokens in enumerate(wanted):
        for step in range(max_tokens + 1):
            token = tokens[min(step, len(tokens) - 1)]
            script[row, step, token], script[row, step, (token + 1) % 7] = 60.0, 30.0
    lens, text = jnp.asarray(text_len), jnp.ones((len(wanted), max(text_len)), jnp.int32)
    model: Any = Script(script)
    run = jax.jit(lambda keys: generate(model, {}, text, lens, jnp.zeros((6, 2)), keys, max_tokens, sampling))
    ids, count = (np.asarray(a) for a in run(keys(len(wanted))))
    return [row[:n].tolist() for row, n in zip(ids, count, strict=True)], ids


END = 6


def test_rows_end_at_their_own_end() -> None:
    rows, ids = play([[3, 1, END], [2], [END], [5, 4, 3, 2, END]], GREEDY, [4, 4, 4, 4])
    assert rows == [[3, 1], [2] * 8, [], [5, 4, 3, 2]]
    assert not ids[0, 2:].any() and not ids[2].any() and not ids[3, 4:].any()


def test_speech_is_at_most_max_ratio_times_its_text() -> None:
    rows, _ = play([[2], [3], [4]], Sampling(temperature=0.0, max_ratio=1.5), [3, 4, 0])
    assert [len(row) for row in rows] == [5, 6, 0]  # 4.5 is rounded up; a filler row is silent
    rows, _ = play([[2]], Sampling(temperature=0.0, max_ratio=1.5), [30])
    assert len(rows[0]) == 8


def test_the_end_is_not_allowed_before_min_ratio_times_the_text() -> None:
    """The second best instead: 0, the token after the end."""
    rows, _ = play([[END], [4, END]], Sampling(temperature=0.0, min_ratio=0.5), [7, 4])
    assert rows == [[0, 0, 0], [4, 0]]
    rows, _ = play([[END]], Sampling(min_ratio=0.5, repetition=1.0), [7])
    assert rows == [[0, 0, 0]]


def test_repeats_are_redrawn_until_the_window_forgets() -> None:
    rows, _ = play([[2]], Sampling(top_p=0.5, repetition=1.0), [9], max_tokens=30)
    assert rows == [[2] * 30]
    rows, _ = play([[2]], Sampling(top_p=0.5, repetition=0.0), [9], max_tokens=30)
    assert rows[0] == [2 if step % (REPETITION_WINDOW + 1) == 0 else 3 for step in range(30)]


def test_every_step_and_row_draws_anew() -> None:
    """Six equally likely tokens, never the end: over 200 steps each comes about as often."""
    model: Any = Script(np.tile([0.0] * 6 + [-60.0], (2, 201, 1)))
    plain, text, lens = Sampling(top_k=0, repetition=1.0), jnp.ones((2, 9), jnp.int32), jnp.full(2, 100)
    ids, _ = jax.jit(lambda k: generate(model, {}, text, lens, jnp.zeros((6, 2)), k, 200, plain))(keys(2))
    for row in np.asarray(ids):
        assert_close(np.bincount(row, minlength=6) / 200, np.full(6, 1 / 6), 200)
    assert np.mean(np.asarray(ids)[0] == np.asarray(ids)[1]) < 0.5


# --- one draw ---------------------------------------------------------------------------------------------------------

SHARE = np.array([0.45, 0.3, 0.15, 0.08, 0.02])
NOTHING = np.full(REPETITION_WINDOW, -1, np.int32)


def frequencies(sampling: Sampling, recent: np.ndarray = NOTHING, count: int = 4000) -> np.ndarray:
    """How often each id is drawn if the softmax is SHARE."""
    many = jax.jit(jax.vmap(lambda key: draw(key, jnp.log(SHARE), jnp.asarray(recent), sampling)))(keys(count))
    return np.bincount(np.asarray(many), minlength=len(SHARE)) / count


def assert_close(got: np.ndarray, want: np.ndarray, count: int = 4000) -> None:
    """Within four standard errors; what should not come never comes."""
    assert np.all(np.abs(got - want) <= 4 * np.sqrt(want * (1 - want) / count)), (got, want)


def test_draws_follow_the_nucleus() -> None:
    """top_p keeps the fewest ids that hold the mass, the one that crosses it included."""
    off = {"repetition": 1.0}
    assert_close(frequencies(Sampling(top_k=0, **off)), SHARE)
    assert_close(frequencies(Sampling(top_p=1.0, top_k=25, **off)), SHARE)
    assert_close(frequencies(Sampling(top_p=0.7, **off)), np.array([0.6, 0.4, 0, 0, 0]))
    assert_close(frequencies(Sampling(top_p=0.8, **off)), np.array([0.5, 0.3 / 0.9, 0.15 / 0.9, 0, 0]))
    assert_close(frequencies(Sampling(top_p=0.4, **off)), np.array([1.0, 0, 0, 0, 0]))
    assert_close(frequencies(Sampling(top_p=1.0, top_k=2, **off)), np.array([0.6, 0.4, 0, 0, 0]))


def test_temperature_flattens_and_zero_takes_the_best() -> None:
    flat = np.sqrt(SHARE) / np.sqrt(SHARE).sum()
    assert_close(frequencies(Sampling(temperature=2.0, top_k=0, repetition=1.0)), flat)
    assert_close(frequencies(GREEDY, np.zeros(REPETITION_WINDOW, np.int32), 50), np.array([1.0, 0, 0, 0, 0]))


def test_a_repeated_id_is_masked_and_redrawn_from_the_whole_softmax() -> None:
    recent = np.where(np.arange(REPETITION_WINDOW) == 4, 0, NOTHING).astype(np.int32)
    redrawn = SHARE * [0, 1, 1, 1, 1] / (1 - SHARE[0])
    only_first = {"top_p": 0.4}
    assert_close(frequencies(Sampling(**only_first, repetition=0.0), recent), redrawn)
    assert_close(frequencies(Sampling(**only_first, repetition=0.1), recent), np.array([1.0, 0, 0, 0, 0]))


@pytest.mark.parametrize(("times", "again"), [(2, False), (3, True)])
def test_repetition_is_a_share_of_the_window(times: int, again: bool) -> None:
    recent = np.where(np.arange(REPETITION_WINDOW) < times, 0, NOTHING).astype(np.int32)
    assert (frequencies(Sampling(top_p=0.4, repetition=0.2), recent, 200)[0] == 0) == again


@pytest.mark.parametrize(
    "bad", [{"temperature": -1.0}, {"top_p": 0.0}, {"top_p": 1.1}, {"top_k": -1}, {"repetition": 2.0}], ids=str
)
def test_sampling_out_of_range_is_refused(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be >= 0, top_p in"):
        Sampling(**bad)
