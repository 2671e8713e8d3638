"""Peer: Keras' own example "Simple MNIST convnet" (https://keras.io/examples/vision/mnist_convnet/), timed to its accuracies.

The example's net, batch 128 and Adam at its defaults on the 5,000 digits that Lamina ships (3,500 to train on, 500 to
validate, 1,000 to test); 60 epochs by default instead of its 15, since it has 15 times the rows. The seconds count from the
start of the process, imports and compilation included; accuracy is looked at after each epoch.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import clock as timing

AIMS = (0.97, 0.98)
CLASSES = 10


def seconds_since_start() -> float:
    """Wall seconds since the kernel started this process (10 ms steps)."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    return time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[19]) / timing.TICKS_PER_SECOND


def options_of() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="keras_mnist_example.py")
    parser.add_argument(
        "--data", type=Path, required=True, help=".npz with image, label, split (0 train, 1 val, 2 test)"
    )
    parser.add_argument("--backend", choices=("tensorflow", "jax", "torch"), default="tensorflow")
    parser.add_argument("--epochs", type=int, default=60, help="at most; training ends at the last aim")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def model_of() -> Any:
    """The example's net."""
    import keras
    from keras import layers

    return keras.Sequential(
        [
            keras.Input(shape=(28, 28, 1)),
            layers.Conv2D(32, kernel_size=(3, 3), activation="relu"),
            layers.MaxPooling2D(pool_size=(2, 2)),
            layers.Conv2D(64, kernel_size=(3, 3), activation="relu"),
            layers.MaxPooling2D(pool_size=(2, 2)),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(CLASSES, activation="softmax"),
        ]
    )


def parts_of(path: Path) -> list[tuple[Any, Any]]:
    """x and y as the example prepares them: rows to train on, to validate, to test."""
    import keras
    import numpy as np

    with np.load(path) as arrays:
        image, label, split = arrays["image"], arrays["label"], arrays["split"]
    x, y = image[..., None].astype("float32") / 255, keras.utils.to_categorical(label, CLASSES)
    return [(x[split == part], y[split == part]) for part in range(3)]


def watching(aims: tuple[float, ...], reached: dict[str, dict | None], accuracies: list[float]) -> Any:
    """A callback that notes when each aim was first reached, and ends training at the last one."""
    import keras

    class Watching(keras.callbacks.Callback):
        def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
            accuracies.append(float(logs["val_accuracy"]))
            for aim in aims:
                if accuracies[-1] >= aim and reached[str(aim)] is None:
                    reached[str(aim)] = {
                        "epoch": epoch + 1,
                        "seconds": round(seconds_since_start(), 2),
                        "cpu_seconds": round(timing.cpu_seconds(), 2),
                    }
            self.model.stop_training = all(reached.values())

    return Watching()


def main() -> None:
    """Train to the aims and print the line."""
    options = options_of()
    timing.limit_threads(options.threads)
    os.environ["KERAS_BACKEND"], os.environ["TF_CPP_MIN_LOG_LEVEL"] = options.backend, "3"
    from keras_peer import limit_backend

    limit_backend(options.backend, options.threads, needed=options.backend == "tensorflow")
    import keras

    keras.utils.set_random_seed(options.seed)
    parts = parts_of(options.data)
    reached: dict[str, dict | None] = {str(aim): None for aim in AIMS}
    accuracies: list[float] = []
    model = model_of()
    model.compile(loss="categorical_crossentropy", optimizer="adam", metrics=["accuracy"])
    callbacks = [watching(AIMS, reached, accuracies)]
    model.fit(
        *parts[0], batch_size=128, epochs=options.epochs, validation_data=parts[1], callbacks=callbacks, verbose=0
    )
    trained = {"seconds": round(seconds_since_start(), 2), "cpu_seconds": round(timing.cpu_seconds(), 2)}

    record = {
        "peer": f"keras_mnist_example_{options.backend}",
        "work": "digits",
        "precision": "float32",
        "threads": options.threads,
        "seed": options.seed,
        "reached": reached,
        "whole": trained,
        "epochs": len(accuracies),
        "best_validation_accuracy": max(accuracies),
        "test_accuracy": round(float(model.evaluate(*parts[2], verbose=0)[1]), 4),
        "versions": {"python": sys.version.split()[0], "keras": keras.__version__},
        "note": "seconds since the process started; accuracy on the validation rows after each epoch",
    }
    print("\n" + json.dumps(record), flush=True)


if __name__ == "__main__":
    main()
