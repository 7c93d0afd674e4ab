"""M3CSR: towers, item encoder, layout of the vectors, initial weights and warm start."""
