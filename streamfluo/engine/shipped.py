"""The configs that come with the package, found by their bare names."""

from __future__ import annotations

from pathlib import Path

from ..core.errors import did_you_mean

SUFFIX = ".toml"


def shipped_config(name: str) -> Path:
    """Return the path of a config that comes with the package, `sofi` or `sofi.toml`."""
    return _folder() / f"{name.removesuffix(SUFFIX)}{SUFFIX}"


def shipped_configs() -> dict[str, str]:
    """Return name → first sentence of each config that comes with the package, by name."""
    return {path.stem: _first_sentence(path) for path in sorted(_folder().glob(f"*{SUFFIX}"))}


def found_config(path: Path, folder: Path = Path()) -> Path:
    """Return the file that is meant by a config's name or path, relative to a folder.

    `.toml` may be left out. A file in the folder goes before the shipped config of that bare name; where there is
    neither, the path is returned as it is.
    """
    own = folder / path
    for here in (own, own.with_name(f"{own.name}{SUFFIX}")) if own.name else ():
        if here.is_file():
            return here
    shipped = shipped_config(path.name)
    return shipped if path.parent == Path() and path.name and shipped.is_file() else own


def shipped_hint(path: Path) -> str:
    """Return what to say behind a config that is not there: which one comes with the package, if a bare name is given.

    `; did you mean 'sofi'?`, or all there are.
    """
    return did_you_mean(path.stem, shipped_configs()) if path.parent == Path() else ""


def _folder() -> Path:
    """The wheel has them inside the package, a checkout beside it."""
    package = Path(__file__).parents[1]
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def _first_sentence(path: Path) -> str:
    """The first sentence of the comment that a config begins with."""
    lines = path.read_text(encoding="utf-8").splitlines()
    comment = [line.removeprefix("#").strip() for line in lines if line.startswith("#")]
    sentence, stop, _ = " ".join(comment).partition(". ")
    return sentence.rstrip(":.") + ("." if stop else "")
