"""A recording whose voice and manner speech goes on in: what can be used as one, and the vector of its voice."""

import dataclasses
import logging
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from e2etts_jax.data import audio
from e2etts_jax.data.prepare import speaker as speakers
from e2etts_jax.data.prepare.rows import Rejected

SHORTEST = 1.0  # seconds in which a voice can be heard
SILENT = 1e-3  # RMS of the loudest 50 ms, -60 dB: no microphone in a room is as quiet
FASTEST = 40.0  # characters a second that nobody says

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, eq=False)
class Prompt:
    """A recording and its words.

    Attributes:
      wav: f32[W] in [-1, 1], `rate` Hz.
      text: what is said in it.
      name: what messages call it.
    """

    wav: Float[np.ndarray, " W"]
    rate: int
    text: str
    name: str = "the prompt"

    @classmethod
    def read(cls, path: str | Path, text: str) -> "Prompt":
        """A recording of any kind that libsndfile reads.

        Raises:
          FileNotFoundError, ValueError: no such file, or none that can be read.
        """
        wav, rate = audio.decode(Path(path).expanduser())
        return cls(wav, rate, text, str(path))

    def check(self, longest: float) -> None:
        """Raises ValueError where no voice can be heard in it, or it is too long to go on from."""
        wav, seconds = np.asarray(self.wav), len(self.wav) / self.rate
        if wav.ndim != 1 or not np.isfinite(wav).all():
            raise ValueError(f"{self.name} must be finite samples of one channel; its shape is {wav.shape}")
        if seconds < SHORTEST:
            raise ValueError(
                f"{self.name} lasts {seconds:.2f} s, too short to hear a voice: give {SHORTEST:.0f} s or more"
            )
        if seconds > longest:
            raise ValueError(
                f"{self.name} lasts {seconds:.1f} s; the model can go on from {longest:.1f} s: cut it, and its words"
            )
        size = int(self.rate * 0.05)
        loudest = np.sqrt(np.mean(np.square(wav[: len(wav) // size * size].reshape(-1, size)), axis=1).max())
        if loudest < SILENT:
            raise ValueError(f"{self.name} is silent: give a recording of the voice")
        if not self.text.strip():
            raise ValueError(f"{self.name} needs its words (--prompt_text)")
        if len(self.text) > FASTEST * seconds:
            raise ValueError(
                f"the words of {self.name} are {len(self.text)} characters for {seconds:.1f} s: give what is said in it"
            )

    def at(self, rate: int) -> Float[np.ndarray, " W"]:
        """Its samples at `rate` Hz."""
        return audio.resample(np.asarray(self.wav, np.float32), self.rate, rate)

    def vector(self, dim: int, model: str) -> Float[np.ndarray, " E"]:
        """The speaker vector; zeros for the model `none`, and with a warning where the model is not installed.

        Args:
          dim: numbers that the FM reads.
          model: as for `e2etts_jax.prepare --speaker`: the one by which the training corpus got its vectors.

        Raises:
          ValueError: the model makes another number of them, or fails.
        """
        try:
            extractor = speakers.cached(model)
            if extractor is None:
                return np.zeros(dim, np.float32)
            found = speakers.vector(extractor, self.at(speakers.RATE))
        except ImportError as error:
            logger.warning("no speaker vector, so the voice comes from the sound of the prompt alone: %s", error)
            return np.zeros(dim, np.float32)
        except Rejected as error:
            raise ValueError(f"{self.name}: speaker model {model} fails: {error}") from None
        if found.shape != (dim,):
            raise ValueError(
                f"speaker model {model} makes {len(found)} numbers, the FM reads {dim}: "
                "name the model that prepared the training corpus, --infer=speaker_model=NAME.onnx"
            )
        return found


@dataclasses.dataclass(frozen=True, eq=False)
class Lead:
    """A prompt as the models have it.

    Attributes:
      ids: its tokens, i32[P].
      log_mel: f32[P * frames a token, F], as the vocoder reads it.
      text: its words.
      speaker: vector of its voice.
    """

    ids: Int[np.ndarray, " P"]
    log_mel: Float[np.ndarray, "M F"]
    text: str
    speaker: Float[np.ndarray, " E"]
