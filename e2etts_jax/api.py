"""Speech in two lines: `voice = e2etts_jax.load("runs/joint"); samples, rate = voice.synthesize("five two three")`."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from e2etts_jax.infer.prompt import Prompt
from e2etts_jax.infer.synthesizer import Synthesizer

Audio = tuple[Float[np.ndarray, " W"], int]


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
        prompt: str | Path | tuple[Float[np.ndarray, " W"], int] | None = None,
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
        heard = None
        if isinstance(prompt, str | Path):
            heard = Prompt.read(prompt, prompt_text)
        elif prompt is not None:
            heard = Prompt(*prompt, prompt_text)
        elif prompt_text:
            raise ValueError("prompt_text without a prompt: give the recording in which it is said")
        (wav,) = self.synthesizer.say([text], seed, [language], heard)
        return wav, self.synthesizer.sample_rate


def load(workdir: str | Path, stage: str | None = None, infer: Sequence[str] = ()) -> Voice:
    """The models of a training run.

    Args:
      workdir: of `python -m e2etts_jax.main`.
      stage: by default the last one that has a checkpoint.
      infer: `key=value` of `config.infer`, in place of the run's own decoding.

    Raises:
      FileNotFoundError, ValueError: as `Synthesizer.load`.
    """
    return Voice(Synthesizer.load(workdir, stage, infer=infer))
