"""Zero-shot training: a clip with another of the same voice in front, as the prompt whose manner it goes on in."""

from collections.abc import Sequence

import numpy as np

TRIES = 8  # partners drawn for a clip before it stays alone


def partners(
    speakers: np.ndarray,
    tokens: np.ndarray,
    texts: Sequence[tuple[np.ndarray, int]],
    *,
    share: float,
    limit: int,
    seed: int,
) -> np.ndarray:
    """Draws the prompt of each clip; the same for the whole run, so that the length of a pair is known beforehand.

    Args:
      speakers: i32[N], the voice of each clip, -1 = unknown.
      tokens: i64[N], length of each clip; 0 = not to be used.
      texts: lengths in ids of the clips' texts, i64[N], and the most that a pair may have; one for each model.
      share: of the clips that get a prompt.
      limit: most tokens that a pair may have.
      seed: of the draws.

    Returns:
      i64[N], the clip that is the prompt, -1 = none: not drawn, no other clip of the voice, or all too long.

    Raises:
      ValueError: no clip says its voice.
    """
    if not (speakers >= 0).any():
        raise ValueError("data.prompts needs a corpus that says who speaks; set it to 0, or prepare one with speakers")
    rng = np.random.default_rng([seed, 7])
    usable = (tokens > 0) & (speakers >= 0)
    by_voice = np.flatnonzero(usable)
    by_voice = by_voice[np.argsort(speakers[by_voice], kind="stable")]
    voices = speakers[by_voice]
    first, last = np.searchsorted(voices, speakers, "left"), np.searchsorted(voices, speakers, "right")
    found = np.full(len(speakers), -1, np.int64)
    open_ = np.flatnonzero(usable & (rng.random(len(speakers)) < share) & (last - first > 1))
    for _ in range(TRIES):
        drawn = by_voice[rng.integers(first[open_], last[open_])]
        fits = (tokens[drawn] + tokens[open_] <= limit) & (drawn != open_)
        for ids, most in texts:
            fits &= ids[drawn] + ids[open_] + 1 <= most
        found[open_[fits]] = drawn[fits]
        open_ = open_[~fits]
        if not len(open_):
            break
    return found
