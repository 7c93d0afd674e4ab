"""One Keras layer a file, one equation a layer: modal encoder, interest attention and intensity, popularity gate."""
