"""Features of three classes that lie in clouds, for what learns on them."""

import numpy as np

from cnn.evaluators.frozen import Frozen


def clouds(num_train=60, num_test=45, width=6, spread=0.6, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(3, width))

    def part(count):
        labels = np.arange(count, dtype=np.int32) % 3
        features = centres[labels] + spread * rng.normal(size=(count, width))
        return features.astype(np.float32), labels

    return Frozen(*part(num_train), *part(num_test), 3, 7, "clouds")
