"""The completion script for zsh."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from paa.commands.shells.words import Option, Positional, Values, Words

_START = """\
#compdef paa
# Completions of paa in zsh, written by: paa completion zsh

_paa_or_files() {
    local -a names=("$@")
    _alternative 'names:name:compadd -a names' 'files:file:_files'
}
"""

_END = """\
if [[ $zsh_eval_context[-1] == loadautofunc ]]; then
    _paa "$@"
else
    compdef _paa paa
fi
"""


def zsh_script(commands: Mapping[str, Words], groups: Mapping[str, str]) -> str:
    """Return the script. commands: by name, of one word or, in a group, of two. groups: name -> what it is for."""
    functions = [_command_function(name, words) for name, words in commands.items()]
    for group in groups:
        members = {name.split()[1]: words.help for name, words in commands.items() if name.startswith(f"{group} ")}
        functions.append(_choice_function(f"{group} ", members, []))
    first = {name: words.help for name, words in commands.items() if " " not in name} | dict(groups)
    top = ["'(- *)'{-h,--help}'[list the commands]'", "'(- *)--version[print the version]'"]
    return "\n".join([_START, *functions, _choice_function("", first, top), _END])


def _choice_function(prefix: str, choices: Mapping[str, str], options: list[str]) -> str:
    """Return a function that completes a command's name, and calls the function of the command for the rest."""
    described = [_quoted(f"{_escaped(name)}:{text}") for name, text in choices.items()]
    return "\n".join(
        [
            f"{_function(prefix)}() {{",
            "    local curcontext=$curcontext state line",
            "    local -A opt_args",
            "    local -a choices=(",
            *(f"        {choice}" for choice in described),
            "    )",
            "    _arguments -C " + " ".join([*options, "'1: :->name' '*:: :->rest'"]),
            "    case $state in",
            "        name) _describe -t commands command choices ;;",
            "        rest)",
            "            case $words[1] in",
            *(f"                {name}) {_function(prefix + name)} ;;" for name in choices),
            "            esac ;;",
            "    esac",
            "}",
            "",
        ]
    )


def _command_function(name: str, words: Words) -> str:
    """Return the function that completes the options and arguments of a command."""
    specs = [spec for option in words.options for spec in _option_specs(option)]
    specs += [_positional_spec(place, positional) for place, positional in enumerate(words.positionals, start=1)]
    lines = [f"        {spec} \\" for spec in specs]
    lines[-1] = lines[-1].removesuffix(" \\")
    return "\n".join([f"{_function(name)}() {{", "    _arguments -s \\", *lines, "}", ""])


def _option_specs(option: Option) -> Iterator[str]:
    help = f"[{_escaped(option.help, '[]')}]"
    for flag in option.flags:
        if option.values is None:
            others = f"({' '.join(option.flags)})" if len(option.flags) > 1 else ""
            yield _quoted(f"{others}{flag}{help}")
        elif option.values.many:
            yield _quoted(f"{flag}{help}:*-*:value:{_action(option.values)}")
        else:
            yield _quoted(f"{flag}={help}:value:{_action(option.values)}")


def _positional_spec(place: int, positional: Positional) -> str:
    number = "*" if positional.values.many else str(place)
    return _quoted(f"{number}:{_escaped(positional.name)}:{_action(positional.values)}")


def _action(values: Values) -> str:
    words = " ".join(_escaped(word) for word in values.words)
    if values.files:
        return f"{{_paa_or_files {words}}}" if words else "_files"
    return f"({words})" if words else " "


def _function(name: str) -> str:
    """Return the name of the function for a command; a group's name ends in a space."""
    return "_paa" + "".join(f"_{word}" for word in name.split())


def _escaped(text: str, more: str = "") -> str:
    """Return the text with a backslash before what means something in a specification."""
    return "".join(f"\\{character}" if character in f"\\:{more}" else character for character in text)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
