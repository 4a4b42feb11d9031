"""From the features of a backbone to the outputs of dense tasks, and the registry of segmenters.

A head's file has `VARIANTS`: the networks of that head, each a row of fields of the head and of the
backbone, `backbone` being its name in `cnn.models` and `auxiliary_width`, if it is there, that of
an auxiliary `fcn.Head` (0 is a quarter of what that reads). `models.segmenter` builds them.

The parameters of a segmenter are `{"backbone": ..., "head": ..., "auxiliary": ...}`, the first as
a classifier of that backbone has them.
"""

from collections.abc import Callable

from flax import linen
from jaxtyping import Array, Float

from cnn.nn.family import Features
from cnn.nn.registry import Registry

_NAMES = {
    "fcn": ("fcn_resnet50", "fcn_resnet101", "fcn_test"),
    "deeplab_v3": ("deeplabv3_resnet50", "deeplabv3_resnet101", "deeplabv3_test"),
    "lraspp": ("lraspp_mobilenet_v3_large", "lraspp_test"),
    "upernet": (
        "upernet_convnext_tiny",
        "upernet_convnext_small",
        "upernet_convnext_base",
        "upernet_test",
    ),
    "unet": ("unet", "unet_padded", "unet_small", "unet_resnet34", "unet_test"),
}
REGISTRY = Registry(__name__, "segmenter", _NAMES)
names, family_of, family = REGISTRY.names, REGISTRY.family_of, REGISTRY.family

Logits = Float[Array, "batch _ _ classes"]


class Segmenter(linen.Module):
    """A backbone and a head, and in training an auxiliary head.

    The logits of the auxiliary head are in the collection `auxiliary` where that is mutable; in
    evaluation they are not computed.

    Attributes:
        backbone: Images -> `Features`.
        head: (`Features`, size of the image) -> logits.
        auxiliary: As `head`; None is none.
    """

    backbone: Callable[..., Features]
    head: Callable[..., Logits]
    auxiliary: Callable[..., Logits] | None = None

    def __call__(
        self, images: Float[Array, "batch height width channels"], *, train: bool = False
    ) -> Logits:
        """The float32 logits of every pixel, or where nothing is padded of those in the middle."""
        features, size = self.backbone(images, train=train), images.shape[1:3]
        if self.auxiliary is not None and (train or self.is_initializing()):
            logits = self.auxiliary(features, size, train=train)
            if not self.is_initializing():
                self.sow("auxiliary", "auxiliary_logits", logits)
        return self.head(features, size, train=train)
