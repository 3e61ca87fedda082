"""Who judges: recognisers, speaker models and models of quality; and how a command that makes a report begins."""

import dataclasses
import time
from collections.abc import Callable, Sequence

import numpy as np

from e2etts_jax.data.audio import resample
from e2etts_jax.evaluate.asr import MISSING, RATE, Recognizer
from e2etts_jax.evaluate.canonical import canonical
from e2etts_jax.evaluate.protocol import Form
from e2etts_jax.evaluate.quality import Listener
from e2etts_jax.evaluate.similarity import Embedder, cosines

Log = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Judges:
    """All of them, and in which form texts are compared."""

    recognizers: Sequence[Recognizer]
    embedders: Sequence[Embedder] = ()
    listeners: Sequence[Listener] = ()
    form: Form = canonical

    def means(
        self, wavs: Sequence[np.ndarray], recordings: Sequence[np.ndarray], rate: int
    ) -> tuple[dict[str, float], dict[str, float]]:
        """Mean likeness of clips to the voices of recordings, by speaker model; mean quality, by listener."""
        ours, theirs = ([resample(np.asarray(wav), rate, RATE) for wav in given] for given in (wavs, recordings))
        likeness = {e.name: float(cosines(e(ours), e(theirs)).mean()) for e in self.embedders}
        return likeness, {listener.name: float(listener(ours).mean()) for listener in self.listeners}


def begin() -> Log:
    """A log with the seconds since now, for a command that ends with a report.

    Raises:
      ImportError: the eval extra, which pages and recognisers need, is missing: better known now than at the end.
    """
    try:
        import e2etts_jax.evaluate.figures
        import e2etts_jax.evaluate.pages  # noqa: F401
    except ImportError as error:
        raise ImportError(MISSING) from error
    begun = time.perf_counter()
    return lambda line: print(f"[{time.perf_counter() - begun:4.0f} s] {line}", flush=True)
