"""The versioned store of releases: manifest, items, journal, versions, publishing, refresh and verification."""
