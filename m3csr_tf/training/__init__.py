"""Training: tf.data streams, the row-wise optimizer, the loop with checkpoints, and trained runs."""
