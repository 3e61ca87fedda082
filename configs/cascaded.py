"""The control arm: the cascade that everybody trains, with the same models, step and data as joint.py.

    python -m e2etts_jax.main --config=configs/cascaded.py --workdir=runs/cascaded

The tokenizer learns from recognition alone (RM terms), then is frozen; FM, LLM and RM each learn on its tokens. No
gradient crosses from one to another, so training them in one stage is the same as training them one by one. Every
model gets exactly as many updates as in joint.py's first two stages.
"""

from ml_collections import ConfigDict

from configs import base, sizes


def get_config(arg: str = "tiny") -> ConfigDict:
    """The control arm at a size: `tiny`, `small` or `base`, then any `key=value`, comma separated."""
    size, pairs = base.split(arg)
    c = sizes.apply(base.get_config(), size)
    r = sizes.RECIPES[size]
    c.stages.tok = base.stage(
        steps=r.joint_steps,
        batch_size=r.batch_size,
        train=("tokenizer", "rm"),
        terms={"rm_ctc": 1.0, "rm_spk": 1.0},
        lr={"tokenizer": r.tokenizer_lr, "rm": r.tokenizer_lr},
        optimizer={"warmup": r.warmup, "muon": r.muon},
    )
    c.stages.parts = base.stage(
        steps=r.joint_steps + r.tune_steps,
        batch_size=r.batch_size,
        train=("llm", "fm", "rm"),
        terms={"lm_ce": 1.0, "rm_ctc": 1.0, "rm_spk": 1.0, "flow_match": 1.0, "recon_mel": r.recon},
        lr={"llm": r.tune_lr, "fm": r.tune_lr, "rm": r.tune_lr},
        optimizer={"warmup": r.warmup, "final": 0.02, "muon": r.muon},
        plan={
            "tokens_to_fm": "codes_detached",
            "tokens_to_rm": "codes_detached",
            "lm_into_tokenizer": 0.0,
            "fm_crop_tokens": r.crop,
            "fm_unroll_steps": r.unroll,
            "rm_noise_db": r.noise_db,
        },
    )
    c.run = ("tok", "parts")
    return base.override(c, pairs)
