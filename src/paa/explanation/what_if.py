"""The rules that the rule of a model is compared with: the paper's with other numbers, and those of other papers."""

from __future__ import annotations

from paa.assigners import ASSIGNERS, make_assigner
from paa.core.assignment import Assigner, PaaAssigner
from paa.errors import ConfigError

PER_LEVEL = (3, 6, 9, 12, 15)
MATCH_IOU = (0.05, 0.1, 0.2, 0.3)


def other_rules(rule: Assigner) -> dict[str, Assigner]:
    """Return the rules to compare a rule with, by names as `per_level=3`, `match_iou=0.2` and `atss`.

    A rule that needs a package which is not installed is left out, and so is the rule itself.
    """
    rules: dict[str, Assigner] = {f"per_level={number}": PaaAssigner(per_level=number) for number in PER_LEVEL}
    rules |= {f"match_iou={least:g}": PaaAssigner(match_iou=least) for least in MATCH_IOU}
    for name in ASSIGNERS:
        try:
            rules[name] = make_assigner(name)
        except ConfigError:
            continue
    # the paper's own numbers are the rule `paa`
    return {name: one for name, one in rules.items() if one != rule and (name == "paa" or one != PaaAssigner())}
