"""The judges of `evaluate` on a few sentences while a run trains."""

import logging
from collections.abc import Mapping, Sequence

import numpy as np

from e2etts_jax.evaluate import asr, protocol, quality, similarity
from e2etts_jax.evaluate.judges import Judges
from e2etts_jax.evaluate.scoring import score
from e2etts_jax.evaluate.sound import sound

logger = logging.getLogger(__name__)


def installed(language: str) -> Judges:
    """Who is there for the language; who is not is told of once, and the run goes on."""
    language = protocol.code(language)
    recognizers: Sequence[asr.Recognizer] = ()
    try:
        recognizers = asr.load_recognizers(language=language)
    except (ImportError, ValueError, OSError) as error:
        logger.warning("listen_every: nobody reads what is said: %s", error)
    form = protocol.form(protocol.of_runs(language), language)
    return Judges(recognizers, similarity.installed(logger.warning), quality.installed(logger.info), form)


def scores(
    judges: Judges, rows: Mapping[str, Sequence[np.ndarray]], texts: Sequence[str], rate: int
) -> dict[str, float]:
    """Figures by the names `listen/<kind>/<judge>`: error rates, likeness to the recordings, quality, seconds.

    Args:
      rows: clips f32[W] by kind, `recording` among them, each one of every text.
    """
    made: dict[str, float] = {}
    voices = judges.voices(rows["recording"], rate)
    for kind, wavs in rows.items():
        own: dict[str, float] = {}
        if judges.recognizers:
            heard = asr.transcribe_all(judges.recognizers, wavs, rate)
            own |= {reader: score(texts, said, judges.form).rate for reader, said in heard.items()}
        likeness, qualities = judges.means(wavs, voices, rate)
        own |= {f"similarity_{name}": value for name, value in likeness.items()} | qualities
        sounds = [sound(wav, rate) for wav in wavs]
        own["seconds"] = float(np.mean([s.seconds for s in sounds]))
        own["silence"] = float(np.mean([s.lead + s.tail for s in sounds]))
        made |= {f"listen/{kind}/{name}": value for name, value in own.items()}
    return made
