import csv
import io
import json

import pytest
from rich.console import Console

from cnn.benchmark import figure, result, table
from cnn.benchmark.job import Network, Prepared, parse
from cnn.benchmark.measure import Measured, Row
from cnn.benchmark.network import Counts
from cnn.benchmark.trace import Cost


def network_row(model="resnet18", mode="train", *, factor=0.5):
    cold, warm = Prepared(9.0, 2_000_000), Prepared(1.0, 2_000_000)
    ours = (0.1, 0.2, 0.4)
    return Row(
        Network(model, mode, 8, 224, 3, 1000, "float32"),
        {
            "ours": Measured(ours, 2, cold, warm, 3_000_000),
            "torch": Measured(
                tuple(s / factor for s in ours), 1, Prepared(layout="channels_last"), Prepared(), 5
            ),
        },
        gflops=400.0,
        counts=Counts(parameters=11, macs=1_000_000, step_macs=24_000_000_000),
    )


def operation_row():
    side = Measured((0.002, 0.004), 3, Prepared(), None, None)
    return Row(parse("max_pool:1x8x8x4,k2"), {"ours": side, "flax": side}, gflops=1.0)


def test_numbers_of_a_line():
    ours, torch = result.lines(network_row())
    assert (ours.side, ours.kind, ours.rounds, ours.steps_per_round) == ("ours", "CNN", 3, 2)
    assert ours.step_ms == pytest.approx(200)
    assert ours.images_per_second == pytest.approx(40)
    assert ours.gflops == pytest.approx(2 * 24 / 0.2)
    assert ours.matmul_percent == pytest.approx(60)
    assert (ours.compile_cold_seconds, ours.compile_warm_seconds) == (9.0, 1.0)
    assert ours.ratio is None
    assert (torch.ratio, torch.ratio_q1, torch.ratio_q3) == pytest.approx((0.5, 0.5, 0.5))
    assert (torch.compile_cold_seconds, torch.layout) == (None, "channels_last")


@pytest.mark.parametrize(
    ("model", "kind"),
    [("dcgan", "CNN"), ("vit_s_16", "ViT"), ("mixer_s_16", "MLP"), ("fcn_resnet50", "CNN")],
)
def test_kind_of_a_network(model, kind):
    assert result.lines(network_row(model))[0].kind == kind


def test_geometric_mean_of_the_ratios():
    rows = [network_row(factor=0.5), network_row("vit_s_16", factor=2.0)]
    lines = [line for row in rows for line in result.lines(row)]
    ((mode, side, mean, count),) = result.geometric_means(lines)
    assert (mode, side, count) == ("train", "torch", 2)
    assert mean == pytest.approx(1.0)


def test_files_hold_the_same_and_json_every_measurement(tmp_path):
    lines = result.lines(network_row())
    result.save(tmp_path, "results", lines, {"commit": "abc"})
    ours, torch = csv.DictReader((tmp_path / "results.csv").read_text().splitlines())
    assert (ours["model"], ours["step_ms"], ours["ratio"]) == ("resnet18", "200.0", "")
    assert torch["ratio"] == "0.5"
    assert "seconds" not in ours
    whole = json.loads((tmp_path / "results.json").read_text())
    assert whole["commit"] == "abc"
    assert whole["rows"][0]["seconds"] == [0.1, 0.2, 0.4]


def shown(call, *args):
    screen = Console(file=io.StringIO(), width=200)
    call(*args, screen)
    return screen.file.getvalue()


def test_table_has_a_line_a_side_and_the_mean():
    lines = [
        line for model in ("resnet18", "vit_s_16") for line in result.lines(network_row(model))
    ]
    text = shown(table.show, lines)
    assert "resnet18 train" in text
    assert text.count("torch") == 3
    assert "train: time ours / torch, geometric mean of 2: 0.500" in text
    assert "0.5-0.5" in text


def test_table_of_operations():
    text = shown(table.show, result.lines(operation_row()))
    assert "max_pool:1x8x8x4,k2 forward" in text
    assert text.splitlines()[2].split()[:3] == ["flax", "3", "2"]


def test_table_of_costs():
    cost = Cost("fusion.3", 1.25, 40.0, 2.0, "jit(step)/[stage0]/conv")
    text = shown(table.show_costs, "resnet18 train", [cost])
    assert "resnet18 train: HLO operation" in text
    assert text.splitlines()[1].split() == ["fusion.3", "1.25", "40.0", "2", cost.source]


def test_figure_marks_kinds_and_sides(tmp_path):
    rows = [
        line._asdict()
        for model, mode in (("resnet18", "train"), ("vit_s_16", "train"), ("resnet18", "infer"))
        for line in result.lines(network_row(model, mode))
    ]
    drawn = figure.draw(rows)
    train, infer = drawn.axes
    assert (train.get_title("left"), infer.get_title("left")) == ("training", "inference")
    assert (train.get_xscale(), train.get_yscale()) == ("log", "log")
    points = [line for line in train.get_lines() if line.get_linestyle() == "None"]
    assert [(line.get_marker(), line.get_fillstyle()) for line in points] == [
        ("o", "full"),
        ("o", "none"),
        ("^", "full"),
        ("^", "none"),
    ]
    assert points[0].get_ydata() == pytest.approx([40.0])
    for name in ("a.svg", "b.svg"):
        figure.save(rows, tmp_path / name)
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
