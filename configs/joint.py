"""The paper's recipe (arXiv 2606.09234): all four models at once, then each alone, then the LLM through the chain.

python -m e2etts_jax.main --config=configs/joint.py --workdir=runs/joint            # :tiny, two CPU cores
python -m e2etts_jax.main --config=configs/joint.py:small --workdir=...              # one GPU
python -m e2etts_jax.main --config=configs/joint.py:tiny,stages.joint.steps=100 ...  # keys after the size
"""

from ml_collections import ConfigDict

from configs import base, sizes


def tune(r: sizes.Recipe) -> ConfigDict:
    """Stage 2: LLM, FM and RM each on the tokens of the finished tokenizer; the cascade ends with it too."""
    return base.stage(
        steps=r.tune_steps,
        batch_size=r.batch_size,
        train=("llm", "fm", "rm"),
        terms={"lm_ce": 1.0, "rm_ctc": 1.0, "rm_spk": 1.0, "flow_match": 1.0, "recon_mel": r.recon},
        lr={"llm": r.tune_lr, "fm": r.tune_lr, "rm": r.tune_lr},
        optimizer={"warmup": r.warmup, "final": 0.02, "muon": r.muon},
        plan={
            "fm_crop_tokens": r.crop,
            "fm_chunks": r.chunks,
            "fm_unroll_steps": r.unroll,
            "rm_noise_db": r.noise_db,
            "rm_speed": r.speed,
        },
    )


def get_config(arg: str = "tiny") -> ConfigDict:
    """The recipe at a size: `tiny`, `small` or `base`, then any `key=value`, comma separated."""
    size, pairs = base.split(arg)
    c = sizes.apply(base.get_config(), size)
    r = sizes.RECIPES[size]

    c.stages.joint = base.stage(
        steps=r.joint_steps,
        batch_size=r.batch_size,
        train=("tokenizer", "llm", "fm", "rm"),
        terms={"lm_ce": 0.1, "rm_ctc": 1.0, "rm_spk": 1.0, "flow_match": 1.0, "recon_mel": 1.0},
        lr={"tokenizer": r.tokenizer_lr, "llm": r.lr, "fm": r.lr, "rm": r.tokenizer_lr},
        optimizer={"warmup": r.warmup, "muon": r.muon},
        plan={"fm_crop_tokens": r.crop, "fm_chunks": r.chunks, "fm_unroll_steps": r.unroll},
    )
    c.stages.tune = tune(r)
    c.stages.chain = base.stage(
        steps=r.chain_steps,
        batch_size=r.chain_batch,
        train=("llm",),
        terms={"rm_ctc": 1.0, "rm_spk": 0.1, "flow_match": 1.0, "rm_ctc_sampled": 1.0, "kl_ref": 0.1, "lm_ce": 1.0},
        lr={"llm": r.chain_lr},
        optimizer={"warmup": r.chain_steps // 10},
        plan={
            "tokens_to_fm": "llm_gumbel",
            "tokens_to_rm": "llm_gumbel",
            "gumbel_temperature": (2.0, 0.8),
            "fm_crop_tokens": r.crop,
        },
    )
    c.run = ("joint", "tune", "chain")
    return base.override(c, pairs)
