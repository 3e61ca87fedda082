"""What the ear and the eye get during training: a few validation sentences as mel pictures and audio in TensorBoard."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from e2etts_jax.data.sources import load_examples
from e2etts_jax.infer.synthesizer import Synthesizer
from e2etts_jax.metrics import MetricsWriter

SENTENCES = 2


class Sampler:
    """Speaks the same few sentences at the end of every stage. Compiled once: parameters are arguments."""

    def __init__(self, config: Any):
        self.config = config

    def log(self, params: Mapping[str, Any], writer: MetricsWriter, step: int, stage: str) -> None:
        """Logs recording, reconstruction from its own tokens, and synthesis from text, each as mel and audio."""
        c = self.config
        synthesizer = Synthesizer(c, params)
        examples = load_examples(c.data, "validation", SENTENCES, c.audio.sample_rate)
        recordings = [e.wav for e in examples]
        rows = {
            "recording": recordings,
            "reconstruction": synthesizer.reconstruct(recordings),
            "synthesis": synthesizer.synthesize([e.text for e in examples]),
        }
        for kind, wavs in rows.items():
            for i, (wav, mel) in enumerate(zip(wavs, synthesizer.log_mels(wavs), strict=True)):
                writer.audio(f"{kind}/{i}", wav, c.audio.sample_rate, step, stage)
                writer.image(f"{kind}/{i}", picture(mel), step, stage)


def picture(mel: np.ndarray) -> np.ndarray:
    """Log-mel [M, F] -> uint8 [F, M], low frequencies at the bottom."""
    low, high = np.log(1e-5), 2.0
    return (255 * np.clip((mel.T[::-1] - low) / (high - low), 0, 1)).astype(np.uint8)
