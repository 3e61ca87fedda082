"""The judges of `evaluate` on a few sentences while a run trains."""

import dataclasses
import logging
from collections.abc import Mapping, Sequence

import numpy as np

from e2etts_jax.data.audio import resample
from e2etts_jax.evaluate import asr, quality, similarity
from e2etts_jax.evaluate.scoring import score
from e2etts_jax.evaluate.sound import sound

FLOOR = "recording"  # the kind of clips whose voice the others should have

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Judges:
    """Those whose libraries are installed."""

    recognizers: Sequence[asr.Recognizer]
    embedders: Sequence[similarity.Embedder]
    listeners: Sequence[quality.Listener]

    @classmethod
    def installed(cls, language: str) -> "Judges":
        """Who is there for the language; who is not is told of once, and the run goes on."""
        recognizers: Sequence[asr.Recognizer] = ()
        try:
            recognizers = asr.load_recognizers(language=language)
        except (ImportError, ValueError) as error:
            logger.warning("listen_every: nobody reads what is said: %s", error)
        return cls(recognizers, similarity.installed(logger.warning), quality.installed(logger.info))

    def scores(self, rows: Mapping[str, Sequence[np.ndarray]], texts: Sequence[str], rate: int) -> dict[str, float]:
        """Figures by the names `listen/<kind>/<judge>`: error rates, likeness to the recordings, quality, seconds.

        Args:
          rows: clips f32[W] by kind, `recording` among them, each one of every text.
        """
        made: dict[str, float] = {}
        voices: dict[str, list] = {}
        for kind, wavs in rows.items():
            name = f"listen/{kind}"
            if self.recognizers:
                for reader, heard in asr.transcribe_all(self.recognizers, wavs, rate).items():
                    made[f"{name}/{reader}"] = score(texts, heard).rate
            ours = [resample(np.asarray(wav), rate, asr.RATE) for wav in wavs]
            for embedder in self.embedders:
                voices[kind] = embedder(ours)
                made[f"{name}/similarity_{embedder.name}"] = float(
                    similarity.cosines(voices[kind], voices[FLOOR]).mean()
                )
            for listener in self.listeners:
                made[f"{name}/{listener.name}"] = float(listener(ours).mean())
            sounds = [sound(wav, rate) for wav in wavs]
            made[f"{name}/seconds"] = float(np.mean([s.seconds for s in sounds]))
            made[f"{name}/silence"] = float(np.mean([s.lead + s.tail for s in sounds]))
        return made
