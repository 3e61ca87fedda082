"""Writes whisper_golden.npz, wav2vec2-conformer_golden.npz, wav2vec2-bert_golden.npz: small random encoders of
transformers inside the models they come in, and what their parts make of random inputs.

Needs torch (see make_qwen3_golden.py); transformers 5.24.0, torch 2.14.1 made the stored ones.
"""

import tempfile
from pathlib import Path

import numpy as np
import torch
import transformers as tf
from safetensors.numpy import load_file

WIDTH, FF, HEADS, KERNEL, LAYERS = 32, 48, 4, 5, 3
SIZES = {"hidden_size": WIDTH, "intermediate_size": FF, "num_attention_heads": HEADS, "num_hidden_layers": LAYERS}
SIZES |= {"conv_depthwise_kernel_size": KERNEL, "vocab_size": 8, "hidden_act": "swish"}
FRONT = {"conv_dim": (8,), "conv_kernel": (3,), "conv_stride": (2,), "num_feat_extract_layers": 1}
FRONT |= {"num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2, "num_codevectors_per_group": 2}

torch.manual_seed(0)
x = torch.randn(2, 9, WIDTH)
stored: dict[str, np.ndarray] = {}


def keep(**values: torch.Tensor) -> None:
    stored.update({name: value.detach().numpy() for name, value in values.items()})


def build(model: torch.nn.Module) -> torch.nn.Module:
    """Every weight random, batch statistics included."""
    with torch.no_grad():
        for w in model.parameters():
            w.normal_(1.0, 0.3) if w.ndim == 1 else w.normal_(0.0, w[0].numel() ** -0.5)
        for name, buffer in model.named_buffers():
            if "running" in name:
                buffer.uniform_(0.5, 2.0)
    stored.clear()
    keep(x=x)
    return model.eval()


def write(name: str, model: torch.nn.Module) -> None:
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        stored["config"] = np.array((Path(folder) / "config.json").read_text())
        for key, tensor in load_file(Path(folder) / "model.safetensors").items():
            stored[f"weights/{key}"] = tensor
    stored["versions"] = np.array([tf.__version__, torch.__version__])
    np.savez_compressed(Path(__file__).with_name(f"{name}_golden.npz"), **stored)


def feed_forwards(layer: torch.nn.Module) -> None:
    keep(ff_in=layer.ffn1(layer.ffn1_layer_norm(x)), ff_out=layer.ffn2(layer.ffn2_layer_norm(x)))


model = build(tf.Wav2Vec2ConformerForCTC(tf.Wav2Vec2ConformerConfig(**SIZES, **FRONT)))
layer = model.wav2vec2_conformer.encoder.layers[1]
feed_forwards(layer)
conv = layer.conv_module
inner = conv.glu(conv.pointwise_conv1(conv.layer_norm(x).transpose(1, 2)))
keep(batch_norm=conv.batch_norm(conv.depthwise_conv(inner)).transpose(1, 2))
write("wav2vec2-conformer", model)

model = build(tf.Wav2Vec2BertForCTC(tf.Wav2Vec2BertConfig(**SIZES, feature_projection_input_dim=12)))
layer = model.wav2vec2_bert.encoder.layers[1]
feed_forwards(layer)
taps = layer.conv_module.depthwise_conv.weight
saved = taps.detach().clone()
with torch.no_grad():
    taps[..., : KERNEL // 2] = 0.0  # without what ours does not reach back to
    keep(conv=layer.conv_module(x))
    taps.copy_(saved)
write("wav2vec2-bert", model)

sizes = {"d_model": WIDTH, "encoder_layers": LAYERS, "encoder_attention_heads": HEADS, "encoder_ffn_dim": FF}
sizes |= {"decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 8, "max_source_positions": 9}
sizes |= {"num_mel_bins": 16, "vocab_size": 8, "max_target_positions": 4}
special = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"), 0)
model = build(tf.WhisperForConditionalGeneration(tf.WhisperConfig(**sizes, **special)))
encoder = model.model.encoder
layer = encoder.layers[1]
frames = torch.randn(2, 18, WIDTH)
half = torch.nn.functional.gelu(encoder.conv2(frames.transpose(1, 2))).transpose(1, 2)
keep(ff_out=layer.fc2(layer.activation_fn(layer.fc1(layer.final_layer_norm(x)))), frames=frames, half=half)
write("whisper", model)
