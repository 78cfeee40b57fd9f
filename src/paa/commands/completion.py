"""paa completion: the script with which a shell completes the command line."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from tyro.conf import Positional

if TYPE_CHECKING:
    from rich.console import Console

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

    def run(self, console: Console) -> None:
        """Print the script."""
        from paa.commands.main import COMMANDS, GROUPS
        from paa.commands.shells.bash import bash_script
        from paa.commands.shells.fish import fish_script
        from paa.commands.shells.known import known_values
        from paa.commands.shells.words import words_of
        from paa.commands.shells.zsh import zsh_script

        words = {name: words_of(kind, known_values(name)) for name, kind in COMMANDS.items()}
        groups = {
            group: ", ".join(name.removeprefix(f"{group} ") for name in COMMANDS if name.startswith(f"{group} "))
            for group in GROUPS
        }
        scripts = {"bash": bash_script, "zsh": zsh_script, "fish": fish_script}
        sys.stdout.write(scripts[self.shell](words, groups))
