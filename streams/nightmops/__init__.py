"""NightMOPS: coarse ephemerides of every known orbit by day, exact predictions for every announced visit by night."""
