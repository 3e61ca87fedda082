"""What an import took: every parameter of a group is either taken or fresh, and what nobody read is named."""

import dataclasses
import re
from collections.abc import Iterable, Mapping
from typing import Any

AS_IS = "as it is"


@dataclasses.dataclass(frozen=True)
class Report:
    """What happened to each parameter and each tensor.

    Attributes:
      source: the folder and what it holds.
      taken: parameter -> how its values were taken.
      fresh: parameter -> why it starts from scratch.
      unused: tensor of the folder -> why nothing took it.
    """

    source: str
    taken: Mapping[str, str]
    fresh: Mapping[str, str]
    unused: Mapping[str, str]

    def as_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    def lines(self, group: str) -> list[str]:
        """For a person: parameters and tensors with the same remark together."""
        told = [f"{group} from {self.source}"]
        for title, remarks, most in (
            ("taken", self.taken, 20),
            ("fresh", self.fresh, 20),
            ("not used", self.unused, 4),
        ):
            for remark in dict.fromkeys(remarks.values()):
                names = grouped(name for name, other in remarks.items() if other == remark)
                more = f" and {len(names) - most} more" if len(names) > most else ""
                told.append(f"  {title}, {remark}: {', '.join(names[:most])}{more}")
        return told


def grouped(names: Iterable[str]) -> list[str]:
    """Names with the numbers of layers as `*`, and the leaves of a module as one: `layers.*.mlp.up_proj`."""
    starred = (re.sub(r"\b\d+\b", "*", name) for name in names)
    return list(dict.fromkeys(re.sub(r"[./](weight|bias|kernel|scale)$", "", name) for name in starred))
