"""paa completion: the script with which a shell completes the command line."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from tyro.conf import Positional

Shell = Literal["bash", "zsh", "fish"]


@dataclass(frozen=True)
class Completion:
    """Print a script with which a shell completes commands, options, their values, and files.

    It is complete in itself: no key starts Python. After an update, write it anew.
    """

    shell: Positional[Shell]
    """The shell."""

    usual: ClassVar[None] = None
    """--help shows all options."""

    def script(self, commands: Mapping[str, type], groups: Collection[str]) -> str:
        """Return the script. commands: the dataclass of each command; groups: the first words of sub-commands."""
        from paa.commands.shells.bash import bash_script
        from paa.commands.shells.fish import fish_script
        from paa.commands.shells.known import known_values
        from paa.commands.shells.words import words_of
        from paa.commands.shells.zsh import zsh_script

        words = {name: words_of(kind, known_values(name)) for name, kind in commands.items()}
        members = {
            group: ", ".join(name.removeprefix(f"{group} ") for name in commands if name.startswith(f"{group} "))
            for group in groups
        }
        scripts = {"bash": bash_script, "zsh": zsh_script, "fish": fish_script}
        return scripts[self.shell](words, members)
