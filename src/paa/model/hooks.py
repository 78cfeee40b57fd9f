"""Whether a module has hooks: then it must be called as a module, even where a faster form gives the same numbers."""

from __future__ import annotations

from torch import nn
from torch.nn.modules import module as all_modules


def is_hooked(*modules: nn.Module) -> bool:
    """Return whether one of these modules, or all modules (by torch's global hooks), have forward or backward hooks.

    The output of such a module must not be changed in place: a forward hook may have kept it, and autograd does not
    allow it after a backward hook.
    """
    return bool(
        all_modules._global_forward_pre_hooks
        or all_modules._global_forward_hooks
        or all_modules._global_backward_pre_hooks
        or all_modules._global_backward_hooks
    ) or any(
        module._forward_pre_hooks or module._forward_hooks or module._backward_pre_hooks or module._backward_hooks
        for module in modules
    )
