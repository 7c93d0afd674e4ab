"""The online retrieval service: lists, similar items and explanations of a release, over HTTP (docs/service.md)."""
