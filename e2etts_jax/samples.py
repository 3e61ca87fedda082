"""What the ear and the eye get during training: a few validation sentences as mel pictures and audio in TensorBoard."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils

from e2etts_jax import processes, sharding
from e2etts_jax.data.sources import load_examples
from e2etts_jax.evaluate import live
from e2etts_jax.evaluate.judges import Judges
from e2etts_jax.features import MelConfig, log_mel
from e2etts_jax.infer import vocoder
from e2etts_jax.infer.synthesizer import Synthesizer
from e2etts_jax.metrics import MetricsWriter, Silent
from e2etts_jax.types import config_of
from e2etts_jax.vocoding import VocoderSystem

SENTENCES = 2  # that are shown
JUDGED = 8  # that are judged, where `listen_every` asks for it


class Sampler:
    """Speaks the same few sentences at the end of every stage, and has them judged where `listen_every` asks for it.
    Compiled once: parameters are arguments.

    One device of process 0 speaks, as it does after training: the shapes are too small to divide over a mesh.
    """

    def __init__(self, config: Any, voice: np.ndarray | None = None):
        """`voice`: f32[256], the speaker vector to speak with; None = the data set's own."""
        self.config, self.voice = config, voice
        self._judges: Judges | None = None

    def log(self, params: Mapping[str, Any], writer: MetricsWriter | Silent, step: int, stage: str) -> None:
        """Logs recording, reconstruction from its own tokens, and synthesis from text, each as mel and audio.

        All processes call it, for their parts of the parameters.
        """
        params = on_one_device(params)
        with jax.set_mesh(sharding.make_mesh((1, 1, 1), jax.local_devices()[:1])):
            processes.first(lambda: self._log(params, writer, step, stage))

    def _log(self, params: Mapping[str, Any], writer: Any, step: int, stage: str) -> None:
        c = self.config
        mel = config_of(MelConfig, {"sample_rate": c.audio.sample_rate, **c.mel})
        synthesizer = Synthesizer(c, params, speaker=self.voice)
        rate = c.audio.sample_rate
        count = JUDGED if c.listen_every else SENTENCES
        if c.listen_every and self._judges is None:
            self._judges = live.installed(c.data.language)
        keep = self._judges.keep(synthesizer.can_say, c.data.language) if self._judges else synthesizer.can_say
        examples = load_examples(c.data, "validation", count, rate, keep=keep)
        recordings = [e.wav for e in examples]
        rows = {
            "recording": recordings,
            "reconstruction": synthesizer.reconstruct(recordings),
            "synthesis": synthesizer.synthesize([e.text for e in examples], languages=[e.language for e in examples]),
        }
        write({kind: wavs[:SENTENCES] for kind, wavs in rows.items()}, mel, writer, step, stage)
        if self._judges:
            writer.scalars(live.scores(self._judges, rows, [e.text for e in examples], rate), step, stage)


class CopySampler:
    """Sends the same few recordings through their mel and the vocoder in training, at the end of every stage."""

    def __init__(self, config: Any, system: VocoderSystem):
        self.config, self.system = config, system

    def log(self, params: Mapping[str, Any], writer: MetricsWriter | Silent, step: int, stage: str) -> None:
        """Logs recording and copy, each as mel and audio. All processes call it, for their parts of the parameters."""
        own = on_one_device(params["vocoder"])
        with jax.set_mesh(sharding.make_mesh((1, 1, 1), jax.local_devices()[:1])):
            processes.first(lambda: self._log(own, writer, step, stage))

    def _log(self, params: Any, writer: Any, step: int, stage: str) -> None:
        mel = self.system.mel
        copy = vocoder.generator("in training", self.system.vocoder.config, mel, params)
        examples = load_examples(self.config.data, "validation", SENTENCES, mel.sample_rate)
        recordings = [e.wav for e in examples]
        write(
            {"recording": recordings, "copy": [copied(copy, wav, mel) for wav in recordings]}, mel, writer, step, stage
        )


def copied(through: vocoder.Chosen, wav: np.ndarray, mel: MelConfig) -> np.ndarray:
    """A recording f32[W] after its way through its mel and back."""
    whole = np.pad(wav, (0, -len(wav) % mel.hop))
    return through.run(log_mel(jnp.asarray(whole[None]), mel))[0, : len(wav)]


def write(rows: Mapping[str, Sequence[np.ndarray]], mel: MelConfig, writer: Any, step: int, stage: str) -> None:
    """Logs waveforms by kind, each as mel and audio."""
    for kind, wavs in rows.items():
        for i, wav in enumerate(wavs):
            writer.audio(f"{kind}/{i}", wav, mel.sample_rate, step, stage)
            writer.image(f"{kind}/{i}", picture(wav, mel), step, stage)


def on_one_device(params: Any) -> Any:
    """The parameters on the first device of process 0, whatever they were spread over; nothing on other processes."""

    def one(x: jax.Array) -> Any:
        if len(x.sharding.device_set) == 1:
            return x
        whole = multihost_utils.process_allgather(x, tiled=True)  # leaf by leaf: a device need not hold two copies
        return jax.device_put(whole, jax.local_devices()[0]) if processes.first_process() else None

    return jax.tree.map(one, params)


def picture(wav: np.ndarray, mel: MelConfig) -> np.ndarray:
    """Log-mel of a waveform as uint8 [F, M], low frequencies at the bottom, black = its quietest value."""
    whole = np.pad(wav, (0, -len(wav) % mel.hop))
    rows = np.asarray(log_mel(jnp.asarray(whole[None]), mel))[0].T[::-1]
    low, high = rows.min(), rows.max()
    return (255 * (rows - low) / max(high - low, 1e-6)).astype(np.uint8)
