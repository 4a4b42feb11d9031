import html.parser
import json
import math
import re

import numpy as np
import pytest

from cnn.errors import UserError
from cnn.report import log
from cnn.report.evaluation import Evaluation, Mistake
from cnn.report.html import render, write_report

EVIL = '<script src="https://evil.example/x.js">&"\''
VOID = {"meta", "link", "img", "br"}


class Page(html.parser.HTMLParser):
    """The elements of a page; fails where one is left open or closed twice."""

    def __init__(self, text):
        super().__init__()
        self.elements = []
        self.rows = []
        self._open = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th") and self.rows:
            self.rows[-1].append("")
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open and {"td", "th"} & set(self._open[-2:]):
            self.rows[-1][-1] += data.strip()

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


def evaluation(num_classes=3, *, names=None, mistakes=2):
    names = tuple(names or (f"class {i}" for i in range(num_classes)))
    confusion = np.eye(len(names), dtype=np.int64) * 8
    confusion[0, 1] = 2
    image = np.arange(28 * 28, dtype=np.uint8).reshape(28, 28, 1)
    total = int(confusion.sum())
    return Evaluation(
        metrics={"loss": 0.25, "accuracy": 1 - 2 / total},
        step=40,
        num_examples=total,
        class_names=names,
        confusion=confusion,
        mistakes=tuple(Mistake(image, names[0], names[1], 0.875, 7 + i) for i in range(mistakes)),
    )


def records(*, loss=0.5):
    lines = []
    for step in (10, 20, 30, 40):
        lines.append(
            {
                "step": step,
                "train/loss": loss / step,
                "train/accuracy": step / 50,
                "train/learning_rate": 0.1,
                "epoch": step / 20,
                "perf/seconds": 2.0,
                "perf/images_per_second": 1000.0 * step,
            }
        )
    return [*lines, {"step": 40, "eval/loss": 0.3, "eval/accuracy": 0.75}]


def page_of(**changes):
    arguments = {
        "config": {"model": {"name": "lenet5"}, "data": {"source": "mnist5k", "root": ""}},
        "environment": {"commit": "abc123", "versions": {"jax": "0.10.2"}},
        "records": records(),
        "evaluation": evaluation(),
    }
    return render("run-1", **(arguments | changes))


def visible(page):
    text = re.sub(r"<style>.*?</style>|<[^>]*>", " ", page, flags=re.S)
    return re.sub(r"\s+", " ", text.replace("\N{NO-BREAK SPACE}", " "))


def test_the_headline():
    text = visible(page_of())
    assert "lenet5 on mnist5k" in text
    # The interval is scipy's for 24 of 26.
    assert "Accuracy 92.31 % 24 of 26 examples; 95 % interval 75.86\N{EN DASH}97.86 %" in text
    assert "Steps 40 2 epochs" in text
    assert "Training time 8.0 s" in text
    assert "Images per second 25,000" in text


@pytest.mark.parametrize(
    ("data", "title"),
    [
        ({"source": "tfds", "name": "cifar10", "root": "/data"}, "cifar10"),
        ({"source": "folder", "name": "", "root": "/home/me/flowers"}, "flowers"),
    ],
)
def test_the_data_set_has_the_name_a_reader_knows(data, title):
    page = page_of(config={"model": {"name": "vit"}, "data": data})
    assert f"<title>vit on {title} " in page


def test_the_page_loads_nothing():
    page = page_of()
    parsed = Page(page)
    assert parsed.all("script") == []
    for _, attrs in parsed.elements:
        for name in ("src", "href", "xlink:href", "srcset", "data", "action"):
            assert attrs.get(name, "#").startswith(("#", "data:"))
    assert "http:" not in page
    assert "https:" not in page
    assert "@import" not in page
    assert set(re.findall(r"url\((.)", page)) <= {"#"}


def test_whatever_a_name_holds_is_text():
    hostile = {"model": {"name": EVIL}, "data": {"source": EVIL}, EVIL: {EVIL: EVIL}}
    page = render(
        EVIL,
        config=hostile,
        environment=hostile,
        records=[{"step": 1, f"{EVIL}/{EVIL}": 1.0, f"b/{EVIL}": 2.0}],
        evaluation=evaluation(names=[EVIL, "b", "c"]),
    )
    parsed = Page(page)
    assert parsed.all("script") == []
    assert not any("src" in attrs for tag, attrs in parsed.elements if tag != "img")
    assert EVIL in [row[0] for row in parsed.rows]


def test_the_confusion_matrix_has_every_count_in_its_place():
    rows = Page(page_of()).rows
    start = next(i for i, row in enumerate(rows) if row and row[0].startswith("predicted"))
    assert rows[start][1:] == ["class 0", "class 1", "class 2"]
    assert rows[start + 1 : start + 4] == [
        ["class 0", "8", "2", ""],
        ["class 1", "", "8", ""],
        ["class 2", "", "", "8"],
    ]


def test_the_scores_by_class():
    rows = [
        [cell.replace("\N{NO-BREAK SPACE}", " ") for cell in row] for row in Page(page_of()).rows
    ]
    assert ["class 0", "10", "80.0 %", "100.0 %", "88.9 %"] in rows
    assert ["class 1", "8", "100.0 %", "80.0 %", "88.9 %"] in rows


def test_the_results_hold_the_evaluation_and_the_last_and_extreme_values():
    rows = Page(page_of()).rows
    assert ["accuracy", "final evaluation", "0.9231", "40", "", ""] in rows
    assert ["accuracy", "train", "0.8000", "40", "0.2000", "0.8000"] in rows
    assert ["loss", "eval", "0.3000", "40", "0.3000", "0.3000"] in rows


def test_the_mistakes_are_pictures_with_captions():
    page = page_of()
    images = Page(page).all("img")
    assert len(images) == 2
    assert all(image["src"].startswith("data:image/png;base64,") for image in images)
    assert all(image["class"] == "pixelated" for image in images)
    assert "class 0 → class 1 87.5 % · #7" in visible(page)


def test_large_pictures_are_smooth():
    photo = Mistake(np.zeros((400, 600, 3), np.uint8), "a", "b", 0.5, 0)
    page = page_of(evaluation=evaluation()._replace(mistakes=(photo,)))
    assert "class" not in Page(page).all("img")[0]


def test_config_and_environment_are_tables():
    page = page_of()
    rows = Page(page).rows
    assert ["source", "mnist5k"] in rows
    assert ["root", '""'] in rows
    assert ["commit", "abc123"] in rows
    assert ["jax", "0.10.2"] in rows
    assert Page(page).all("details") == [{}]


def test_the_command_can_be_pasted_into_a_shell():
    page = page_of(environment={"command": ["cnn", "train", "--workdir=my run"]})
    assert ["command", "cnn train '--workdir=my run'"] in Page(page).rows


def test_a_thousand_classes_are_pairs_and_the_worst_first():
    many = evaluation(1000)
    page = page_of(evaluation=many)
    rows = [[cell.replace("\N{NO-BREAK SPACE}", " ") for cell in row] for row in Page(page).rows]
    assert ["class 0", "class 1", "2", "20.0 %"] in rows
    assert "Confusion matrix" not in page
    scores = [row for row in rows if len(row) == 5]
    assert len(scores) == 1001
    assert [row[0] for row in scores[1:4]] == ["class 0", "class 1", "class 2"]
    assert scores[1][4] == "88.9 %"
    assert len(page) < 400_000


def test_fifty_classes_are_still_a_matrix_and_one_more_are_pairs():
    assert "Confusion matrix" in page_of(evaluation=evaluation(50))
    assert "Most confused classes" in page_of(evaluation=evaluation(51))


def test_a_run_without_an_evaluation():
    page = page_of(evaluation=None)
    Page(page)
    assert "has not been evaluated" in page
    assert "Confusion" not in visible(page)
    assert "Steps 40" in visible(page)


def test_a_run_that_has_just_begun():
    page = render("new", config={}, environment={}, records=[], evaluation=None)
    Page(page)
    assert "No metrics have been logged yet" in page
    assert "<svg" not in page


def test_values_that_are_not_finite_are_said():
    page = page_of(records=records(loss=math.nan))
    Page(page)
    assert "4 values are not finite in train/loss, the first at step 10;" in page
    assert ["loss", "train", "NaN", "40", "\N{EN DASH}", "\N{EN DASH}"] in Page(page).rows


def test_an_evaluation_without_accuracy_or_mistakes_or_classes():
    other = Evaluation({"miou": 0.5}, 40, 0, (), np.zeros((0, 0), np.int64), ())
    page = page_of(evaluation=other)
    Page(page)
    assert "Accuracy" not in page.partition("<main>")[0]
    assert ["miou", "final evaluation", "0.5000", "40", "", ""] in Page(page).rows


def test_the_page_is_made_of_the_files_of_the_run(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model": {"name": "resnet8"}}))
    (tmp_path / "environment.json").write_text(json.dumps({"commit": "abc123"}))
    with log.MetricLog(tmp_path) as metrics:
        metrics.write(40, {"train/loss": 0.5}, timing={"seconds": 3.0})
    path = write_report(tmp_path, evaluation=evaluation())
    assert path == tmp_path / "report.html"
    page = path.read_text("utf-8")
    assert "resnet8" in page
    assert "abc123" in page
    assert ["loss", "train", "0.5000", "40", "0.5000", "0.5000"] in Page(page).rows
    assert write_report(tmp_path, evaluation=evaluation()).read_text("utf-8") == page


def test_an_empty_workdir_has_a_page(tmp_path):
    assert write_report(tmp_path, evaluation=None).stat().st_size > 1000


def test_a_damaged_file_is_named_and_the_old_page_stays(tmp_path):
    (tmp_path / "report.html").write_text("old")
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config\.json"):
        write_report(tmp_path, evaluation=None)
    assert (tmp_path / "report.html").read_text() == "old"
