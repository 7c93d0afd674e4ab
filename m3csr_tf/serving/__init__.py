"""The client of TF Serving, through which a server answers with the vectors of a release's towers."""
