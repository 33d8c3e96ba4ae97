"""Notes and memory that are not what they say: refused with one line, and the next frame comes."""

import logging
import os
import re

import msgspec
import pytest
from pushing import pushed
from slab_frames import (  # noqa: F401 - fixtures
    image,
    needs_folder,
    pictures,
    small_frames_too,
)

from streamfluo import WireError
from streamfluo.core import wire
from streamfluo.core.source import Gap
from streamfluo.network import shared_memory, slabs
from streamfluo.network.shared_memory import NAME, Segment
from streamfluo.network.slabs import Slabs, SlabWriter


def told(writer, **changes):
    note = writer.put(image(1), pictures((8, 9), "u2")[1])
    return [{**msgspec.to_builtins(note), "type": "slab", **changes}]


WRONG = {
    "a path for a name": ("memory", dict(memory="../../etc/passwd")),
    "a path in a name": ("memory", dict(memory=f"sf-/../../etc/x.{'0' * 32}")),
    "no such name": ("memory", dict(memory=f"sf-0123456789abcdef.{'0' * 32}")),
    "a slab that is not there": ("memory", dict(slab=3)),
    "a slab far out": ("memory", dict(slab=2**61)),
    "a slab below": ("fields", dict(slab=-1)),
    "an older stamp": ("overwritten", dict(slab=1)),
    "a larger frame": ("nbytes", dict(shape=[800, 900], nbytes=2 * 800 * 900)),
    "a size that lies": ("nbytes", dict(nbytes=2**40)),
    "another shape": ("spec", dict(shape=[9, 8])),
    "no dtype of ours": ("dtype", dict(dtype="|O")),
    "compressed": ("memory", dict(codec="blosc2", nbytes_wire=5)),
    "a wrong checksum": ("damaged", dict(crc32=7)),
    "another series": ("series", dict(series_uid="another")),
    "no slab": ("fields", dict(slab=None)),
}


@pytest.mark.parametrize("what", WRONG)
def test_a_note_that_lies_is_refused_with_one_line_and_the_next_frame_comes(what, caplog):
    rule, changes = WRONG[what]
    writer, first = SlabWriter(144, most=3), pictures((8, 9), "u2")[0].tobytes()
    start = [dict(type="start", series_uid="pushed", dtype="<u2", shape=[8, 9])]
    whole = [[msgspec.to_builtins(image(n)) | {"type": "image"}, first] for n in (0, 2)]
    end = [dict(type="end", series_uid="pushed", seq=3, frames=3)]
    with caplog.at_level(logging.WARNING), pushed(start, whole[0], told(writer, **changes), whole[1], end) as source:
        items = list(source.blocks())
        assert source.refused == {rule: 1}
    assert [item for item in items if isinstance(item, Gap)] == [Gap(1, 1)]
    assert len(caplog.messages) == 1
    assert "message dropped" in caplog.text
    writer.close()


@pytest.mark.parametrize(("name", "refused"), [("../x", 1), (f"sf-0123456789abcdef.{'0' * 32}", 0)])
def test_an_offer_of_what_is_not_here_is_passed_over_of_what_is_no_name_refused(name, refused):
    start = [dict(type="start", series_uid="pushed", dtype="<u2", shape=[8, 9])]
    offer = [dict(type="memory", series_uid="pushed", memory=name)]
    frame = [msgspec.to_builtins(image(0)) | {"type": "image"}, bytes(144)]
    with pushed(start, offer, frame, [dict(type="end", series_uid="pushed", seq=1, frames=1)]) as source:
        assert len(list(source.blocks())) == 1
        assert source.refused == ({"memory": 1} if refused else {})


def test_a_name_without_its_secret_opens_nothing_and_marks_nothing():
    writer = SlabWriter(144)
    name, _, secret = writer.ring.partition(".")
    with pytest.raises(WireError, match="is not that of the sender"):
        Slabs().pixels(wire.Slab(**msgspec.structs.asdict(image(0)), memory=f"{name}.{secret[::-1]}", slab=0))
    assert not writer.attached
    writer.close()


LIES = {
    "too many slabs": lambda b: slabs._HEADER.pack_into(b, 0, *HEAD, 257, 144),
    "none": lambda b: slabs._HEADER.pack_into(b, 0, *HEAD, 0, 144),
    "no bytes": lambda b: slabs._HEADER.pack_into(b, 0, *HEAD, 2, 0),
    "more than there is": lambda b: slabs._HEADER.pack_into(b, 0, *HEAD, 99, 144),
    "more than anything": lambda b: slabs._HEADER.pack_into(b, 0, *HEAD, 2, 2**64 - 1),
    "something else": lambda b: b.__setitem__(slice(0, 8), b"whatever"),
}
HEAD = slabs._MAGIC, bytes(16)


@pytest.mark.parametrize("lie", LIES)
def test_memory_that_is_not_what_it_says_is_not_attached_to(lie):
    segment = Segment(4096 * 3)
    slabs._HEADER.pack_into(segment.buffer, 0, *HEAD, 2, 144)
    LIES[lie](segment.buffer)
    reader = Slabs()
    with pytest.raises(WireError, match=re.escape(f"shared memory {segment.name}")):
        reader._attach(f"{segment.name}.{'0' * 32}")
    with pytest.raises(WireError):
        reader.offered(wire.Memory(series_uid="pushed", memory=f"{segment.name}.{'0' * 32}"))
    assert segment.buffer[64:72] == bytes(8)
    segment.forget_name()
    segment.close()


@needs_folder
@pytest.mark.parametrize("wrong", ["for others to read", "a link", "a folder", "empty", "short"])
def test_a_file_that_is_not_memory_of_ours_is_not_opened(wrong, tmp_path, monkeypatch):
    monkeypatch.setattr(shared_memory, "FOLDER", tmp_path)
    path = tmp_path / "sf-0123456789abcdef"
    if wrong == "a link":
        (tmp_path / "file").write_bytes(bytes(9000))
        path.symlink_to(tmp_path / "file")
    elif wrong == "a folder":
        path.mkdir()
    else:
        path.write_bytes(bytes({"empty": 0, "short": 100}.get(wrong, 9000)))
        path.chmod(0o644 if wrong == "for others to read" else 0o600)
    with pytest.raises(WireError, match="shared memory sf-0123456789abcdef"):
        Slabs()._attach(f"{path.name}.{'0' * 32}")
    shared_memory.remove_orphans()
    assert NAME.fullmatch(path.name)
    assert os.path.lexists(path)
