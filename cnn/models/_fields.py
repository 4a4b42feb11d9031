"""The fields of a network's modules, and overrides of them."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp

from cnn import errors, nn


def sync_of(
    name: str, module: Any, axis_name: str | None, norm_group_size: int
) -> dict[str, nn.Sync]:
    """The field of modules that have batch norm."""
    if norm_group_size < 0:
        raise errors.UserError(f"norm_group_size must be at least 0, got {norm_group_size}")
    if hasattr(module, "sync"):
        return {"sync": nn.Sync(axis_name, norm_group_size)}
    if norm_group_size:
        raise errors.UserError(
            f"norm_group_size is {norm_group_size}, but {name} has no batch norm; leave it at 0"
        )
    return {}


def known_of(values: Mapping[str, Any], fields: set[str]) -> dict[str, Any]:
    """What of a row and of overrides is the backbone's, or the head's."""
    return {key: value for key, value in values.items() if key in fields}


def fields_of(module: Any) -> set[str]:
    """The fields that can be overridden; `sync` has arguments of its own."""
    known = {field.name for field in dataclasses.fields(module)}
    return known - {"parent", "name", "sync"}


def values_of(name: str, overrides: Mapping[str, Any], known: set[str]) -> dict[str, Any]:
    """The overrides as linen wants them: hashable, and with dtypes that exist."""
    values = {}
    for key, value in overrides.items():
        if key not in known:
            raise errors.unknown(f"field of {name}", key, known)
        # A config holds lists, a module must be hashable.
        values[key] = tuple(value) if isinstance(value, list) else value
    if "dtype" in values:
        values["dtype"] = _dtype(values["dtype"])
    return values


def _dtype(value: Any) -> Any:
    try:
        dtype = jnp.dtype(value)
    except TypeError:
        dtype = None
    if dtype is None or not jnp.issubdtype(dtype, jnp.floating):
        raise errors.unknown("dtype", str(value), ("bfloat16", "float16", "float32", "float64"))
    return dtype
