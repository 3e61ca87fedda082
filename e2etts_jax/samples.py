"""What the ear and the eye get during training: a few validation sentences as mel pictures and audio in TensorBoard."""

from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from e2etts_jax.data.sources import load_examples
from e2etts_jax.features import MelConfig, log_mel
from e2etts_jax.infer.synthesizer import Synthesizer
from e2etts_jax.metrics import MetricsWriter
from e2etts_jax.types import config_of

SENTENCES = 2


class Sampler:
    """Speaks the same few sentences at the end of every stage. Compiled once: parameters are arguments."""

    def __init__(self, config: Any, voice: np.ndarray | None = None):
        """`voice`: f32[256], the speaker vector to speak with; None = the data set's own."""
        self.config, self.voice = config, voice

    def log(self, params: Mapping[str, Any], writer: MetricsWriter, step: int, stage: str) -> None:
        """Logs recording, reconstruction from its own tokens, and synthesis from text, each as mel and audio."""
        c = self.config
        mel = config_of(MelConfig, {"sample_rate": c.audio.sample_rate, **c.mel})
        synthesizer = Synthesizer(c, params, speaker=self.voice)
        rate = c.audio.sample_rate
        examples = load_examples(c.data, "validation", SENTENCES, rate, keep=synthesizer.can_say)
        recordings = [e.wav for e in examples]
        rows = {
            "recording": recordings,
            "reconstruction": synthesizer.reconstruct(recordings),
            "synthesis": synthesizer.synthesize([e.text for e in examples], languages=[e.language for e in examples]),
        }
        for kind, wavs in rows.items():
            for i, wav in enumerate(wavs):
                writer.audio(f"{kind}/{i}", wav, c.audio.sample_rate, step, stage)
                writer.image(f"{kind}/{i}", picture(wav, mel), step, stage)


def picture(wav: np.ndarray, mel: MelConfig) -> np.ndarray:
    """Log-mel of a waveform as uint8 [F, M], low frequencies at the bottom, black = its quietest value."""
    whole = np.pad(wav, (0, -len(wav) % mel.hop))
    rows = np.asarray(log_mel(jnp.asarray(whole[None]), mel))[0].T[::-1]
    low, high = rows.min(), rows.max()
    return (255 * (rows - low) / max(high - low, 1e-6)).astype(np.uint8)
