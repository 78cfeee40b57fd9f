"""Which tests `make quick` and `make test` leave out. Continuous integration runs all of them (`make test-all`).

conftest.py gives these tests the markers `slow` and `long`; a single slow test in another file has the marker itself.
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
"""Left out by `make quick`: golden models, other processes, compiled code, seconds of work. Paths inside tests/."""

LONG = (
    "batch_inference/test_on_ray.py",
    "commands/test_main.py::test_eval_with_tiles_gives_the_same_numbers_at_any_batch_size",
    "commands/test_predict_sources.py::test_progress_in_a_terminal",
    "core/kernels",  # Triton's interpreter
    "core/test_mixture.py::test_every_set_has_as_many_positives_as_with_scikit_learn",  # 21,000 sets
    "export/forms/test_compiled.py",  # PyTorch's compiler
    "export/forms/test_openvino.py",
    "export/test_command.py::test_int8_on_the_command_line",
    "export/test_models.py",
    "export/test_quantise.py",
    "export/test_resizing.py",
    "model/test_hooks.py::test_hooks_fire_once_a_use",
    "model/test_prepare.py::test_a_compiled_run_trains_as_an_eager_one",
    "model/test_prepare.py::test_network_and_losses_compile_without_graph_breaks",
    "model/test_timm_backbone.py::test_a_run_makes_a_checkpoint_that_predicts",
    "report/test_video_predictions.py::test_memory_does_not_grow_with_a_video",
    "serve/test_load.py",
    "serve/test_page.py",  # Chromium
    "test_accuracy_benchmark.py",
    "test_benchmarks.py::test_inference_counts_what_is_not_compiled",
    *(f"test_docs.py::test_page[{part}" for part in ("how-to/", "coming-from", "explained", "weights")),
    "test_notebook.py",
    "test_parity.py::test_golden_models_fast_and_folded",
    "test_parity.py::test_golden_training_fast_and_traced",
    "test_site.py",  # Sphinx, Chromium
    "test_torchvision_detector.py::test_it_learns_to_detect",
    "training/loggers/test_mlflow.py::test_a_run_that_is_killed_and_resumed_is_one_run",
    "training/test_auto.py::test_a_run_starts_again_from_its_recipe_and_is_resumed_without_options",
    "training/test_deterministic.py",
    "training/test_elastic.py",
    "training/test_interruption.py::test_one_of_two_processes_is_interrupted_in_a_validation",
    "training/test_resume.py::test_a_run_killed_in_a_validation_ends_as_one_never_stopped",
    "training/test_step.py::test_compiled",
    "training/test_two_processes.py::test_compiled_for_images_of_many_sizes",
    "training/test_two_processes.py::test_two_processes_evaluate_the_same_weights",
    "training/test_two_processes.py::test_two_processes_with_parts_train_as_one_without",
    "training/test_validation.py::test_what_is_logged_is_what_eval_says_of_the_checkpoint",
    "weights/formats/test_official.py::test_a_file_becomes_the_golden_model",
    "weights/formats/test_seed.py::test_a_file_becomes_the_golden_model",
    "weights/test_files.py::test_time_and_memory_stay_small",
)
"""Left out by `make test`, to stay within a quarter of an hour: beginnings of the tests' names, inside tests/."""
