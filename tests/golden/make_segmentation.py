"""Makes segmentation/*.npz; run where torch and torchvision are installed: see README.md.

python tests/golden/make_segmentation.py
"""

import json
import pathlib
import sys

import numpy as np
import torch
import torchvision

sys.path.insert(0, str(pathlib.Path(__file__).parents[2]))
from tests.golden.draws import draw_all, images, segmentation_labels

NAMES = ("fcn_resnet50", "deeplabv3_resnet50", "lraspp_mobilenet_v3_large")
SIZE, NUM_CLASSES, IGNORED, AUXILIARY_WEIGHT, EVERY = 65, 21, 255, 0.5, 8


def build(name):
    auxiliary = {} if name.startswith("lraspp") else {"aux_loss": True}
    make = getattr(torchvision.models.segmentation, name)
    model = make(weights=None, weights_backbone=None, num_classes=NUM_CLASSES, **auxiliary)
    shapes = {key: list(value.shape) for key, value in model.state_dict().items()}
    tensors = draw_all(shapes, np.float64)
    model.double().load_state_dict({key: torch.from_numpy(x) for key, x in tensors.items()})
    return model, shapes


def forward(model, batch):
    x = torch.from_numpy(images(batch, SIZE)).permute(0, 3, 1, 2)
    outputs = model(x)
    return [outputs[key] for key in ("out", "aux") if key in outputs]


def thinned(logits):
    return logits.detach().permute(0, 2, 3, 1)[:, ::EVERY, ::EVERY].numpy().astype(np.float32)


def make(name):
    model, shapes = build(name)
    with torch.no_grad():
        logits = forward(model.eval(), 2)[0]
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.eval()
    outputs = forward(model, 4)
    labels = torch.from_numpy(segmentation_labels(4, SIZE, NUM_CLASSES)).long()
    losses = [
        torch.nn.functional.cross_entropy(output, labels, ignore_index=IGNORED)
        for output in outputs
    ]
    loss = losses[0] + AUXILIARY_WEIGHT * sum(losses[1:])
    loss.backward()
    state = model.state_dict()
    meta = {
        "model": name,
        "library": f"torchvision {torchvision.__version__}",
        "size": SIZE,
        "params": sum(p.numel() for p in model.parameters()),
        "state": shapes,
        "losses": [one.item() for one in losses],
        "grad_norms": {key: float(p.grad.norm()) for key, p in model.named_parameters()},
        "running_stat_norms": {
            key: float(x.norm()) for key, x in state.items() if "running_" in key
        },
    }
    arrays = {"logits": thinned(logits), "train_logits": thinned(outputs[0])}
    if len(outputs) > 1:
        arrays["auxiliary_logits"] = thinned(outputs[1])
    path = pathlib.Path(__file__).parent / "segmentation" / f"{name}_{SIZE}.npz"
    path.parent.mkdir(exist_ok=True)
    meta_bytes = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    np.savez_compressed(path, meta=meta_bytes, **arrays)


if __name__ == "__main__":
    for name in NAMES:
        make(name)
