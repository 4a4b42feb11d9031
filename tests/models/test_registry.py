import subprocess
import sys

import jax.numpy as jnp
import pytest

from cnn import models
from cnn.errors import UserError
from tests.models.counts import COUNTS


@pytest.mark.parametrize("make", [models.classifier, models.backbone, models.describe])
def test_an_unknown_name_names_the_nearest(make):
    with pytest.raises(UserError, match="unknown model 'resnet5'; did you mean 'resnet50'"):
        make("resnet5")


@pytest.mark.parametrize("make", [models.classifier, models.backbone])
def test_an_unknown_field_names_the_nearest(make):
    with pytest.raises(
        UserError, match=r"unknown field of convnext_tiny 'drop_path'.*drop_path_rate"
    ):
        make("convnext_tiny", drop_path=0.1)


def test_fields_of_linen_are_not_offered():
    with pytest.raises(UserError, match="unknown field of vit_test 'parent'"):
        models.backbone("vit_test", parent=None)


def test_a_field_of_the_head_is_none_of_the_backbone():
    with pytest.raises(UserError, match="unknown field of vit_test 'representation_size'"):
        models.backbone("vit_test", representation_size=3)


def test_overrides_go_where_they_belong():
    model = models.classifier(
        "lenet5", num_classes=7, activation="relu", dropout_rate=0.5, padding=0, dtype="bfloat16"
    )
    assert (model.backbone.activation, model.head.activation) == ("relu", "relu")
    assert (model.backbone.padding, model.head.dropout_rate) == (0, 0.5)
    assert (model.backbone.dtype, model.head.dtype) == (jnp.bfloat16, jnp.bfloat16)
    assert model.head.num_classes == 7


def test_lists_of_a_config_are_taken():
    model = models.backbone("resnet_test", depths=[2, 1], widths=[4, 8])
    assert (model.depths, model.widths) == ((2, 1), (4, 8))
    hash(model)


@pytest.mark.parametrize("dtype", ["bfloat16", jnp.bfloat16, jnp.dtype("bfloat16")])
def test_a_dtype_may_be_a_name(dtype):
    assert models.backbone("vit_test", dtype=dtype).dtype == jnp.bfloat16


@pytest.mark.parametrize("dtype", ["bfloat", "int32"])
def test_a_dtype_that_is_none(dtype):
    with pytest.raises(UserError, match=f"unknown dtype '{dtype}'"):
        models.classifier("vit_test", dtype=dtype)


def test_no_classes():
    with pytest.raises(UserError, match="num_classes is 0"):
        models.classifier("vit_test", num_classes=0)


def test_axis_name_goes_to_batch_norm_only():
    assert models.backbone("resnet_test", axis_name="devices").sync.axis_name == "devices"
    assert not hasattr(models.backbone("vit_test", axis_name="devices"), "sync")


def test_groups_go_to_batch_norm_and_are_refused_where_there_is_none():
    assert models.backbone("vgg_test", norm_group_size=4).sync.group_size == 4
    for name, size, message in (
        ("vit_test", 4, "norm_group_size is 4, but vit_test has no batch norm"),
        ("resnet_test", -1, "norm_group_size must be at least 0, got -1"),
    ):
        with pytest.raises(UserError, match=message):
            models.classifier(name, norm_group_size=size)


def test_families():
    assert "resnet50" in models.names("resnet")
    assert "vit_b_16" not in models.names("resnet")
    assert models.family_of("wide_resnet50_2") == "resnet"
    with pytest.raises(UserError, match="unknown family 'resnets'; did you mean 'resnet'"):
        models.names("resnets")


def test_describe():
    info = models.describe("resnext50_32x4d")
    assert (info.name, info.family, info.year) == ("resnext50_32x4d", "resnet", 2016)
    assert (info.image_size, info.channels, info.num_classes) == (224, 3, 1000)
    assert "Xie" in info.paper
    assert models.describe("lenet5").image_size == 28


@pytest.mark.parametrize("name", ["lenet5", "resnet18", "convnext_atto", "vit_ti_16"])
def test_describe_counts_parameters(name):
    assert models.describe(name).parameters == COUNTS[name][0]


def test_names_are_known_without_importing_a_family():
    code = "import sys, cnn.models as m; m.names(); print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    files = {f"cnn.models.{family}" for family in models.families()}
    assert not files & set(out.stdout.split())
