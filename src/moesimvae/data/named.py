"""Calling a function by the name that a registry mapping gives it."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from moesimvae.errors import UserError


def call(
    functions: Mapping[str, Callable[..., Any]],
    kind: str,
    settings: Mapping[str, Any],
    *arguments: Any,
) -> Any:
    """Call the function named by `settings[kind]` with `arguments`, then the other settings.

    Raises UserError when there is no such function or it does not take these settings.
    """
    parameters = dict(settings)
    name = parameters.pop(kind, None)
    if name not in functions:
        raise UserError(
            f"unknown {kind} '{name}' in the data set's registry block; give one of: "
            f"{', '.join(sorted(functions))}."
        )
    try:
        inspect.signature(functions[name]).bind(*arguments, **parameters)
    except TypeError as error:
        raise UserError(
            f"the {kind} '{name}' in the data set's registry block cannot take the parameters "
            f"{parameters} ({error}); compare them with its description."
        ) from error
    return functions[name](*arguments, **parameters)
