"""Preparing a TensorFlow Dataset once, as array_record; the only thing that needs TensorFlow."""

from __future__ import annotations

import importlib.util
import os
import pathlib

from cnn.errors import UserError, unknown


def prepare(name: str, data_dir: str | os.PathLike[str] = "") -> pathlib.Path:
    """Downloads a data set and stores it as array_record; one that is there already stays.

    Args:
        name: As tfds writes it: "mnist", "imagenette/320px-v2".
        data_dir: Folder of all data sets; "" is tfds's default (TFDS_DATA_DIR, or
            ~/tensorflow_datasets).

    Returns:
        The folder of the data set.

    Raises:
        UserError: If TensorFlow is not installed, tfds does not know the data set, or it cannot be
            downloaded or made.
    """
    if importlib.util.find_spec("tensorflow") is None:
        raise UserError(
            "preparing a data set needs TensorFlow, which is not installed (training does not need "
            "it); run: pip install -e '.[prepare]'"
        )
    import tensorflow_datasets as tfds
    from tensorflow_datasets.core import registered

    where = os.path.expanduser(data_dir) if data_dir else None
    try:
        builder = tfds.builder(name, data_dir=where, file_format="array_record")
        builder.download_and_prepare()
    except registered.DatasetNotFoundError as error:
        known = tfds.list_builders(with_community_datasets=False)
        raise unknown("tfds data set", name, known) from error
    # A data set is made by code of its own, which fails in ways of its own.
    except Exception as error:
        raise UserError(f"cannot prepare {name!r}: {' '.join(str(error).split())}") from error
    return pathlib.Path(builder.data_path)
