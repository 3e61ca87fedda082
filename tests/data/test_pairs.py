"""Prompts of zero-shot pairs: same voice, another clip, nothing too long, the same in every run."""

import numpy as np
import pytest

from e2etts_jax.data.pairs import partners

RNG = np.random.default_rng(0)
SPEAKERS = RNG.integers(-1, 6, 300).astype(np.int32)
TOKENS = RNG.integers(0, 60, 300)
CHARS = np.where(TOKENS > 0, RNG.integers(1, 40, 300), 0)


def drawn(**changes):
    options = {"share": 0.6, "limit": 90, "seed": 1, **changes}
    return partners(SPEAKERS, TOKENS, [(CHARS, 60), (3 * CHARS, 150)], **options)


def test_pairs_are_of_one_voice_and_fit():
    found = drawn()
    has = np.flatnonzero(found >= 0)
    with_ = found[has]
    assert (with_ != has).all() and (SPEAKERS[with_] == SPEAKERS[has]).all() and (SPEAKERS[has] >= 0).all()
    assert (TOKENS[has] > 0).all() and (TOKENS[with_] > 0).all() and (CHARS[with_] > 0).all() and (CHARS[has] > 0).all()
    assert (TOKENS[has] + TOKENS[with_] <= 90).all() and (CHARS[has] + CHARS[with_] < 60).all()
    assert (3 * (CHARS[has] + CHARS[with_]) < 150).all()
    usable = (SPEAKERS >= 0) & (TOKENS > 0) & (CHARS > 0)
    assert 0.5 < len(has) / usable.sum() < 0.7
    assert len(set(with_.tolist())) > 0.5 * len(has), "many clips serve as prompts"


def test_draws_depend_on_the_seed_alone():
    np.testing.assert_array_equal(drawn(), drawn())
    assert (drawn() != drawn(seed=2)).any()
    assert (drawn(share=0.0) == -1).all()


def test_a_lone_clip_stays_alone():
    one = partners(np.array([0, 1, 1]), np.full(3, 5), [(np.full(3, 5), 20)], share=1.0, limit=20, seed=0)
    assert one.tolist() == [-1, 2, 1]


def test_a_corpus_without_voices_is_refused():
    with pytest.raises(ValueError, match="data.prompts needs a corpus that says who speaks"):
        partners(np.full(3, -1), np.full(3, 5), [(np.full(3, 5), 20)], share=1.0, limit=20, seed=0)
