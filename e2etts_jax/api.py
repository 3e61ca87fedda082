"""Speech in two lines: `voice = e2etts_jax.load("runs/joint"); samples, rate = voice.synthesize("five two three")`."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from e2etts_jax.infer.prompt import Prompt
from e2etts_jax.infer.synthesizer import Synthesizer
from e2etts_jax.infer.voice import packaged

Audio = tuple[Float[np.ndarray, " W"], int]
Recording = str | Path | Audio | None


class Voice:
    """The models of a run, to speak with.

    Attributes:
      synthesizer: does the work, and more: tokens, mels, recognition.
    """

    def __init__(self, synthesizer: Synthesizer) -> None:
        self.synthesizer = synthesizer

    def synthesize(
        self,
        text: str,
        *,
        prompt: Recording = None,
        prompt_text: str = "",
        language: str = "",
        seed: int = 0,
    ) -> Audio:
        """Speaks a text of any length.

        Args:
          prompt: a recording to go on from in its voice: an audio file, or mono samples in [-1, 1] and their rate.
          prompt_text: what is said in it.
          language: of the text, such as en or zh; by default the run's.
          seed: another one, another reading.

        Returns:
          mono samples f32[W] in [-1, 1], and their rate in Hz.

        Raises:
          FileNotFoundError: no such recording.
          ValueError: a text that the run's tokenizer refuses, or a prompt in which no voice can be heard.
        """
        (wav,) = self.synthesizer.say([text], seed, [language], _heard(prompt, prompt_text))
        return wav, self.sample_rate

    def stream(
        self, text: str, *, prompt: Recording = None, prompt_text: str = "", language: str = "", seed: int = 0
    ) -> Iterator[Float[np.ndarray, " W"]]:
        """Speaks a text in parts that can be heard as they come, mono samples of `sample_rate`.

        Arguments and errors as for `synthesize`; `Synthesizer.stream` says what waits for what.
        """
        (parts,) = self.synthesizer.stream([text], seed, [language], _heard(prompt, prompt_text))
        return parts

    @property
    def sample_rate(self) -> int:
        """Hz."""
        return self.synthesizer.sample_rate


def _heard(prompt: Recording, text: str) -> Prompt | None:
    if isinstance(prompt, str | Path):
        return Prompt.read(prompt, text)
    if prompt is not None:
        return Prompt(*prompt, text)
    if text:
        raise ValueError("prompt_text without a prompt: give the recording in which it is said")
    return None


def load(workdir: str | Path | None = None, stage: str | None = None, infer: Sequence[str] = ()) -> Voice:
    """The models of a training run.

    Args:
      workdir: of `python -m e2etts_jax.main`, or a file of `python -m e2etts_jax.export_voice`; by default the voice
        that comes with the package.
      stage: by default the last one that has a checkpoint.
      infer: `key=value` of `config.infer`, in place of the run's own decoding.

    Raises:
      FileNotFoundError, ValueError: as `Synthesizer.load`.
    """
    return Voice(Synthesizer.load(workdir or packaged(), stage, infer=infer))
