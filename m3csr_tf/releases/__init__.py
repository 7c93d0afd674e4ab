"""The versioned store of releases: manifest, items, journal, versions, publish, refresh, verification."""
