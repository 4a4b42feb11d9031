"""Scripts from the templates beside this file."""

from __future__ import annotations

import pathlib
from typing import Any

import jinja2


def render(template: str, /, **values: Any) -> str:
    """The text of a template; a name in it that has no value is an error of ours."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(pathlib.Path(__file__).parent),
        trim_blocks=True,
        undefined=jinja2.StrictUndefined,
        keep_trailing_newline=True,
    )
    return environment.get_template(template).render(**values)
