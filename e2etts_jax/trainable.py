"""What the training loop asks of the models that train together, and the two kinds of them that there are."""

from collections.abc import Mapping
from typing import Any, Protocol

from jaxtyping import Array, Int, PRNGKeyArray

from e2etts_jax.features import MelConfig
from e2etts_jax.losses import Term
from e2etts_jax.rng import Streams
from e2etts_jax.system import System
from e2etts_jax.types import Batch, Metrics, Outputs, Params
from e2etts_jax.vocoding import VocoderSystem


class Trainable(Protocol):
    """Models in named groups. Holds no parameters; each group is an attribute, a module with a `config`."""

    @property
    def groups(self) -> tuple[str, ...]: ...

    @property
    def plan_type(self) -> type:
        """Dataclass of a stage's `plan`, with `for_validation()`: the plan without what only training draws."""

    @property
    def mel(self) -> MelConfig: ...

    @property
    def samples_per_token(self) -> int: ...

    @property
    def dtype(self) -> Any:
        """What it computes in."""

    def terms(self) -> Mapping[str, Term]: ...

    def init(self, key: PRNGKeyArray) -> Params:
        """Fresh parameters of all groups, boxed with their logical axis names."""

    def abstract(self) -> Params:
        """Shapes and dtypes of `init`, boxed."""

    def unboxed(self, key: PRNGKeyArray) -> Params:
        """Fresh parameters as plain arrays."""

    def forward(
        self,
        params: Params,
        batch: Batch,
        streams: Streams,
        plan: Any,
        needs: tuple[str, ...],
        step: Int[Array, ""] | int,
        total: int,
    ) -> Outputs:
        """The outputs `needs`, which the terms read; see `forward.forward`."""

    def counts(self, out: Outputs) -> Metrics:
        """What the outputs say beside the losses, as sums over the rows, so that parts of a batch add up."""

    def describe(self, counts: Metrics) -> Metrics:
        """Metrics of the counts of a whole batch."""


def of_config(config: Mapping[str, Any], text_vocab: int, rm_vocab: int | None = None) -> Trainable:
    """A vocoder and its critics where the config's models are these, else the four models of speech.

    Raises:
      ValueError: fields that contradict each other, named.
    """
    if "vocoder" in config["model"]:
        return VocoderSystem.from_config(config)
    return System.from_config(config, text_vocab, rm_vocab)
