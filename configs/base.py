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
                "boxes": {
                    "format": "coco",
                    "images": "",
                    "annotations": "",
                    "class_names": (),
                    "faulty": "error",
                },
                "folder": {"decode_min_px": 0},
                "masks": {"images": "images", "masks": "masks", "class_names": ()},
                "outlines": {"paired": True},
                "pairs": {"b_to_a": False},
                "unpaired": {"b_to_a": False},
                "scenes": {
                    "num_train": 4000,
                    "num_eval": 500,
                    "size_px": 96,
                    "max_digits": 5,
                    "target": "mask",
                },
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
    # cnn.data.make_proposals
    config.proposals = ConfigDict({"train": "", "eval": ""})
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
    # cnn.data.make_boxes
    config.boxes = ConfigDict({"max_boxes": 100, "min_visible": 0.25, "max_proposals": 2000})
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
    # cnn.data.make_scale_jitter
    config.scale_jitter = ConfigDict({"shorter_px": ()})
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
            "pca_noise": 0.0,
        }
    )
    # cnn.data.make_borders
    config.borders = ConfigDict({"weight": 0.0, "sigma_px": 5.0})
    # cnn.data.make_mosaic
    config.mosaic = ConfigDict({"rate": 0.0, "until_epoch": 0})
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
    # cnn.pretrained.whitening.whiten
    config.whitening = ConfigDict({"num_images": 0})
    # cnn.pretrained.teacher.make_teacher
    config.teacher = ConfigDict({"name": "", "weights": ""})
    # cnn.tasks.classification.Options
    config.task = ConfigDict(
        {
            "name": "classification",
            "label_smoothing": 0.0,
            "top_k": 0,
            "auxiliary_weight": 0.3,
            "accumulate_steps": 1,
            "mixing": {"mixup_alpha": 0.0, "cutmix_alpha": 0.0, "per_example": False},
            "loss": "softmax",
            "target_threshold": 0.0,
            "distillation": {"kind": "none", "weight": 0.5, "temperature": 1.0},
        }
    )

    # cnn.optim.make_optimizer; of the options only those of `name` are read
    config.optimizer = ConfigDict(
        {
            "name": "sgd",
            "learning_rate": 0.1,
            "clip_norm": 0.0,
            "layer_decay": 1.0,
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
                "lars": {
                    "momentum": 0.9,
                    "nesterov": False,
                    "trust_coefficient": 0.001,
                    "eps": 0.0,
                },
                "lion": {"b1": 0.9, "b2": 0.99},
                "muon": {"beta": 0.95, "ns_steps": 5, "b1": 0.9, "b2": 0.999},
                "nadam": {"b1": 0.9, "b2": 0.999, "eps": 1e-8},
                "rmsprop": {
                    "decay": 0.9,
                    "eps": 1e-8,
                    "momentum": 0.0,
                    "initial_scale": 0.0,
                    "eps_in_sqrt": True,
                },
                "sgd": {"momentum": 0.9, "nesterov": False},
            },
        }
    )
    # cnn.optim.make_decay
    config.regularization = ConfigDict(
        {"weight_decay": 0.0, "l2": 0.0, "l1": 0.0, "apply_to": "kernels", "factors": ()}
    )
    # cnn.optim.make_schedule
    config.schedule = ConfigDict(
        {
            "name": "cosine",
            "warmup_epochs": 0.0,
            "end_factor": 0.0,
            "decay_epochs": (30.0, 60.0, 80.0),
            "decay_rate": 0.1,
            "start_factor": 0.0,
        }
    )
    # cnn.optim.with_rates
    config.rates = ConfigDict({"factors": (), "trained_epochs": ()})
    # cnn.optim.make_schedule_free
    config.schedule_free = ConfigDict({"b1": 0.0, "weight_lr_power": 2.0})
    # cnn.optim.with_sharpness
    config.sharpness = ConfigDict({"rho": 0.0})
    # cnn.optim.with_ema
    config.ema = ConfigDict(
        {
            "decay": 0.0,
            "evaluate": True,
            "every_steps": 1,
            "write_back": False,
            "ramp": "count",
        }
    )

    # cnn.loop.make_loop
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


def scaled_rate(
    learning_rate: float, batch_size: int, *, of_batch_size: int = 256, rule: str = "linear"
) -> float:
    """The learning rate for another batch size than the one that it was found for.

    Args:
        learning_rate: For batches of `of_batch_size`.
        batch_size: Of the experiment, over all devices.
        of_batch_size: 256 in Goyal et al. 2017, 512 in DeiT.
        rule: `linear`: as many times as large (Goyal et al. 2017, "Accurate, large minibatch SGD",
            section 2.1), for SGD; `sqrt`: the root of that (You et al. 2020, "Large batch
            optimization for deep learning", for LAMB), for adaptive optimizers.

    Raises:
        ValueError: For an unknown rule.
    """
    if rule not in ("linear", "sqrt"):
        raise ValueError(f"rule must be linear or sqrt, got {rule!r}")
    return learning_rate * (batch_size / of_batch_size) ** (1.0 if rule == "linear" else 0.5)


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


def get_detection() -> Any:
    """The section `task` of a detection's config: cnn.tasks.detection.make.

    With it go `data` with boxes, `model` (a name of cnn.detectors) and `checkpoint.best_metric`.
    """
    return ConfigDict({"name": "detection", "loss_weights": (), "accumulate_steps": 1})


def get_gan() -> Any:
    """The section `task` of a GAN's config: cnn.tasks.gan.Options.

    With it go `model` (a name of cnn.generators), `preprocess.mean` and `.std` of 0.5, and
    `checkpoint.best_metric`.
    """
    return ConfigDict(
        {
            "name": "gan",
            "loss": "non_saturating",
            "gradient_penalty": 0.0,
            "critic_steps": 1,
            "discriminator_rate": 1.0,
            "accumulate_steps": 1,
        }
    )


def get_stylegan2() -> Any:
    """The section `task` of StyleGAN2's config: cnn.tasks.stylegan2.Options; see `get_gan`."""
    return ConfigDict(
        {
            "name": "stylegan2",
            "r1_weight": 10.0,
            "r1_every_steps": 16,
            "path_weight": 2.0,
            "path_every_steps": 4,
            "path_shrink": 2,
            "mixing_rate": 0.9,
            "discriminator_rate": 1.0,
            "accumulate_steps": 1,
        }
    )


def get_vae() -> Any:
    """The section `task` of an autoencoder's config: cnn.tasks.vae.make; see `get_gan`."""
    return ConfigDict(
        {
            "name": "vae",
            "likelihood": "bernoulli",
            "noise_std": 0.1,
            "divergence_weight": 1.0,
            "accumulate_steps": 1,
        }
    )


def get_pix2pix() -> Any:
    """The section `task` of a translation's config: cnn.tasks.pix2pix.make.

    With it go `data` with pairs, `preprocess.channels` of both images together, and what `get_gan`
    names.
    """
    return ConfigDict({"name": "pix2pix", "l1_weight": 100.0, "accumulate_steps": 1})


def get_cyclegan() -> Any:
    """The section `task` of a translation's config: cnn.tasks.cyclegan.make; see `get_pix2pix`."""
    return ConfigDict(
        {
            "name": "cyclegan",
            "cycle_weight": 10.0,
            "identity_weight": 0.5,
            "pool_size": 50,
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
