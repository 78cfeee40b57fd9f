"""The completion script for bash."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from paa.commands.shells.words import Values, Words

_START = """\
# Completions of paa in bash, written by: paa completion bash

# Print the options of a command.
_paa_options() {
    case $1 in
"""

_MIDDLE = """\
    esac
}

# Set what can stand after an option of a command, or as a positional argument, which has a number.
_paa_values() {
    takes=1 words= files= many=
    case "$1 $2" in
"""

_END = """\
    esac
}

_paa_add() {
    local line
    while IFS= read -r line; do COMPREPLY+=("$line"); done
}

_paa() {
    local cur=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD-1]} command option= place=1 first=1 i word
    local takes words files many
    local -a given=()
    COMPREPLY=()
    if [[ $previous =~ ^[0-9\\&]*[\\<\\>]+$ ]]; then return; fi  # a redirection: a file
    for ((i = 1; i < COMP_CWORD; i++)); do  # bash divides words at = and :
        case ${COMP_WORDS[i]} in
            =) ;;
            :) ((i++)) ;;
            *) given+=("${COMP_WORDS[i]}") ;;
        esac
    done
    if [[ $cur == [=:] ]]; then cur=; fi
    command=${given[0]}
    case $command in
@GROUPS@
    esac
    if ((${#given[@]} < first)); then
        compopt +o default 2>/dev/null
        _paa_add < <(compgen -W "$(_paa_options "$command")" -- "$cur")
        return
    fi
    for word in "${given[@]:first}"; do
        if [[ $word == -* ]]; then
            option=$word
            _paa_values "$command" "$option"
            if [[ -z $takes ]]; then option=; fi
        elif [[ -n $option ]]; then
            if [[ -z $many ]]; then option=; fi
        else
            _paa_values "$command" "$place"
            if [[ -z $many ]]; then ((place++)); fi
        fi
    done
    takes= words= files=
    if [[ $cur != -* ]]; then _paa_values "$command" "${option:-$place}"; fi
    if [[ -z $takes ]]; then words=$(_paa_options "$command"); fi
    _paa_add < <(compgen -W "$words" -- "$cur")
    if [[ -z $files ]]; then
        compopt +o default 2>/dev/null
    elif ((${#COMPREPLY[@]})); then  # else bash completes files by itself
        compopt -o filenames 2>/dev/null
        _paa_add < <(compgen -f -- "$cur")
    fi
}

complete -o default -F _paa paa
"""


def bash_script(commands: Mapping[str, Words], groups: Mapping[str, str]) -> str:
    """Return the script. commands: by name, of one word or, in a group, of two. groups: name -> what it is for."""
    first = dict.fromkeys([name.split()[0] for name in commands])
    options = {"": [*first, "--help", "--version"]}
    for group in groups:
        options[group] = [name.split()[1] for name in commands if name.startswith(f"{group} ")]
    for name, words in commands.items():
        options[name] = [flag for option in words.options for flag in option.flags]
    lines = [f"        {shlex.quote(name)}) echo {shlex.quote(' '.join(all))} ;;" for name, all in options.items()]
    second = [f'        {group}) command="{group}${{given[1]:+ ${{given[1]}}}}" first=2 ;;' for group in groups]
    end = _END.replace("@GROUPS@", "\n".join(second))
    return "\n".join([_START + "\n".join(lines), _MIDDLE + "\n".join(_value_lines(commands)), end])


def _value_lines(commands: Mapping[str, Words]) -> list[str]:
    """Return the cases of `_paa_values`; what is equal for many options is one case."""
    keys: dict[Values | None, list[str]] = {}
    for name, words in commands.items():
        for option in words.options:
            keys.setdefault(option.values, []).extend(f"{name} {flag}" for flag in option.flags)
        for place, positional in enumerate(words.positionals, start=1):
            keys.setdefault(positional.values, []).append(f"{name} {place}")
        if not any(positional.values.many for positional in words.positionals):
            keys.setdefault(None, []).append(f"{name} {len(words.positionals) + 1}")
    lines = []
    for values, patterns in keys.items():
        if values == Values():
            continue
        settings = "takes=" if values is None else " ".join(_settings(values))
        lines.append(f"        {'|'.join(map(shlex.quote, patterns))}) {settings} ;;")
    return lines


def _settings(values: Values) -> list[str]:
    words = [f"words={shlex.quote(' '.join(values.words))}"] if values.words else []
    return [*words, *(["files=1"] if values.files else []), *(["many=1"] if values.many else [])]
