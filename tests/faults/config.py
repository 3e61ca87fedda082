"""The shipped recipe at a size that trains in seconds: `--config=tests/faults/config.py:FOLDER_OF_DATA_SETS`."""

from ml_collections import ConfigDict
from tiny import load, shrink

STEPS = {"joint": 6, "tune": 6, "chain": 4}


def get_config(data_dir: str) -> ConfigDict:
    """The shrunken recipe on real clips of up to 28 tokens (1.3 s)."""
    c = shrink(load("joint"))
    c.data.data_dir, c.data.buckets, c.data.max_text = data_dir, (28,), 16
    c.model.rm.speaker = c.model.fm.speaker = 256
    for name, steps in STEPS.items():
        c.stages[name].steps, c.stages[name].plan.fm_crop_tokens = steps, 8
    c.stages.joint.terms.recon_mel = 0.0  # takes longest to trace, and every process traces anew
    c.stages.tune.ema = 0.9  # so that a run which goes on needs parameters and their average
    c.log_every, c.checkpoint_every = 1, 2
    c.infer.max_tokens, c.infer.ode_steps = 8, 1
    return c
