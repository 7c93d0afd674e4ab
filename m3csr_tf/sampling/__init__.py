"""Drawing of training examples, which every model shares: windows of users, positives and negatives."""
