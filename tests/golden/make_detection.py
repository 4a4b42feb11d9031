"""Makes detection/*.npz; run where torch and torchvision are installed: see README.md.

python tests/golden/make_detection.py
"""

import json
import pathlib
import sys

import numpy as np
import torch
import torchvision
from torchvision import ops
from torchvision.models.detection._utils import BalancedPositiveNegativeSampler
from torchvision.models.detection.image_list import ImageList

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))
from tests.golden.draws import detection_boxes, draw_detector, images, pooled_input

HERE = pathlib.Path(__file__).parent / "detection"
NUM_CLASSES, ALL = 4, 10**6
SIZES = {"ssd300_vgg16": (300, 300)}
FIELDS = {
    "retinanet_resnet50_fpn": {"detections_per_img": 40, "topk_candidates": 100},
    "fasterrcnn_resnet50_fpn": {"box_detections_per_img": 40, "box_score_thresh": 0.01},
    "maskrcnn_resnet50_fpn": {"box_detections_per_img": 5, "box_score_thresh": 0.01},
    "ssd300_vgg16": {"detections_per_img": 40, "topk_candidates": 20, "score_thresh": 0.3},
}
PROPOSALS = {"fasterrcnn_resnet50_fpn": (60, 80), "maskrcnn_resnet50_fpn": (30, 20)}


class Still(torch.nn.Module):
    """Images as they are: neither resized nor normalised, and nothing is put back."""

    def forward(self, batch, targets=None):
        return ImageList(torch.stack(batch), [x.shape[-2:] for x in batch]), targets

    def postprocess(self, result, *sizes):
        return result


def build(name):
    make = getattr(torchvision.models.detection, name)
    published = sum(p.numel() for p in make(weights=None, weights_backbone=None).parameters())
    background = not name.startswith("retinanet")
    fields = {"num_classes": NUM_CLASSES + background, **FIELDS[name]}
    model = make(weights=None, weights_backbone=None, **fields)
    shapes = {key: list(value.shape) for key, value in model.state_dict().items()}
    tensors = draw_detector(shapes, np.float64)
    model.double().load_state_dict({key: torch.from_numpy(x) for key, x in tensors.items()})
    model.transform = Still()
    if name in PROPOSALS:
        test, train = PROPOSALS[name]
        model.rpn._pre_nms_top_n = model.rpn._post_nms_top_n = {"testing": test, "training": train}
        model.rpn.fg_bg_sampler = BalancedPositiveNegativeSampler(ALL, 0.5)
        model.roi_heads.fg_bg_sampler = BalancedPositiveNegativeSampler(ALL, 0.25)
    return model, shapes, published


def heads_of(model):
    if not hasattr(model, "roi_heads"):
        return {"head": model.head}
    return {"rpn": model.rpn.head, "boxes": model.roi_heads.box_predictor}


def record(model):
    """What modules give, by name, once the model has run."""
    seen = {}

    def keep(name):
        return lambda module, inputs, outputs: seen.__setitem__(name, outputs)

    for name, module in heads_of(model).items():
        module.register_forward_hook(keep(name))
    generator = (
        model.anchor_generator if "rpn" not in heads_of(model) else model.rpn.anchor_generator
    )
    generator.register_forward_hook(keep("anchors"))
    return seen


def raw(seen):
    """Logits and deltas of the first stage, thinned, and of the second."""
    if "head" in seen:
        outputs = seen["head"]
        return {"logits": outputs["cls_logits"], "deltas": outputs["bbox_regression"]}
    logits, deltas = (
        torch.cat([x.permute(0, 2, 3, 1).reshape(len(x), -1, size) for x in maps], dim=1)
        for maps, size in zip(seen["rpn"], (1, 4), strict=True)
    )
    return {"logits": logits[..., 0], "deltas": deltas}


def yx(boxes):
    """(x0, y0, x1, y1) -> (y0, x0, y1, x1)."""
    return boxes.detach().numpy()[..., [1, 0, 3, 2]]


def targets(height, width, masks):
    """The objects of each image, as torchvision has them: a background is class 0."""
    for boxes, labels in zip(*detection_boxes(), strict=True):
        real = labels >= 0
        pixels = boxes[real] * np.array([height, width, height, width])
        target = {
            "boxes": torch.from_numpy(pixels[:, [1, 0, 3, 2]].copy()),
            "labels": torch.from_numpy(labels[real].astype(np.int64)),
        }
        if masks:
            rows, columns = np.indices((height, width))
            target["masks"] = torch.from_numpy(
                np.stack([(rows + columns + i) // 5 % 2 for i in range(real.sum())]).astype(
                    np.uint8
                )
            )
        yield target


def make(name):
    model, shapes, published = build(name)
    height, width = SIZES.get(name, (96, 128))
    x = torch.from_numpy(images(2, max(height, width))[:, :height, :width]).permute(0, 3, 1, 2)
    seen = record(model.eval())
    with torch.no_grad():
        found = model(list(x))
    arrays = {key: value.numpy()[:, ::23].astype(np.float32) for key, value in raw(seen).items()}
    every = yx(seen["anchors"][0])
    arrays["anchors"] = every[::23].astype(np.float32)
    scale = np.array([height, width, height, width])
    background = not name.startswith("retinanet")
    for index, one in enumerate(found):
        arrays[f"boxes{index}"] = (yx(one["boxes"]) / scale).astype(np.float32)
        arrays[f"scores{index}"] = one["scores"].numpy().astype(np.float32)
        arrays[f"labels{index}"] = (one["labels"].numpy() - background).astype(np.int32)
        if "masks" in one:
            arrays[f"masks{index}"] = one["masks"].numpy()[:, 0, ::3, ::3].astype(np.float32)
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    losses = []
    for image, target in zip(x, targets(height, width, "mask" in name), strict=True):
        target["labels"] += background
        with torch.no_grad():
            losses.append({key: value.item() for key, value in model([image], [target]).items()})
    meta = {
        "model": name,
        "library": f"torchvision {torchvision.__version__}",
        "size": [height, width],
        "params": published,
        "num_anchors": len(every),
        "state": shapes,
        "losses": losses,
    }
    meta_bytes = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    np.savez_compressed(HERE / f"{name}.npz", meta=meta_bytes, **arrays)


def make_ops():
    """Boxes, suppression and RoIAlign of drawn boxes."""
    boxes, scores, labels, maps = pooled_input()
    there = torch.from_numpy(boxes[:, [1, 0, 3, 2]])
    rois = torch.cat([torch.zeros(len(there), 1).double(), there], dim=1)[:12]
    x = torch.from_numpy(maps).permute(0, 3, 1, 2)
    arrays = {
        "iou": ops.box_iou(there[:12], there).numpy(),
        "nms": ops.nms(there, torch.from_numpy(scores), 0.4).numpy(),
        "batched_nms": ops.batched_nms(
            there, torch.from_numpy(scores), torch.from_numpy(labels), 0.4
        ).numpy(),
    }
    for aligned in (False, True):
        for ratio in (0, 2):
            y = ops.roi_align(x, rois, (3, 3), 0.25, ratio, aligned)
            arrays[f"roi_align_{ratio}_{aligned:d}"] = y.permute(0, 2, 3, 1).numpy()
    np.savez_compressed(
        HERE / "ops.npz", **{key: np.asarray(value) for key, value in arrays.items()}
    )


if __name__ == "__main__":
    HERE.mkdir(exist_ok=True)
    make_ops()
    for name in sys.argv[1:] or FIELDS:
        make(name)
