"""A task's arguments: one msgspec struct for each handler, made from its signature, and words for what doesn't fit."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

import msgspec

_SHOWN = 80  # characters of a wrong value in a message
_SIMPLE = (type(None), bool, int, float, str, bytes)  # defaults that nobody can change
_REFUSED = {
    inspect.Parameter.VAR_POSITIONAL: "*{0}: a task's arguments have names; take one parameter {0}: list",
    inspect.Parameter.VAR_KEYWORD: "**{0}: a task's arguments are fixed; take one parameter {0}: dict",
}


class InvalidArguments(ValueError):
    """The payload doesn't fit the handler; no retry would help."""


class Arguments:
    """Decodes a payload straight into the arguments of one handler."""

    def __init__(self, name: str, parameters: Iterable[inspect.Parameter], hints: Mapping[str, Any]) -> None:
        self._name = name
        self._parameters = list(parameters)
        for parameter in self._parameters:
            if parameter.kind in _REFUSED:
                raise TypeError(f"{name} takes " + _REFUSED[parameter.kind].format(parameter.name))
        self._hints = {one.name: _usable(hints.get(one.name, Any)) for one in self._parameters}
        fields = [self._field(parameter) for parameter in self._parameters]
        struct = msgspec.defstruct("Arguments", fields, forbid_unknown_fields=True, kw_only=True, gc=False)
        self.decode: Callable[[bytes], Any] = msgspec.json.Decoder(struct, dec_hook=_convert).decode
        self._keywords = [one.name for one in self._parameters if one.kind is inspect.Parameter.KEYWORD_ONLY]

    def _field(self, parameter: inspect.Parameter) -> tuple[str, Any] | tuple[str, Any, Any]:
        hint, default = self._hints[parameter.name], parameter.default
        if default is parameter.empty:
            return parameter.name, hint
        if isinstance(default, _SIMPLE):
            return parameter.name, hint, default
        return parameter.name, hint, msgspec.field(default_factory=lambda: default)  # shared, as Python's own are

    @property
    def binder(self) -> Callable[[Callable[..., Any], tuple[Any, ...], Any], Any]:
        """Calls a function with what comes before the arguments, and a decoded payload."""
        astuple = msgspec.structs.astuple
        if not self._parameters:
            return lambda function, before, _: function(*before)
        if not self._keywords:
            return lambda function, before, decoded: function(*before, *astuple(decoded))
        keywords, count = self._keywords, len(self._parameters) - len(self._keywords)

        def call(function: Callable[..., Any], before: tuple[Any, ...], decoded: Any) -> Any:
            values = astuple(decoded)
            return function(*before, *values[:count], **dict(zip(keywords, values[count:], strict=True)))

        return call

    def shown(self) -> dict[str, str]:
        """Argument → type and default, for people."""
        return {one.name: _shown_parameter(one).partition(": ")[2] or "Any" for one in self._parameters}

    def explain(self, payload: bytes, error: Exception) -> InvalidArguments:
        """Every argument that doesn't fit: what was got, and what would be right."""
        try:
            given = msgspec.json.decode(payload)
        except (ValueError, RecursionError):
            return InvalidArguments(f"the arguments are not JSON: {error}")
        signature = f"{self._name}({', '.join(map(_shown_parameter, self._parameters))})"
        if not isinstance(given, dict):
            return InvalidArguments(f"the arguments must be a JSON object, got {_shown(given)}; it calls {signature}")
        problems = [f"argument {key!r} is unknown" for key in given if key not in self._hints]
        for parameter in self._parameters:
            if parameter.name not in given:
                if parameter.default is parameter.empty:
                    problems.append(f"argument {parameter.name!r} is missing")
                continue
            wrong = _misfit(given[parameter.name], self._hints[parameter.name])
            if wrong:
                problems.append(f"argument {parameter.name!r}: {wrong}, value {_shown(given[parameter.name])}")
        return InvalidArguments(f"{'; '.join(problems) or error}; the handler is {signature}")


def hints_of(function: Callable[..., Any]) -> dict[str, Any]:
    """Type hints, one by one: a name that can't be found costs its own parameter alone."""
    plain = inspect.unwrap(function)
    if not inspect.isroutine(plain):
        plain = type(plain).__call__
    try:
        return typing.get_type_hints(plain, include_extras=True)
    except Exception:  # any error of evaluating a user's expression; looked at one by one below
        return {name: hint for name, hint in _each_hint(plain)}


def _each_hint(plain: Any) -> Iterable[tuple[str, Any]]:
    for name, written in getattr(plain, "__annotations__", {}).items():
        holder = type("holder", (), {"__annotations__": {name: written}})
        try:
            yield name, typing.get_type_hints(holder, getattr(plain, "__globals__", {}), {}, include_extras=True)[name]
        except Exception:  # as above: this parameter is not checked
            yield name, Any


def _usable(hint: Any) -> Any:
    """The hint, or Any where msgspec can't check it."""
    try:
        msgspec.json.Decoder(hint)
        described = msgspec.inspect.type_info(hint)
    except Exception:  # whatever msgspec or a user's class says to an unusual hint
        return Any
    return Any if _has_unknown(described) else hint


def _has_unknown(described: object) -> bool:
    if isinstance(described, msgspec.inspect.CustomType):
        return not issubclass(described.cls, PurePath)
    if isinstance(described, msgspec.inspect.Type) and not _is_object(described):
        return any(
            _has_unknown(part)
            for name in getattr(described, "__struct_fields__", ())
            for part in _several(getattr(described, name))
        )
    return False


def _is_object(described: msgspec.inspect.Type) -> bool:
    """Classes with fields may hold themselves; msgspec speaks up when a field's value doesn't fit."""
    return hasattr(described, "fields")


def _several(value: object) -> Sequence[object]:
    return value if isinstance(value, tuple) else (value,)


def _convert(wanted: type, value: Any) -> Any:
    if issubclass(wanted, PurePath) and isinstance(value, str):
        return wanted(value)
    raise ValueError(f"Expected `{wanted.__name__}`, got `{type(value).__name__}`")


def _misfit(value: object, hint: Any) -> str | None:
    try:
        msgspec.json.decode(msgspec.json.encode(value), type=hint, dec_hook=_convert)
    except msgspec.ValidationError as error:
        return str(error).replace("Expected", "expected", 1).replace("`$", "`", 1)
    return None


def _shown(value: object) -> str:
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _shown_parameter(parameter: inspect.Parameter) -> str:
    hint = "" if parameter.annotation is parameter.empty else _shown_hint(parameter.annotation)
    default = "" if parameter.default is parameter.empty else repr(parameter.default)[:_SHOWN]
    text = f"{parameter.name}: {hint or 'Any'}"
    return f"{text} = {default}" if default else text


def _shown_hint(hint: Any) -> str:
    return hint if isinstance(hint, str) else inspect.formatannotation(hint)
