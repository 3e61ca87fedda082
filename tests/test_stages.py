"""A stage that cannot train what it says is refused before anything is compiled, with the thing and the cure."""

from typing import Any

import pytest
from ml_collections import ConfigDict
from tiny import load, tiny

from configs import base
from e2etts_jax import losses, stages
from e2etts_jax.stages import Plan, Stage


def parse(**changes: Any) -> Stage:
    """A good stage, with changes."""
    good = {
        "train": ("tokenizer", "rm"),
        "terms": {"rm_ctc": 1.0},
        "lr": {"tokenizer": 1e-3, "llm": 1e-3, "fm": 1e-3, "rm": 1e-3},
    }
    return stages.parse("some", 0, base.stage(**{**good, **changes}), losses.terms((("emotion", 5),)))


BAD = {
    "group": ({"train": ("tokenizer", "vocoder")}, "unknown group 'vocoder'"),
    "monitor": ({"monitor": ("rm_mood",)}, "unknown term 'rm_mood'"),
    "no group": ({"train": ()}, "trains nothing"),
    "no term": ({"terms": {"rm_ctc": 0.0}}, "trains nothing"),
    "negative": ({"terms": {"rm_ctc": -1.0}}, "'rm_ctc' a negative weight"),
    "no term reaches fm": ({"train": ("fm", "rm")}, "trains 'fm', but none of its terms (rm_ctc) reaches it"),
    "detached": ({"plan": {"tokens_to_rm": "codes_detached"}}, "trains 'tokenizer', but none of its terms"),
    "weight 0 reaches nothing": (
        {"train": ("llm",), "terms": {"rm_ctc": 1.0, "lm_ce": 0.0}},
        "trains 'llm', but none of its terms (rm_ctc) reaches it",
    ),
    "rate": ({"train": ("rm",), "lr": {"rm": 0.0}}, "trains 'rm' at rate 0.0: set lr.rm"),
    "unroll": ({"train": ("fm",), "terms": {"recon_mel": 1.0}}, "set plan.fm_unroll_steps"),
    "way to fm": ({"plan": {"tokens_to_fm": "mel"}}, "plan.tokens_to_fm='mel' is not one of codes"),
    "way to rm": ({"plan": {"tokens_to_rm": "llm_hidden"}}, "plan.tokens_to_rm='llm_hidden' is not one of codes"),
    "temperature": ({"plan": {"gumbel_temperature": (1.0, 0.0)}}, "two numbers above 0, got (1.0, 0.0)"),
    "chunks": ({"plan": {"fm_chunks": (0, 2.5)}}, "plan.fm_chunks is numbers of tokens, or empty; got (0, 2.5)"),
    "noise": ({"plan": {"rm_noise_db": (5.0,)}}, "(lowest, highest) dB or empty, got (5.0,)"),
    "noise on tokens": (
        {"train": ("rm",), "plan": {"tokens_to_rm": "llm_gumbel", "rm_noise_db": (5.0, 9.0)}},
        "plan.rm_noise_db is for an RM that hears recordings",
    ),
    "decay": ({"optimizer": {"decay": "linear"}}, "decay 'linear' is not one of cosine, constant"),
    "parts": ({"batch_size": 16, "accumulate": 3}, "batch_size 16 does not split into 3 parts"),
    "no parts": ({"accumulate": 0}, "accumulate 0 must be 1 or more"),
    "no rows": ({"batch_size": 0}, "batch_size 0 and accumulate 1 must be 1 or more"),
    "no steps": ({"steps": 0}, "has 0 steps"),
}


@pytest.mark.parametrize("changes, message", BAD.values(), ids=BAD)
def test_bad_stages_are_named(changes: dict[str, Any], message: str):
    with pytest.raises(ValueError) as error:
        parse(**changes)
    assert message in str(error.value)


@pytest.mark.parametrize("where, name", [("terms", "rm_mood"), ("plan", "tokens_to_llm"), ("optimizer", "momentum")])
def test_unknown_keys_are_named(where: str, name: str):
    stage = base.stage(train=("rm",), terms={"rm_ctc": 1.0}, lr={"rm": 1e-3})
    with stage.unlocked():
        stage[where][name] = 1.0
    with pytest.raises(ValueError, match=name):
        stages.parse("some", 0, stage, losses.terms())


def test_good_stage_is_what_the_config_says():
    stage = parse(train=("rm", "tokenizer"), terms={"rm_ctc": 0.5, "rm_emotion": 2.0}, monitor=("lm_ce", "rm_ctc"))
    assert stage.train == ("tokenizer", "rm"), "in the order of GROUPS"
    assert dict(stage.terms) == {"rm_ctc": 0.5, "rm_emotion": 2.0}
    assert stage.all_terms == ("rm_ctc", "rm_emotion", "lm_ce")
    assert set(stage.optimizers) == {"tokenizer", "rm"}, "no optimizer for a frozen group"
    assert stage.plan == Plan()


def test_run_of_an_unknown_stage_is_named():
    t = tiny()
    config = ConfigDict({**t.config, "run": ("joint", "polish")})
    with pytest.raises(ValueError, match="names stage 'polish'; config.stages has chain, joint, tune"):
        stages.parse_run(config, t.terms)


@pytest.mark.parametrize(
    "arg, message",
    [
        ("huge", "unknown size 'huge': choose one of tiny, small, base"),
        ("tiny,stages.joint.step=5", "the config has no key 'stages.joint.step'"),
        ("tiny,stages.joint.steps.x=5", "the config has no key 'stages.joint.steps.x'"),
        ("tiny,fast", "unknown size 'tiny,fast'"),
    ],
)
def test_bad_arguments_of_a_config_are_named(arg: str, message: str):
    with pytest.raises(ValueError) as error:
        load("joint", arg)
    assert message in str(error.value)


def test_arguments_reach_the_config():
    config = load("joint", "tiny,stages.joint.steps=7,data.buckets=(8,16),dtype=float32,run=('joint',)")
    assert (config.stages.joint.steps, config.data.buckets, config.dtype) == (7, (8, 16), "float32")
    assert config.run == ("joint",)
