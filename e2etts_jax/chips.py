"""Published figures of accelerators, for shares of the peak and for estimates."""

import dataclasses

GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Chip:
    """One chip, or one GPU.

    Attributes:
      flops: peak bf16 FLOP/s, dense. memory: bytes of HBM. memory_rate: bytes/s of HBM.
      link_rate: bytes/s one way of the links to its neighbours, all together. network_rate: bytes/s of its share of the
        network between slices.
    """

    flops: float
    memory: float
    memory_rate: float
    link_rate: float
    network_rate: float


# TPUs: Google's "TPU system architecture" pages, links one way being half of the bidirectional figure; networks
# between slices: per pod or per host there, divided by chips. GPUs: NVIDIA's data sheets, without sparsity.
CHIPS = {
    "TPU v4": Chip(275e12, 32 * GIB, 1228e9, 150e9, 3.1e9),
    "TPU v5e": Chip(197e12, 16 * GIB, 819e9, 100e9, 3.1e9),
    "TPU v5p": Chip(459e12, 95 * GIB, 2765e9, 300e9, 6.2e9),
    "TPU v6e": Chip(918e12, 32 * GIB, 1640e9, 224e9, 12.5e9),
    "A100": Chip(312e12, 80 * GIB, 2039e9, 300e9, 25e9),
    "H100": Chip(989e12, 80 * GIB, 3350e9, 450e9, 50e9),
    "H200": Chip(989e12, 141 * GIB, 4800e9, 450e9, 50e9),
    "T4": Chip(65e12, 16 * GIB, 320e9, 16e9, 3e9),  # fp16: it has no bf16
}
# as JAX calls them where that is not the name above
KINDS = {"TPU v5 lite": "TPU v5e", "TPU v5": "TPU v5p", "TPU v6 lite": "TPU v6e"}


def find(kind: str) -> Chip | None:
    """The chip that JAX calls `kind` (`jax.Device.device_kind`), None for one that is not listed, such as a CPU."""
    name = KINDS.get(kind, kind)
    return CHIPS.get(name) or next((chip for part, chip in CHIPS.items() if part in kind.split()), None)
