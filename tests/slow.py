"""Which tests `make quick` leaves out: golden models, other processes, compiled code, and what takes seconds.

Folders (with a slash at the end), files and single tests; conftest.py gives them the marker `slow`.
"""

SLOW = (
    "commands/",  # whole commands
    "core/kernels/",  # Triton's interpreter
    "core/test_mixture.py::test_every_set_is_cut_where_scikit_learn_cuts",
    "core/test_mixture.py::test_a_hundred_rounds_at_most",
    "data/test_loader.py",  # worker processes
    "data/test_workers.py",
    "inference/test_multi_scale.py::test_evaluation",
    "model/test_backbone.py::test_features_are_torchvisions",
    "model/test_prepare.py",  # torch.compile
    "model/test_timm_backbone.py",
    "report/test_curves.py::test_no_global_state_of_pyplot_is_touched",
    "runtime/test_distributed.py",
    "runtime/test_extras.py",
    "test_benchmarks.py",
    "test_docs.py",
    "test_parity.py",
    "test_predictor.py",
    "test_recipes.py",
    "training/test_init.py",
    "training/test_run_folder.py",
    "training/test_run_lock.py",
    "training/test_train.py",
    "training/test_validation.py",
    "weights/",
)


def is_slow(path: str, name: str) -> bool:
    """Return whether a test of that name, in a file at that path inside tests/, is left out."""
    return any(entry in (path, f"{path}::{name}") or (entry[-1] == "/" and path.startswith(entry)) for entry in SLOW)
