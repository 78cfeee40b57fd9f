"""The completion script for fish."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from paa.commands.shells.words import Option, Values, Words

_START = """\
# Completions of paa in fish, written by: paa completion fish

# Whether the command line names this command, of one word or, in a group, of two; none: before its name.
function __paa_is
    set -l words (commandline -opc)
    set -e words[1]
    set -l command $words[1]
    if contains -- "$command" @GROUPS@
        set command $words[1..2]
    end
    test "$command" = "$argv"
end

complete -c paa -f
"""


def fish_script(commands: Mapping[str, Words], groups: Mapping[str, str]) -> str:
    """Return the script. commands: by name, of one word or, in a group, of two. groups: name -> what it is for."""
    first = {name: words.help for name, words in commands.items() if " " not in name} | dict(groups)
    lines = [_choice("", name, text) for name, text in first.items()]
    lines += ["complete -c paa -n '__paa_is' -s h -l help -d 'list the commands'"]
    lines += ["complete -c paa -n '__paa_is' -l version -d 'print the version'"]
    for name, words in commands.items():
        group, _, last = name.rpartition(" ")
        if group:
            lines.append(_choice(group, last, words.help))
        lines += [line for option in words.options for line in _option_lines(name, option)]
        fitting = [positional.values for positional in words.positionals]
        known = dict.fromkeys(word for values in fitting for word in values.words)
        if known or any(values.files for values in fitting):
            merged = Values(tuple(known), any(values.files for values in fitting))
            lines.append(f"{_condition(name)} {_argument(merged)}")
    return _START.replace("@GROUPS@", " ".join(groups)) + "\n".join([*lines, ""])


def _choice(before: str, name: str, text: str) -> str:
    return f"{_condition(before)} -a {name} -d {_quoted(text)}"


def _option_lines(command: str, option: Option) -> Iterator[str]:
    """Yield a line for each long form of an option."""
    short = [f"-s {flag[1]}" for flag in option.flags if not flag.startswith("--")]
    for flag in option.flags:
        if flag.startswith("--"):
            value = "" if option.values is None else f" -r {_argument(option.values)}"
            yield " ".join([_condition(command), *short, f"-l {flag[2:]}{value}", f"-d {_quoted(option.help)}"])


def _argument(values: Values) -> str:
    """Return the switches for what fits: words, files, or any text."""
    words = [f"-a {_quoted(' '.join(values.words))}"] if values.words else []
    return " ".join(["-F" if values.files else "-f", *words])


def _condition(command: str) -> str:
    return f"complete -c paa -n {_quoted(f'__paa_is {command}'.strip())}"


def _quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
