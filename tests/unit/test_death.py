"""The last words of a process: whose fault they tell, and what the user reads."""

from __future__ import annotations

import pytest

from portico.worker.death import last_words

FRAME = "/tmp/tmpd0x8b1b4/include/ROOT/RDF/RInterface.hxx"
TAGS = '!variationTags.empty() && "Must have at least one variation."'
THROWN = "terminate called after throwing an instance of '{}'\n  what():  {}\n"


@pytest.mark.parametrize(("log", "kind", "words"), [
    (f"Fatal: {TAGS} violated at line 3857 of `{FRAME}'\naborting\n#0  0x00007f648f0f1bd3 in __GI___wait4 ()",
     "user", "ROOT aborts: Must have at least one variation. (RInterface.hxx)"),
    ("Fatal: fBuffer != nullptr violated at line 9 of `/build/io/io/src/TBufferFile.cxx'\naborting",
     "crash", "ROOT aborts: fBuffer != nullptr (TBufferFile.cxx)"),
    ("Info in <x>: y\nFatal in <RDataFrame::Run>: An error occurred\naborting", "user",
     "ROOT aborts: An error occurred (RDataFrame::Run)"),
    ("Fatal in <TBasket::Streamer>: no buffer\naborting", "crash", "ROOT aborts: no buffer (TBasket::Streamer)"),
    (THROWN.format("std::runtime_error", "the mass is negative"), "user",
     "an exception that nothing catches: the mass is negative"),
    (THROWN.format("std::bad_alloc", "std::bad_alloc"), "memory", "needs more memory than there is"),
    (THROWN.format("std::system_error", "Resource temporarily unavailable"), "crash",
     "an exception that nothing catches: Resource temporarily unavailable"),
    ("terminate called after throwing an instance of 'Mine'\n", "crash", "an exception that nothing catches: Mine"),
    ("SysError in <TFile::WriteBuffer>: error writing to file /r/.x.part (-1) Input/output error\n"
     + THROWN.format("std::runtime_error", "GetBranchNames: error in opening the tree kept"), "disk",
     "SysError in <TFile::WriteBuffer>: error writing to file /r/.x.part (-1) Input/output error"),
    ("write: No space left on device\n" + THROWN.format("std::runtime_error", "no tree"), "space",
     "no space left on device"),
    ("free(): invalid pointer\n", "crash", ""),
    ("", "crash", ""),
])  # fmt: skip
def test_last_words(log: str, kind: str, words: str) -> None:
    assert last_words(log) == (kind, words)
