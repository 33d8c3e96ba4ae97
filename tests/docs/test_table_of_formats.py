"""The table of formats in docs/how-to/files.md against what the readers take."""

import re
from importlib.metadata import entry_points

import pytest
from pages import ROOT

READERS = [*entry_points(group="streamfluo.suffixes"), *entry_points(group="streamfluo.folders")]
LETTERS = {"t", "c", "z", "position"}


def rows():
    """Each row of the table by column."""
    text = (ROOT / "docs" / "how-to" / "files.md").read_text(encoding="utf-8")
    table = text[text.index("| format | known by |") :].partition("\n\n")[0].splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
    return [dict(zip(cells[0], row, strict=True)) for row in cells[2:]]


def rows_of(name):
    return [row for row in rows() if f"`{name}`" in row["known by"]]


def axes(row):
    return LETTERS & set(re.findall(r"\w+", row["axes"]))


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_every_suffix_and_folder_has_its_row(reader):
    found, selections = rows_of(reader.name), set(reader.load().selections)
    assert found
    assert any("position" in axes(row) for row in found) == ("position" in selections)
    assert {row["`?follow=1`"] for row in found} == {"yes" if "follow" in selections else "no"}
    assert set().union(*map(axes, found)) & {"c", "z"} == ({"c", "z"} if "planes" in selections else set())


def test_every_name_in_the_table_is_read():
    names = {name for row in rows() for name in re.findall(r"`([^`…]+)`", row["known by"])}
    assert names == {reader.name for reader in READERS}
