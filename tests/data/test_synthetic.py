import time

import numpy as np

from cnn.data.synthetic import synthetic


def test_the_size_of_imagenet_costs_nothing() -> None:
    start = time.perf_counter()
    train, held_out = synthetic()
    assert (len(train), len(held_out), len(train.info.class_names)) == (1_281_167, 50_000, 1000)
    assert train[1_281_166]["image"].shape == (224, 224, 3)
    assert train[1_281_166]["label"] == 1_281_166 % 1000
    assert time.perf_counter() - start < 2


def test_every_image_has_the_same_statistics_and_another_order() -> None:
    train, _ = synthetic(num_train=300, num_eval=1, num_classes=3, height=40, width=50)
    images = np.stack([train[i]["image"] for i in range(300)])
    assert len(np.unique(images.reshape(300, -1), axis=0)) == 300
    # 6,000 uniform bytes: five standard errors are 4.8 and 2.1.
    assert abs(images[0].mean() - 127.5) < 4.8
    assert abs(images[0].std() - 73.9) < 2.5
    np.testing.assert_allclose(images.mean((1, 2, 3)), images[0].mean())
    np.testing.assert_array_equal(train[7]["image"], images[7])
    assert not train[7]["image"].flags.writeable
