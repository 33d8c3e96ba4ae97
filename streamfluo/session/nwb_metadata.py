"""What an NWB file says of the experiment and no frame knows: a TOML file of the laboratory's."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from ..core.params import build_params
from .files import read_toml

_Words = Annotated[str, Meta(min_length=1)]
_Duration = Annotated[str, Meta(pattern="^P[0-9]")]
_Nanometres = Annotated[float, Meta(gt=0)]


class Subject(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """[subject]: the animal, in the words of NWB's `Subject`."""

    subject_id: Annotated[_Words, Meta(description="its name in the laboratory's records")]
    species: Annotated[_Words, Meta(description="in Latin, `Mus musculus`")]
    sex: Annotated[Literal["F", "M", "U", "O"], Meta(description="female, male, unknown, other")] = "U"
    age: Annotated[_Duration | None, Meta(description="as an ISO 8601 duration, `P90D`")] = None
    date_of_birth: datetime.date | None = None
    genotype: str | None = None
    strain: str | None = None
    weight: Annotated[str | None, Meta(description="with its unit, `21 g`")] = None
    description: str | None = None


class NwbMetadata(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The metadata of an NWB file; without any the frames are an `ImageSeries`, which states nothing of optics."""

    modality: Annotated[Literal["one-photon", "two-photon"], Meta(description="how the sample was excited")]
    indicator: Annotated[_Words, Meta(description="what fluoresces, `GCaMP8m`")]
    location: Annotated[_Words, Meta(description="where in the sample, `V1, layer 2/3`")]
    excitation_nm: _Nanometres
    emission_nm: Annotated[
        _Nanometres | dict[str, _Nanometres], Meta(description="of several channels a table of each, by name")
    ]
    microscope: _Words = "microscope"
    session_description: str = ""
    session_id: str | None = None
    experiment_description: str | None = None
    experimenter: tuple[str, ...] = ()
    institution: str | None = None
    lab: str | None = None
    keywords: tuple[str, ...] = ()
    subject: Subject | None = None


def lacking(metadata: NwbMetadata | None, has_cells: bool) -> list[str]:
    """Return, a sentence each, what an NWB lacks because nobody stated it, with the names to state it by."""
    said = []
    if metadata is None and has_cells:
        optics = "modality, indicator, location, excitation_nm, emission_nm"
        said.append(f"its cells are left out: they need an imaging plane, which --metadata states by {optics}")
    subject = None if metadata is None else metadata.subject
    if subject is None:
        said.append("it has no subject, which archives require: [subject] with subject_id, species, sex and age")
    elif subject.age is None and subject.date_of_birth is None:
        said.append("its subject has no age, which archives require: [subject] with age or date_of_birth")
    return said


def load_nwb_metadata(path: Path) -> NwbMetadata:
    """Read a metadata file. Raises ConfigError with file and key for what is missing, unknown or wrong."""
    return build_params(NwbMetadata, read_toml(path, "metadata"), str(path))
