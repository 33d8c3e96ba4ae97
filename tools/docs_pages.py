"""Pages of the documentation that follow from the code: a hook of mkdocs, see mkdocs.yml.

A line `<!-- generated: NAME -->` in a page is replaced by what `PAGES[NAME]` returns. The rest of a page is written by
hand. Nothing here needs mkdocs, so the tests of the pages run without it.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

MARKER = re.compile(r"^<!-- generated: ([a-z-]+) -->$", re.MULTILINE)
WIDTH = "100"
FACES = ("streamfluo", "streamfluo.analysis", "streamfluo.counting", "streamfluo.simulate", "streamfluo.testing",
         "streamfluo.client")  # fmt: skip
ROOMS = {
    "pixels": "Pixels", "motion": "Motion correction", "calcium": "Source extraction", "sofi": "SOFI",
    "gain": "Camera calibration", "spots": "Single molecules", "counting": "Counting",
    "voltage": "Voltage imaging", "closed_loop": "Closed loops",
}  # fmt: skip
BOUNDS = (("ge", "≥"), ("gt", ">"), ("le", "≤"), ("lt", "<"), ("min_length", "length ≥"), ("max_length", "length ≤"))


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Fill in a page's generated parts; mkdocs calls this with every page."""
    return MARKER.sub(lambda found: PAGES[found[1]](), markdown)


def operators_page() -> str:
    """Every registered operator: what it does, its parameters, what it gives."""
    from streamfluo.core.operator import Mergeable
    from streamfluo.core.registry import operators

    rooms: dict[str, list[str]] = {}
    for kind, operator in operators().items():
        first, _, rest = inspect.cleandoc(operator.__doc__ or "").partition("\n")
        text = [f"### {kind}", first, paragraphs(rest)]
        rows = parameter_rows(operator.Params)
        text.append(table(("parameter", "type", "default", "range", "meaning"), rows) if rows else "No parameters.")
        gives = [(f"`{g.name}`", g.kind, ", ".join(g.dims), g.unit, g.meaning) for g in operator.gives]
        text.append(table(("gives", "kind", "dims", "unit", "meaning"), gives) if gives else "Gives no values.")
        facts = [f"needs {code(operator.needs)}"] if operator.needs else []
        facts += [f"takes {code(operator.may_need)} where a step above gives it"] if operator.may_need else []
        facts += [f"takes {code(operator.of_planes)} of several planes at once"] if operator.of_planes else []
        facts += [f"{code(operator.live)} may be changed while frames flow"] if operator.live else []
        facts += [f"takes the decisions {code(operator.takes)} while frames flow"] if operator.takes else []
        facts += [f"runs on {' and '.join(operator.devices)}", f"version {operator.version}"]
        facts.append("parts merge" if issubclass(operator, Mergeable) else "parts do not merge")
        said = "; ".join(facts)
        text.append(f"{said[0].upper()}{said[1:]}.")
        package, _, room = operator.__module__.partition(".")
        title = ROOMS.get(room.partition(".")[0], package)
        rooms.setdefault(title, []).append("\n\n".join(filter(None, text)))
    return "\n\n".join(f"## {room}\n\n" + "\n\n".join(texts) for room, texts in sorted(rooms.items()))


def simulations_page() -> str:
    """Every simulator: its equations, its parameters."""
    from streamfluo.sources.simulate.source import SIMULATORS

    texts = []
    for name, simulator in SIMULATORS.items():
        module = inspect.getmodule(simulator)
        rows = parameter_rows(simulator.Params)
        assert module is not None
        doc = listed(inspect.cleandoc(module.__doc__ or ""))
        texts += [f"## sim:{name}", doc, table(("parameter", "type", "default", "range", "meaning"), rows)]
    return "\n\n".join(texts)


def config_page() -> str:
    """Every key of a config, by table."""
    from streamfluo.engine import config, daemon_config, disk_config

    structs = {
        "[source]": config.SourceConfig, "[[step]]": config.StepConfig, "[chain]": config.ChainConfig,
        "[record]": config.RecordConfig,
        "[publish]": config.PublishConfig, "[[action]]": config.ActionConfig,
        "[[input]]": config.InputConfig, "pulses of an [[input]]": config.SharedPulses,
        "A daemon's [daemon]": daemon_config.DaemonTable, "A daemon's [[source]]": daemon_config.SourceTable,
        "A daemon's [[rule]]": daemon_config.RuleTable, "A daemon's [disk]": disk_config.DiskTable,
        "A daemon's [export]": disk_config.ExportTable, "A daemon's [retention]": disk_config.RetentionTable,
    }  # fmt: skip
    texts = []
    for name, struct in structs.items():
        rows = parameter_rows(struct)
        texts += [f"## {name}", inspect.cleandoc(struct.__doc__ or ""),
                  table(("key", "type", "default", "range", "meaning"), rows)]  # fmt: skip
    return "\n\n".join(texts)


def shipped_configs_page() -> str:
    """Every shipped config with its first sentence."""
    from streamfluo.engine.shipped import shipped_configs

    return table(("name", "what it does"), [(f"`{name}`", said) for name, said in shipped_configs().items()])


def command_line_page() -> str:
    """What every command says with --help."""
    return "\n\n".join(f"## streamfluo {verb}\n\n```text\n{text}\n```" for verb, text in command_help().items())


def command_help() -> dict[str, str]:
    """The help of every command by its words, `run`, `protocol check`."""
    from typer.testing import CliRunner

    from streamfluo.cli.cli import app

    runner, texts = CliRunner(env={"COLUMNS": WIDTH, "TERMINAL_WIDTH": WIDTH, "NO_COLOR": "1"}), {}
    for words in commands():
        shown = runner.invoke(app, [*words, "--help"], prog_name="streamfluo", catch_exceptions=False)
        texts[" ".join(words)] = "\n".join(line.rstrip() for line in shown.stdout.strip().splitlines())
    return texts


def commands() -> dict[tuple[str, ...], set[str]]:
    """The options of every command by its words."""
    import typer

    from streamfluo.cli.cli import app

    def walk(command: Any, words: tuple[str, ...]) -> Iterable[tuple[tuple[str, ...], set[str]]]:
        inner = getattr(command, "commands", None)
        if inner is None:
            options = {text for p in command.params for text in (*p.opts, *p.secondary_opts) if text.startswith("-")}
            yield words, options | {"--help"}
            return
        if words and command.invoke_without_command:
            yield words, {"--help"}
        for name, below in inner.items():
            yield from walk(below, (*words, name))

    return dict(walk(typer.main.get_command(app), ()))


def python_page() -> str:
    """The public modules with every name they offer, where mkdocstrings finds it."""
    texts = []
    for face in FACES:
        module = importlib.import_module(face)
        texts += [
            f"## {face} {{ #{face} }}",
            listed(inspect.cleandoc(module.__doc__ or "")) if face != "streamfluo" else "",
        ]
        for name in public_names(face):
            found = getattr(module, name)
            path = f"{found.__module__}.{found.__qualname__}" if hasattr(found, "__qualname__") else f"{face}.{name}"
            options = f"    options:\n      heading: {face}.{name}\n      toc_label: {name}\n"
            texts.append(f'<a id="{face}.{name}"></a>\n\n::: {path}\n{options}')
    return "\n\n".join(filter(None, texts))


def public_names(face: str) -> list[str]:
    """The names that a public module offers, but those that are no functions or classes."""
    module = importlib.import_module(face)
    names = [name for name in module.__all__ if not name.startswith("_")]
    return [name for name in names if callable(getattr(module, name)) and not inspect.ismodule(getattr(module, name))]


def protocol_page() -> str:
    """The normative text of the wire protocol."""
    from streamfluo.core import wire

    return f"```text\n{inspect.cleandoc(wire.__doc__ or '')}\n```"


def session_page() -> str:
    """What a session's files are, as the modules that write them say."""
    from streamfluo.core import records
    from streamfluo.session import checkpoint, values, writer

    texts = []
    for title, module in (
        ("The folder", writer),
        ("Records", records),
        ("Values", values),
        ("Checkpoints", checkpoint),
    ):
        text = inspect.cleandoc(module.__doc__ or "")
        text = re.sub(r"^[\w ]+: (\w)", lambda found: found[1].upper(), text)  # the heading says what it is about
        texts += [f"## {title}", listed(text)]
    return "\n\n".join(texts)


PAGES: dict[str, Callable[[], str]] = {
    "operators": operators_page,
    "simulations": simulations_page,
    "config": config_page,
    "configs": shipped_configs_page,
    "command-line": command_line_page,
    "python": python_page,
    "protocol": protocol_page,
    "session": session_page,
}


def parameter_rows(struct: type[msgspec.Struct]) -> list[tuple[str, ...]]:
    """(name, type, default, range, meaning) of every field of a struct."""
    from streamfluo.core.params import describe

    ranges = {f.name: bounds(msgspec.inspect.type_info(f.type)) for f in msgspec.structs.fields(struct)}
    rows = []
    for name, kind, default, meaning in describe(struct):
        shown = default if default == "required" else f"`{default}`"
        rows.append((f"`{name}`", f"`{kind}`", shown, ranges[name], meaning))
    return rows


def bounds(info: Any) -> str:
    """The range that a type allows, as text; '' for any."""
    if isinstance(info, msgspec.inspect.Metadata):
        return bounds(info.type)
    if isinstance(info, msgspec.inspect.UnionType):
        return next(filter(None, map(bounds, info.types)), "")
    if isinstance(info, msgspec.inspect.TupleType):
        return next(filter(None, map(bounds, info.item_types)), "")
    limits = {name: getattr(info, name, None) for name, _ in BOUNDS}
    return ", ".join(f"{sign}\u00a0{number(limits[name])}" for name, sign in BOUNDS if limits[name] is not None)


def number(value: float) -> str:
    """A limit as text: integers whole, unless nobody counts their digits."""
    return str(value) if isinstance(value, int) and abs(value) < 10**7 else f"{value:.3g}"


def table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    """A table in Markdown."""
    lines = [heads, ("---",) * len(heads), *(map(cell, row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cell(text: str) -> str:
    """The text of a table's cell: a bar outside code would begin another one."""
    return "".join(part if part.startswith("`") else part.replace("|", "\\|") for part in re.split(r"(`[^`]*`)", text))


def code(names: Iterable[str]) -> str:
    """Names as code, with commas."""
    return ", ".join(f"`{name}`" for name in names)


def paragraphs(text: str) -> str:
    """A docstring's text as paragraphs of Markdown; what is no code has no markup."""
    parts = re.split(r"(`[^`]*`)", text.strip())
    return "".join(part if part.startswith("`") else re.sub(r"([*<])", r"\\\1", part) for part in parts)


def listed(text: str) -> str:
    """A docstring as Markdown: its columns stay columns, its lists lists, its equations as they stand."""
    parts = []
    for part in re.split(r"\n\s*\n", text):
        aligned = re.search(r"^\S+(?: \S+)* {2,}\S", part, re.MULTILINE) and not part.lstrip().startswith("- ")
        if aligned and not part.startswith("    "):
            parts.append(f"```text\n{part}\n```")
        elif part.startswith("    "):
            parts.append("```text\n" + inspect.cleandoc(part) + "\n```")
        else:
            parts.append(re.sub(r"(?<![`\w])(\w+_\w*)(?![`\w])", r"`\1`", part) if "`" not in part else part)
    return "\n\n".join(parts)
