"""Who judges: recognisers, speaker models and models of quality; and how a command that makes a report begins."""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from e2etts_jax.data.audio import resample
from e2etts_jax.evaluate import asr, protocol, quality, similarity
from e2etts_jax.evaluate.asr import MISSING, RATE, Recognizer
from e2etts_jax.evaluate.canonical import canonical
from e2etts_jax.evaluate.protocol import Form
from e2etts_jax.evaluate.quality import Listener
from e2etts_jax.evaluate.similarity import Embedder, cosines

Log = Callable[[str], None]
Voices = Mapping[str, Sequence[np.ndarray | None]]  # by speaker model; None where it finds no voice


@dataclasses.dataclass(frozen=True)
class Judges:
    """All of them, and in which form texts are compared."""

    recognizers: Sequence[Recognizer]
    embedders: Sequence[Embedder] = ()
    listeners: Sequence[Listener] = ()
    form: Form = canonical

    def voices(self, wavs: Sequence[np.ndarray], rate: int) -> Voices:
        """Vector of each clip's voice, by speaker model."""
        ours = _heard(wavs, rate) if self.embedders else []
        return {embedder.name: embedder(ours) for embedder in self.embedders}

    def means(self, wavs: Sequence[np.ndarray], voices: Voices, rate: int) -> tuple[dict[str, float], dict[str, float]]:
        """Mean likeness of clips to `voices`, by speaker model; mean quality, by listener."""
        ours = _heard(wavs, rate)
        likeness = {e.name: float(cosines(e(ours), voices[e.name]).mean()) for e in self.embedders}
        return likeness, {listener.name: float(listener(ours).mean()) for listener in self.listeners}


@dataclasses.dataclass(frozen=True)
class Names:
    """Which judges are wanted.

    Attributes:
      recognizers: see `asr.load_recognizers`; by default those that come with packages.
      speakers, listeners: models of similarity and quality; by default (None) those that are installed; '' is none.
    """

    recognizers: Sequence[str] = ()
    speakers: Sequence[str] | None = None
    listeners: Sequence[str] | None = None

    def load(self, language: str, compared: str, log: Log) -> Judges:
        """Those judges for texts of a language, compared by the protocol `compared`.

        Raises:
          ImportError: an extra is missing.
          FileNotFoundError, ValueError: no such judge, or none for the language.
        """
        form = protocol.form(compared, language)  # the cheapest to be wrong about comes first
        of_voices, of_quality = self.speakers, self.listeners
        return Judges(
            asr.load_recognizers(self.recognizers, language),
            similarity.installed(log) if of_voices is None else [similarity.make(name) for name in of_voices if name],
            quality.installed(log) if of_quality is None else [quality.make(name) for name in of_quality if name],
            form,
        )


def _heard(wavs: Sequence[np.ndarray], rate: int) -> list[np.ndarray]:
    return [resample(np.asarray(wav), rate, RATE) for wav in wavs]


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
