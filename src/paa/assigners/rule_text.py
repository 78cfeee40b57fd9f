"""A rule as text, which recipes and command lines hold: `atss`, `atss(per_level=5)`, `my_rules.py:iou_rule`."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any, NamedTuple

from paa.errors import ConfigError

Parameters = Mapping[str, Any]


class RuleText(NamedTuple):
    """A rule's name, which has a colon where the rule is somebody's own code, and the parameters that are set."""

    name: str
    parameters: Parameters

    @property
    def is_code(self) -> bool:
        """Whether to make the rule is to run a file or a module that is not this project's."""
        return ":" in self.name

    def __str__(self) -> str:
        """Return the text of the rule, which `parse_rule` reads."""
        given = ", ".join(f"{name}={value!r}" for name, value in self.parameters.items())
        return f"{self.name}({given})" if given else self.name


def without_folder(text: str) -> str:
    """Return the text of a rule without the folder of its file, which is one of the machine it was run on."""
    name = name_of(text)
    file, colon, own = name.rpartition(":")
    return f"{PurePath(file).name}{colon}{own}{text[len(name) :]}" if file.endswith(".py") else text


def parse_rule(text: str) -> RuleText:
    """Return what a text says: NAME, FILE.py:NAME or MODULE:NAME, and in parentheses parameters as in Python.

    ConfigError if it is no such text; values are numbers, texts, and lists or tuples of them, and are not run as code.
    """
    name = name_of(text)
    if name == text:
        return RuleText(text, {})
    try:
        call = ast.parse(f"f{text[len(name) :]}", mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.args:
            raise ValueError
        parameters = {str(each.arg): ast.literal_eval(each.value) for each in call.keywords}
        if len(parameters) < len(call.keywords):
            raise ValueError
    except (SyntaxError, ValueError, TypeError, RecursionError) as error:
        raise ConfigError(f"assigner {text!r}: expected a name with parameters, as in atss(per_level=5)") from error
    return RuleText(name, parameters)


def name_of(text: str) -> str:
    """Return the name in a text, whatever its parameters are; those of a value may be more than a text can say."""
    at_code = text.find(".py:") + 3 if ".py:" in text else text.partition("(")[0].find(":")
    begin = text.find("(", at_code + 1)
    return text if begin < 0 else text[:begin]


def rule_of_training(provenance: Mapping[str, str], checkpoint: object) -> str:
    """Return the text of the rule that a checkpoint was trained by, as its provenance says.

    ConfigError for code, which would be run: a checkpoint of somebody else's must not decide that.
    """
    trained_by = provenance.get("assigner", "paa")
    if RuleText(name_of(trained_by), {}).is_code:  # its parameters may be more than a text can say
        raise ConfigError(
            f"{checkpoint}: was trained by {trained_by!r}, a rule that is code that would be run: if you trust it, "
            "name it with --assigner; --assigner paa looks at it by the paper's rule"
        )
    return trained_by
