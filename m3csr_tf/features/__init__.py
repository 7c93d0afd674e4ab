"""What is fitted on the training data before the model: content scaling, clusters, popularity bins, histories."""
