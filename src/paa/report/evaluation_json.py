"""An evaluation as plain values that JSON can hold."""

from __future__ import annotations

from typing import Any

from paa.evaluation.metrics_dict import metrics_dict
from paa.report.analysis_json import analysis_dict, comparison_dict
from paa.report.evaluation_report import EvaluationReport


def beside_metrics_dict(report: EvaluationReport) -> dict[str, Any]:
    """Return what a report has beside `metrics_dict`: what it is of, the analysis and the comparison."""
    about = {"what": report.what, "data": report.data}
    analysis = {} if report.analysis is None else analysis_dict(report.analysis)
    comparison = (
        {}
        if report.comparison is None
        else {"against": report.against, "comparison": comparison_dict(report.comparison)}
    )
    return {**about, **analysis, **comparison}


def evaluation_dict(report: EvaluationReport) -> dict[str, Any]:
    """Return the whole report."""
    about = beside_metrics_dict(report)
    return {**about, "metrics": metrics_dict(report.evaluated)}
