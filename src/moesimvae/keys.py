"""Keys of blocks as dataclasses: valid values, as JSON schema and in words, and defaults.

Standard library only, since the supervisor of a run imports it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import MISSING, Field, dataclass, field, fields
from typing import Any, Self


@dataclass(frozen=True)
class Kind:
    """Valid values of a key, as JSON schema and in words for messages."""

    schema: Mapping[str, Any]
    words: str = ""

    def fits(self, value: Any) -> bool:
        """Whether a value has the type, is among the allowed ones, and finite and above the bound.

        Only constraints that keys of a method use are checked.
        """
        if not isinstance(value, _TYPES[str(self.schema["type"])]):
            return False
        if isinstance(value, bool):
            return self.schema["type"] == "boolean"
        if "enum" in self.schema:
            return value in self.schema["enum"]
        return "exclusiveMinimum" not in self.schema or (
            self.schema["exclusiveMinimum"] < value < math.inf
        )


_TYPES: dict[str, Any] = {
    **{"string": str, "boolean": bool, "integer": int, "number": (int, float), "object": dict},
}
TEXT = Kind({"type": "string"}, "text")
NAME = Kind({"type": "string", "minLength": 1}, "text")
FLAG = Kind({"type": "boolean"}, "true or false")
WHOLE = Kind({"type": "integer", "exclusiveMinimum": 0}, "a whole number above 0")
MINUTES = Kind({"type": "number", "exclusiveMinimum": 0}, "a number of minutes above 0")
MAPPING = Kind({"type": "object"}, "a mapping of names to values")


def one_of(*names: str) -> Kind:
    *first, last = names
    words = f"one of {', '.join(names)}" if len(first) > 1 else f"{first[0]} or {last}"
    return Kind({"type": "string", "enum": list(names)}, words)


def whole(least: int, most: float = math.inf) -> Kind:
    ends = {"minimum": least} | ({"maximum": most} if most < math.inf else {})
    return Kind({"type": "integer", **ends})


def or_null(kind: Kind) -> Kind:
    return Kind({**kind.schema, "type": [kind.schema["type"], "null"]})


def several(kind: Kind, least: int = 0, unique: bool = False) -> Kind:
    """A list of `kind`."""
    schema: dict[str, Any] = {"type": "array", "items": dict(kind.schema)}
    if least:
        schema["minItems"] = least
    if unique:
        schema["uniqueItems"] = True
    return Kind(schema)


def named(kind: Kind, least: int = 0, but: Sequence[str] = ()) -> Kind:
    """A mapping from names to values of the kind.

    but: reserved names; if given, names must consist of lower-case letters, digits and _.
    """
    schema: dict[str, Any] = {"type": "object", "additionalProperties": dict(kind.schema)}
    if least:
        schema["minProperties"] = least
    if but:
        schema["propertyNames"] = {"pattern": "^[a-z][a-z0-9_]*$", "not": {"enum": list(but)}}
    return Kind(schema)


def part(keys: type[Keys]) -> Kind:
    """A mapping with the keys of a class."""
    return Kind(keys.schema())


def key(
    kind: Kind, default: Any = MISSING, told: str = "", ours: bool = False, must: bool = False
) -> Any:
    """A key of a block. default: where a block omits it; told: a description; ours: not allowed for
    a user's own; must: required of a block, despite a default in Python.
    """
    facts = {"kind": kind, "ours": ours, "told": told, "must": must}
    if isinstance(default, dict | list):
        return field(default_factory=lambda: deepcopy(default), metadata=facts)
    return field(default=default, metadata=facts)


class Keys:
    """A dataclass of keys. A default of None means unset, unless null is a valid value."""

    @classmethod
    def of(cls, block: Mapping[str, Any]) -> Self:
        """Read a block, ignoring other keys; required keys that it lacks become None."""
        known = {f.name: block[f.name] for f in fields(cls) if f.name in block}  # type: ignore[arg-type]
        return cls(**dict.fromkeys(cls.required()) | known)

    @classmethod
    def by_name(cls, blocks: Mapping[str, Mapping[str, Any]]) -> dict[str, Self]:
        """Read every block of a registry."""
        return {name: cls.of(block) for name, block in blocks.items()}

    @classmethod
    def _keys(cls) -> dict[str, Field[Any]]:
        return {f.name: f for f in fields(cls) if "kind" in f.metadata}  # type: ignore[arg-type]

    @classmethod
    def kinds(cls, own: bool = False) -> dict[str, Kind]:
        """Key → its kind, for a user's own block or a built-in one."""
        found = cls._keys().items()
        return {n: f.metadata["kind"] for n, f in found if not (own and f.metadata["ours"])}

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """Key → its default where a block omits it."""
        said: dict[str, Any] = {}
        for name, f in cls._keys().items():
            if f.metadata["must"]:
                continue
            if f.default_factory is not MISSING:
                said[name] = f.default_factory()
            elif f.default is not MISSING and (
                f.default is not None or "null" in f.metadata["kind"].schema.get("type", ())
            ):
                said[name] = f.default
        return said

    @classmethod
    def required(cls) -> list[str]:
        """The keys required of every block."""
        found = cls._keys().items()
        return [
            n for n, f in found if f.metadata["must"] or f.default is f.default_factory is MISSING
        ]

    @classmethod
    def schema(cls) -> dict[str, Any]:
        """JSON schema of a block."""
        defaults, properties = cls.defaults(), {}
        for name, f in cls._keys().items():
            told = {"description": f.metadata["told"]} if f.metadata["told"] else {}
            said = {"default": defaults[name]} if name in defaults else {}
            properties[name] = told | dict(f.metadata["kind"].schema) | said
        required = cls.required()
        return {"type": "object", "additionalProperties": False, "properties": properties} | (
            {"required": required} if required else {}
        )
