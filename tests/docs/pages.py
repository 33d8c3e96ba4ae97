"""What the pages of the documentation show: their code blocks, and the names they use of the code."""

import importlib.util
import re
import shlex
import tomllib
from functools import cache
from itertools import pairwise
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import msgspec

from streamfluo.core.errors import ConfigError
from streamfluo.core.params import build_params
from streamfluo.core.registry import operators
from streamfluo.engine.config import parse_config
from streamfluo.engine.daemon_config import DaemonTable, RuleTable, SourceTable
from streamfluo.session.nwb_metadata import NwbMetadata
from streamfluo.sources.simulate.source import SIMULATORS

ROOT = Path(__file__).parents[2]


def tool(name: str) -> ModuleType:
    """A module of `tools/`."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


docs_pages = tool("docs_pages")
commands = cache(docs_pages.commands)
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

FENCE = re.compile(
    r"(?:^<!-- not run: (?P<reason>[^\n]+) -->\n)?"
    r"^(?P<fence>```+)(?P<language>\w*)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<text>.*?)^(?P=fence)\s*$",
    re.MULTILINE | re.DOTALL,
)
SIMULATION = re.compile(r"sim:([a-z-]+)\?([^\s\"'`)]+)")
INLINE = re.compile(r"`([^`\n]+)`")
SNAKE = re.compile(r"\b[a-z][a-z0-9]*(?:_[a-z0-9]+)+\b")
OURS = re.compile(r"\b(?:configs|tools|examples|tests|streamfluo)/[\w./-]*\w")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")
# Names of other programs, of placeholders, and of what a page itself makes.
FOREIGN = {"apt_get", "cuda12", "max_x", "integrate_crop", "former_names"}
FOREIGN_OPTIONS = {"--strict"}
LEFT_OUT = {"daemon": "run", "catalogue": "scan"}  # the command of a group that goes without saying


class CodeBlock(NamedTuple):
    """One fenced block; `reason` says why it is not run, '' if it is; `title` is the file it stands for."""

    language: str
    text: str
    title: str
    reason: str


def blocks(page: Path) -> list[CodeBlock]:
    """The fenced blocks of a page, in order."""
    found = FENCE.finditer(page.read_text(encoding="utf-8"))
    return [CodeBlock(m["language"], m["text"], m["title"] or "", m["reason"] or "") for m in found]


def prose(page: Path) -> str:
    """A page without its fenced blocks and comments."""
    return re.sub(r"<!--.*?-->", "", FENCE.sub("", page.read_text(encoding="utf-8")), flags=re.DOTALL)


@cache
def options_of_all() -> set[str]:
    """The options of all commands together."""
    return set().union(*commands().values())


@cache
def words_of_the_code() -> frozenset[str]:
    """Every word with an underscore in the package, its configs, tools and examples, and in the tests' marks."""
    files = [p for folder in ("streamfluo", "tools", "examples", "configs") for p in (ROOT / folder).rglob("*.*")]
    texts = (p.read_text(encoding="utf-8") for p in files if p.suffix in (".py", ".toml"))
    return frozenset(word for text in texts for word in SNAKE.findall(text))


@cache
def keys_of_all() -> frozenset[str]:
    """Every key a config may have: tables' keys and the parameters of all operators."""
    from streamfluo.engine import config, daemon_config, disk_config

    structs = [config.SourceConfig, config.StepConfig, config.RecordConfig, config.PublishConfig, config.ActionConfig]
    structs += [config.InputConfig, config.SharedPulses, config.ChainConfig]
    structs += [daemon_config.DaemonTable, daemon_config.SourceTable, daemon_config.RuleTable]
    structs += [disk_config.DiskTable, disk_config.ExportTable, disk_config.RetentionTable]
    structs += [operator.Params for operator in operators().values()]
    fields = {field.encode_name for struct in structs for field in msgspec.structs.fields(struct)}
    return frozenset(fields | {"set"})  # what --set changed, which stands in a session's config beside the tables


def faults(page: Path) -> list[str]:
    """What a page says that the code does not have, one sentence each."""
    found, kinds = [], step_kinds(page)
    for block in blocks(page):
        check = {"sh": shell_faults, "toml": toml_faults, "python": python_faults}.get(block.language)
        if check is shell_faults:
            found += shell_faults(block.text, kinds)
        elif check is toml_faults:
            found += toml_faults(block.text, block.title)
        elif check is python_faults:
            found += python_faults(block.text)
        elif block.language != "text":
            found.append(f"a block of {block.language or 'no language'}; write sh, python, toml or text")
        found += simulation_faults(block.text)
    text = prose(page)
    return found + inline_faults(text) + simulation_faults(text) + path_faults(text)


def step_kinds(page: Path) -> dict[str, str]:
    """Step id → kind of all configs that a page shows and of the shipped ones."""
    texts = [b.text for b in blocks(page) if b.language == "toml" and not b.title.endswith("pyproject.toml")]
    texts += [path.read_text(encoding="utf-8") for path in (ROOT / "configs").glob("*.toml")]
    found: dict[str, str] = {}
    for text in texts:
        try:
            found |= {step.id: step.kind for step in parse_config(text).steps}
        except ConfigError:
            continue  # toml_faults says so
    return found


def shell_faults(text: str, kinds: dict[str, str]) -> list[str]:
    """Commands, options and `--set` that streamfluo does not have."""
    found = []
    for words in command_lines(text):
        if len(words) > 1 and words[1] in LEFT_OUT and tuple(words[1:3]) not in commands():
            words.insert(2, LEFT_OUT[words[1]])
        verbs = [key for key in commands() if tuple(words[1 : 1 + len(key)]) == key]
        if not verbs and words[1:2] not in ([], ["--help"]):
            found.append(f"no command streamfluo {' '.join(words[1:3])}")
        for verb in verbs:
            wrong = [w.partition("=")[0] for w in words[1:] if w.startswith("--")]
            found += [f"streamfluo {' '.join(verb)} has no {w}" for w in wrong if w not in commands()[verb]]
            found += set_faults([b for a, b in pairwise(words) if a == "--set"], kinds)
    return found


def command_lines(text: str) -> list[list[str]]:
    """The words of each streamfluo command in a shell block."""
    lines = []
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        for n, word in enumerate(words):
            if word == "streamfluo" and (n == 0 or words[n - 1] in ("&&", ";", "|")):
                end = next((m for m in range(n, len(words)) if words[m] in ("&&", ";", "|", "&")), len(words))
                lines.append(words[n:end])
    return lines


def set_faults(changes: list[str], kinds: dict[str, str]) -> list[str]:
    """Steps and parameters in `step.key=value` that are not there."""
    found = []
    for change in changes:
        step, _, key = change.partition("=")[0].partition(".")
        kind = kinds.get(step, step)
        if kind not in operators():
            found.append(f"--set {change}: no step {step}")
        elif key not in {f.encode_name for f in msgspec.structs.fields(operators()[kind].Params)}:
            found.append(f"--set {change}: {kind} has no parameter {key}")
    return found


def toml_faults(text: str, title: str = "") -> list[str]:
    """What is wrong with a config: tables, keys, kinds, parameters."""
    if title.endswith("pyproject.toml"):
        groups = tomllib.loads(text)["project"]["entry-points"]
        known = {"streamfluo.operators", "streamfluo.schemes", "streamfluo.suffixes", "streamfluo.folders"}
        return [f"no entry point group {name}" for name in groups if name not in known]
    if "[daemon]" in text:
        return daemon_faults(text)
    try:
        if "[subject]" in text:
            build_params(NwbMetadata, tomllib.loads(text), title)
            return []
        for step in parse_config(text).steps:
            if step.kind not in operators():
                return [f"no operator {step.kind}"]
            build_params(operators()[step.kind].Params, step.params, step.id)
    except ConfigError as error:
        return [str(error)]
    return []


def daemon_faults(text: str) -> list[str]:
    """What is wrong with a daemon's config."""
    tables = tomllib.loads(text)
    try:
        build_params(DaemonTable, tables["daemon"], "daemon")
        for name, struct in (("source", SourceTable), ("rule", RuleTable)):
            for table in tables.get(name, ()):
                build_params(struct, table, name)
    except ConfigError as error:
        return [str(error)]
    return []


def python_faults(text: str) -> list[str]:
    """What does not compile."""
    try:
        compile(text, "a block", "exec")
    except SyntaxError as error:
        return [f"not Python: {error}"]
    return []


def simulation_faults(text: str) -> list[str]:
    """Simulators and parameters in URIs that are not there."""
    found = []
    for name, query in SIMULATION.findall(text):
        if name not in SIMULATORS:
            found.append(f"no simulator sim:{name}")
            continue
        known = {f.encode_name for f in msgspec.structs.fields(SIMULATORS[name].Params)}
        keys = [pair.partition("=")[0] for pair in query.rstrip("…").split("&") if pair.rstrip("…")]
        found += [f"sim:{name} has no parameter {key}" for key in keys if key not in known]
    return found


def inline_faults(text: str) -> list[str]:
    """Options, keys and names in the text that are not there."""
    found = []
    for code in INLINE.findall(text):
        words = code.split()
        if words[:1] in (["pip"], ["python"], ["ssh"], ["apt-get"], ["pytest"], ["mkdocs"]):
            continue
        verb = next((k for k in commands() if tuple(w for w in words if w != "streamfluo")[: len(k)] == k), None)
        known = commands()[verb] if verb else options_of_all() | FOREIGN_OPTIONS
        found += [f"`{code}`: no option {option}" for option in OPTION.findall(code) if option not in known]
        assigned = re.fullmatch(r"([a-z][a-z0-9_]*) = .+", code)
        if assigned and assigned[1] not in keys_of_all() and not is_stated_by_a_class(assigned[1]):
            found.append(f"`{code}`: no parameter or config key {assigned[1]}")
        found += [f"`{code}`: {w} is nowhere in the code" for w in SNAKE.findall(code)
                  if not {w, w.rstrip("0123456789")} & (words_of_the_code() | FOREIGN)]  # fmt: skip
    return found


def is_stated_by_a_class(name: str) -> bool:
    """Whether a source or an operator has such an attribute, which a class of yours may state."""
    from streamfluo import Operator, Source

    return hasattr(Source, name) or hasattr(Operator, name)


def path_faults(text: str) -> list[str]:
    """Files of the repository that are not there."""
    named = {path for code in INLINE.findall(text) for path in OURS.findall(code)}
    return [f"no {path} in the repository" for path in sorted(named) if not (ROOT / path).exists()]
