"""Trained parameters of every registered row."""

COUNTS = {
    # PyTorch's example.
    "dcgan": {"generator": 3_576_704, "discriminator": 2_765_568},
    # The same with biases instead of norms: + 64 + 128 + 256 + 512 - 2 (128 + 256 + 512).
    "wgan_gp": {"generator": 3_576_704, "discriminator": 2_764_736},
    # The authors' PyTorch code prints 54.414, 2.769, 11.378 and 2.765 million.
    "pix2pix": {"generator": 54_413_955, "discriminator": 2_768_705},
    "pix2pix_128": {"generator": 41_828_995, "discriminator": 2_768_705},
    "cyclegan": {"generator": 11_378_179, "discriminator": 2_764_737},
    "cyclegan_6blocks": {"generator": 7_837_699, "discriminator": 2_764_737},
    # As pix2pix with 16, 32, 64, 128, 128 channels, and 2 to 16, 32, 64, 1.
    "pix2pix_small": {"generator": 1_042_081, "discriminator": 42_705},
    # The authors' TensorFlow code prints these for 1024 pixels.
    "stylegan2": {"generator": 30_370_060, "discriminator": 29_012_513},
    "stylegan2_256": {"generator": 30_034_338, "discriminator": 28_864_129},
    "stylegan2_small": {"generator": 196_571, "discriminator": 218_417},
    # By hand: convolutions of 16 in out + out between 3, 32, 64, 128 and 256 channels, and dense
    # layers of in out + out from 128 to 16 * 256, and from that to 2 * 128.
    "vae": {"generator": 1_218_275, "encoder": 1_738_976},
    # As above: 1, 32 and 64 channels; 16 to 49 * 64, and that to 2 * 16.
    "vae_small": {"generator": 86_625, "encoder": 133_760},
    # By hand: 16 in out of 100, 128, 64, 32, 1 channels and 2 (128 + 64 + 32); of 1, 32, 64, 128, 1
    # channels and 2 (64 + 128).
    "dcgan_small": {"generator": 369_600, "discriminator": 166_784},
    # By hand: 49 in out of 100, 128, 16 in out of 128, 64, 1 channels and 2 (128 + 64); 16 in out
    # of 1, 32, 64, 128 channels, 9 of 128, 1 and 2 (64 + 128).
    "dcgan_28": {"generator": 759_680, "discriminator": 165_888},
}
