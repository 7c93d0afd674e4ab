"""Raw input and prepared data: interactions, the catalogue, readers, splits, the synthetic world."""
