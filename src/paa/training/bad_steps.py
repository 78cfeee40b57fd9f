"""What is kept of a step whose loss or gradient was not finite, so that a person can look at it later."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from paa.data.batch import Batch
from paa.runtime.distributed import Process
from paa.runtime.files import whole_file, write_text

KEPT = 5
"""Steps of a run that are kept: the first ones, as what comes later may only follow from them."""
_MOST_BYTES = 2**27  # of a process's batch


def keep_bad_step(folder: Path, step: int, facts: dict[str, Any], parts: Sequence[Batch], process: Process) -> None:
    """Write what is known of a step, step_N.json, and the batch that each process had, step_N_RANK.pt.

    facts: what the JSON file holds, known to the first process. parts: this process's batch, as the network had it; it
    is not written where it is larger than 128 MB. RunError if the files cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if process.first:
        write_text(folder / f"step_{step}.json", json.dumps(facts, indent=2) + "\n")
    content = [{name: tensor.cpu() for name, tensor in vars(part).items()} for part in parts]
    if sum(tensor.nbytes for part in content for tensor in part.values()) <= _MOST_BYTES:
        path = folder / f"step_{step}_{process.rank}.pt"
        with whole_file(path) as temporary, temporary.open("wb") as file:
            torch.save(content, file)
