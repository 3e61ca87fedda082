"""Model sizes and the lengths of recipes that go with them."""

import dataclasses

from ml_collections import ConfigDict

from configs import sharding


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Length, rates and batch of the three stages."""

    joint_steps: int
    tune_steps: int
    chain_steps: int
    batch_size: int
    lr: float
    tokenizer_lr: float  # of tokenizer and RM in the first stage
    tune_lr: float
    chain_lr: float
    chain_batch: int  # smaller where sampling, one token after the other, costs more than it gives
    warmup: int
    muon: float  # of the first two stages: base.py, optimizer.muon
    crop: int  # tokens of each clip that the FM trains on
    chunks: tuple[int, ...]  # tokens of the chunks in which the FM attends, one drawn a step; 0 = none
    unroll: int  # solver steps unrolled for recon_mel in the first two stages
    recon: float  # weight of recon_mel in the second stage
    noise_db: tuple[float, ...]  # white noise under half of the clips that tune the RM
    speed: tuple[float, ...]  # factors of speed of the clips that tune the RM


RECIPES = {
    "tiny": Recipe(
        joint_steps=240,
        tune_steps=1150,
        chain_steps=20,
        batch_size=16,
        lr=1e-3,
        tokenizer_lr=1e-3,
        tune_lr=1e-3,
        chain_lr=5e-5,
        chain_batch=8,
        warmup=40,
        muon=10.0,
        crop=32,
        chunks=(0, 24),
        unroll=1,
        recon=3.0,  # sampled in one step, which this loss trains: docs/results/recipe
        noise_db=(),  # one studio voice: nothing to be robust against
        speed=(),
    ),
    "small": Recipe(
        joint_steps=20_000,
        tune_steps=20_000,
        chain_steps=2_000,
        batch_size=32,
        lr=4e-4,
        tokenizer_lr=2e-4,
        tune_lr=2e-4,
        chain_lr=1e-5,
        chain_batch=32,
        warmup=1_000,
        muon=0.0,
        crop=128,
        chunks=(0, 24),
        unroll=2,
        recon=1.0,
        noise_db=(5.0, 30.0),
        speed=(0.9, 1.0, 1.1),
    ),
    # the paper's rates and warm-up
    "base": Recipe(
        joint_steps=400_000,
        tune_steps=200_000,
        chain_steps=20_000,
        batch_size=1024,
        lr=1e-4,
        tokenizer_lr=1e-4,
        tune_lr=1e-5,
        chain_lr=1e-5,
        chain_batch=1024,
        warmup=25_000,
        muon=0.0,
        crop=0,
        chunks=(0, 24),
        unroll=2,
        recon=1.0,
        noise_db=(5.0, 30.0),
        speed=(0.9, 1.0, 1.1),
    ),
}


def _conformer(c: ConfigDict, layers: int, width: int, heads: int, ff: int, kernel: int) -> None:
    c.layers, c.width, c.heads, c.ff, c.kernel = layers, width, heads, ff, kernel


def _cosyvoice_decoding(c: ConfigDict) -> None:
    """CosyVoice 3's, for models that have trained long enough for it."""
    c.infer.temperature, c.infer.repetition, c.infer.candidates = 1.0, 0.0, 1
    c.infer.ode_steps, c.infer.guidance = 10, 0.7


def _tiny(c: ConfigDict) -> None:
    """The defaults of base.py, and the vocoder that has a report ready in minutes on two cores."""
    c.infer.vocoder = "griffin_lim"


def _small(c: ConfigDict) -> None:
    """132 M parameters, the same mel: one GPU."""
    c.data.buckets, c.data.max_text = (128, 192, 288), 256
    _conformer(c.model.tokenizer, 6, 384, 6, 1536, 15)
    _conformer(c.model.rm, 4, 384, 6, 1536, 15)
    c.model.tokenizer.q_width = 128
    m = c.model.llm
    m.layers, m.width, m.heads, m.kv_heads, m.head_dim, m.ff, m.adapter_width = 12, 512, 8, 4, 64, 1536, 512
    f = c.model.fm
    f.layers, f.width, f.heads, f.ff, f.patch = 12, 512, 8, 2048, 1
    c.infer.max_tokens = 384
    _cosyvoice_decoding(c)
    c.mesh = sharding.mesh("dp")
    c.log_every, c.checkpoint_every = 50, 1000


def _base(c: ConfigDict) -> None:
    """The paper's: Qwen3-0.6B with Qwen's words, 0.5 B DiT, 0.6 B Conformer split into tokenizer and RM, which writes
    letters; 24 kHz, 25 tokens/s."""
    c.audio.sample_rate, c.audio.samples_per_token = 24000, 960
    c.mel.n_fft, c.mel.win, c.mel.hop, c.mel.fmax = 1920, 1920, 480, 12000.0
    t = c.tokenizer_mel  # the 16 kHz front-end of S3 (25 ms windows every 10 ms), computed at 24 kHz
    t.n_fft, t.win, t.hop, t.n_mels, t.power, t.scale, t.floor = 600, 600, 240, 128, 2.0, "log10_whisper", 1e-10
    t.mean, t.std = 0.0, 1.0
    c.text.tokenizer, c.text.rm_tokenizer = "bpe", "characters"
    c.data.buckets, c.data.max_text, c.data.max_rm_text = (250, 500, 750), 256, 512
    _conformer(c.model.tokenizer, 12, 1024, 16, 4096, 31)
    _conformer(c.model.rm, 12, 1024, 16, 4096, 31)
    c.model.tokenizer.q_width = 1024
    m = c.model.llm
    m.layers, m.width, m.heads, m.kv_heads, m.head_dim, m.ff = 28, 1024, 16, 8, 128, 3072
    m.rope_theta, m.adapter_width, m.chunk = 1e6, 1024, 128
    f = c.model.fm
    f.layers, f.width, f.heads, f.ff, f.patch = 26, 1024, 16, 4096, 1
    f.predict, f.times = "velocity", "uniform"
    for part in (c.model.tokenizer, c.model.rm, m, f):
        part.remat = "full"
    c.infer.max_tokens = 750
    _cosyvoice_decoding(c)
    c.mesh = sharding.mesh("fsdp")
    c.log_every, c.checkpoint_every = 100, 2000


SIZES = {"tiny": _tiny, "small": _small, "base": _base}


def apply(c: ConfigDict, size: str) -> ConfigDict:
    """Sets the sizes of `size` in a base config."""
    if size not in SIZES:
        raise ValueError(f"unknown size {size!r}: choose one of {', '.join(SIZES)}")
    SIZES[size](c)
    return c
