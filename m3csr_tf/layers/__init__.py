"""The Keras layers of the paper, one in each file: modal encoder, interest attention and intensity, popularity gate."""
