"""M3CSR: the towers, the item encoder, the layout of the vectors, the initial weights and the warm start."""
