"""Networks that make pictures, and their registry.

A file holds a family: `VARIANTS`, `source(name)`, `kind(name)`, a `Generator`, and a
`Discriminator` or an `Encoder` that it is trained with. A row has fields of these; one that two
have goes to both. `models.generator` builds them. Pictures of generators have pixels from -1 to 1.
"""

import dataclasses

from flax import linen

from cnn.nn.registry import Registry

_NAMES = {
    "dcgan": ("dcgan", "wgan_gp", "dcgan_small", "dcgan_28", "dcgan_test"),
    "pix2pix": ("pix2pix", "pix2pix_128", "pix2pix_small", "pix2pix_test"),
    "cyclegan": ("cyclegan", "cyclegan_6blocks", "cyclegan_test"),
    "stylegan2": ("stylegan2", "stylegan2_256", "stylegan2_small", "stylegan2_test"),
    "vae": ("vae", "vae_small", "vae_test"),
}
REGISTRY = Registry(__name__, "generator", _NAMES)
names, family_of, family = REGISTRY.names, REGISTRY.family_of, REGISTRY.family

PARTS = ("generator", "discriminator", "encoder")
"""What a family may have; its file has each as a class of that name."""


@dataclasses.dataclass(frozen=True)
class Networks:
    """What is trained together.

    Attributes:
        generator: Latents [batch, latent_size], or images, to images, with the keyword `train`.
        discriminator: Images to scores, higher for real ones; None where there is none.
        encoder: Images to what is known of their latents; None where there is none.
        axis_name: The mapped axis (of `pmap`) over which what a training keeps beside parameters is
            of all devices' examples, as batch norm's statistics are; None elsewhere.
    """

    generator: linen.Module
    discriminator: linen.Module | None = None
    encoder: linen.Module | None = None
    axis_name: str | None = None

    @property
    def latent_size(self) -> int:
        """Numbers of a latent; 0 where the generator is given images."""
        return getattr(self.generator, "latent_size", 0)
