"""The recipe of tests/faults on two devices: `--config=tests/multihost/config.py:FOLDER_OF_DATA_SETS`."""

from faults import config as faults
from ml_collections import ConfigDict

STEPS = {"joint": 4, "tune": 2}


def get_config(data_dir: str) -> ConfigDict:
    """Two stages of few terms, at rates at which rounding stays rounding; parameters lie on both devices."""
    c = faults.get_config(data_dir)
    c.run, c.mesh.shape = tuple(STEPS), (1, 2, 1)
    c.infer.candidates = 1
    groups = {"joint": {"llm": "lm_ce", "rm": "rm_ctc"}, "tune": {"llm": "lm_ce"}}
    for name, steps in STEPS.items():
        stage, terms = c.stages[name], groups[name].values()
        stage.steps, stage.monitor, stage.train = steps, (), tuple(groups[name])
        stage.terms = ConfigDict({term: float(term in terms) for term in stage.terms})
        for group in stage.lr:
            stage.lr[group] = 1e-4
    return c
