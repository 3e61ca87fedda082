"""The pages of the reports (Jinja). Every number in them comes from the figures that report.json holds."""

from pathlib import Path
from typing import Any

import jinja2


def render(page: str, **given: Any) -> str:
    """The page `<page>.html` with its style, as one file that needs nothing beside itself."""
    folder = Path(__file__).parent
    loader = jinja2.FileSystemLoader(folder)
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined)
    style = (folder / "style.css").read_text(encoding="utf-8")
    return environment.get_template(f"{page}.html").render(style=style, **given)
