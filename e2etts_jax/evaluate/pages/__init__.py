"""The pages of the reports (Jinja). Every number in them comes from the figures that report.json holds."""

from pathlib import Path
from typing import Any

import jinja2


def render(page: str, **given: Any) -> str:
    """The page `<page>.html` with its style, as one file that needs nothing beside itself."""
    folder = Path(__file__).parent
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    template = environment.from_string((folder / f"{page}.html").read_text(encoding="utf-8"))
    return template.render(style=(folder / "style.css").read_text(encoding="utf-8"), **given)
