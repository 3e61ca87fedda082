"""The train step. One function for every stage: what differs between stages is data."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from e2etts_jax import optim
from e2etts_jax.losses import Term
from e2etts_jax.rng import Streams
from e2etts_jax.stages import Stage
from e2etts_jax.state import State, optimizers
from e2etts_jax.trainable import Trainable
from e2etts_jax.types import Batch, Metrics, Params, Sum

Step = Callable[[State, Batch], tuple[State, Metrics]]


def make_train_step(system: Trainable, stage: Stage, terms: Mapping[str, Term]) -> Step:
    """Builds `step(state, batch) -> (state, metrics)`, pure and ready for `jax.jit(..., donate_argnums=0)`.

    Only the trained groups are differentiated. A step whose loss or gradient is not finite changes no parameter and no
    optimizer state; it counts in `state.skipped`.
    """
    needs = needed(stage, terms)
    transforms = optimizers(stage)
    schedules = {g: optim.schedule(c, stage.steps) for g, c in stage.optimizers.items()}

    def sums(trained: Params, state: State, batch: Batch) -> tuple[dict[str, Sum], Metrics]:
        key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
        params = {**state.params, **state.frozen, **trained}
        out = system.forward(params, batch, Streams(key, batch.row), stage.plan, needs, state.step, stage.steps)
        return {name: terms[name].fn(out, batch) for name in stage.all_terms}, system.counts(out)

    def objective(
        trained: Params, state: State, batch: Batch, dens: dict[str, jax.Array] | None
    ) -> tuple[jax.Array, tuple[dict[str, Sum], Metrics]]:
        made, extra = sums(trained, state, batch)
        parts = [w * made[n].num / jnp.maximum(made[n].den if dens is None else dens[n], 1.0) for n, w in weights]
        return jnp.sum(jnp.stack(parts)), (made, extra)

    weights = tuple(stage.terms.items())
    gradient = jax.value_and_grad(objective, has_aux=True)

    def accumulated(trained: Params, state: State, batch: Batch) -> Any:
        """Exact gradient in `stage.accumulate` parts: every part divides by the counts of the whole batch."""
        parts = split(batch, stage.accumulate)
        count = jax.lax.map(lambda part: {n: s.den for n, s in sums(trained, state, part)[0].items()}, parts)
        dens = jax.tree.map(lambda x: jnp.sum(x, axis=0), count)  # the models behind the counts are dead code

        def add(carry: Any, part: Batch) -> tuple[Any, None]:
            return jax.tree.map(jnp.add, carry, gradient(trained, state, part, dens)), None

        zero = jax.tree.map(
            lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(gradient, trained, state, first(parts), dens)
        )
        return jax.lax.scan(add, zero, parts)[0]

    def step(state: State, batch: Batch) -> tuple[State, Metrics]:
        trained = {g: state.params[g] for g in stage.train}
        run = accumulated if stage.accumulate > 1 else (lambda *a: gradient(*a, None))
        (loss, (made, extra)), grads = run(trained, state, batch)
        norms = {g: optax.tree.norm(grads[g]) for g in stage.train}
        finite = jnp.isfinite(loss) & jnp.all(jnp.isfinite(jnp.stack(list(norms.values()))))
        params, opt, moved = dict(state.params), {}, {}
        for g in stage.train:
            updates, new = transforms[g].update(grads[g], state.opt[g], state.params[g])
            updates, opt[g] = keep_if(finite, (updates, new), (jax.tree.map(jnp.zeros_like, updates), state.opt[g]))
            params[g] = optax.apply_updates(state.params[g], updates)
            moved[g] = optax.tree.norm(updates)
        ema = average(stage.ema, state, params) if stage.ema else {}
        skipped = jnp.where(finite, 0, state.skipped + 1)
        metrics = {
            "loss/total": loss,
            **{f"loss/{n}": s.mean for n, s in made.items()},
            **{f"weight/{n}": jnp.float32(w) for n, w in weights},
            **{f"grad_norm/{g}": n for g, n in norms.items()},
            **{f"update_norm/{g}": n for g, n in moved.items()},
            **{f"lr/{g}": jnp.float32(schedules[g](state.step)) for g in stage.train},
            **system.describe(extra),
            "guard/skipped": skipped,
        }
        new_state = State(params, state.frozen, ema, opt, state.step + 1, skipped, state.key)
        return new_state, metrics

    return step


def make_eval_step(
    system: Trainable, stage: Stage, terms: Mapping[str, Term]
) -> Callable[[State, Batch], dict[str, Sum]]:
    """Builds `(state, batch) -> sums of the stage's terms`, nothing differentiated or updated."""
    needs, plan = needed(stage, terms), stage.plan.for_validation()

    def evaluate(state: State, batch: Batch) -> dict[str, Sum]:
        streams = Streams(jax.random.wrap_key_data(state.key), batch.row)
        params = {**state.result, **state.frozen}
        out = system.forward(params, batch, streams, plan, needs, state.step, stage.steps)
        return {name: terms[name].fn(out, batch) for name in stage.all_terms}

    return evaluate


def needed(stage: Stage, terms: Mapping[str, Term]) -> tuple[str, ...]:
    """Outputs that the stage's terms read."""
    return tuple(sorted({need for name in stage.all_terms for need in terms[name].needs}))


def split(batch: Batch, parts: int) -> Batch:
    """Leading axis B -> [parts, B / parts]; row r goes to part r % parts, so no shard of a sharded batch moves."""
    return jax.tree.map(lambda x: x.reshape(len(x) // parts, parts, *x.shape[1:]).swapaxes(0, 1), batch)


def first(parts: Batch) -> Batch:
    return jax.tree.map(lambda x: x[0], parts)


def average(decay: float, state: State, params: Params) -> Params:
    """The running average of the trained groups after a step; short at first, so that the start is soon forgotten.

    A refused step leaves parameters as they are, so the average moves towards those.
    """
    rate = 1.0 - jnp.minimum(decay, (1.0 + state.step) / (10.0 + state.step))
    return {g: jax.tree.map(lambda old, new: old + rate * (new - old), state.ema[g], params[g]) for g in state.ema}


def keep_if(condition: jax.Array, new: Any, old: Any) -> Any:
    """`new` where the condition holds, else `old`, leaf by leaf."""
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), new, old)
