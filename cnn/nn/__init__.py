"""Layers that three or more families use, one kind a file, and what a family's file exports.

Dense layers of heads and dropout are linen's own.
"""

from cnn.nn.activation import activation
from cnn.nn.attention import attention
from cnn.nn.batch_norm import WHOLE_BATCH, BatchNorm, Standardised, Sync, standardise
from cnn.nn.cbam import ConvolutionalBlockAttention
from cnn.nn.conv import Conv
from cnn.nn.conv_norm import Style, conv_norm
from cnn.nn.conv_transpose import ConvTranspose
from cnn.nn.cross_stage import CrossStage
from cnn.nn.dense import Dense
from cnn.nn.divisible import make_divisible
from cnn.nn.drop_path import DropPath, rising_rates
from cnn.nn.eca import EfficientChannelAttention
from cnn.nn.family import Features, Source, choose, stages
from cnn.nn.layer_norm import LayerNorm
from cnn.nn.linear_head import LinearHead
from cnn.nn.penultimate import penultimate
from cnn.nn.pool import Pool
from cnn.nn.record import Call, record
from cnn.nn.registry import Registry
from cnn.nn.remat import remat
from cnn.nn.squeeze_excitation import SqueezeExcitation
from cnn.nn.up_conv import UpConv

__all__ = [
    "WHOLE_BATCH",
    "BatchNorm",
    "Call",
    "Conv",
    "ConvTranspose",
    "ConvolutionalBlockAttention",
    "CrossStage",
    "Dense",
    "DropPath",
    "EfficientChannelAttention",
    "Features",
    "LayerNorm",
    "LinearHead",
    "Pool",
    "Registry",
    "Source",
    "SqueezeExcitation",
    "Standardised",
    "Style",
    "Sync",
    "UpConv",
    "activation",
    "attention",
    "choose",
    "conv_norm",
    "make_divisible",
    "penultimate",
    "record",
    "remat",
    "rising_rates",
    "stages",
    "standardise",
]
