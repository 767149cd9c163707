"""How broad a source profile is: in documents, and by length band, since rows of one document are much alike."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from advisor.similarity.profile import Band, SourceProfile

# With a quarter of 100 articles held out the zero of the scale is known to 0.04 (standard deviation, in scores); of 20
# articles to 0.1, and of one article all that it does not speak of looks far.
NARROW_BELOW = 100
HOW_TO_BROADEN = (
    "pass text of at least 100 documents, and say which is which: a column named article or document (or --group of "
    "`advisor source build`), a file for each, or an empty line between them in plain text"
)


def breadth(profile: SourceProfile, bands: Collection[int] | None = None) -> str | None:
    """Say how many documents the bands (by number; all of them without) rest on; None where it is not known."""
    counted = [band.documents for band in _chosen(profile, bands)]
    known = [documents for documents in counted if documents is not None]
    if not known or len(known) < len(counted):
        return None
    least, most = min(known), max(known)
    return _documents(least) if least == most else f"{least:,} to {most:,} documents"


def narrow_note(profile: SourceProfile, bands: Collection[int] | None = None) -> str | None:
    """A warning where the bands rest on few documents, with what to do; None where they do not."""
    narrow = [band for band in _chosen(profile, bands) if band.documents is not None and band.documents < NARROW_BELOW]
    if not narrow:
        return None
    ranges = ", ".join(f"{band.lowest} to {band.highest}" for band in narrow)
    where = "" if len(narrow) == len(profile.bands) else f" of {ranges} tokens"
    least, most = (pick(band.documents or 0 for band in narrow) for pick in (min, max))
    count = _documents(least) if least == most else f"{least} to {most} documents"
    return (
        f"the source {profile.name!r} is narrow: its passages{where} come from {count}, so text that the "
        f"model knows well may look farther than it is; {HOW_TO_BROADEN}"
    )


def _chosen(profile: SourceProfile, bands: Collection[int] | None) -> list[Band]:
    return [band for number, band in enumerate(profile.bands) if bands is None or number in bands]


def _documents(count: int) -> str:
    return "1 document" if count == 1 else f"{count:,} documents"
