"""A vocoder for the mel of a size: HiFi-GAN's generator against its critics (arXiv 2010.05646, 2106.07889).

python -m e2etts_jax.main --config=configs/vocoder.py --workdir=runs/vocoder         # :tiny, two CPU cores
python -m e2etts_jax.main --config=configs/vocoder.py:base --workdir=... --config.data.dataset=...

The folder of the run then holds a vocoder.safetensors, new with every checkpoint, to speak with:
--infer=vocoder=runs/vocoder/vocoder.safetensors
"""

import dataclasses

from ml_collections import ConfigDict

from configs import base, sizes


@dataclasses.dataclass(frozen=True)
class Recipe:
    """Length, batch and rate."""

    steps: int
    batch_size: int
    lr: float
    segment: int  # mel frames of each clip that a step trains on


RECIPES = {
    "tiny": Recipe(steps=400, batch_size=8, lr=1e-3, segment=16),
    "small": Recipe(steps=500_000, batch_size=16, lr=2e-4, segment=32),
    "base": Recipe(steps=1_000_000, batch_size=64, lr=2e-4, segment=32),
}


def _tiny(c: ConfigDict) -> None:
    """HiFi-GAN's V2, 0.9 M parameters, and critics of a quarter of the papers' width."""
    c.model.vocoder.width = 128
    c.model.critics.period_width, c.model.critics.resolution_width = 4, 8


def _small(c: ConfigDict) -> None:
    """V1, 13.9 M parameters, and critics as in the papers."""


def _base(c: ConfigDict) -> None:
    """V1 for a hop of 480."""
    c.model.vocoder.rates, c.model.vocoder.kernels = (10, 6, 4, 2), (20, 12, 8, 4)


SIZES = {"tiny": _tiny, "small": _small, "base": _base}


def get_config(arg: str = "tiny") -> ConfigDict:
    """The vocoder of a size: `tiny`, `small` or `base`, then any `key=value`, comma separated."""
    size, pairs = base.split(arg)
    c = sizes.apply(base.get_config(), size)
    r = RECIPES[size]
    c.dtype = "float32"  # sound has more bits than bf16
    c.text.tokenizer, c.text.rm_tokenizer, c.data.max_text = "none", "", 1

    c.model = ConfigDict()
    c.model.vocoder = ConfigDict()
    c.model.vocoder.width = 512  # channels before the first upsampling; every upsampling halves them
    c.model.vocoder.rates = (8, 8, 2, 2)  # of the upsamplings; their product is mel.hop
    c.model.vocoder.kernels = (16, 16, 4, 4)  # of the upsamplings, usually twice their rates
    c.model.vocoder.res_kernels = (3, 7, 11)
    c.model.vocoder.dilations = (1, 3, 5)
    c.model.critics = ConfigDict()
    c.model.critics.periods = (2, 3, 5, 7, 11)
    c.model.critics.period_width = 32  # channels of the first layer; they grow to 32 times as many
    c.model.critics.resolutions = ((1024, 120, 600), (2048, 240, 1200), (512, 50, 240))  # n_fft, hop, win
    c.model.critics.resolution_width = 32
    SIZES[size](c)

    s = base.stage(
        steps=r.steps,
        batch_size=r.batch_size,
        train=("vocoder", "critics"),
        optimizer={"beta1": 0.8, "beta2": 0.99, "clip": 1000.0, "final": 0.05},
    )
    s.terms = ConfigDict({"mel": 45.0, "adversarial": 1.0, "features": 2.0, "critic": 1.0})
    s.lr = ConfigDict({"vocoder": r.lr, "critics": r.lr})
    s.plan = ConfigDict({"segment": r.segment})  # mel frames of each clip that a step trains on
    c.stages.vocoder = s
    c.run = ("vocoder",)
    c.warm_groups = ("vocoder", "critics")
    c.warm_vocoder = ""  # a generator to start from: universal, LJSpeech, or a file; its mel may be another
    return base.override(c, pairs)
