"""The numbers of an evaluation as plain values that JSON can hold: metrics.json."""

from __future__ import annotations

from typing import Any

from paa.evaluation.dataset import EvaluatedDataset


def metrics_dict(evaluated: EvaluatedDataset) -> dict[str, Any]:
    """Return COCO's numbers, those of each class, and each class's best operating point."""
    points = {
        c.name: {
            "AP_all_points": c.ap,
            "AP_all_points_mean": c.ap_mean,
            "point": None if c.point is None else {**vars(c.point), "product": c.point.product},
            "share": c.share,
        }
        for c in evaluated.curves
    }
    return {**evaluated.metrics.to_dict(), "operating_points": points}
