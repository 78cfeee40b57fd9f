"""Which anchors are positive for each object of annotated images, and why: `explain` and `summarise`.

    objects = list(explain(paa.load("best.pt"), read_dataset(Path("my_images"), "val")))

`ObjectAssignment` has the candidates of an object, their scores, and the two Gaussians that were fitted to these.
"""

from paa.explanation.explain import explain
from paa.explanation.mixture import ObjectMixture
from paa.explanation.objects import Alternative, Candidates, Level, ObjectAssignment
from paa.explanation.summary import Comparison, Group, Summary, summarise
from paa.explanation.what_if import other_rules

__all__ = [
    "Alternative",
    "Candidates",
    "Comparison",
    "Group",
    "Level",
    "ObjectAssignment",
    "ObjectMixture",
    "Summary",
    "explain",
    "other_rules",
    "summarise",
]
