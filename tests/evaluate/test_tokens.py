"""Entropies against closed forms."""

import numpy as np
import pytest

from e2etts_jax.evaluate.tokens import token_statistics


def test_uniform_and_constant():
    uniform = token_statistics([list(range(16))] * 4, codes=6561)
    assert uniform.distinct == 16 and uniform.tokens == 64 and uniform.pairs == 60
    assert uniform.entropy == pytest.approx(4) and uniform.perplexity == pytest.approx(16)
    assert uniform.entropy_max == pytest.approx(8 * np.log2(3))
    assert uniform.entropy_mm == pytest.approx(4 + 15 / (2 * 64 * np.log(2)))
    assert uniform.mutual == pytest.approx(np.log2(15))  # the next token is certain
    constant = token_statistics([[7] * 10], codes=27)
    assert (constant.entropy, constant.mutual, constant.perplexity, constant.distinct) == (0, 0, 1, 1)


def test_markov_chain():
    """A chain that stays with probability 0.9 and else jumps to another of 4 states."""
    rng = np.random.default_rng(0)
    chain = np.cumsum(np.where(rng.random(200_000) < 0.9, 0, rng.integers(1, 4, 200_000))) % 4
    truth = 2 + 0.9 * np.log2(0.9) + 0.1 * np.log2(0.1 / 3)
    result = token_statistics([chain], codes=6561)
    assert result.mutual == pytest.approx(truth, abs=0.01)
    assert result.mutual_mm == pytest.approx(truth, abs=0.01)
    assert result.mutual_shuffled < 1e-3


def test_bias_of_small_samples_shows():
    ids = np.random.default_rng(0).integers(0, 1000, (40, 50))
    result = token_statistics(list(ids), codes=6561)
    assert result.mutual > 5  # although the truth is 0
    assert result.mutual == pytest.approx(result.mutual_shuffled, abs=0.2)
    assert result.mutual_mm < result.mutual
    assert result.entropy < np.log2(1000) < result.entropy + 0.5


def test_pairs_do_not_cross_clips():
    assert token_statistics([[0], [1], [0], [1]], codes=2).pairs == 0
    assert token_statistics([[0, 0], [1, 1]] * 5, codes=2).mutual == pytest.approx(1)
    assert token_statistics([[0, 0, 1, 1] * 5], codes=2).mutual < 0.1


def test_bad_input():
    with pytest.raises(ValueError, match="no tokens"):
        token_statistics([], codes=27)
    with pytest.raises(ValueError, match=r"-1\.\.5 do not fit a codebook of 27"):
        token_statistics([[5, -1]], codes=27)
