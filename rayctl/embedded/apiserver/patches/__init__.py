"""The patches that the API takes, apart from apply: JSON merge patch, JSON patch, strategic merge patch."""
