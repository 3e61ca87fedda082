"""The recipe of tests/faults, with few terms and one draw: `--config=tests/launch/config.py:FOLDER_OF_DATA_SETS`."""

from faults import config as faults
from ml_collections import ConfigDict

TERMS = {"lm_ce", "rm_ctc", "flow_match"}


def get_config(data_dir: str) -> ConfigDict:
    """What takes long to compile and says nothing about a notebook is left out."""
    c = faults.get_config(data_dir)
    joint = c.stages.joint
    joint.monitor, joint.terms = (), ConfigDict({term: float(term in TERMS) for term in joint.terms})
    c.infer.candidates = 1
    return c
