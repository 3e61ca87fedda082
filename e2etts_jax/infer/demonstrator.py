"""A synthesizer that shows what it does: the tokens behind the sound, what the reward model reads in them, the time."""

import contextlib
import dataclasses
import time
from collections.abc import Iterator

import jax
import numpy as np
from jaxtyping import Float, Int

from e2etts_jax.infer import long_text
from e2etts_jax.infer.prompt import Prompt
from e2etts_jax.infer.synthesizer import Synthesizer

COMPILING = "/jax/core/compile/backend_compile_duration"  # JAX's event for a program that was compiled or read back


@dataclasses.dataclass(frozen=True, eq=False)
class Spoken:
    """A text that was said.

    Attributes:
      wav: f32[W] in [-1, 1], `rate` Hz; of several pieces joined with pauses if the text was long.
      ids: tokens of all pieces, i32[T].
      log_mel: f32[M, F] of all pieces before they were joined: frames of the tokens, `span` seconds.
      read: what the reward model reads in the tokens.
      pieces: how many there are.
      took: seconds from the text to the samples.
      compiled: whether programs had to be compiled in this time.
    """

    wav: Float[np.ndarray, " W"]
    rate: int
    ids: Int[np.ndarray, " T"]
    log_mel: Float[np.ndarray, "M F"]
    span: float
    read: str
    pieces: int
    took: float
    compiled: bool

    @property
    def seconds(self) -> float:
        return len(self.wav) / self.rate


class Demonstrator(Synthesizer):
    """A `Synthesizer` of one text at a time."""

    def speak(self, text: str, seed: int = 0, prompt: Prompt | None = None) -> Spoken:
        """As `say`, with what is behind it; the same samples.

        Raises:
          ValueError: as `say`.
        """
        begun = time.perf_counter()
        with _compilations() as compiled:
            lead, _, (pieces,) = self._cut([text], [], prompt)
            ids = self.generate_tokens([piece for piece, _ in pieces], seed, lead=lead)
            wavs = self.decode_tokens(ids, seed, lead)
            wav = long_text.join(wavs, [pause for _, pause in pieces], self.sample_rate)
            took = time.perf_counter() - begun
        shown = [wav for wav, row in zip(wavs, ids, strict=True) if len(row)] or wavs  # what has tokens
        read = " ".join(filter(None, self.recognize_tokens(ids)))
        whole = np.concatenate(shown)
        return Spoken(
            wav=wav,
            rate=self.sample_rate,
            ids=np.concatenate(ids),
            log_mel=self._log_mel(whole),
            span=len(whole) / self.sample_rate,
            read=read,
            pieces=len(pieces),
            took=took,
            compiled=bool(compiled),
        )


@contextlib.contextmanager
def _compilations() -> Iterator[list[float]]:
    """Collects the seconds that each compilation took while the block runs."""
    seconds: list[float] = []

    def listen(event: str, duration_secs: float, **_: str | int) -> None:
        if event == COMPILING:
            seconds.append(duration_secs)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        yield seconds
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
