"""City names: those to train on, and others, kept apart, to measure with. Owns the names only."""

TRAINING = tuple(
    """
    Paris London Boston Chicago Madrid Berlin Rome Vienna Cairo Lima Oslo Athens Dublin Prague Warsaw Lisbon Moscow
    Tokyo Seoul Beijing Delhi Mumbai Sydney Toronto Houston Denver Seattle Miami Atlanta Dallas Nairobi Lagos Havana
    Bogota Santiago Brussels Geneva Zurich Hamburg Munich Naples Venice Florence Seville Porto Lyon Glasgow Bristol
    Leeds Tehran Baghdad Ankara Bangkok Hanoi Manila Jakarta Auckland Perth Helsinki Riga
    """.split()
)

HELD_OUT = (
    "Stockholm", "Copenhagen", "Budapest", "Amsterdam", "Barcelona",
    "Istanbul", "Singapore", "Montreal", "Philadelphia", "Casablanca",
)  # fmt: skip
