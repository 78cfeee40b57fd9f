"""What a report on an evaluation is of."""

from __future__ import annotations

from dataclasses import dataclass

from paa.evaluation.analysis import Analysis
from paa.evaluation.comparison import Comparison
from paa.evaluation.dataset import EvaluatedDataset


@dataclass(frozen=True)
class EvaluationReport:
    """An evaluation, and what was asked for beside it.

    what: the checkpoint or file of results; data: the path of the data set. against: what `comparison` compares with.
    """

    what: str
    data: str
    evaluated: EvaluatedDataset
    analysis: Analysis | None = None
    against: str | None = None
    comparison: Comparison | None = None
