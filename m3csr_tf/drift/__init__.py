"""What changes for users from one version of a recommender to another, and whether it may be published."""
