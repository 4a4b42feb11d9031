"""Without a network: against a cache directory made by hand."""

import importlib.util
import json
import os
import subprocess
import sys

import huggingface_hub
import numpy as np
import pytest
from huggingface_hub import constants, errors

from cnn.errors import UserError
from cnn.pretrained import files, hub, source
from tests.pretrained.test_facts import TIMM

COMMIT = "0123456789abcdef0123456789abcdef01234567"
TENSORS = {"fc.weight": np.ones((2, 3), np.float32)}


def put(cache, name="model.safetensors", repository="timm/net.a1_in1k"):
    """One file in the cache as the library lays it out; returns its directory."""
    place = cache / f"models--{repository.replace('/', '--')}"
    snapshot = place / "snapshots" / COMMIT
    snapshot.mkdir(parents=True, exist_ok=True)
    (place / "refs").mkdir(exist_ok=True)
    (place / "refs" / "main").write_text(COMMIT)
    if name == "config.json":
        (snapshot / name).write_text(json.dumps(TIMM))
    else:
        files.write(snapshot / name, TENSORS)
    return snapshot


@pytest.fixture
def cache(tmp_path, monkeypatch):
    # The library reads its environment when it is imported.
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


@pytest.mark.parametrize("name", hub.WEIGHTS)
def test_weights_and_config_are_found(cache, name):
    snapshot = put(cache, name)
    assert hub.fetch("hf:timm/net.a1_in1k") == (snapshot / name, None)
    put(cache, "config.json")
    assert hub.fetch("hf:timm/net.a1_in1k") == (snapshot / name, snapshot / "config.json")
    assert hub.fetch(f"hf:timm/net.a1_in1k@{COMMIT}")[0] == snapshot / name


def test_facts_come_from_the_config(cache):
    put(cache)
    put(cache, "config.json")
    weights = source.open_weights("hf:timm/net.a1_in1k")
    assert weights.tensors.keys() == TENSORS.keys()
    assert weights.facts.preprocess.interpolation == "bicubic"
    assert weights.facts.class_names == ("cat", "dog")


def test_the_environment_says_where_and_whether_offline(tmp_path):
    snapshot = put(tmp_path / "hub")
    code = "from cnn.pretrained import hub; print(hub.fetch('hf:timm/net.a1_in1k')[0])"
    environment = {**os.environ, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    environment.pop("HF_HUB_CACHE", None)
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True
    )
    assert done.stdout.strip() == str(snapshot / "model.safetensors"), done.stderr


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("hf:timm/other", "hf:timm/other is not in .*hub, and HF_HUB_OFFLINE is set"),
        ("hf:timm/net.a1_in1k@v2", "is not in .*hub"),
        ("hf:a/b/c", "'hf:a/b/c' is no id of the Hub; one is hf:timm/"),
        ("hf:", "'hf:' is no id of the Hub"),
    ],
)
def test_what_is_not_there_is_one_line(cache, spec, message):
    put(cache)
    with pytest.raises(UserError, match=message) as caught:
        hub.fetch(spec)
    assert "\n" not in str(caught.value)


def http(kind):
    """The error without the response that it is made of."""
    return kind.__new__(kind, "what the server says")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (errors.LocalEntryNotFoundError("x"), "and the Hub cannot be reached"),
        (http(errors.RepositoryNotFoundError), "the Hub has no hf:timm/net"),
        (http(errors.GatedRepoError), "asks for permission; log in"),
        (http(errors.RevisionNotFoundError), "has no such revision"),
        (http(errors.RemoteEntryNotFoundError), "has neither model.safetensors"),
        (http(errors.HfHubHTTPError), "cannot download hf:timm/net: HfHubHTTPError"),
        (OSError("disk full"), "cannot download hf:timm/net: disk full"),
    ],
)
def test_what_fails_on_the_way_is_one_line(cache, monkeypatch, error, message):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    with pytest.raises(UserError, match=message) as caught:
        hub.fetch("hf:timm/net")
    assert "\n" not in str(caught.value)


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs the library huggingface_hub.*cnn\[hub\]"):
        hub.fetch("hf:timm/net")
