"""The control arm: the cascade that everybody trains, with the same models, step and data as joint.py.

    python -m e2etts_jax.main --config=configs/cascaded.py --workdir=runs/cascaded

The tokenizer learns from recognition alone (RM terms), then is frozen, and LLM and FM learn on its tokens: joint.py's
first stage in two, with the same updates, rates and weights, but no gradient from LLM and FM into the tokenizer. The
second stage is joint.py's. Every model gets exactly as many updates as in joint.py's first two stages.
"""

from ml_collections import ConfigDict

from configs import base, joint, sizes


def get_config(arg: str = "tiny") -> ConfigDict:
    """The control arm at a size: `tiny`, `small` or `base`, then any `key=value`, comma separated."""
    size, pairs = base.split(arg)
    c = sizes.apply(base.get_config(), size)
    r = sizes.RECIPES[size]
    optimizer = {"warmup": r.warmup, "muon": r.muon}
    c.stages.tok = base.stage(
        steps=r.joint_steps,
        batch_size=r.batch_size,
        train=("tokenizer", "rm"),
        terms={"rm_ctc": 1.0, "rm_spk": 1.0},
        lr={"tokenizer": r.tokenizer_lr, "rm": r.tokenizer_lr},
        optimizer=optimizer,
    )
    c.stages.parts = base.stage(
        steps=r.joint_steps,
        batch_size=r.batch_size,
        train=("llm", "fm"),
        terms={"lm_ce": 0.1, "flow_match": 1.0, "recon_mel": 1.0},
        lr={"llm": r.lr, "fm": r.lr},
        optimizer=optimizer,
        plan={
            "tokens_to_fm": "codes_detached",
            "lm_into_tokenizer": 0.0,
            "fm_crop_tokens": r.crop,
            "fm_chunks": r.chunks,
            "fm_unroll_steps": r.unroll,
        },
    )
    c.stages.tune = joint.tune(r)
    c.run = ("tok", "parts", "tune")
    return base.override(c, pairs)
