"""The networks of a package by name; the file of a family is imported when it is asked for."""

import importlib
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from cnn.nn.family import Source, choose


class Registry:
    """The networks of a package.

    A family's file has `VARIANTS`, a row of fields for each of its names, and `source(name)`. What
    has a `name` raises a UserError with the nearest known one where there is no such network.
    """

    def __init__(self, package: str, kind: str, families: Mapping[str, tuple[str, ...]]) -> None:
        """Imports nothing.

        Args:
            package: Where the files are, for instance "cnn.heads".
            kind: What an error calls a network of it, for instance "segmenter".
            families: The names in each file.
        """
        self._package = package
        self._kind = kind
        self._names = families
        self._families = {name: family for family, names in families.items() for name in names}

    def names(self, family: str | None = None) -> tuple[str, ...]:
        """The registered names, of one family or (None) of all.

        Raises:
            UserError: If there is no such family.
        """
        return tuple(self._families) if family is None else choose("family", family, self._names)

    def families(self, having: str = "") -> tuple[str, ...]:
        """The families, each the name of a file; with `having`, those whose file has that."""
        return tuple(
            family for family in self._names if not having or hasattr(self._file(family), having)
        )

    def family_of(self, name: str) -> str:
        """The family of a registered name, which is the name of a file."""
        return choose(self._kind, name, self._families)

    def family(self, name: str) -> ModuleType:
        """The file of a registered name."""
        return self._file(self.family_of(name))

    def variant(self, name: str, /, **overrides: Any) -> dict[str, Any]:
        """The fields that make a registered name of its family, and others in their place."""
        return {**self.family(name).VARIANTS[name], **overrides}

    def source(self, name: str) -> Source:
        """Where the network of that name comes from."""
        return self.family(name).source(name)

    def _file(self, family: str) -> ModuleType:
        return importlib.import_module(f"{self._package}.{family}")
