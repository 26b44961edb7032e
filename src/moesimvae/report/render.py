"""The templates of this folder, filled in with every name from data or configuration escaped."""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def render(template: str, **values: Any) -> str:
    """Fill `templates/<template>`; a value that it asks for and nobody gave is an error."""
    environment = Environment(
        loader=PackageLoader("moesimvae.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(template).render(**values)
