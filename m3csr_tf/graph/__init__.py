"""Closed-form estimates from the user-item graph of clicks: random walks, factorisations, and maps of content."""
