"""One Keras layer a file, one equation a layer: modal encoder, interest attention, interest intensity, popularity gate."""
