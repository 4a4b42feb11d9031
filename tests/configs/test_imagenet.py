"""ImageNet's recipes against the values that their papers and authors' code state.

Nothing here is computed from a config that the config itself would say: rates stand at named
epochs, kinds of decayed parameters and image sizes by epoch are the sources' own.
"""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn import experiment as experiments
from cnn import models
from cnn.cli import config_file
from cnn.errors import UserError

FOLDER = pathlib.Path(__file__).parents[2] / "configs/imagenet"
IMAGES = 1_281_167


@functools.cache
def read(name):
    """`resnet:50` is configs/imagenet/resnet.py:50."""
    file, _, arg = name.partition(":")
    return config_file.read(f"{FOLDER / file}.py" + (f":{arg}" if arg else ""), [])


def learning_rate(name):
    """Steps, and epoch -> learning rate."""
    config = read(name)
    steps_per_epoch = IMAGES // config["loader"]["batch_size"]
    num_steps = experiments.call(config, "train", steps_per_epoch).num_steps
    factor = experiments.call(config, "schedule", num_steps, steps_per_epoch)
    peak = config["optimizer"]["learning_rate"]
    return num_steps, lambda epoch: peak * float(factor(round(epoch * steps_per_epoch)))


# Just before and behind the epochs at which something happens.
CURVES = {
    # "initialized at 0.01 and reduced three times prior to termination", "roughly 90 cycles".
    "alexnet": {0: 0.01, 22: 0.01, 46: 1e-4, 89: 1e-5},
    # Section 3.1: "initially set to 1e-2", "decreased 3 times", "after 74 epochs".
    "vgg:16": {0: 0.01, 18: 0.01, 19: 1e-3, 73.9: 1e-5},
    # Section 6: "decreasing the learning rate by 4% every 8 epochs"; Caffe's solver: 0.01.
    "googlenet": {0: 0.01, 7.9: 0.01, 8.1: 0.0096, 16.1: 0.009216, 249: 0.01 * 0.96**31},
    # Section 8: "0.045, decayed every two epoch using an exponential rate of 0.94", 100 epochs.
    "inception_v3": {0: 0.045, 1.9: 0.045, 2.1: 0.0423, 4.1: 0.039762, 99: 0.045 * 0.94**49},
    # Section 3.4: "starts from 0.1 and is divided by 10"; 60e4 steps, see below.
    "resnet:50": {0: 0.1, 29.9: 0.1, 30.1: 0.01, 60.1: 1e-3, 119: 1e-4},
    # Goyal et al. 2017, section 2.1: 0.1 for each 256 images, five epochs of warm-up; our cosine.
    "resnet50": {0: 0, 2.5: 0.4, 5: 0.8, 47.5: 0.4, 90: 0},
    # facebook/fb.resnet.torch, train.lua: decay = floor((epoch - 1) / 30), nEpochs 90.
    "wide_resnet": {0: 0.1, 29.9: 0.1, 30.1: 0.01, 60.1: 1e-3, 89.9: 1e-3},
    # Section 4.2: "lowered by 10 times at epoch 30 and 60", 90 epochs.
    "densenet:121": {0: 0.1, 29.9: 0.1, 30.1: 0.01, 60.1: 1e-3, 89.9: 1e-3},
    # Section 4: "0.6 and decreased by a factor of 10 every 30 epochs", 100 epochs.
    "squeeze_excitation": {0: 0.6, 29.9: 0.6, 30.1: 0.06, 60.1: 6e-3, 99: 6e-4},
    # mobilenet_v1_train.py: 0.045, 0.94 every 2.5 epochs.
    "mobilenet:v1": {0: 0.045, 2.4: 0.045, 2.6: 0.0423, 5.1: 0.039762},
    # slim/nets/mobilenet/README.md: 0.045 for each of 8 GPUs, 0.98 every 2.5 epochs.
    "mobilenet:v2": {0: 0.36, 2.4: 0.36, 2.6: 0.3528, 419.9: 0.36 * 0.98**167},
    # Section 6.1.1: 0.1, "learning rate decay rate of 0.01 every 3 epochs".
    "mobilenet:v3_large": {0: 0, 2.5: 0.05, 5.1: 0.099, 6.1: 0.09801, 599: 0.1 * 0.99**199},
    # Section 5.2: 0.256 "decays by 0.97 every 2.4 epochs"; utils.py: five epochs of warm-up.
    "efficientnet:b0": {0: 0, 2.5: 0.128, 5.1: 0.256 * 0.97**2, 349: 0.256 * 0.97**145},
    "efficientnet:b7": {2.5: 0.128, 7.3: 0.256 * 0.97**3, 349: 0.256 * 0.97**145},
    "efficientnet:v2_s": {2.5: 0.128, 5.1: 0.256 * 0.97**2, 349: 0.256 * 0.97**145},
    # Table 5: 4e-3, 20 epochs of warm-up, 300 epochs; main.py: --min_lr 1e-6.
    "convnext:tiny": {0: 0, 10: 2e-3, 20: 4e-3, 160: 2.0005e-3, 300: 1e-6},
    "convnext:large": {0: 0, 10: 2e-3, 20: 4e-3, 160: 2.0005e-3, 300: 1e-6},
    # TRAINING.md: --warmup_epochs 50.
    "convnext:iso_base": {0: 0, 25: 2e-3, 50: 4e-3, 175: 2.0005e-3, 300: 1e-6},
    # vit_s16_i1k.py: 1e-3, 10,000 steps of warm-up, cosine.
    "vit:90": {0: 0, 5000 / 1251: 5e-4, 10_000 / 1251: 1e-3, 45 + 5000 / 1251: 5e-4, 90: 0},
    "vit:300": {0: 0, 10_000 / 1251: 1e-3, 150 + 5000 / 1251: 5e-4, 300: 0},
    # Table 9: 5e-4 * batch / 512, five epochs of warm-up; main.py: 1e-6 before, 1e-5 in the end.
    "deit:s": {0: 1e-6, 2.5: 5.005e-4, 5: 1e-3, 152.5: 5.05e-4, 300: 1e-5},
    # README_revenge.md: --lr 4e-3 (S), 3e-3 (B), --warmup-lr 1e-6, --epochs 800.
    "deit3:s": {0: 1e-6, 5: 4e-3, 402.5: 2.005e-3, 800: 1e-5},
    "deit3:b": {0: 1e-6, 5: 3e-3, 402.5: 1.505e-3, 800: 1e-5},
    # mlp_mixer_i1k.py: 1e-3, 10,000 steps of warm-up, linear to 1e-5.
    "mixer": {0: 0, 5000 / 312: 5e-4, 10_000 / 312: 1e-3, 150 + 5000 / 312: 5.05e-4, 300: 1e-5},
    # references/classification/README.md.
    "torchvision_v1:alexnet": {0: 0.01, 30.1: 1e-3, 60.1: 1e-4, 89.9: 1e-4},
    "torchvision_v1:resnet50": {0: 0.1, 29.9: 0.1, 30.1: 0.01, 89.9: 1e-3},
    "torchvision_v1:resnext50_32x4d": {0: 0.1, 89.9: 1e-3, 90.1: 1e-4, 99.9: 1e-4},
    "torchvision_v1:mobilenet_v2": {0: 0.045, 1.1: 0.0441, 299.5: 0.045 * 0.98**299},
    "torchvision_v1:mobilenet_v3_large": {0: 0.064, 2.1: 0.064 * 0.973, 599: 0.064 * 0.973**299},
    "torchvision_v1:vit_b_16": {0: 0.033 * 3e-3, 30: 3e-3, 165: 1.5e-3, 300: 0},
    "torchvision_v2:resnet50": {0: 5e-3, 5: 0.5, 302.5: 0.25, 600: 0},
    "torchvision_v2:convnext_tiny": {0: 1e-5, 5: 1e-3, 302.5: 5e-4, 600: 0},
    "torchvision_v2:vit_l_16": {0: 5e-3, 5: 0.5, 302.5: 0.25, 600: 0},
    # Table 2: 5e-3, 5e-3, 8e-3; mmpretrain's imagenet_bs2048_rsb.py: from 1e-4 of it to 1e-6.
    "rsb:a1": {0: 5e-7, 5: 5e-3, 302.5: 2.5005e-3, 600: 1e-6},
    "rsb:a2": {0: 5e-7, 5: 5e-3, 152.5: 2.5005e-3, 300: 1e-6},
    "rsb:a3": {0: 8e-7, 5: 8e-3, 52.5: 4.0005e-3, 100: 1e-6},
    # rcps_resnet.json: 10.5, 2 epochs, power 2, 1e-4 after 37 epochs.
    "mlperf": {0: 0, 1: 5.25, 2: 10.5, 19.5: 1e-4 + 10.4999 / 4, 37: 1e-4},
    # train_imagenet.py: 1e-4 of the rate, all of it at epoch 2, 0 at the end.
    "ffcv:16": {0: 1.7e-4, 2: 1.7, 9: 0.85, 16: 0},
    "ffcv:88": {0: 1.7e-4, 2: 1.7, 45: 0.85, 88: 0},
    "ffcv:resnet18_88": {0: 5e-5, 2: 0.5, 45: 0.25, 88: 0},
}


@pytest.mark.parametrize("name", CURVES)
def test_learning_rates_are_those_of_the_source(name):
    _, rate = learning_rate(name)
    expected = CURVES[name]
    got = {epoch: rate(epoch) for epoch in expected}
    # Epochs are whole steps, of which there are 312 and more; 1e-9 is for zeros.
    assert got == pytest.approx(expected, rel=2e-3, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "steps"),
    [
        ("vgg:16", 370_000),  # section 3.1: "after 370K iterations"
        ("resnet:50", 600_000),  # section 3.4: "for up to 60e4 iterations"
        ("efficientnet:b0", 218_949 // 2),  # main.py: 218,949 steps of 2,048 images
        ("googlenet", 10_000_000),  # bvlc_googlenet/solver.prototxt: max_iter
        ("mobilenet:v2", 700_000),  # slim/nets/mobilenet/README.md
        ("mlperf", 14_523),  # rcps_resnet.json: opt_learning_rate_decay_steps
    ],
)
def test_as_many_steps_as_the_source_says(name, steps):
    assert learning_rate(name)[0] == pytest.approx(steps, rel=3e-3)


KERNELS = {"kernel", "depthwise"}
ALL_BUT_NORMS = {*KERNELS, "bias", "embedding", "layer_scale"}
ALL = {*ALL_BUT_NORMS, "norm"}
DECAYS = {
    # "weight decay of 0.0005" on w_i; cuda-convnet has none on biases.
    "alexnet": (KERNELS, 5e-4),
    "vgg:16": (KERNELS, 5e-4),  # section 3.1; Caffe's decay_mult of biases is 0
    "googlenet": (KERNELS, 2e-4),  # train_val.prototxt: decay_mult 1 and 0
    "inception_v3": (KERNELS, 4e-5),  # slim's regularizers are of weights
    "resnet:50": (ALL, 1e-4),
    "resnet50": (KERNELS, 1e-4),  # Goyal et al. 2017, section 5.1: not on gamma and beta
    "wide_resnet": (ALL, 1e-4),  # torch's optim.sgd decays all there is
    "densenet:121": (ALL, 1e-4),
    "squeeze_excitation": (ALL, 1e-4),
    # v1, section 3.2: "little or no weight decay on the depthwise filters".
    "mobilenet:v1": ({"kernel"}, 4e-5),
    "mobilenet:v2": ({"kernel"}, 4e-5),
    "mobilenet:v3_large": ({"kernel"}, 1e-5),
    "efficientnet:b0": (ALL_BUT_NORMS, 1e-5),  # main.py: 'batch_normalization' not in v.name
    "efficientnet:v2_s": (KERNELS, 1e-5),  # hparams.py: weight_decay_exclude bias|gamma|beta
    # timm's and ConvNeXt's groups: what has one dimension, and the embeddings, are spared.
    "convnext:tiny": (KERNELS, 0.05),
    "convnext:iso_small": (KERNELS, 0.05),
    "deit:b": (KERNELS, 0.05),
    "deit3:s": (KERNELS, 0.05),
    "vit:90": (KERNELS, 0.1),  # big_vision: .*/kernel$; 1e-4 for each step at the full rate of 1e-3
    "mixer": (KERNELS, 0.1),
    "torchvision_v1:resnet50": (ALL, 1e-4),
    "torchvision_v1:mobilenet_v2": (ALL, 4e-5),
    "torchvision_v1:vit_b_16": (ALL, 0.3),
    "torchvision_v2:resnet50": (ALL_BUT_NORMS, 2e-5),  # --norm-weight-decay 0.0
    "torchvision_v2:convnext_tiny": (ALL_BUT_NORMS, 0.05),
    "rsb:a1": (KERNELS, 0.01),  # mmpretrain: bias_decay_mult 0, norm_decay_mult 0
    "rsb:a2": (KERNELS, 0.02),
    "rsb:a3": (KERNELS, 0.02),
    "mlperf": (KERNELS, 5e-5),  # skip_list: batch_normalization, bias
    "ffcv:16": (ALL_BUT_NORMS, 1e-4),  # train_imagenet.py: 'bn' in k
    "ffcv:resnet18_16": (ALL_BUT_NORMS, 5e-5),
}


def kind(path, leaf):
    """What a parameter is, by its shape and place."""
    names = [entry.key for entry in path]
    if "norm" in names[-2]:
        return "norm"
    if names[-1] == "kernel":
        depthwise = leaf.ndim == 4 and leaf.shape[2] == 1 and leaf.shape[3] > 1
        return "depthwise" if depthwise else "kernel"
    if names[-1] in ("bias", "layer_scale"):
        return names[-1]
    assert names[-1] in ("class_token", "position_embedding", "distillation_token") or (
        names[-1] in ("attention_scale", "mlp_scale")
    ), names
    return "layer_scale" if names[-1].endswith("scale") else "embedding"


@functools.cache
def small_parameters(name):
    """Of the small network of a family: ones."""
    info = models.describe(name)
    model = models.classifier(name, num_classes=3)
    images = jnp.zeros((1, info.image_size, info.image_size, info.channels))
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), images, train=False))["params"]
    return jax.tree.map(lambda x: np.ones(x.shape, np.float32), shapes)


@pytest.mark.parametrize("name", DECAYS)
def test_what_is_decayed_and_how_strongly(name):
    config = read(name)
    # A mask goes by names and shapes, which a family's small network shares with its large ones.
    model = config["model"]["name"]
    params = small_parameters(f"{'deit' if 'deit' in model else models.family_of(model)}_test")
    decay = experiments.call(config, "regularization")
    zeros = jax.tree.map(np.zeros_like, params)
    pulls = zeros
    for part in decay:
        moved, _ = part.update(zeros, part.init(params), params)
        pulls = jax.tree.map(np.add, pulls, moved)
    found = {}
    for (path, pull), leaf in zip(
        jax.tree_util.tree_flatten_with_path(pulls)[0], jax.tree.leaves(params), strict=True
    ):
        found.setdefault(kind(path, leaf), []).extend(np.unique(pull).tolist())
    kinds, strength = DECAYS[name]
    for each, values in found.items():
        wanted = strength if each in kinds else 0.0
        assert values == pytest.approx([wanted] * len(values), rel=1e-6), each


@pytest.mark.parametrize(
    ("epochs", "ramp"),
    [
        ("16", (11, 13)),
        ("24", (17, 20)),
        ("32", (23, 27)),
        ("40", (29, 34)),
        ("56", (41, 48)),
        ("88", (65, 76)),
        ("resnet18_88", (65, 76)),
    ],
)
def test_ffcvs_images_grow_as_its_configs_say(epochs, ramp):
    config = read(f"ffcv:{epochs}")
    sizes = experiments.make_augment(config)
    by_epoch = experiments.call(config, "by_epoch", sizes)
    for epoch in range(int(config["train"]["num_epochs"])):
        # train_imagenet.py, get_resolution.
        size = int(np.round(np.interp(epoch, ramp, (160, 192)) / 32)) * 32
        index = np.searchsorted(by_epoch.from_epochs, epoch, "right") - 1
        assert by_epoch.sizes_px[index] == size, epoch


@pytest.mark.parametrize(
    ("name", "sizes", "evaluated"),
    [
        ("alexnet", (227,), (227, 256)),
        ("inception_v3", (299,), (299, 342)),
        ("resnet:50", (224,), (224, 256)),
        ("efficientnet:b3", (300,), (300, 332)),
        ("efficientnet:v2_s", (171, 214, 257, 300), (384, 384)),
        ("deit3:b", (192,), (224, 224)),
        ("torchvision_v2:resnet50", (176,), (224, 232)),
        ("torchvision_v2:efficientnet_v2_s", (300,), (384, 384)),
        ("rsb:a2", (224,), (224, 236)),
        ("rsb:a3", (160,), (224, 236)),
        ("ffcv:16", (160, 192), (256, 293)),
    ],
)
def test_sizes_of_images_in_training_and_evaluation(name, sizes, evaluated):
    config = read(name)
    preprocess = experiments.call(config, "preprocess")
    assert (preprocess.image_size, preprocess.frame_size) == evaluated
    augment = experiments.make_augment(config)
    assert experiments.call(config, "by_epoch", augment).sizes_px == sizes


@pytest.mark.parametrize("file", ["resnet", "torchvision_v1", "efficientnet", "rsb"])
def test_an_unknown_argument_is_answered_with_those_known(file):
    with pytest.raises(UserError, match=r"unknown argument 'resnet51'; known: .*, "):
        read(f"{file}:resnet51")
