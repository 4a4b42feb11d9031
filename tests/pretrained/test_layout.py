import numpy as np
import pytest

from cnn.errors import UserError
from cnn.pretrained import layout as layouts

RNG = np.random.default_rng(0)
SHAPES = {
    ("params", "body", "conv1", "kernel"): (3, 2, 4, 5),
    ("params", "body", "block0", "query", "kernel"): (4, 6),
    ("params", "body", "block0", "query", "bias"): (6,),
    ("params", "body", "block0", "key", "kernel"): (4, 2),
    ("params", "body", "block0", "key", "bias"): (2,),
    ("params", "body", "block0", "gain"): (7,),
    ("params", "body", "block0", "key", "scale"): (6,),
    ("params", "body", "line", "kernel"): (5, 2, 3),
    ("batch_stats", "body", "norm", "var"): (3,),
}
LAYOUT = layouts.layout_of(
    {
        "body/conv": lambda i: f"stem.{i - 1}.",
        "body/block/query": lambda b: f"layers.{b}.fused_",
        "body/block/key": lambda b: f"layers.{b}.fused_",
        "body/block/key/scale": lambda b: f"layers.{b}.beta",
        "body/block/gain": lambda b: f"layers.{b}.gamma",
        "body/line": "line.",
        "body/norm": "bn.",
    },
    trailing={"body/block/gain": 2},
    leading={"body/block/key/scale": 3},
)
STATE = {
    "stem.0.weight": RNG.standard_normal((5, 4, 3, 2)),
    "layers.0.fused_weight": RNG.standard_normal((8, 4)),
    "layers.0.fused_bias": RNG.standard_normal(8),
    "layers.0.gamma": RNG.standard_normal((7, 1, 1)),
    "layers.0.beta": RNG.standard_normal((1, 1, 1, 6)),
    "line.weight": RNG.standard_normal((3, 2, 5)),
    "bn.running_var": RNG.standard_normal(3),
    "bn.num_batches_tracked": np.array(5),
}


def test_read_transposes_splits_and_drops_axes():
    arrays = layouts.read(STATE, LAYOUT, SHAPES)
    assert {path: array.shape for path, array in arrays.items()} == SHAPES
    kernel = arrays["params", "body", "conv1", "kernel"]
    assert kernel[2, 1, 3, 4] == STATE["stem.0.weight"][4, 3, 2, 1]
    line = arrays["params", "body", "line", "kernel"]
    assert line[4, 1, 2] == STATE["line.weight"][2, 1, 4]
    fused = STATE["layers.0.fused_weight"]
    np.testing.assert_array_equal(
        arrays["params", "body", "block0", "query", "kernel"], fused[:6].T
    )
    np.testing.assert_array_equal(arrays["params", "body", "block0", "key", "kernel"], fused[6:].T)
    bias = arrays["params", "body", "block0", "key", "bias"]
    np.testing.assert_array_equal(bias, STATE["layers.0.fused_bias"][6:])


def test_of_a_transposed_convolution_torch_has_the_inputs_first():
    layout = layouts.layout_of({"body/up": "up."}, swapped=("body/up/kernel",))
    path = ("params", "body", "up", "kernel")
    weight = RNG.standard_normal((4, 5, 2, 3))
    kernel = layouts.read({"up.weight": weight}, layout, {path: (2, 3, 4, 5)})[path]
    np.testing.assert_array_equal(kernel, weight.transpose(2, 3, 0, 1))
    np.testing.assert_array_equal(layouts.write({path: kernel}, layout)["up.weight"], weight)
    assert layouts.shape_in_ours(path, weight, swapped=True) == (2, 3, 4, 5)


def test_a_layer_that_torch_does_not_have_is_named():
    with pytest.raises(UserError, match="torch has no counterpart of 'body/block3/value'"):
        LAYOUT(("body", "block3", "value", "kernel"))


def test_write_is_the_inverse():
    back = layouts.write(layouts.read(STATE, LAYOUT, SHAPES), LAYOUT)
    assert back.keys() == STATE.keys()
    for name, tensor in STATE.items():
        if not name.endswith("num_batches_tracked"):
            np.testing.assert_array_equal(back[name], tensor)
    counter = back["bn.num_batches_tracked"]
    assert (counter.shape, counter.dtype, counter.item()) == ((), np.int64, 0)


def test_counters_are_kept_where_they_are_given():
    arrays = layouts.read(STATE, LAYOUT, SHAPES)
    counters = layouts.counters(STATE, arrays, LAYOUT)
    assert counters == {("batch_stats", "body", "norm", "var"): 5}
    assert layouts.write(arrays, LAYOUT, counters)["bn.num_batches_tracked"] == 5
    assert "bn.num_batches_tracked" not in layouts.write(arrays, LAYOUT, {})


@pytest.mark.parametrize("name", [name for name in STATE if "tracked" not in name])
def test_a_missing_tensor_is_named(name):
    state = {key: value for key, value in STATE.items() if key != name}
    with pytest.raises(UserError, match=f"lacks '{name}'"):
        layouts.read(state, LAYOUT, SHAPES)


@pytest.mark.parametrize("name", [name for name in STATE if "tracked" not in name])
def test_a_wrong_shape_is_named(name):
    state = {**STATE, name: STATE[name][1:]}
    with pytest.raises(UserError, match=rf"'{name}' has shape \({len(state[name])},"):
        layouts.read(state, LAYOUT, SHAPES)


def test_a_tensor_that_is_left_over_is_named():
    with pytest.raises(UserError, match=r"has 'other\.weight'"):
        layouts.read({**STATE, "other.weight": np.ones(3)}, LAYOUT, SHAPES)


def test_counters_may_be_absent():
    state = {key: value for key, value in STATE.items() if "tracked" not in key}
    assert layouts.read(state, LAYOUT, SHAPES).keys() == SHAPES.keys()


def test_paths_of_and_nested():
    tree = {"params": {"b": {"kernel": 1}, "a": 2}, "batch_stats": {}}
    paths = layouts.paths_of(tree)
    assert list(paths.items()) == [(("params", "b", "kernel"), 1), (("params", "a"), 2)]
    assert layouts.nested(paths) == {"params": {"b": {"kernel": 1}, "a": 2}}


def test_shape_in_ours():
    kernel = ("params", "stem_conv", "kernel")
    assert layouts.shape_in_ours(kernel, STATE["stem.0.weight"]) == (3, 2, 4, 5)
    assert layouts.shape_in_ours(kernel, np.ones((2, 3))) == (3, 2)
    assert layouts.shape_in_ours(kernel, np.ones(2)) is None
    assert layouts.shape_in_ours(("params", "bias"), np.ones(2)) == (2,)
