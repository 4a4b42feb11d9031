"""Which configs train the same."""

from cnn.ledger import fingerprint
from configs.mnist5k import lenet5

CONFIG = lenet5.get_config().to_dict()


def changed(section, **values):
    return {**CONFIG, section: {**CONFIG[section], **values}}


def test_the_hash_is_of_what_is_trained():
    same = fingerprint.digest(CONFIG)
    assert len(same) == 12
    assert fingerprint.digest(dict(reversed(CONFIG.items()))) == same
    assert fingerprint.digest({**CONFIG, "seed": 5}) == same
    assert fingerprint.digest(changed("data", root="/elsewhere", cache_mb=1)) == same
    assert fingerprint.digest(changed("parallel", mesh="fsdp:8")) == same
    assert fingerprint.digest(changed("train", log_every_steps=1)) == same
    assert fingerprint.digest(changed("train", num_epochs=51.0)) != same
    assert fingerprint.digest(changed("loader", batch_size=65)) != same
    assert fingerprint.digest(changed("data", source="idx")) != same


def test_what_differs_is_named():
    def difference(recorded, config):
        return fingerprint.difference(recorded, config, CONFIG)

    assert difference(CONFIG, CONFIG) is None
    assert difference(CONFIG, changed("data", root="/elsewhere")) is None
    longer = changed("train", num_epochs=51.0)
    assert difference(CONFIG, longer) == "train.num_epochs was 50.0, is 51.0"
    assert difference(changed("model", depth=3), CONFIG) == "model.depth was 3, is gone"
    assert difference(CONFIG, changed("model", depth=3)) == "model.depth is new, 3"


def test_a_key_newer_than_the_run_counts_once_it_is_set():
    base = changed("task", newer="plain")
    assert fingerprint.difference(CONFIG, base, base) is None
    used = changed("task", newer="other")
    assert fingerprint.difference(CONFIG, used, base) == "task.newer is new, 'other'"
