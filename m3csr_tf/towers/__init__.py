"""User and item towers: Keras models made of layers. They know nothing of training or files."""
