"""Where the tests are that `make quick` leaves out: golden models, other processes, compiled code, seconds of work.

conftest.py gives them the marker `slow`; a single slow test in another file has the marker itself.
"""

SLOW = (
    "batch_inference/test_on_ray.py",
    "batch_inference/test_processes.py",
    "commands",  # whole commands
    "core/kernels",  # Triton's interpreter
    "core/test_assigner.py",  # torch.compile
    "data/test_convert.py",  # real sets
    "data/test_loader.py",  # worker processes
    "data/test_workers.py",
    "explanation/test_explain.py",
    "export",  # torch's exporter
    "inference/test_multi_scale.py",
    "inference/test_tiles.py",
    "inspection/test_check.py",
    "model/test_hooks.py",
    "model/test_prepare.py",  # torch.compile
    "model/test_timm_backbone.py",
    "report/html/test_browser.py",  # Chromium
    "report/test_predictions.py",
    "runtime/test_distributed.py",
    "runtime/test_extras.py",
    "runtime/test_rendezvous.py",
    "runtime/test_memory.py",
    "serve/test_api.py",  # exports a model
    "serve/test_load.py",  # a process, for seconds
    "serve/test_page.py",  # Chromium
    "serve/test_server.py",  # processes
    "study/test_run.py",  # trains
    "test_accuracy_benchmark.py",
    "test_assignment_report.py",
    "test_benchmarks.py",
    "test_docs.py",
    "test_elsewhere_benchmark.py",
    "test_fuzz.py",
    "test_notebook.py",  # trains
    "test_parity.py",
    "test_predictor.py",
    "test_public.py",
    "test_push_to_hub.py",
    "test_recipes.py",
    "test_site.py",  # Sphinx, Chromium
    "test_torchvision_detector.py",
    "test_torchvision_heads.py",
    "training/test_api.py",
    "training/test_assignment_watch.py",
    "training/test_auto.py",
    "training/test_deterministic.py",
    "training/test_faults.py",
    "training/test_finite.py",
    "training/test_init.py",
    "training/test_resume.py",
    "training/test_run_data.py",
    "training/test_run_folder.py",
    "runtime/test_folder_lock.py",
    "training/test_setup.py",
    "training/test_state.py",
    "training/test_step.py",
    "training/test_teacher.py",
    "training/test_tiles.py",
    "training/test_train.py",
    "training/test_two_processes.py",
    "training/loggers/test_mlflow.py",
    "training/loggers/test_wandb.py",
    "training/test_validation.py",
    "tuning/test_tune.py",
    "weights",
)
"""Folders and files inside tests/."""
