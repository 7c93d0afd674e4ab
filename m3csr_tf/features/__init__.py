"""Features that are fitted on the training data before any model: scaling, clusters, popularity bins, histories."""
