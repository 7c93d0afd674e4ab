"""Training examples, drawn alike for every model: windows of users, positives and negatives."""
