"""Judges by folder, called as their libraries really are: models with random weights, since none can be installed."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from e2etts_jax.data.datasets.asterisk_en import prompts
from e2etts_jax.evaluate import asr_by_path, similarity

torch = pytest.importorskip("torch", reason="these judges need it; here it is optional")
pytestmark = [pytest.mark.parity, pytest.mark.eval]

NOISE = np.random.default_rng(0).standard_normal(40 * 16000).astype(np.float32) * 0.1
BLOCK = {"attention_heads": 2, "linear_units": 128, "dropout_rate": 0.0, "positional_dropout_rate": 0.0}
PARAFORMER: dict[str, Any] = {
    "model": "Paraformer",
    "model_conf": {"ctc_weight": 0.0, "predictor_weight": 1.0, "predictor_bias": 1, "sampling_ratio": 0.75},
    "encoder": "SANMEncoder",
    "encoder_conf": {
        **BLOCK,
        "output_size": 64,
        "num_blocks": 2,
        "input_layer": "pe",
        "pos_enc_class": "SinusoidalPositionEncoder",
        "kernel_size": 11,
        "sanm_shfit": 0,
        "selfattention_layer_type": "sanm",
    },
    "decoder": "ParaformerSANMDecoder",
    "decoder_conf": {**BLOCK, "num_blocks": 2, "att_layer_num": 2, "kernel_size": 11, "sanm_shfit": 0},
    "predictor": "CifPredictorV2",
    "predictor_conf": {"idim": 64, "threshold": 1.0, "l_order": 1, "r_order": 1, "tail_threshold": 0.45},
    "frontend": "WavFrontend",
    "frontend_conf": {"fs": 16000, "window": "hamming", "n_mels": 80, "lfr_m": 7, "lfr_n": 6},
    "tokenizer": "CharTokenizer",
    "tokenizer_conf": {"unk_symbol": "<unk>", "split_with_space": True},
}


def test_paraformer_as_funasr_runs_it(tmp_path: Path) -> None:
    """Its folder as it is published: config.yaml, configuration.json, tokens.json, model.pt."""
    funasr = pytest.importorskip("funasr", reason="optional, as torch is")
    pytest.importorskip("zhconv", reason="the multilingual extra")
    (tmp_path / "config.yaml").write_text(json.dumps(PARAFORMER))  # JSON is YAML
    files = {"init_param": "model.pt", "config": "config.yaml", "tokenizer_conf": {"token_list": "tokens.json"}}
    (tmp_path / "configuration.json").write_text(json.dumps({"model": {"type": "funasr"}, "file_path_metas": files}))
    tokens = ["<blank>", "<s>", "</s>", *"我你他好天气很國说臺灣的一二三", "<unk>"]
    (tmp_path / "tokens.json").write_text(json.dumps(tokens))
    torch.save({}, tmp_path / "model.pt")
    torch.manual_seed(0)
    made = funasr.AutoModel(model=str(tmp_path), disable_update=True, device="cpu").model
    torch.save(made.state_dict(), tmp_path / "model.pt")
    reader = asr_by_path.make(f"paraformer:{tmp_path}", "zh")
    clips = [NOISE[: 3 * 16000], NOISE, np.zeros(8000, np.float32), np.zeros(0, np.float32), NOISE[:160]]
    said = reader.transcribe(clips, 16000)
    assert said == reader.transcribe(clips, 16000) and said[2] == said[3] == "" and len(said[1]) > len(said[0]) > 0
    assert set("".join(said)) <= {*"我你他好天气很国说台湾的一二三"}, "characters, simplified, without spaces"


def test_wavlm_as_transformers_runs_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half precision in the file, as some are published; the vector doesn't depend on the loudness."""
    transformers = pytest.importorskip("transformers", reason="optional, as torch is")
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / "wavlm-tiny"
    size = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    vector = {"tdnn_dim": (32, 32, 48), "tdnn_kernel": (5, 3, 1), "tdnn_dilation": (1, 2, 1), "xvector_output_dim": 24}
    torch.manual_seed(0)
    model = transformers.WavLMForXVector(transformers.WavLMConfig(**size, **vector))
    model.half().save_pretrained(folder)
    transformers.Wav2Vec2FeatureExtractor(do_normalize=True, return_attention_mask=True).save_pretrained(folder)
    embed = similarity.make(f"wavlm:{folder}")
    wav = prompts.read("queue-holdtime").astype(np.float32)
    first, quiet, silence, noise = embed([wav, 0.3 * wav, np.zeros(16000, np.float32), NOISE[:32000]])
    assert embed.name == "wavlm:wavlm-tiny" and silence is None
    assert first.shape == (24,) and np.linalg.norm(first) == pytest.approx(1, abs=1e-6)
    assert first @ quiet == pytest.approx(1, abs=1e-4) and first @ noise < 0.9999


def test_resemblyzer_knows_one_voice_from_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("resemblyzer", reason="optional, as torch is")
    monkeypatch.setenv("HOME", str(tmp_path))
    embed = similarity.make("resemblyzer")
    first, second = (prompts.read(key).astype(np.float32) for key in ("queue-holdtime", "vm-num-i-have"))
    deep = np.interp(np.arange(0, len(first), 0.75), np.arange(len(first)), first).astype(np.float32)
    a, b, other, silence = embed([first, second, deep, np.zeros(16000, np.float32)])
    assert a @ b > 0.75 > a @ other and silence is None
