import numpy as np

from cnn.report import sheet


def test_pixels_from_minus_one_to_one():
    found = sheet.pixels(np.asarray([-1.0, 0.0, 1.0, -3.0, 3.0], np.float32))
    assert found.tolist() == [0, 128, 255, 0, 255]


def test_a_sheet_has_pictures_in_rows_with_gaps():
    pictures = np.stack([np.full((3, 4, 1), value, np.uint8) for value in (10, 20, 30)])
    page = sheet.sheet(pictures)
    assert page.shape == (3 * 2 + 2, 4 * 2 + 2, 1)
    assert page[0, 0, 0] == 10
    assert page[0, 6, 0] == 20
    assert page[5, 0, 0] == 30
    assert (page[3:5] == 255).all()
    assert (page[5:, 6:] == 255).all()
    assert sheet.sheet(pictures, 3).shape == (3, 4 * 3 + 4, 1)


def test_the_last_and_some_between_are_shown(tmp_path):
    assert sheet.kept(tmp_path) == []
    for step in range(1, 10):
        sheet.save_step(tmp_path, step * 100, np.full((70, 2, 2, 3), step / 10, np.float32))
    found = sheet.kept(tmp_path, limit=3)
    assert [one.step for one in found] == [300, 600, 900]
    # The first 64 alone, 8 by 8.
    assert found[-1].sheet.shape == (8 * 4 - 2, 8 * 4 - 2, 3)
    assert found[-1].sheet[0, 0].tolist() == [242] * 3
