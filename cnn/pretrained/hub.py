"""Weights on the Hugging Face Hub, by id: `hf:timm/resnet50.a1_in1k`."""

from __future__ import annotations

import importlib.util
import pathlib

from cnn.errors import UserError

PREFIX = "hf:"
WEIGHTS = ("model.safetensors", "pytorch_model.bin")
CONFIG = "config.json"


def fetch(spec: str) -> tuple[pathlib.Path, pathlib.Path | None]:
    """Where the weights of an id are on this disk, and the `config.json` beside them, if any.

    A file in the local cache (HF_HUB_CACHE, or HF_HOME) is taken as it is; any other is downloaded
    into it, unless HF_HUB_OFFLINE is set.

    Args:
        spec: `hf:OWNER/NAME`, or `hf:OWNER/NAME@REVISION` for a branch, tag or commit.

    Raises:
        UserError: If the library is not installed, the id is none, or there are no such weights,
            neither here nor there.
    """
    if importlib.util.find_spec("huggingface_hub") is None:
        raise UserError(
            f"{spec} needs the library huggingface_hub, which is not installed; run: pip install"
            " 'cnn[hub]' (in the clone: pip install -e '.[hub]')"
        )
    repository, _, revision = spec.removeprefix(PREFIX).partition("@")
    for name in WEIGHTS:
        path = _file(spec, repository, revision or None, name)
        if path is not None:
            return path, _file(spec, repository, revision or None, CONFIG)
    raise UserError(f"{spec} has neither {' nor '.join(WEIGHTS)}")


def _file(spec: str, repository: str, revision: str | None, name: str) -> pathlib.Path | None:
    """The file on this disk; None where the repository has no such file."""
    from huggingface_hub import constants, errors, hf_hub_download, try_to_load_from_cache
    from huggingface_hub.utils import logging

    # Whatever fails is told in one line.
    logging.set_verbosity(50)
    try:
        found = try_to_load_from_cache(repository, name, revision=revision)
        if isinstance(found, str):
            return pathlib.Path(found)
        if constants.HF_HUB_OFFLINE and name != WEIGHTS[-1]:
            return None
        return pathlib.Path(hf_hub_download(repository, name, revision=revision))
    except errors.EntryNotFoundError as error:
        if not isinstance(error, errors.LocalEntryNotFoundError):
            return None
        raise UserError(_what_failed(spec, error)) from error
    # The network fails in ways of its own.
    except (errors.HfHubHTTPError, errors.HFValidationError, OSError) as error:
        raise UserError(_what_failed(spec, error)) from error


def _what_failed(spec: str, error: Exception) -> str:
    from huggingface_hub import constants, errors

    why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "the Hub cannot be reached"
    known = {
        errors.HFValidationError: f"{spec!r} is no id of the Hub; one is hf:timm/resnet50.a1_in1k",
        errors.LocalEntryNotFoundError: f"{spec} is not in {constants.HF_HUB_CACHE}, and {why}",
        errors.GatedRepoError: f"{spec} asks for permission; log in with: hf auth login",
        errors.RepositoryNotFoundError: f"the Hub has no {spec} (or it is private: hf auth login)",
        errors.RevisionNotFoundError: f"{spec} has no such revision",
    }
    for kind, text in known.items():
        if isinstance(error, kind):
            return text
    return f"cannot download {spec}: {' '.join(str(error).split())[:200]}"
