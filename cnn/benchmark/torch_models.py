"""Networks of torchvision and timm, and what a step computes of each; imported in a worker only."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from cnn.benchmark import torch_unet
from cnn.benchmark.job import NUM_OBJECTS, Network
from cnn.errors import UserError, unknown

AUXILIARY_WEIGHT = 0.5
"""Of a segmenter's auxiliary head, as in torchvision's training and ours."""

_SAME_IN_TIMM = (
    *("convnext_atto", "convnext_femto", "convnext_pico", "convnext_nano", "convnext_xlarge"),
    *("convnextv2_atto", "convnextv2_femto", "convnextv2_pico", "convnextv2_nano"),
    *("convnextv2_tiny", "convnextv2_base", "convnextv2_large", "convnextv2_huge"),
    *("resnet18d", "resnet34d", "resnet50d", "resnet101d", "ecaresnet50d", "seresnext50_32x4d"),
    *("seresnet18", "seresnet34", "seresnet50", "seresnet101", "seresnet152"),
)
TIMM = {
    **{name: name for name in _SAME_IN_TIMM},
    "deit3_b_16": "deit3_base_patch16_224",
    "deit3_s_16": "deit3_small_patch16_224",
    "deit_b_16_distilled": "deit_base_distilled_patch16_224",
    "deit_s_16_distilled": "deit_small_distilled_patch16_224",
    "deit_ti_16_distilled": "deit_tiny_distilled_patch16_224",
    "mixer_b_16": "mixer_b16_224",
    "mixer_l_16": "mixer_l16_224",
    "mixer_s_16": "mixer_s16_224",
    "mobilenet_v1": "mobilenetv1_100",
    "resnet101_v2": "resnetv2_101",
    "resnet50_v2": "resnetv2_50",
    "vit_s_16": "vit_small_patch16_224",
    "vit_s_32": "vit_small_patch32_224",
    "vit_ti_16": "vit_tiny_patch16_224",
}
"""timm's names of what torchvision lacks; those that both torchvision and we have are the same."""

UNETS = {
    "unet": {"padding": 0, "widths": (64, 128, 256, 512, 1024)},
    "unet_padded": {"padding": 1, "widths": (64, 128, 256, 512, 1024)},
}
"""What neither has: `torch_unet.make`'s."""


def make(torch: Any, job: Network) -> Any:
    """The network of torchvision or timm; of neither, U-Net.

    Raises:
        UserError: If neither package has it, or the one that has is not installed.
    """
    options: dict[str, Any] = {"num_classes": job.num_classes}
    if job.model in UNETS:
        return torch_unet.make(torch, channels=job.channels, **options, **UNETS[job.model])
    if job.model in TIMM:
        timm = _package("timm")
        if job.model.startswith(("vit", "deit", "mixer")):
            options["img_size"] = job.image_size
        return timm.create_model(TIMM[job.model], in_chans=job.channels, **options)
    torchvision = _package("torchvision")
    pixels, boxes = (
        torchvision.models.list_models(module=module)
        for module in (torchvision.models.segmentation, torchvision.models.detection)
    )
    known = [*torchvision.models.list_models(module=torchvision.models), *pixels, *boxes]
    if job.model not in known:
        raise unknown("model of torchvision or timm", job.model, [*known, *TIMM, *UNETS])
    if job.model in (*pixels, *boxes):
        options |= {"weights_backbone": None}
    if job.model in boxes:
        return _detector(torchvision, job, options)
    if job.model in pixels and not job.model.startswith("lraspp"):
        options |= {"aux_loss": True}
    if job.model.startswith("vit"):
        options["image_size"] = job.image_size
    return torchvision.models.get_model(job.model, **options)


def calls(
    torch: Any, model: Any, job: Network, form: Any
) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """(the network on a batch of noise, its loss), of which the second is for training mode.

    Args:
        torch: The package.
        model: Of `make`.
        job: What is measured.
        form: The memory format of the images.
    """
    shape = (job.batch_size, job.channels, job.image_size, job.image_size)
    images = torch.randn(shape).to(memory_format=form)
    if hasattr(model, "roi_heads") or hasattr(model, "anchor_generator"):
        return _of_objects(torch, model, job, images)

    def outputs() -> dict[str, Any]:
        found = model(images)
        # GoogLeNet and Inception have auxiliary logits beside.
        return found if isinstance(found, dict) else {"out": getattr(found, "logits", found)}

    def loss() -> Any:
        found, entropy = outputs(), torch.nn.functional.cross_entropy
        total = entropy(found["out"].float(), labels)
        if "aux" in found:
            total = total + AUXILIARY_WEIGHT * entropy(found["aux"].float(), labels)
        return total

    was_training = model.training
    with torch.inference_mode():
        model.eval()
        # Of a segmenter each pixel of the output has a label.
        pixels = outputs()["out"].shape[2:]
    model.train(was_training)
    labels = torch.randint(job.num_classes, (job.batch_size, *pixels))
    return outputs, loss


def _of_objects(
    torch: Any, model: Any, job: Network, images: Any
) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Of a detector: what it finds, and the sum of its losses by random boxes."""
    corners = torch.rand(job.batch_size, NUM_OBJECTS, 2, 2).sort(dim=2).values
    targets = [
        {
            "boxes": boxes.reshape(-1, 4) * (job.image_size - 2) + torch.tensor([0.0, 0, 1, 1]),
            "labels": torch.randint(1, job.num_classes, (NUM_OBJECTS,)),
        }
        for boxes in corners
    ]
    return lambda: model(list(images)), lambda: sum(model(list(images), targets).values())


def _detector(torchvision: Any, job: Network, options: dict[str, Any]) -> Any:
    """Without its own resizing and normalisation, which are no part of ours."""
    if job.model.startswith("maskrcnn") and job.mode == "train":
        raise UserError("noise has no masks: of maskrcnn only --mode=infer is measured")
    options |= {"image_mean": [0.0] * 3, "image_std": [1.0] * 3}
    if not job.model.startswith("ssd"):
        options |= {"min_size": job.image_size, "max_size": job.image_size}
    # All but RetinaNet count the background.
    options["num_classes"] += not job.model.startswith("retinanet")
    return torchvision.models.get_model(job.model, **options)


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise UserError(f"{name} cannot be imported ({error}); pip install {name}") from error
