"""A peer of bench/write.py: an LSTM that foresees the next letter, in Keras 3 on TensorFlow, trained by model.fit.

Run by the interpreter that environments.py makes: write_keras.py TEXT BATCH LENGTH STEPS POLICY THREADS; one line of JSON.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

os.environ.update(KERAS_BACKEND="tensorflow", TF_CPP_MIN_LOG_LEVEL="3")


def main() -> None:
    """Tokens a second (of the processor on one thread) of STEPS updates, after STEPS that warm up."""
    import keras
    import numpy as np
    import tensorflow as tf
    from keras import layers

    text, batch, length, steps = Path(sys.argv[1]), *map(int, sys.argv[2:5])
    threads = int(sys.argv[6])
    clock = time.process_time if threads == 1 else time.perf_counter
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    keras.config.set_dtype_policy(sys.argv[5])
    letters = text.read_text(encoding="utf-8")
    code = {c: i + 4 for i, c in enumerate(sorted(set(letters)))}
    ids, vocabulary = np.array([code[c] for c in letters]), len(code) + 4
    model = keras.Sequential(
        [
            keras.Input((length,)),
            layers.Embedding(vocabulary, 256),
            *(layers.LSTM(256, return_sequences=True) for _ in range(2)),
            layers.Dense(vocabulary, dtype="float32"),
        ]
    )
    optimizer = keras.optimizers.AdamW(1e-3, weight_decay=0.1, beta_2=0.99, clipnorm=1.0)
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    places = np.random.default_rng(0).integers(len(ids) - length - 1, size=steps * batch)[:, None] + np.arange(length)
    data = tf.data.Dataset.from_tensor_slices((ids[places], ids[places + 1])).batch(batch).prefetch(1)
    model.fit(data, verbose=0)
    start = clock()
    model.fit(data, verbose=0)
    print(json.dumps({"tokens_per_second": batch * length * steps / (clock() - start)}))


if __name__ == "__main__":
    main()
