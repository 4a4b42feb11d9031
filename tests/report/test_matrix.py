import numpy as np
import pytest

from cnn.report import matrix


def test_a_cell_has_the_count_and_what_it_means():
    cells = matrix.cells(np.array([[1234, 4, 0], [1, 2, 1], [0, 0, 0]]))
    assert [[cell.text for cell in row] for row in cells] == [
        ["1,234", "4", ""],
        ["1", "2", "1"],
        ["", "", ""],
    ]
    assert [[cell.kind for cell in row] for row in cells] == [
        ["right", "wrong", "zero"],
        ["wrong", "right", "wrong"],
        ["zero", "zero", "zero"],
    ]


def test_right_is_coloured_by_its_row_and_wrong_by_the_largest_error():
    cells = matrix.cells(np.array([[6, 4], [1, 1]]))
    strengths = [cell.strength for row in cells for cell in row]
    assert strengths == pytest.approx([0.6, 1.0, 0.5, 0.5])


def test_a_matrix_without_errors_or_examples():
    assert matrix.cells(np.zeros((0, 0), np.int64)) == []
    ((cell,),) = matrix.cells(np.array([[7]]))
    assert cell == ("7", "right", 1.0)
