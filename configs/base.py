"""Every knob of every section, with a default. An experiment starts from here and changes a few.

A section is the keyword arguments of one function (named behind it); what a value means stands in
that function's docstring.
"""

from typing import Any

from ml_collections import ConfigDict


def get_config() -> Any:
    """All sections with their defaults, locked: a key that is not here is an error."""
    config: Any = ConfigDict()
    config.seed = 0

    # cnn.data.open_sources; of the options only those of `source` are read
    config.data = ConfigDict(
        {
            "source": "mnist5k",
            "root": "",
            "name": "",
            "train_split": "",
            "eval_split": "",
            "eval_fraction": 0.2,
            "cache_mb": 1024,
            "options": {
                "folder": {"decode_min_px": 0},
                "masks": {"images": "images", "masks": "masks", "class_names": ()},
                "scenes": {"num_train": 4000, "num_eval": 500, "size_px": 96, "max_digits": 5},
                "shards": {"decode_min_px": 0},
                "synthetic": {
                    "num_train": 1_281_167,
                    "num_eval": 50_000,
                    "num_classes": 1000,
                    "height": 224,
                    "width": 224,
                    "channels": 3,
                },
                "table": {
                    "path_column": "path",
                    "label_column": "label",
                    "target": "class",
                    "decode_min_px": 0,
                },
            },
        }
    )
    # cnn.data.make_sampling
    config.sampling = ConfigDict(
        {"fraction": 1.0, "balance": 0.0, "weights": (), "repeats": 1, "on_error": "skip"}
    )
    # cnn.data.make_preprocess
    config.preprocess = ConfigDict(
        {
            "image_size": 224,
            "channels": 3,
            "mean": (0.485, 0.456, 0.406),
            "std": (0.229, 0.224, 0.225),
            "resize": "shorter",
            "crop_fraction": 0.875,
            "interpolation": "bilinear",
        }
    )
    # cnn.data.make_augment
    config.augment = ConfigDict(
        {
            "crop_area_min": 0.0,
            "crop_ratio_max": 4 / 3,
            "flip_rate": 0.0,
            "pad_px": 0,
            "rotate_degrees": 0.0,
            "shift_fraction": 0.0,
            "scale_fraction": 0.0,
        }
    )
    # cnn.data.make_policy
    config.policy = ConfigDict(
        {
            "name": "none",
            "num_ops": 2,
            "magnitude": 9.0,
            "increasing": True,
            "color_jitter": (0.0, 0.0, 0.0, 0.0),
            "erase_rate": 0.0,
            "cutout_px": 0,
        }
    )
    # cnn.data.make_filters
    config.filters = ConfigDict(
        {
            "grayscale_rate": 0.0,
            "blur_rate": 0.0,
            "blur_sigma_px": (0.1, 2.0),
            "solarize_rate": 0.0,
            "solarize_level": 128,
        }
    )
    # cnn.data.make_borders
    config.borders = ConfigDict({"weight": 0.0, "sigma_px": 5.0})
    # cnn.data.make_by_epoch
    config.by_epoch = ConfigDict({"alternate_flips": False, "sizes_px": (), "from_epochs": ()})
    # cnn.data.train_batches
    config.loader = ConfigDict({"batch_size": 128, "num_threads": 1, "num_workers": 0})
    # cnn.resident.make_resident
    config.resident = ConfigDict(
        {
            "enabled": False,
            "steps_per_dispatch": 1,
            "reflect": False,
            "max_mb": 1024,
        }
    )
    # cnn.experiment.make_evaluation
    config.evaluation = ConfigDict({"batch_size": 256, "views": "center"})

    # cnn.models.classifier; an experiment may add fields of its model
    config.model = ConfigDict({"name": "resnet50", "dtype": "float32", "norm_group_size": 0})
    # cnn.pretrained.initialise.load_initial; weights: a file, hf:OWNER/NAME or a workdir
    config.init = ConfigDict(
        {"weights": "", "head": "auto", "channels": "error", "skip": (), "part": "all"}
    )
    # cnn.tasks.classification.make
    config.task = ConfigDict(
        {
            "name": "classification",
            "label_smoothing": 0.0,
            "top_k": 0,
            "auxiliary_weight": 0.3,
            "accumulate_steps": 1,
            "mixing": {"mixup_alpha": 0.0, "cutmix_alpha": 0.0, "per_example": False},
        }
    )

    # cnn.optim.make_optimizer; of the options only those of `name` are read
    config.optimizer = ConfigDict(
        {
            "name": "sgd",
            "learning_rate": 0.1,
            "clip_norm": 0.0,
            "options": {
                "adafactor": {
                    "decay_rate": 0.8,
                    "clipping_threshold": 1.0,
                    "min_dim_size_to_factor": 128,
                },
                "adagrad": {"initial_accumulator_value": 0.1, "eps": 1e-7},
                "adam": {"b1": 0.9, "b2": 0.999, "eps": 1e-8},
                "adamw": {"b1": 0.9, "b2": 0.999, "eps": 1e-8},
                "lamb": {"b1": 0.9, "b2": 0.999, "eps": 1e-6},
                "lion": {"b1": 0.9, "b2": 0.99},
                "muon": {"beta": 0.95, "ns_steps": 5, "b1": 0.9, "b2": 0.999},
                "nadam": {"b1": 0.9, "b2": 0.999, "eps": 1e-8},
                "rmsprop": {"decay": 0.9, "eps": 1e-8, "momentum": 0.0},
                "sgd": {"momentum": 0.9, "nesterov": False},
            },
        }
    )
    # cnn.optim.make_decay
    config.regularization = ConfigDict(
        {"weight_decay": 0.0, "l2": 0.0, "l1": 0.0, "apply_to": "kernels"}
    )
    # cnn.optim.make_schedule
    config.schedule = ConfigDict(
        {
            "name": "cosine",
            "warmup_epochs": 0.0,
            "end_factor": 0.0,
            "decay_epochs": (30.0, 60.0, 80.0),
            "decay_rate": 0.1,
        }
    )
    # cnn.optim.with_ema
    config.ema = ConfigDict({"decay": 0.0, "evaluate": True})

    # cnn.experiment.make_loop
    config.train = ConfigDict(
        {
            "num_epochs": 90.0,
            "num_steps": 0,
            "log_every_steps": 50,
            "eval_every_steps": 0,
            "checkpoint_every_steps": 0,
        }
    )
    # cnn.checkpoint.Checkpoints
    config.checkpoint = ConfigDict(
        {"keep_last": 2, "keep_best": 1, "best_metric": "eval/accuracy", "best_mode": "max"}
    )
    # cnn.parallel.make_strategy; 0 devices means all
    config.parallel = ConfigDict(
        {
            "strategy": "mesh",
            "num_devices": 0,
            "mesh": "",
            "rules": (),
            "shard_min_size": 16_384,
        }
    )
    return config.lock()


def get_segmentation() -> Any:
    """The section `task` of a segmentation's config: cnn.tasks.segmentation.make.

    With it go `data` with masks, `model` (a name of cnn.models.segmenters) and
    `checkpoint.best_metric`.
    """
    return ConfigDict(
        {
            "name": "segmentation",
            "losses": {"cross_entropy": 1.0, "dice": 0.0, "focal": 0.0},
            "focal_gamma": 2.0,
            "class_weights": (),
            "auxiliary_weight": 0.5,
            "accumulate_steps": 1,
        }
    )


def get_comparison() -> Any:
    """The section `compare` of a comparison's config: cnn.compare.settings.make_comparison.

    It goes into a config of one training, which is the base of all recipes in `models`.
    """
    return ConfigDict(
        {
            "models": {},
            "seeds": (0, 1, 2),
            "budget": {"kind": "steps", "amount": 1000.0},
            "fractions": (1.0,),
            "evaluations": 10,
            "robustness": {
                "shifts_px": (),
                "rotations_degrees": (),
                "noise_stds": (),
                "blur_sigmas_px": (),
                "image_sizes": (),
                "num_examples": 0,
            },
        }
    )
