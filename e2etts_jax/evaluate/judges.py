"""Who judges: recognisers, speaker models and models of quality; and how a command that makes a report begins."""

import dataclasses
import datetime
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

import e2etts_jax
from e2etts_jax.data.audio import resample
from e2etts_jax.data.prepare.manifest import repeated
from e2etts_jax.evaluate import asr, protocol, quality, similarity
from e2etts_jax.evaluate.asr import MISSING, RATE, Recognizer
from e2etts_jax.evaluate.canonical import canonical
from e2etts_jax.evaluate.protocol import Form
from e2etts_jax.evaluate.quality import Listener
from e2etts_jax.evaluate.similarity import Embedder, cosines

Log = Callable[[str], None]
Sayable = Callable[[str, str], bool]  # of a text and its language, '' where it does not say it
Voices = Mapping[str, Sequence[np.ndarray | None]]  # by speaker model; None where it finds no voice


@dataclasses.dataclass(frozen=True)
class Judges:
    """All of them, and in which form texts are compared."""

    recognizers: Sequence[Recognizer]
    embedders: Sequence[Embedder] = ()
    listeners: Sequence[Listener] = ()
    form: Form = canonical

    def keep(self, can_say: Sayable, usual: str, language: str = "") -> Sayable:
        """Which texts of `language` can be said and judged.

        Args:
          usual: language of the texts that don't say theirs; it is also the one that is judged if none is given.
        """
        code = protocol.code(language or usual)
        return lambda text, of: protocol.code(of or usual) == code and can_say(text, of) and bool(self.form(text))

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
          FileNotFoundError, ValueError: no such judge, none for the language, or two of one name.
        """
        form = protocol.form(compared, language)  # the cheapest to be wrong about comes first
        of_voices, of_quality = self.speakers, self.listeners
        made = Judges(
            asr.load_recognizers(self.recognizers, language),
            similarity.installed(log) if of_voices is None else [similarity.make(name) for name in of_voices if name],
            quality.installed(log) if of_quality is None else [quality.make(name) for name in of_quality if name],
            form,
        )
        for judges in (made.recognizers, made.embedders, made.listeners):
            if name := repeated([judge.name for judge in judges]):
                raise ValueError(
                    f"two judges named {name}: give it once, or one of them in a file or folder of another name"
                )
        return made


USUAL = Names()


def _heard(wavs: Sequence[np.ndarray], rate: int) -> list[np.ndarray]:
    return [resample(np.asarray(wav), rate, RATE) for wav in wavs]


def writable(folder: Path) -> Path:
    """The folder of a report, made; better known now than at the end.

    Raises:
      ValueError: it can't be.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError as error:
        raise ValueError(f"no report can be written to {folder}: {error.strerror}; give another with --out") from None


def made_by() -> dict[str, str]:
    """When and how a report was made."""
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    return {"date": now, "version": e2etts_jax.__version__, "command": shlex.join(["evaluate", *sys.argv[1:]])}


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
