"""Peer: Keras 3 on TensorFlow, JAX or PyTorch, trained by model.fit as its documentation recommends.

https://keras.io/guides/training_with_built_in_methods/ Grey pictures and numbers are numpy arrays, as in Keras' examples;
crop, flip and JPEG files go through tf.data with parallel map, which Keras recommends for every backend.
"""

from __future__ import annotations

import argparse
import os
from typing import TYPE_CHECKING, Any

import clock as timing
import reading

if TYPE_CHECKING:
    import keras

BACKENDS = ("tensorflow", "jax", "torch")
SHUFFLED_ROWS = 10_000  # tf.data's buffer
PADDING = 4


def options_of() -> argparse.Namespace:
    """The command line."""
    parser = timing.parser("keras_peer")
    parser.add_argument("--backend", choices=BACKENDS, default="tensorflow")
    parser.add_argument("--steps-per-execution", type=int, default=1, help="steps in one call of the compiled function")
    parser.add_argument("--jit", choices=("auto", "on", "off"), default="auto", help="model.compile's jit_compile")
    return parser.parse_args()


def limit_backend(backend: str, threads: int, needed: bool) -> None:
    """Bound the threads of each framework that will run, TensorFlow's where it is needed (as backend or for tf.data).

    JAX takes its threads from the processors that are allowed to it.
    """
    if needed:
        import tensorflow

        tensorflow.config.threading.set_intra_op_parallelism_threads(threads)
        tensorflow.config.threading.set_inter_op_parallelism_threads(threads)
    if backend == "jax":
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-threads:])
    if backend == "torch":
        import torch

        torch.set_num_threads(threads)


def model_of(work: str, classes: int) -> keras.Model:
    """The net of the work; the last layer computes in float32, as Keras' guide to mixed precision asks."""
    import keras
    from keras import layers

    if work == "mlp":
        hidden = [layers.Dense(64, activation="relu") for _ in range(2)]
        return keras.Sequential([keras.Input((10,)), *hidden, layers.Dense(1, dtype="float32")])
    if work == "cnn":
        return keras.Sequential(
            [
                keras.Input((28, 28, 1)),
                layers.Conv2D(32, 3, activation="relu"),
                layers.Conv2D(64, 3, activation="relu"),
                layers.MaxPooling2D(2),
                layers.Flatten(),
                layers.Dense(128, activation="relu"),
                layers.Dense(10, dtype="float32"),
            ]
        )
    large = work == "resnet18"
    image = keras.Input((reading.SIDE, reading.SIDE, 3) if large else (32, 32, 3))
    width, blocks = (64, (2, 2, 2, 2)) if large else (16, (3, 3, 3))
    x = convolution(image, width, 7 if large else 3, 2 if large else 1)
    x = layers.ReLU()(x)
    if large:
        x = layers.MaxPooling2D(3, 2)(layers.ZeroPadding2D(1)(x))
    for stage, count in enumerate(blocks):
        for number in range(count):
            x = block(x, width * 2**stage, 2 if stage and number == 0 else 1)
    logits = layers.Dense(classes, dtype="float32")(layers.GlobalAveragePooling2D()(x))
    return keras.Model(image, logits)


def convolution(x: Any, channels: int, size: int, stride: int) -> Any:
    """Convolution without bias, padded by half its size as in He 2015, and batch normalisation."""
    from keras import layers

    if stride > 1 and size > 1:  # 'same' would pad one side only
        x = layers.ZeroPadding2D(size // 2)(x)
    padding = "valid" if stride > 1 else "same"
    x = layers.Conv2D(channels, size, stride, padding, use_bias=False, kernel_initializer="he_normal")(x)
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x)


def block(x: Any, channels: int, stride: int) -> Any:
    """x -> relu(shortcut(x) + residual(x))"""
    from keras import layers

    residual = layers.ReLU()(convolution(x, channels, 3, stride))
    residual = convolution(residual, channels, 3, 1)
    shortcut = x if stride == 1 and x.shape[-1] == channels else convolution(x, channels, 1, stride)
    return layers.ReLU()(layers.Add()([shortcut, residual]))


def crop_and_flip(image: Any, label: Any) -> tuple[Any, Any]:
    """One picture uint8 (40, 40, 3) -> (32, 32, 3) float, normalised."""
    import tensorflow as tf

    image = tf.image.random_flip_left_right(tf.image.random_crop(image, (32, 32, 3)))
    return (tf.cast(image, tf.float32) / 255 - reading.MEAN) / reading.DEVIATION, label


def decode(path: Any, label: Any) -> tuple[Any, Any]:
    """One JPEG file -> (224, 224, 3) float, shorter side resized, square in the middle, flipped, normalised."""
    import tensorflow as tf

    image = tf.io.decode_jpeg(tf.io.read_file(path), channels=3)
    size = tf.shape(image)[:2]
    size = tf.maximum(size * reading.SIDE // tf.reduce_min(size), reading.SIDE)
    image = tf.image.resize(image, size, antialias=True)  # bilinear, as Pillow's
    image = tf.image.resize_with_crop_or_pad(image, reading.SIDE, reading.SIDE)
    return (tf.image.random_flip_left_right(image) / 255 - reading.MEAN) / reading.DEVIATION, label


def pictures(options: argparse.Namespace) -> tuple[Any, int]:
    """An endless tf.data.Dataset of batches for the residual nets, and the number of classes."""
    import numpy as np
    import tensorflow as tf

    batch = timing.BATCHES[options.work]
    if options.work == "resnet20":
        image, label = reading.pictures32(options.data)
        image = np.pad(image, ((0, 0), (PADDING, PADDING), (PADDING, PADDING), (0, 0)))
        rows = tf.data.Dataset.from_tensor_slices((image, label))
        change = crop_and_flip
    else:
        files, label = reading.photographs(options.data)
        rows = tf.data.Dataset.from_tensor_slices(([str(path) for path in files], label))
        change = decode
    rows = rows.shuffle(min(SHUFFLED_ROWS, len(label))).repeat()
    rows = rows.map(change, num_parallel_calls=tf.data.AUTOTUNE).batch(batch).prefetch(tf.data.AUTOTUNE)
    return rows, int(label.max()) + 1


def arrays(work: str, options: argparse.Namespace) -> tuple[Any, Any]:
    """x and y for model.fit as float32 arrays."""
    if work == "mlp":
        return reading.numbers()
    image, label = reading.gray(options.data)
    return image[..., None].astype("float32") / 255, label


def compiled(options: argparse.Namespace, classes: int) -> keras.Model:
    """The model with its loss and optimizer."""
    import keras

    keras.utils.set_random_seed(0)
    model = model_of(options.work, classes)
    small = options.work in ("cnn", "mlp")
    model.compile(
        optimizer=keras.optimizers.Adam(1e-3) if small else keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True),
        loss="mse" if options.work == "mlp" else keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        steps_per_execution=options.steps_per_execution,
        jit_compile={"auto": "auto", "on": True, "off": False}[options.jit],
    )
    return model


def fit(model: keras.Model, data: Any, steps: int, batch: int) -> tuple[float, int]:
    """Train for `steps` steps, of arrays for whole epochs if they are more than one; mean loss and the steps taken."""
    if not isinstance(data, tuple):
        history = model.fit(data, steps_per_epoch=steps, epochs=1, shuffle=False, verbose=0)
        return history.history["loss"][-1], steps
    x, y = data
    per_epoch = min(steps, len(y) // batch)
    epochs = -(-steps // per_epoch)
    history = model.fit(x[: per_epoch * batch], y[: per_epoch * batch], batch_size=batch, epochs=epochs, verbose=0)
    return history.history["loss"][-1], per_epoch * epochs


def main() -> None:
    """Time model.fit and print the line."""
    options = options_of()
    timing.limit_threads(options.threads)
    os.environ["KERAS_BACKEND"] = options.backend
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    arrayed = options.work in ("cnn", "mlp")
    limit_backend(options.backend, options.threads, needed=options.backend == "tensorflow" or not arrayed)
    import keras

    if options.precision == "bfloat16":
        keras.mixed_precision.set_global_policy("mixed_bfloat16")
    data, classes = (arrays(options.work, options), 10) if arrayed else pictures(options)
    model, batch = compiled(options, classes), timing.BATCHES[options.work]

    clock = timing.Clock(options.warmup, options.steps)
    clock.first, _ = fit(model, data, options.warmup, batch)
    clock.start()
    clock.last, clock.steps = fit(model, data, options.steps, batch)
    clock.stop()

    versions = {name: __import__(name).__version__ for name in ("keras", options.backend)}
    line = timing.Line(f"keras_{options.backend}", options, versions)
    line.notes.append(f"jit {options.jit} ({model.jit_compile}), {options.steps_per_execution} steps per execution")
    line.notes.append(
        f"{clock.steps} steps timed, whole call of fit; losses are means of the last epochs of warm-up and of timing"
    )
    line.print(clock)


if __name__ == "__main__":
    main()
