"""What a report is made of."""

from collections.abc import Sequence
from typing import NamedTuple

from analysis.claims import Claim
from analysis.size import Size
from reporting.drawing import Drawn
from reporting.work import Checked, Lost


class Report(NamedTuple):
    """What was found: studies and figures in the order of the page, and what stopped."""

    studies: Sequence[Checked]
    figures: Sequence[Drawn]
    lost: Sequence[Lost]
    size: Size
    seconds: float

    @property
    def claims(self) -> list[Claim]:
        """The claims of all studies."""
        return [claim for study in self.studies for claim in study.claims]

    @property
    def reduced(self) -> dict[str, str]:
        """What the size reduced, by study and figure."""
        studies = {study.name: study.reduced for study in self.studies if study.reduced}
        return studies | {f"figure {one.name}": one.reduced for one in self.figures if one.reduced}
