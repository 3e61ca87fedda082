"""No loss and no gradient depends on how far a batch is padded, on what lies under its masks, or on filler rows.

The random draws count too: noise, crop window and drawn tokens of a clip stay as they are when its row grows longer.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_gradients import ROUTES, Route
from tiny import Probed, batch

from e2etts_jax.rng import Streams
from e2etts_jax.stages import Plan
from e2etts_jax.types import GROUPS, Batch, length_mask

RTOL = 2e-5  # fp32, sums in another order

# The other front-end, whose floor depends on the loudest frame of the clip, and noise on the recordings.
WHISPER = Route(Plan(rm_noise_db=(5.0, 30.0)), ("rm_ctc",), "base")
SYSTEMS = {**ROUTES, "whisper": WHISPER}


def garbage(b: Batch) -> Batch:
    """Something else under every mask: texts behind their ends, x-vectors and texts that do not count."""
    rng = np.random.default_rng(7)
    words = jnp.asarray(rng.integers(1, 29, b.text.shape), jnp.int32)
    vectors = jnp.asarray(rng.standard_normal(b.speaker.shape), jnp.float32)
    filler = b.wav_len == 0
    return b.replace(
        text=jnp.where(length_mask(b.text_len, b.text.shape[1]), b.text, words),
        text_len=jnp.where(filler, 3, b.text_len),
        speaker=jnp.where(b.speaker_mask[:, None], b.speaker, vectors),
        speaker_mask=b.speaker_mask | filler,
    )


VARIANTS = {
    "garbage under the masks": lambda t: garbage(batch(t)),
    "longer rows": lambda t: batch(t, size=11),
    "longer texts, more filler": lambda t: batch(t, rows=6, text=9, filler=(3, 4, 5)),
    "all at once": lambda t: garbage(batch(t, rows=6, size=11, text=9, filler=(3, 4, 5))),
}
CASES = [
    ("codes", "garbage under the masks"),
    ("codes", "all at once"),
    ("drawn", "garbage under the masks"),
    ("drawn", "all at once"),
    ("sampled", "garbage under the masks"),
    ("sampled", "longer texts, more filler"),  # and not longer rows: the LLM may speak as long as the row is
    ("whisper", "longer rows"),
]


def assert_equal(one: Probed, other: Probed, term: str) -> None:
    for group in GROUPS:
        scale = max(float(jnp.max(jnp.abs(x))) for x in jax.tree.leaves(one.grads[group]))
        for (path, a), b in zip(
            jax.tree_util.tree_leaves_with_path(one.grads[group]), jax.tree.leaves(other.grads[group]), strict=True
        ):
            where = f"gradient of {term} at {group}{jax.tree_util.keystr(path)}"
            np.testing.assert_allclose(b, a, rtol=RTOL, atol=RTOL * scale, err_msg=where)


@pytest.mark.parametrize("name, variant", CASES)
def test_padding_changes_nothing(name: str, variant: str):
    route = SYSTEMS[name]
    t = route.tiny
    probe, plain, padded = t.probe(route.plan, route.terms), batch(t), VARIANTS[variant](t)
    for which, term in enumerate(route.terms):
        weights = jnp.eye(len(route.terms))[which]
        one, other = probe(t.params, plain, weights), probe(t.params, padded, weights)
        np.testing.assert_allclose(other.values[which], one.values[which], rtol=RTOL, err_msg=term)
        assert one.values[which] > 0.01, f"{term} is {one.values[which]}: nothing to compare"
        assert_equal(one, other, term)


def test_noise_of_a_row_is_its_own():
    """The draws of a row depend on its number alone, and a longer draw begins with the shorter one."""
    key = jax.random.key(3)
    rows = jnp.arange(6)
    for kind in (jax.random.normal, jax.random.uniform, jax.random.gumbel):
        whole = Streams(key, rows).draw("some", (5, 3), kind)
        np.testing.assert_allclose(Streams(key, rows[4:]).draw("some", (5, 3), kind), whole[4:], rtol=1e-6)
        np.testing.assert_allclose(Streams(key, rows).draw("some", (8, 3), kind)[:, :5], whole, rtol=1e-6)
        assert not np.allclose(Streams(key, rows).draw("other", (5, 3), kind), whole)
        assert len({float(x) for x in whole[:, 0, 0]}) == len(rows)
