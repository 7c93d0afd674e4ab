"""Settings of a synthetic world that is easy to learn."""

WORLD = {
    "users": 100,
    "items": 150,
    "clicks": 1500,
    "modalities": {"visual": 8, "acoustic": 6},
    "topics": 4,
    "scale": 30.0,  # Utilities far above the noise of the clicks.
    "popularity": 0.0,
    "nuisance": 0.1,
    "noise": 0.1,
}
