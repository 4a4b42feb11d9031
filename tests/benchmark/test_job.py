import pytest

from cnn.benchmark.job import OPERATIONS, parse
from cnn.errors import UserError


def test_defaults_of_a_convolution_keep_the_size():
    one = parse("conv:8x56x40x96,k7x5,d2")
    assert one.shape == (8, 56, 40, 96)
    assert (one.features, one.window, one.stride, one.groups) == (96, (7, 5), 1, 1)
    assert one.padding == (6, 4)
    assert one.parts == ("forward", "dx", "dw")


def test_letters_in_any_order():
    one = parse("conv:1x9x9x8,p0,g4,f16,k3,s2")
    assert (one.features, one.window, one.stride, one.padding) == (16, (3, 3), 2, (0, 0))
    assert (one.groups, one.dilation) == (4, 1)


def test_pooling_steps_by_its_window():
    one = parse("max_pool:8x112x112x64,k3")
    assert (one.stride, one.padding, one.features) == (3, (0, 0), 64)
    assert one.parts == ("forward", "dx")


@pytest.mark.parametrize("text", OPERATIONS)
def test_the_listed_operations_are_operations(text):
    assert parse(text).text == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("7x7 depthwise", "is no operation; write KIND:"),
        ("conv:8x56x56,k3", "is no operation"),
        ("conv:8x56x56x8,k3,", "is no operation"),
        ("cov:8x56x56x8,k3", "unknown operation 'cov'; did you mean 'conv'"),
        ("conv:8x56x56x8,k3,z1", "unknown letter of conv"),
        ("max_pool:8x56x56x8,k3,g8", "unknown letter of max_pool"),
        ("conv:8x56x56x8", "lacks the kernel"),
        ("avg_pool:8x56x56x8,s2", "lacks the window"),
        ("conv:8x56x56x8,k3,g3", "3 groups do not divide 8 channels"),
        ("conv:8x56x56x8,k3,g8,f12", "8 groups do not divide 8 channels and 12 features"),
        ("conv:8x56x56x8,k3,s0", "has a size of 0"),
        ("conv:8x2x2x8,k5,p0", "does not fit"),
        ("max_pool:8x9x9x8,k2,p2", "half its window"),
    ],
)
def test_a_mistake_is_one_line(text, message):
    with pytest.raises(UserError) as caught:
        parse(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
