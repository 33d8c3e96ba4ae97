"""Parameters: one frozen declaration that validates Python calls, TOML and the wire alike."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin

import msgspec
import numpy as np

from .errors import ConfigError, did_you_mean


class Params(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of every operator's parameters.

    Declare each as `name: Annotated[type, msgspec.Meta(ge=…, description="meaning [unit]")] = default`.
    `former_names`: former name → present name of each renamed parameter; earlier configs and sessions go on working.
    """

    former_names: ClassVar[Mapping[str, str]] = {}


P = TypeVar("P", bound=msgspec.Struct)


def build_params(struct: type[P], values: Mapping[str, Any], where: str) -> P:
    """Return `struct` made of `values`. Raises ConfigError that names `where`, the parameter and what was found."""
    try:
        values = with_present_names(struct, values)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    known = {f.encode_name: f for f in msgspec.structs.fields(struct)}
    for name in values:
        if name not in known:
            raise ConfigError(f"{where}: no parameter {name!r}{did_you_mean(str(name), known) or '; it takes none'}")
    for name, f in known.items():
        if f.required and name not in values:
            raise ConfigError(f"{where}: parameter {name!r} is missing")
    try:
        return msgspec.convert({k: _plain(v) for k, v in values.items()}, struct, dec_hook=_decode)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{where}: {explain(error, values)}{_choices(struct, error)}") from None
    except ValueError as error:  # raised by a struct's own __post_init__
        raise ConfigError(f"{where}: {error}") from None


def with_present_names(struct: type[msgspec.Struct], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return `values` under the present names of `struct`. Raises ConfigError for a parameter given under both."""
    former: Mapping[str, str] = getattr(struct, "former_names", {})
    for name in values:
        if former.get(name) in values:
            raise ConfigError(f"{name!r} is the former name of {former[name]!r}; give one of them")
    return {former.get(name, name): value for name, value in values.items()}


def range_of(struct: type[msgspec.Struct], name: str) -> str:
    """Return the range that a number has as a parameter, `at least 0, at most 1`; "" where there is none."""
    words = {"ge": "at least", "gt": "above", "le": "at most", "lt": "below"}
    return ", ".join(f"{words[key]} {bound:g}" for key, bound in bounds_of(struct, name).items())


def bounds_of(struct: type[msgspec.Struct], name: str) -> dict[str, float]:
    """Return the bounds of a number by how they are meant: ge, gt, le, lt; empty where there are none."""
    kind = msgspec.inspect.type_info({f.encode_name: f.type for f in msgspec.structs.fields(struct)}[name])
    kind = kind.type if isinstance(kind, msgspec.inspect.Metadata) else kind
    for one in kind.types if isinstance(kind, msgspec.inspect.UnionType) else (kind,):
        one = one.type if isinstance(one, msgspec.inspect.Metadata) else one
        stated = {key: bound for key in ("ge", "gt", "le", "lt") if (bound := getattr(one, key, None)) is not None}
        if stated:
            return stated
    return {}


def _choices(struct: type[msgspec.Struct], error: msgspec.ValidationError) -> str:
    """`; it is one of …` for a word that is none of a parameter's."""
    name = re.search(r"Invalid enum value .* - at `\$\.(\w+)`", str(error))
    types = {f.encode_name: f.type for f in msgspec.structs.fields(struct)}
    if name is None or name[1] not in types:
        return ""
    info = msgspec.inspect.type_info(types[name[1]])
    words = getattr(info.type if isinstance(info, msgspec.inspect.Metadata) else info, "values", ())
    return f"; it is one of {', '.join(map(repr, words))}" if words else ""


def explain(error: msgspec.ValidationError, values: Mapping[str, Any]) -> str:
    """Turn a validation error into `name: what is wrong, found …`."""
    text, _, at = str(error).partition(" - at ")
    text = (
        re.sub(r"`([a-z]+(?: \| [a-z]+)*)`", _in_words, text).replace("Expected", "expected").replace(", got", ", not")
    )
    keys = re.findall(r"\.(\w+)|\[(\d+|\.\.\.)\]", at.strip("`").removeprefix("$"))
    name, found = "", values
    for word, position in keys:
        name += f".{word}" if word else f"[{position}]"
        try:
            found = found[word] if word else found[int(position)]  # type: ignore[index]
        except (KeyError, IndexError, TypeError, ValueError):
            return f"{name.lstrip('.')}: {text}"
    return f"{name.lstrip('.')}: {text}, found {found!r}" if name else text


_WORDS = {
    "float": "a number", "int": "a whole number", "str": "a text", "bool": "true or false", "array": "a list",
    "object": "a table of names and values", "null": "none",
}  # fmt: skip


def _in_words(types: re.Match[str]) -> str:
    """Types as they are called outside of programs, `null` only where it is the only one."""
    *others, last = (
        _WORDS.get(name, f"`{name}`") for name in types[1].split(" | ") if name != "null" or types[1] == name
    )
    return f"{', '.join(others)} or {last}" if others else last


def describe(struct: type[msgspec.Struct]) -> list[tuple[str, str, str, str]]:
    """Return (name, type, default, meaning) of every parameter, for `streamfluo list` and the docs."""
    rows = []
    for f in msgspec.structs.fields(struct):
        info = msgspec.inspect.type_info(f.type)
        meaning = ""
        if isinstance(info, msgspec.inspect.Metadata):
            meaning = (info.extra_json_schema or {}).get("description", "")
        default = f.default_factory() if f.default is msgspec.NODEFAULT and not f.required else f.default
        rows.append((f.name, _spell(f.type), "required" if f.required else repr(default), meaning))
    return rows


def _spell(annotation: Any) -> str:
    """A type as it is written in code, without what restricts it."""
    if hasattr(annotation, "__metadata__"):
        return _spell(annotation.__origin__)
    origin, inside = get_origin(annotation), get_args(annotation)
    if origin in (Union, UnionType):
        return " | ".join(map(_spell, inside))
    if origin is Literal:
        return " | ".join(map(repr, inside))
    if annotation is NoneType:
        return "None"
    if annotation is ...:
        return "…"
    if origin is not None:
        return f"{origin.__name__}[{', '.join(map(_spell, inside))}]"
    return annotation.__name__ if isinstance(annotation, type) else str(annotation).removeprefix("typing.")


def _plain(value: Any) -> Any:
    """numpy scalars and paths as the plain values msgspec knows."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value


def _decode(kind: type, value: Any) -> Any:
    if kind is np.ndarray:
        array = np.asarray(value)
        if array.dtype.kind in "biuf":
            return array
    raise ValueError(f"expected {kind.__name__}, found {type(value).__name__}")


def literal(text: str) -> Any:
    """Return the value that a person writes, as TOML has it; a word needs no quotes."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        text = text.strip()
        return float(text) if re.fullmatch(r"[+-]?(\.\d+|\d+\.)", text) else text  # .066 and 3. are numbers to people
