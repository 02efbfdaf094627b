"""Where settings come from: the environment, `.env`, `callboard.toml`. Each gives texts and says where they stood."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from actors.model.wrong import printable
from api.settings_keys import BY_VARIABLE, KEYS, OTHER_VARIABLES

_LINE = re.compile(
    r"""(?:export\s+)?([A-Za-z_][A-Za-z0-9_.]*)\s*=\s*   # NAME =
        ("(?:[^"\\]|\\.)*"|'[^']*'|[^'"].*|)\s*(?:\#.*)?  # "value", 'value', value or nothing; a comment
    """,
    re.VERBOSE,
)
MOST = 1 << 20  # bytes of a file of settings
_FLAGS = {"api_url": "--url", "coordinator_addresses": "--coordinator", "worker_name": "--name"}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}
_UNEXPANDED = re.compile(r"\$\{([A-Za-z_]\w*)(:?[-?+][^}]*)?\}")
# Kubernetes sets such variables for a service that is called callboard.
_SERVICE_LINK = re.compile(r"CALLBOARD_(\w+_)?(SERVICE_(HOST|PORT)(_\w+)?|PORT(_\d+_(TCP|UDP)(_\w+)?)?)")


@dataclass(frozen=True, slots=True)
class Found:
    """One setting as it was written, and where."""

    text: str
    shown_name: str  # as the person wrote it
    where: str


class Source(dict[str, Found]):
    """Settings of one place by key; `problems` is what could not be read there."""

    def __init__(self, problems: Iterable[str] = ()) -> None:
        super().__init__()
        self.problems = list(problems)


def unknown(name: str, where: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    hint = f"did you mean {near[0]}?" if near else "remove it; the documentation lists all settings"
    return f"{printable(name[:64])} ({where}): no such setting; {hint}"


def from_variables(variables: Mapping[str, str], where: str, lines: Mapping[str, int] | None = None) -> Source:
    """Known variables. Empty ones count as not set, as compose files pass them on."""
    source = Source()
    for name, value in variables.items():
        place = f"{where} line {lines[name]}" if lines else where
        key = BY_VARIABLE.get(name)
        if key is not None:
            if value.strip():
                source[key.name] = Found(value.strip(), name, place)
        elif name.startswith("CALLBOARD_") and not _is_foreign(name):
            source.problems.append(unknown(name, place, BY_VARIABLE))
    return source


def _is_foreign(name: str) -> bool:
    return name in OTHER_VARIABLES or name.startswith("CALLBOARD_TEST_") or bool(_SERVICE_LINK.fullmatch(name))


def _read(file: Path, wanted: bool) -> bytes | Source:
    """The content; a Source where there is none. `wanted`: somebody named this file, so it must be there."""
    try:
        with file.open("rb") as opened:
            raw = opened.read(MOST + 1)
    except FileNotFoundError:
        return Source([f"{file.name} ({file}): there is no such file; create it, or name another"] if wanted else ())
    except OSError as error:
        return Source([f"{file.name} ({file}): can't be read: {error.strerror}; fix its permissions or remove it"])
    if len(raw) > MOST:
        return Source([f"{file.name} ({file}): has more than {MOST >> 20} MiB; this is no file of settings: remove it"])
    return raw


def from_env_file(file: Path, *, wanted: bool = False) -> Source:
    """A `.env`: NAME=value lines, quotes, comments, `export`. Variables of other programs are left alone."""
    raw = _read(file, wanted)
    if not isinstance(raw, bytes):
        return raw
    lines = raw.splitlines()
    values: dict[str, str] = {}
    numbers: dict[str, int] = {}
    problems: list[str] = []
    for number, raw in enumerate(lines, start=1):
        try:
            pair = parse_env_line(raw.decode("utf-8-sig" if number == 1 else "utf-8"))
        except ValueError as error:
            problems.append(f"{file.name} line {number} ({file}): {error}")
            continue
        if pair is not None:
            values[pair[0]] = pair[1]
            numbers[pair[0]] = number
    source = from_variables(values, f"{file}", numbers)
    source.problems[:0] = problems
    return source


def parse_env_line(line: str) -> tuple[str, str] | None:
    """Name and value, None for an empty line or a comment. A message never repeats the value: it may be a secret."""
    line = line.strip()
    if not line or line.startswith("#"):
        return None
    match = _LINE.fullmatch(line)
    if match is None:
        begin = printable(re.split(r"[=:\s]", line, maxsplit=1)[0][:32])
        what = "the quotes do not close" if "=" in line else "there is no '='"
        raise ValueError(f'"{begin}…" is not NAME="value": {what}')
    name, value = match[1], match[2]
    if value.startswith('"'):
        return name, re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[1]), value[1:-1])
    if value.startswith("'"):
        return name, value[1:-1]
    return name, re.split(r"\s#", value, maxsplit=1)[0].strip()


def from_toml(file: Path, *, wanted: bool = False) -> Source:
    """A `callboard.toml`: the keys at its top level."""
    raw = _read(file, wanted)
    if not isinstance(raw, bytes):
        return raw
    try:
        table = tomllib.loads(raw.decode("utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        return Source([f"{file.name} ({file}): is not TOML: {error}; write lines like slots = 20"])
    source = Source()
    for name, value in table.items():
        key = name.replace("-", "_")
        if key in KEYS and type(value) in KEYS[key].toml:
            source[key] = Found(as_text(value), name, str(file))
        elif key in KEYS:
            kind = "true or false" if isinstance(value, bool) else f"a TOML {type(value).__name__}"
            source.problems.append(f"{name} ({file}): {KEYS[key].wants}, not {kind}")
        else:
            source.problems.append(unknown(name, str(file), KEYS))
    return source


def unresolved(text: str) -> str | None:
    """What a shell or a compose file would have taken away, and did not."""
    if len(text) > 1 and text[0] == text[-1] and text[0] in "\"'":
        return "the quotes are part of the value here: remove them"
    if (found := _UNEXPANDED.search(text)) is not None:
        return f"${{{found.group(1)}}} was not replaced by its value: write the value itself"
    return None


def from_flags(flags: Mapping[str, Any]) -> Source:
    """Values from the command line; None means not given."""
    source = Source()
    for name, value in flags.items():
        if value is not None and value != []:
            source[name] = Found(as_text(value), _FLAGS.get(name, "--" + name.replace("_", "-")), "command line")
    return source


def as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, Mapping):
        return ",".join(f"{name}={word}" for name, word in value.items())
    if isinstance(value, list | tuple):
        return ",".join(str(part) for part in value)
    return str(value)
